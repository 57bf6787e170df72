"""When the row sampler delivers: clocks only, no values (those are :mod:`lanewise.models.row_sampler`)."""

from lanewise.config import ROW_SAMPLER_LATENCY_CLK


def row_sampler_clk(rows: int) -> int:
    """Clocks from the edge that accepts a list's first row to that which hands over its count; no stalls.

    The RTL takes exactly as many (``lanewise verify row_sampler``), whatever is kept.

    Raises:
        ValueError: There is no row.

    >>> row_sampler_clk(1024)
    1024
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows}")
    return rows - 1 + ROW_SAMPLER_LATENCY_CLK
