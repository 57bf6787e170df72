"""When the Walsh-Hadamard unit delivers: clocks only, no values (those are :mod:`lanewise.models.walsh_hadamard`)."""

from lanewise.config import OperandPathConfig


def walsh_hadamard_clk(beats: int, config: OperandPathConfig, block: int) -> int:
    """Clocks from the edge that accepts the first beat to that which hands over the last transformed one; no stalls.

    The RTL takes exactly as many (``lanewise verify walsh_hadamard``).

    Args:
        beats: At least 1, of whole blocks.
        block: The block, one of ``config.blocks``, of all beats.

    Raises:
        ValueError: There is no beat, a block is incomplete, or the unit does not have the block.

    >>> walsh_hadamard_clk(100, OperandPathConfig(lanes=16), 64)
    108
    """
    return check_beats(beats, config, block) - 1 + config.transform_latency_clk(block)


def check_beats(beats: int, config: OperandPathConfig, block: int) -> int:
    """``beats``, if they are whole blocks of one that the unit has.

    Raises:
        ValueError: They are not.
    """
    if block not in config.blocks:
        raise ValueError(f"block must be one of {list(config.blocks)}, not {block}")
    per_block = config.block_beats(block)
    if beats < 1 or beats % per_block:
        raise ValueError(f"beats must be a positive multiple of {per_block}, not {beats}")
    return beats
