"""Clocks of the matrix unit: laws that hold without the RTL (the RTL's own test holds the numbers)."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import REQUANTISER_LATENCY_CLK, MatrixConfig
from lanewise.sim.mac_array import mac_array_clk
from lanewise.sim.matrix_unit import (
    matrix_unit_clk,
    matrix_unit_results_clk,
    matrix_unit_starts_clk,
    matrix_unit_tile_clk,
)

shapes = st.builds(
    lambda r, c, n: MatrixConfig(rows=r, columns=c, output_lanes=n),
    st.integers(1, 64), st.integers(1, 64), st.integers(1, 64),
)  # fmt: skip
tiles = st.lists(st.integers(1, 300), min_size=1, max_size=20)


@given(shapes, tiles)
def test_a_lane_for_each_column_adds_its_latency_to_the_array_s_clocks(config, k_steps):
    wide = MatrixConfig(rows=config.rows, columns=config.columns, output_lanes=64)
    assert matrix_unit_clk(k_steps, wide) == mac_array_clk(k_steps, wide) + REQUANTISER_LATENCY_CLK
    assert matrix_unit_clk(k_steps, config) >= matrix_unit_clk(k_steps, wide)


@given(shapes, st.integers(1, 900), st.booleans())
def test_equal_tiles_reach_their_period(config, steps, reload):
    starts = matrix_unit_starts_clk([steps] * 8, config, range(8) if reload else ())
    assert starts[7] - starts[6] == matrix_unit_tile_clk(steps, config, reload=reload)


@given(shapes, tiles, st.sets(st.integers(0, 19)))
def test_reloads_delay_and_no_more_than_their_words(config, k_steps, reloads):
    reloads = [tile for tile in reloads if tile < len(k_steps)]
    extra = matrix_unit_clk(k_steps, config, reloads) - matrix_unit_clk(k_steps, config)
    assert 0 <= extra <= len(reloads) * config.row_beats


@given(shapes, tiles)
def test_beats_leave_in_order_one_a_clock_within_a_tile(config, k_steps):
    results, beats = matrix_unit_results_clk(k_steps, config), config.rows * config.row_beats
    assert len(results) == beats * len(k_steps)
    assert all(late > early for early, late in pairwise(results))
    assert all(results[n + beats - 1] - results[n] == beats - 1 for n in range(0, len(results), beats))
