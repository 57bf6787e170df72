"""When the operand path delivers: clocks only, no values (those are :mod:`lanewise.models.operand_path`)."""

from collections.abc import Sequence

from lanewise.config import OperandPathConfig
from lanewise.sim.row_norms import row_norms_clk
from lanewise.sim.walsh_hadamard import check_beats


def operand_path_clk(beats: int, config: OperandPathConfig, block: int) -> int:
    """Clocks from the edge that accepts a tensor's first beat to that which hands over its last INT4; no stalls.

    The RTL takes exactly as many (``lanewise verify operand_path``).

    Args:
        beats: At least 1, of whole blocks.
        block: The tensor's, one of ``config.blocks``.

    Raises:
        ValueError: There is no beat, a block is incomplete, or the unit does not have the block.

    >>> operand_path_clk(100, OperandPathConfig(lanes=16), 64)
    112
    """
    return check_beats(beats, config, block) - 1 + config.latency_clk(block)


def operand_path_tensors_clk(tensors: Sequence[tuple[int, int]], config: OperandPathConfig) -> int:
    """Clocks from the edge that takes the first tensor's settings to that which hands over the last INT4; no stalls.

    Settings and beats are always on offer. New settings are taken in the clock after the last INT4 of the tensor
    before has left, its own beats from the next clock on. The RTL takes exactly as many
    (``lanewise verify operand_path``).

    Args:
        tensors: ``(beats, block)`` of each.

    Raises:
        ValueError: There is no tensor, or as :func:`operand_path_clk`.

    >>> operand_path_tensors_clk([(100, 64), (100, 64)], OperandPathConfig(lanes=16))
    227
    """
    if not tensors:
        raise ValueError("tensors must be one or more, not none")
    each = [1 + operand_path_clk(beats, config, block) for beats, block in tensors]
    return sum(each) + len(each) - 1


def operand_norms_clk(beats: int, row_beats: int, config: OperandPathConfig, block: int) -> list[int]:
    """Of each row, clocks from the edge that accepts a tensor's first beat to that which hands over its norms; no stalls.

    The RTL takes exactly as many (``lanewise verify operand_path``).

    Args:
        beats: At least 1, of whole blocks and whole rows.
        row_beats: Beats of a row; 0: no norms.
        block: The tensor's, one of ``config.blocks``.

    Raises:
        ValueError: The beats are not whole rows, or as :func:`operand_path_clk`.

    >>> operand_norms_clk(128, 64, OperandPathConfig(lanes=16), 64)
    [78, 142]
    """
    check_beats(beats, config, block)
    if row_beats == 0:
        return []
    if row_beats < 0 or beats % row_beats:
        raise ValueError(f"row_beats must be 0 or divide the {beats} beats, not {row_beats}")
    return [config.latency_clk(block) + clk for clk in row_norms_clk([row_beats] * (beats // row_beats))]


def operand_seed_clk(config: OperandPathConfig) -> int:
    """Clocks that a load of all states takes: one a lane, while no beat is in the path."""
    return config.lanes
