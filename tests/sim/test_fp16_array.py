"""Clocks of an array of FP16 operands: laws that hold without the RTL (the RTL's own test holds the numbers)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import MatrixConfig
from lanewise.sim.mac_array import mac_array_clk, mac_array_starts_clk, tile_steps

rows = st.integers(1, 64)
tiles = st.lists(st.integers(1, 200), min_size=1, max_size=30)


@given(rows, st.integers(1, 500))
def test_one_tile_takes_its_steps_the_latency_and_the_drain(r, k):
    config = MatrixConfig(rows=r, operand_bits=16)
    assert mac_array_clk([k], config) == (k - 1) + config.latency_clk + (r - 1)


@given(rows, tiles)
def test_as_fast_as_an_array_of_integers(r, k_steps):
    own, integers = MatrixConfig(rows=r, operand_bits=16), MatrixConfig(rows=r)
    assert mac_array_starts_clk(k_steps, own) == mac_array_starts_clk(k_steps, integers)
    deeper = own.latency_clk - integers.latency_clk
    assert mac_array_clk(k_steps, own) == mac_array_clk(k_steps, integers) + deeper


def test_one_pass_of_fp16_alone():
    config = MatrixConfig(operand_bits=16)
    assert tile_steps(9, 16, 16, config) == 9
    assert not config.splits
    assert config.row_beats == 1
    with pytest.raises(ValueError, match=r"^a_bits must be 16, not 4$"):
        tile_steps(9, 4, 16, config)
