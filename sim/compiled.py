"""``recurrence.cpp`` and ``list_schedule.cpp`` as a library: compiled once for each version of their text, then kept in the cache folder."""

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from lanewise.errors import UserError
from lanewise.files import cache_folder

SOURCE = Path(__file__).with_name("recurrence.cpp")
SCHEDULER = Path(__file__).with_name("list_schedule.cpp")
HEADER = Path(__file__).with_name("matrix_stream.h")
FLAGS = ("-O2", "-std=c++17", "-shared", "-fPIC")
Watcher = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64)
"""Told how many instructions the buffer holds; anything but 0 stops the run."""


@cache
def library() -> ctypes.CDLL:
    """The compiled recurrence and scheduler.

    Raises:
        UserError: There is no C++ compiler, or it fails.
    """
    text = b"".join(path.read_bytes() for path in (SOURCE, HEADER, SCHEDULER))
    compiler = shlex.split(os.environ.get("CXX") or "g++")
    version = hashlib.sha256(text + " ".join((*compiler, *FLAGS, os.uname().machine)).encode()).hexdigest()[
        :16
    ]
    path = cache_folder() / "engine" / f"recurrence-{version}.so"
    if not path.exists():
        _compile(compiler, path)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError:  # of another system, or damaged
        _compile(compiler, path)
        loaded = ctypes.CDLL(str(path))
    pointer, number = ctypes.c_void_p, ctypes.c_int32
    loaded.lanewise_run.argtypes = [
        pointer, number, number, number, number, pointer, number, pointer, pointer, pointer, ctypes.c_int64, pointer, ctypes.c_int64, Watcher,
        pointer, number, pointer, pointer,
    ]  # fmt: skip
    loaded.lanewise_run.restype = number
    loaded.lanewise_schedule.argtypes = [pointer, ctypes.c_int64, number, number, pointer]
    loaded.lanewise_schedule.restype = None
    return loaded


def _compile(compiler: Sequence[str], path: Path) -> None:
    if shutil.which(compiler[0]) is None:
        raise UserError(f"{compiler[0]}: is missing; expected a C++ compiler, which Verilator needs as well")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".compile") as folder:
            made = Path(folder) / path.name
            done = subprocess.run(
                [*compiler, *FLAGS, "-o", str(made), str(SOURCE), str(SCHEDULER)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
                raise UserError(f"{compiler[0]}: cannot compile the timing engine: {reason}")
            made.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}; expected a writable folder") from None
