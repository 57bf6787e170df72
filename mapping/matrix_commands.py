"""The matrix commands of a Program with their addresses worked out."""

from collections.abc import Callable

from lanewise.models.matrix_commands import Operand, Output, Products
from lanewise.sim.program import Address, Instruction, Lines, Tile


def products_of(instruction: Instruction, place: Callable[[Address], int]) -> Products:
    """What ``mm.tile`` or ``mm.accumulate`` multiplies; ``place`` says where an address is in the scratchpad.

    Raises:
        ValueError: It is priced alone.
    """
    tile = _tile_of(instruction)

    def operand(lines: Lines) -> Operand:
        return Operand(
            address=place(lines.address), stride=lines.stride_bytes, lines=lines.lines, bits=lines.bits, turned=lines.turned
        )  # fmt: skip

    return Products(
        left=operand(tile.left), right=operand(tile.right), k=instruction.steps, first=tile.first, passes=instruction.passes,
        shift=tile.shift,
    )  # fmt: skip


def output_of(instruction: Instruction, place: Callable[[Address], int]) -> Output:
    """What becomes of the sums of ``mm.tile``.

    Raises:
        ValueError: It is priced alone, it has no results, or it reloads constants that are nowhere.
    """
    tile = _tile_of(instruction)
    if tile.results is None:
        raise ValueError("results of mm.tile must be an address, not None")
    if instruction.reload != (tile.constants is not None):
        raise ValueError(
            f"constants must be an address where reload is True, and only there, not {tile.constants}"
        )
    return Output(
        address=place(tile.results), stride=tile.results_stride_bytes, form=tile.form, stochastic=tile.stochastic,
        multiplier=tile.multiplier, shift_bits=tile.shift_bits,
        scales=None if tile.scales is None else place(tile.scales),
        constants=None if tile.constants is None else place(tile.constants),
    )  # fmt: skip


def _tile_of(instruction: Instruction) -> Tile:
    if instruction.tile is None:
        raise ValueError(f"{instruction.opcode} cannot be executed: it is priced and no more")
    return instruction.tile
