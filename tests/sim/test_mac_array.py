"""Clocks of the MAC array: laws that hold without the RTL (the RTL's own test holds the numbers)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import MatrixConfig
from lanewise.sim.mac_array import mac_array_clk, mac_array_starts_clk, tile_steps

rows = st.integers(1, 64)
tiles = st.lists(st.integers(1, 200), min_size=1, max_size=30)


@given(rows, st.integers(1, 500))
def test_one_tile_takes_its_steps_the_latency_and_the_drain(r, k):
    config = MatrixConfig(rows=r)
    assert mac_array_clk([k], config) == (k - 1) + config.latency_clk + (r - 1)


@given(rows, st.integers(1, 200))
def test_equal_tiles_reach_the_period_of_the_config(r, k):
    config = MatrixConfig(rows=r)
    starts = mac_array_starts_clk([k] * 8, config)
    assert starts[7] - starts[6] == config.tile_clk(k)
    assert mac_array_clk([k] * 8, config) - mac_array_clk([k] * 7, config) == config.tile_clk(k)


@given(rows, tiles)
def test_never_faster_than_steps_or_drain_allow(r, k_steps):
    config = MatrixConfig(rows=r)
    clocks = mac_array_clk(k_steps, config)
    assert clocks >= sum(k_steps) + r + config.latency_clk - 2
    assert clocks >= len(k_steps) * r + config.latency_clk - 1
    starts = mac_array_starts_clk(k_steps, config)
    assert starts[0] == 0
    assert all(starts[j + 1] - starts[j] >= k for j, k in enumerate(k_steps[:-1]))


@given(rows, tiles)
def test_one_step_more_never_ends_earlier(r, k_steps):
    config = MatrixConfig(rows=r)
    assert mac_array_clk([*k_steps, 1], config) > mac_array_clk(k_steps, config)
    assert mac_array_clk([k_steps[0] + 1, *k_steps[1:]], config) >= mac_array_clk(k_steps, config)


@pytest.mark.parametrize("k_steps", [[], [3, 0]])
def test_no_tile_or_no_step_is_refused(k_steps):
    message = f"k_steps must be one or more tiles of at least 1 step, not {k_steps!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        mac_array_clk(k_steps, MatrixConfig())


def test_steps_of_a_tile_are_k_for_each_pass():
    config = MatrixConfig(rows=4, columns=4)
    assert [tile_steps(9, *bits, config) for bits in ((8, 8), (8, 4), (4, 8), (4, 4))] == [36, 18, 18, 9]
    wide = MatrixConfig(operand_bits=8)
    assert tile_steps(9, 8, 8, wide) == 9
    with pytest.raises(ValueError, match=r"^w_bits must be 8, not 4$"):
        tile_steps(9, 8, 4, wide)
    with pytest.raises(ValueError, match=r"^a_bits must be 4 or 8, not 16$"):
        tile_steps(9, 16, 4, config)
