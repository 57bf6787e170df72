"""Our matrix unit in its ideal configuration beside SCALE-Sim's output-stationary dataflow, on published topologies.

``python benchmarks/scalesim.py`` prints a table of clocks: SCALE-Sim's closed form, of that the mesh's skew, and what the timing engine gives our
array. ``--scalesim PYTHON`` runs SCALE-Sim itself as well, on small layers, by an interpreter that has it
(``python -m venv V && V/bin/pip install scalesim==3.0.0 numpy==2.1.3``), and compares every layer's cycles; ``--write docs/validation.md``
puts both into the page.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lanewise.config import DmaConfig, MachineConfig, MatrixConfig, ScratchpadConfig
from lanewise.errors import UserError
from lanewise.files import write_part
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.simulate import work_cost
from lanewise.sim.systolic import Gemm, mesh_clk, skew_clk, steps_clk
from lanewise.sim.topologies import TOPOLOGIES

ARRAYS = ((32, 32), (16, 64))
SMALL = tuple(
    Gemm(name=f"{m}x{k}x{n}", m=m, k=k, n=n)
    for m, k, n in (
        (20, 30, 10), (50, 40, 70), (128, 64, 128), (49, 576, 64), (1, 256, 100), (197, 64, 64), (64, 768, 96), (33, 1, 33),
    )
)  # fmt: skip
"""Layers that SCALE-Sim itself runs in seconds; attention's, a convolution's and a classifier's among them, and edges that do not divide."""

CONFIG = """[general]
run_name = check
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {columns}
IfmapSramSzkB = 4096
FilterSramSzkB = 4096
OfmapSramSzkB = 4096
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = os
Bandwidth = 100
ReadRequestBuffer = 100000
WriteRequestBuffer = 100000
[layout]
IfmapCustomLayout = False
FilterCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""


def ideal(rows: int, columns: int) -> MachineConfig:
    """Everything fits the scratchpad, memory is as wide as the configuration allows, results leave a row a clock where they can."""
    return MachineConfig(
        matrix=MatrixConfig(rows=rows, columns=columns, output_lanes=64),
        scratchpad=ScratchpadConfig(size_kib=65536),
        dma=DmaConfig(bytes_per_clk=512, latency_clk=5, descriptor_clk=1),
    )


def topologies() -> str:
    """Clocks of each topology on each array."""
    heads = (
        "network", "array", "GMAC", "SCALE-Sim", "of that skew", "our steps", "matrix stream held", "whole Programs", "SCALE-Sim / ours",
    )  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for name, layers in TOPOLOGIES.items():
        for rows, columns in ARRAYS:
            machine = ideal(rows, columns)
            mesh = skew = steps = held = cycles = macs = 0
            for gemm in layers():
                run = work_cost(MatmulWork(m=gemm.m, k=gemm.k, n=gemm.n), machine)
                mesh += gemm.count * mesh_clk(gemm, rows=rows, columns=columns)
                skew += gemm.count * gemm.folds(rows, columns) * skew_clk(rows, columns)
                steps += gemm.count * steps_clk(gemm, rows=rows, columns=columns)
                held += gemm.count * run.busy_clk["matrix"]
                cycles += gemm.count * run.cycles
                macs += gemm.macs
            numbers = (f"{number:,}" for number in (mesh, skew, steps, held, cycles))
            lines.append(f"| {name} | {rows} x {columns} | {macs / 1e9:.3f} | {' | '.join(numbers)} | {mesh / cycles:.3f} |")  # fmt: skip
    return "\n".join(lines)


def run_scalesim(python: Path, layers: Sequence[Gemm], rows: int, columns: int) -> list[int]:
    """Cycles of each layer as SCALE-Sim itself reports them, in ``python``'s environment.

    Raises:
        UserError: It does not run there, or reports something else.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "c.cfg").write_text(CONFIG.format(rows=rows, columns=columns))
        sides = "".join(f"l{i},{gemm.m},{gemm.n},{gemm.k},\n" for i, gemm in enumerate(layers))
        (folder / "t.csv").write_text(f"Layer, M, N, K,\n{sides}")
        ones = "".join(f"l{i},{'1,' * 15}\n" for i in range(len(layers)))
        (folder / "l.csv").write_text(f"Layer,{'x,' * 15}\n{ones}")
        command = [
            python.absolute(), "-m", "scalesim.scale", "-t", "t.csv", "-l", "l.csv", "-c", "c.cfg", "-p", "out", "-i", "gemm", "-s", "N",
        ]  # fmt: skip
        report = folder / "out" / "check" / "COMPUTE_REPORT.csv"
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
            with report.open() as stream:
                table = list(csv.DictReader(stream, skipinitialspace=True))
            return [int(row["Total Cycles"]) for row in table]
        except subprocess.CalledProcessError as error:
            line = (error.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(
                f"{python}: SCALE-Sim failed: {line}; expected scalesim 3.0.0 with numpy 2.1"
            ) from None
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{python}: SCALE-Sim did not run or report ({error}); expected its interpreter") from None  # fmt: skip


def checked(python: Path) -> tuple[str, bool]:
    """SCALE-Sim's cycles beside the closed form, layer by layer; and whether all are equal."""
    lines = ["| layer (m x k x n) | array | SCALE-Sim 3.0.0 | closed form |", "|---|---|---:|---:|"]
    equal = True
    for rows, columns in ((16, 8), (32, 32)):
        for gemm, cycles in zip(SMALL, run_scalesim(python, SMALL, rows, columns), strict=True):
            expected = mesh_clk(gemm, rows=rows, columns=columns)
            equal &= cycles == expected
            lines.append(f"| {gemm.name} | {rows} x {columns} | {cycles:,} | {expected:,} |")
    lines += ["", f"All {2 * len(SMALL)} are equal." if equal else "They differ."]
    return "\n".join(lines), equal


def main() -> None:
    """Print, and write what is asked for; status 1 if SCALE-Sim reports something else than the closed form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scalesim", type=Path, metavar="PYTHON", help="interpreter that has scalesim 3.0.0")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    arguments = parser.parse_args()
    equal = True
    try:
        parts = {"topologies": topologies()}
        if arguments.scalesim:
            parts["scale-sim"], equal = checked(arguments.scalesim)
        for part, text in parts.items():
            print(text, end="\n\n")
            if arguments.write:
                write_part(arguments.write, part, text, by="benchmarks/scalesim.py")
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    sys.exit(not equal)


if __name__ == "__main__":
    main()
