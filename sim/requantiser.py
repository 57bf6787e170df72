"""When the output path delivers: clocks only, no values (those are :mod:`lanewise.models.requantiser`)."""

from collections.abc import Collection

from lanewise.config import REQUANTISER_LATENCY_CLK, MatrixConfig


def requantiser_rows_clk(rows: int, config: MatrixConfig, reloads: Collection[int] = ()) -> list[int]:
    """Edges that take rows one after the other, no stalls, counted from the one at which the first row is on offer.

    A row stays at the input until its last beat is taken, and before its first one while constants are loaded.

    Args:
        reloads: Numbers of the rows that reload.

    >>> requantiser_rows_clk(3, MatrixConfig(columns=32, output_lanes=8))
    [3, 7, 11]
    >>> requantiser_rows_clk(3, MatrixConfig(columns=32, output_lanes=8), reloads=[1])
    [3, 11, 15]
    """
    taken, clk = [], -1
    for row in range(rows):
        clk += config.row_beats * (2 if row in reloads else 1)
        taken.append(clk)
    return taken


def requantiser_results_clk(rows: int, config: MatrixConfig, reloads: Collection[int] = ()) -> list[int]:
    """Edges that hand over the beats of the results, no stalls, counted likewise: one a clock within a row.

    The RTL takes exactly as many (``lanewise verify requantiser``).

    >>> requantiser_results_clk(2, MatrixConfig(columns=32, output_lanes=16))
    [7, 8, 9, 10]
    """
    beats = range(1 - config.row_beats, 1)
    taken = requantiser_rows_clk(rows, config, reloads)
    return [clk + beat + REQUANTISER_LATENCY_CLK for clk in taken for beat in beats]
