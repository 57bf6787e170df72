"""When the matrix unit delivers: clocks only, no values (those are :mod:`lanewise.models.matrix_unit`)."""

from collections.abc import Collection, Sequence

from lanewise.config import REQUANTISER_LATENCY_CLK, MatrixConfig
from lanewise.sim.mac_array import mac_array_loads_clk, mac_array_starts_clk


def matrix_unit_tile_clk(k_steps: int, config: MatrixConfig, *, reload: bool = False) -> int:
    """Clocks between the starts of two successive tiles of so many steps, all with new constants of the columns or none.

    >>> config = MatrixConfig(rows=32, columns=32, output_lanes=8)
    >>> matrix_unit_tile_clk(768, config), matrix_unit_tile_clk(64, config), matrix_unit_tile_clk(64, config, reload=True)
    (768, 128, 132)
    """
    return max(k_steps, config.leave_clk(reload=reload))


def matrix_unit_starts_clk(
    k_steps: Sequence[int], config: MatrixConfig, reloads: Collection[int] = ()
) -> list[int]:
    """Edges that accept the first step of each tile; tiles of ``k_steps[j]`` steps back to back, no stalls.

    Args:
        reloads: Numbers of the tiles before which the columns' constants are reloaded.

    >>> matrix_unit_starts_clk([2, 2, 2, 90, 9], MatrixConfig(rows=4, columns=4, output_lanes=1))
    [0, 2, 4, 20, 124]
    """
    return mac_array_starts_clk(k_steps, config, _leave_clk(len(k_steps), config, reloads))


def matrix_unit_results_clk(
    k_steps: Sequence[int], config: MatrixConfig, reloads: Collection[int] = ()
) -> list[int]:
    """Edges that hand over each beat of results, counted from the one that accepts the first step, no stalls.

    The RTL takes exactly as many (``lanewise verify matrix_unit``).

    >>> matrix_unit_results_clk([10], MatrixConfig(rows=2, columns=2, output_lanes=1))
    [19, 20, 21, 22]
    """
    loads = mac_array_loads_clk(k_steps, config, _leave_clk(len(k_steps), config, reloads))
    beats = range(1, config.rows * config.row_beats + 1)
    firsts = [load + config.row_beats * (tile in reloads) for tile, load in enumerate(loads)]
    return [first + beat + REQUANTISER_LATENCY_CLK for first in firsts for beat in beats]


def matrix_unit_clk(k_steps: Sequence[int], config: MatrixConfig, reloads: Collection[int] = ()) -> int:
    """Clocks from the edge that accepts the first step to the edge that hands over the last beat, no stalls.

    >>> matrix_unit_clk([10], MatrixConfig(rows=2, columns=2, output_lanes=1))
    22
    """
    return matrix_unit_results_clk(k_steps, config, reloads)[-1]


def _leave_clk(tiles: int, config: MatrixConfig, reloads: Collection[int]) -> list[int]:
    return [config.leave_clk(reload=tile in reloads) for tile in range(tiles)]
