"""When row norms are delivered: clocks only, no values (those are :mod:`lanewise.models.row_norms`)."""

from collections.abc import Sequence
from itertools import accumulate

from lanewise.config import ROW_NORMS_LATENCY_CLK


def row_norms_clk(rows: Sequence[int]) -> list[int]:
    """Of each row, clocks from the edge that accepts the first row's first beat to that which hands over its norms.

    No stalls; a beat is always on offer. The RTL takes exactly as many (``lanewise verify row_norms``).

    Args:
        rows: Beats of each row.

    Raises:
        ValueError: A row has no beat.

    >>> row_norms_clk([64, 64, 1])
    [65, 129, 130]
    """
    for beats in rows:
        if beats < 1:
            raise ValueError(f"a row's beats must be at least 1, not {beats}")
    return [beats - 1 + ROW_NORMS_LATENCY_CLK for beats in accumulate(rows)]
