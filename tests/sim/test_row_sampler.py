"""Clocks of the row sampler (the RTL's own test holds the numbers)."""

import pytest

from lanewise.sim.row_sampler import row_sampler_clk


def test_a_row_a_clock():
    assert row_sampler_clk(1) == 1
    assert row_sampler_clk(4096) - row_sampler_clk(4095) == 1


def test_no_row_is_refused():
    with pytest.raises(ValueError, match=r"^rows must be at least 1, not 0$"):
        row_sampler_clk(0)
