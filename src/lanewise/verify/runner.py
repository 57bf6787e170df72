"""Build a component with Verilator and run a cocotb bench on it."""

import collections
import contextlib
import dataclasses
import fcntl
import hashlib
import importlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanewise.files import write_json, write_text
from lanewise.rtl.toolchain import require_tools, tool_versions, verilator_environment
from lanewise.rtl.verilog import emit_verilog, ports_of
from lanewise.verify.bench import Bench, Case

TOP = "top"
_BUILD_ARGS = (
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert",
    "-Wno-fatal", "-Wno-lint", "-Wno-WIDTHEXPAND", "--no-public-flat-rw", "--output-split", "0",
)  # fmt: skip
_INSTANCE = re.compile(r"^  (\w+) \S+ ?\($", re.MULTILINE)
_MANY = 8
_LOG_TAIL = 12
_COUNTED = ("values", "clocks", "programs", "instructions")
"""What a bench counts of what it compares."""


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """One cocotb test of one case, or one formal proof."""

    __test__ = False  # not a class of pytest tests

    name: str
    """``<bench>[<case>].<test>``, or ``proofs[<case>.<what>]``."""
    passed: bool
    seconds: float
    values_compared: int
    clocks_compared: int
    message: str
    """Empty, or why it failed."""
    properties_proved: int = 0
    """Of a formal proof."""
    programs_compared: int = 0
    """Of the core: programs whose every instruction was compared."""
    instructions_compared: int = 0
    """Instructions of these programs."""


def run_case(
    name: str, case: Case, *, seed: int, folder: Path, waves: bool = False, module: str | None = None,
    bench: Bench | None = None,
) -> list[TestResult]:  # fmt: skip
    """Build the case's component (unless its Verilog is already built), run the bench, collect its results.

    Args:
        name: Name of the bench; labels the results and the run's folder.
        module: Python module with the cocotb tests; default ``lanewise.verify.benches.<name>``.
        bench: Default: the module's ``BENCH``.
        folder: Builds go to ``folder/builds/<hash>``, the run's log, Verilog (and waves) to
            ``folder/<name>-<label>``.
        waves: Also record all ports and signals in ``dump.vcd`` of the run's folder (a separate, slower
            build).

    Raises:
        UserError: A system tool is missing.
        RuntimeError: Verilator or the C++ compiler fails; the end of its log is in the message.
    """
    require_tools()
    module = module or f"lanewise.verify.benches.{name}"
    bench = bench or importlib.import_module(module).BENCH
    folder = folder.resolve()
    verilog = emit_verilog(bench.component(case.config), TOP)
    executable = _build(verilog, folder / "builds", waves)
    run_folder = folder / f"{name}-{case.label}"
    with _locked(folder / f".{name}-{case.label}.lock"):
        shutil.rmtree(run_folder, ignore_errors=True)
        run_folder.mkdir(parents=True)
        write_text(run_folder / f"{TOP}.v", verilog)
        inputs = [port.name for port in ports_of(verilog, TOP) if port.direction == "input"]
        description = {"config": dataclasses.asdict(case.config), "parameters": dict(case.parameters)}
        write_json(run_folder / "case.json", description | {"inputs": inputs})
        started = time.perf_counter()
        _simulate(executable, run_folder, module, case, seed, waves)
        return _collect(run_folder, f"{name}[{case.label}]", time.perf_counter() - started)


def _build(verilog: str, builds: Path, waves: bool) -> Path:
    """The simulator of this Verilog. Complete or absent: a killed build leaves only a temporary folder."""
    from cocotb_tools.runner import VerilatorControlFile, get_runner

    control = _control_file(verilog)
    build = builds / _hash([verilog, _BUILD_ARGS, control, waves, sorted(tool_versions().items())])
    with _locked(builds / f".{build.name}.lock"):
        if (build / TOP).exists():
            return build / TOP
        for leftover in builds.glob(f".{build.name}.tmp*"):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=builds, prefix=f".{build.name}.tmp"))
        runtime = builds / f"runtime-{_hash([sorted(tool_versions().items()), waves])}"
        if runtime.exists():
            shutil.copytree(runtime, temporary / "obj")
            for file in (
                temporary / "obj"
            ).iterdir():  # make wants them newer than the makefile yet to be written
                os.utime(file, (time.time() + 3600,) * 2)
        write_text(temporary / f"{TOP}.v", verilog)
        write_text(temporary / "control.vlt", control)
        log = temporary / "build.log"
        try:
            with verilator_environment(), _quiet():
                get_runner("verilator").build(
                    sources=[temporary / f"{TOP}.v", VerilatorControlFile(temporary / "control.vlt")],
                    hdl_toplevel=TOP, build_dir=temporary / "obj", build_args=list(_BUILD_ARGS), always=True,
                    waves=waves, timescale=("1ns", "1ps"), log_file=log,
                )  # fmt: skip
        except (RuntimeError, SystemExit) as error:
            raise RuntimeError(f"Verilator build failed ({error}):\n{_tail(log)}") from None
        (temporary / "obj" / TOP).rename(temporary / TOP)
        _keep_runtime(temporary / "obj", runtime)
        shutil.rmtree(temporary / "obj")
        shutil.rmtree(build, ignore_errors=True)
        temporary.rename(build)
    return build / TOP


def _control_file(verilog: str) -> str:
    """The bench sees the top's ports alone; a module of an array is compiled once, not once an instance."""
    counts = collections.Counter(_INSTANCE.findall(verilog))
    repeated = [f'no_inline -module "{module}"' for module, count in sorted(counts.items()) if count >= _MANY]
    return "\n".join(["`verilator_config", f'public_flat_rw -module "{TOP}" -port "*"', *repeated, ""])


def _keep_runtime(objects: Path, runtime: Path) -> None:
    """Keep Verilator's own object files, equal for every design: they take most of a small build's time."""
    if runtime.exists():
        return
    temporary = Path(tempfile.mkdtemp(dir=runtime.parent, prefix=f".{runtime.name}.tmp"))
    for file in objects.glob("verilated*.o"):
        shutil.copy(file, temporary)
    with contextlib.suppress(OSError):  # another process was first
        temporary.rename(runtime)
    shutil.rmtree(temporary, ignore_errors=True)


def _hash(key: Any) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:20]


def _simulate(executable: Path, run_folder: Path, module: str, case: Case, seed: int, waves: bool) -> None:
    from cocotb_tools.runner import get_runner

    tests = rf"\.({'|'.join(case.tests)})(/|$)" if case.tests else None

    environment = {
        "LANEWISE_RUN": str(run_folder),
        "COCOTB_ANSI_OUTPUT": "0",
        "COCOTB_REWRITE_ASSERTION_FILES": "",
    }
    # what goes wrong is in results.xml, or in its absence
    with verilator_environment(), _quiet(), contextlib.suppress(RuntimeError, SystemExit):
        get_runner("verilator").test(
            test_module=module, hdl_toplevel=TOP, hdl_toplevel_lang="verilog", seed=seed, waves=waves,
            test_filter=tests, build_dir=executable.parent, test_dir=run_folder,
            results_xml=str(run_folder / "results.xml"), extra_env=environment, timescale=("1ns", "1ps"),
            log_file=run_folder / "run.log",
        )  # fmt: skip


def _collect(run_folder: Path, label: str, seconds: float) -> list[TestResult]:
    counts: dict[str, dict[str, int]] = {}
    if (report := run_folder / "compared.jsonl").exists():
        for line in report.read_text().splitlines():
            entry = json.loads(line)
            total = counts.setdefault(entry["test"], dict.fromkeys(_COUNTED, 0))
            for name in _COUNTED:
                total[name] += entry[name]
    try:
        cases = list(ElementTree.parse(run_folder / "results.xml").iter("testcase"))
    except (OSError, ElementTree.ParseError):
        cases = []
    if not cases:
        message = f"the simulation ended without results:\n{_tail(run_folder / 'run.log')}"
        return [failure(label, seconds, message)]
    results = []
    for case in cases:
        test = case.attrib["name"]
        count = counts.get(test, dict.fromkeys(_COUNTED, 0))
        message = _message(case)
        if not message and not any(count.values()):
            message = "the test compared nothing"
        results.append(
            TestResult(
                name=f"{label}.{test}", passed=not message, seconds=float(case.attrib.get("time", 0)),
                message=message, **{f"{name}_compared": number for name, number in count.items()},
            )
        )  # fmt: skip
    return results


def failure(name: str, seconds: float, message: str) -> TestResult:
    """A case that came to nothing."""
    return TestResult(
        name=name, passed=False, seconds=seconds, values_compared=0, clocks_compared=0, message=message
    )


def _message(case: Any) -> str:
    for kind in ("failure", "error", "skipped"):
        if (found := case.find(kind)) is not None:
            text = found.attrib.get("error_msg") or found.attrib.get("message") or found.text or kind
            return str(text).strip()
    return ""


def _tail(log: Path) -> str:
    return (
        "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]) if log.exists() else "(no log)"
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the system drops it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the runner's commentary off the log; failures carry their own text."""
    logger = logging.getLogger("Verilator")
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        logger.setLevel(logging.INFO)
