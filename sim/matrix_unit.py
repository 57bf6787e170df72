"""When the matrix unit delivers: clocks only, no values (those are :mod:`lanewise.models.matrix_unit`)."""

from collections.abc import Sequence

from lanewise.config import REQUANTISER_LATENCY_CLK, MatrixConfig
from lanewise.sim.mac_array import mac_array_loads_clk, mac_array_starts_clk


def matrix_unit_tile_clk(k_steps: int, config: MatrixConfig) -> int:
    """Clocks between the starts of two successive tiles of so many steps: a tile leaves in ``rows * row_beats``.

    >>> config = MatrixConfig(rows=32, columns=32, output_lanes=8)
    >>> matrix_unit_tile_clk(768, config), matrix_unit_tile_clk(64, config)
    (768, 128)
    """
    return max(k_steps, config.rows * config.row_beats)


def matrix_unit_starts_clk(k_steps: Sequence[int], config: MatrixConfig) -> list[int]:
    """Edges that accept the first step of each tile; tiles of ``k_steps[j]`` steps back to back, no stalls.

    >>> matrix_unit_starts_clk([2, 2, 2, 90, 9], MatrixConfig(rows=4, columns=4, output_lanes=1))
    [0, 2, 4, 20, 124]
    """
    return mac_array_starts_clk(k_steps, config, row_clk=config.row_beats)


def matrix_unit_results_clk(k_steps: Sequence[int], config: MatrixConfig) -> list[int]:
    """Edges that hand over each beat of results, counted from the one that accepts the first step, no stalls.

    The RTL takes exactly as many (``lanewise verify matrix_unit``).

    >>> matrix_unit_results_clk([10], MatrixConfig(rows=2, columns=2, output_lanes=1))
    [19, 20, 21, 22]
    """
    loads = mac_array_loads_clk(k_steps, config, row_clk=config.row_beats)
    beats = range(1, config.rows * config.row_beats + 1)
    return [load + beat + REQUANTISER_LATENCY_CLK for load in loads for beat in beats]


def matrix_unit_clk(k_steps: Sequence[int], config: MatrixConfig) -> int:
    """Clocks from the edge that accepts the first step to the edge that hands over the last beat, no stalls.

    >>> matrix_unit_clk([10], MatrixConfig(rows=2, columns=2, output_lanes=1))
    22
    """
    return matrix_unit_results_clk(k_steps, config)[-1]
