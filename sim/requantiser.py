"""When the output path delivers: clocks only, no values (those are :mod:`lanewise.models.requantiser`)."""

from lanewise.config import REQUANTISER_LATENCY_CLK, MatrixConfig


def requantiser_rows_clk(rows: int, config: MatrixConfig) -> list[int]:
    """Edges that take rows one after the other, no stalls, counted from the one that takes the first row's first beat.

    A row stays at the input until its last beat is taken.

    >>> requantiser_rows_clk(3, MatrixConfig(columns=32, output_lanes=8))
    [3, 7, 11]
    """
    return [config.row_beats * (row + 1) - 1 for row in range(rows)]


def requantiser_results_clk(rows: int, config: MatrixConfig) -> list[int]:
    """Edges that hand over the beats of the results, no stalls, counted likewise: one a clock.

    The RTL takes exactly as many (``lanewise verify requantiser``).

    >>> requantiser_results_clk(2, MatrixConfig(columns=32, output_lanes=16))
    [7, 8, 9, 10]
    """
    return [REQUANTISER_LATENCY_CLK + beat for beat in range(rows * config.row_beats)]
