"""When the weight generator has written what it is told to: clocks only.

The RTL takes exactly as many (``lanewise verify weight_generator``); nothing makes it wait but the tags.
"""

from collections.abc import Sequence

from lanewise.config import WeightGeneratorConfig


def weight_generator_beats(size_bytes: int, config: WeightGeneratorConfig) -> int:
    """Clocks from a command's start to the next one's, if it waits for nothing else: a word each, at least one.

    >>> weight_generator_beats(4608, WeightGeneratorConfig(bytes_per_clk=32)), weight_generator_beats(1, WeightGeneratorConfig())
    (144, 1)
    """
    return max(1, -(-size_bytes // config.bytes_per_clk))


def weight_generator_starts_clk(
    offered: Sequence[int], sizes: Sequence[int], config: WeightGeneratorConfig
) -> list[int]:
    """Clock of each command's start in a generator that is idle before, given the clock from which it is offered."""
    starts, free = [], 0
    for clock, size in zip(offered, sizes, strict=True):
        starts.append(max(clock, free))
        free = starts[-1] + weight_generator_beats(size, config)
    return starts


def weight_generator_finished_clk(start: int, size_bytes: int, config: WeightGeneratorConfig) -> int:
    """Clock at whose end the last byte is in the scratchpad.

    >>> weight_generator_finished_clk(0, 64, WeightGeneratorConfig(bytes_per_clk=32))
    4
    """
    return start + weight_generator_beats(size_bytes, config) + config.latency_clk - 2
