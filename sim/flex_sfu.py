"""When Flex-SFU delivers: clocks only, no values (those are :mod:`lanewise.models.flex_sfu`)."""

from math import ceil

from lanewise.config import FlexSfuConfig


def flex_sfu_clk(elements: int, config: FlexSfuConfig, bits: int = 16) -> int:
    """Clocks from the edge that accepts the first beat to that which hands over the last result; no stalls.

    Args:
        elements: At least 1.
        config: The unit.
        bits: Width of an element.

    The RTL takes exactly as many (``lanewise verify flex_sfu``).

    Raises:
        ValueError: There is no element.

    >>> flex_sfu_clk(33, FlexSfuConfig(lanes=8, segments=32))
    12
    """
    if elements < 1:
        raise ValueError(f"elements must be at least 1, not {elements}")
    return ceil(elements / config.elements_per_clk(bits)) - 1 + config.latency_clk


def flex_sfu_load_clk(entries: int, config: FlexSfuConfig) -> int:
    """Clocks from the edge that accepts the last beat before a load to that of the first beat after it.

    The beats in flight leave the breakpoint tree, then one entry a clock is written (a breakpoint, or a segment's
    coefficients; one of each at the same time where both are offered), then beats are accepted again. The RTL
    takes exactly as many (``lanewise verify flex_sfu``) where the load is offered at once and no result has to
    wait. Of a double-buffered unit, beats and load of the same table.

    Raises:
        ValueError: There is no entry.

    >>> flex_sfu_load_clk(32, FlexSfuConfig(segments=32))
    38
    """
    if entries < 1:
        raise ValueError(f"entries must be at least 1, not {entries}")
    return config.levels + entries + 1
