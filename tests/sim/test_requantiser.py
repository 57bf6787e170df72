"""Clocks of the output path: laws that hold without the RTL (the RTL's own test holds the numbers)."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import REQUANTISER_LATENCY_CLK, MatrixConfig
from lanewise.sim.requantiser import requantiser_results_clk, requantiser_rows_clk


@given(columns=st.integers(1, 64), lanes=st.integers(1, 64), rows=st.integers(1, 50))
def test_a_row_is_taken_in_its_beats_and_a_beat_leaves_each_clock(columns, lanes, rows):
    config = MatrixConfig(columns=columns, output_lanes=lanes)
    taken, results = requantiser_rows_clk(rows, config), requantiser_results_clk(rows, config)
    assert taken[-1] == rows * config.row_beats - 1
    assert results[-1] == taken[-1] + REQUANTISER_LATENCY_CLK
    assert results == list(range(results[0], results[0] + rows * config.row_beats))
    assert (
        (config.row_beats - 1) * config.requantiser_lanes
        < columns
        <= config.row_beats * config.requantiser_lanes
    )


@given(columns=st.integers(1, 64), rows=st.integers(2, 50), reloads=st.sets(st.integers(0, 49)))
def test_a_reload_takes_as_long_as_a_row(columns, rows, reloads):
    config = MatrixConfig(columns=columns)
    taken = requantiser_rows_clk(rows, config, reloads)
    assert [late - early for early, late in pairwise(taken)] == [
        config.row_beats * (1 + (row in reloads)) for row in range(1, rows)
    ]
