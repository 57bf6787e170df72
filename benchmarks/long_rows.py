"""Clocks of long rows and of group norms on the default machine, as docs/kernels.md has them.

Usage: python benchmarks/long_rows.py
"""

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.streamed_row import StreamedRow
from lanewise.sim.program import Program

MACHINE = MachineConfig()


def norm(rows: int, length: int, groups: int = 1, channels: int = 0) -> RowsWork:
    return RowsWork(
        function="layer_norm", rows=rows, length=length, affine=True, groups=groups, channels=channels
    )


def main() -> None:
    row, one, many = norm(1, 32000), norm(1, 56 * 56 * 64, 1, 64), norm(18, 144 * 144 * 8, 18, 144)
    cases: list[tuple[str, RowsWork, Program]] = [
        ("a row that the scratchpad holds, streamed all the same", row, StreamedRow(row, MACHINE).program()),
        ("the same, kept in the scratchpad", row, row.of_whole_rows(MACHINE)),
        ("group norm of one group, 56 x 56 x 64", one, one.program(MACHINE)),
        ("group norm of 18 groups, 144 x 144 x 144", many, many.program(MACHINE)),
    ]
    print("| layer norm, FP16 with scale and offset | elements | clocks |\n|---|---:|---:|")
    for name, work, program in cases:
        print(f"| {name} | {work.rows * work.length:,} | {price(program, MACHINE).cycles:,} |")


if __name__ == "__main__":
    main()
