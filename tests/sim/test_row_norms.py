"""Clocks of the row norms (the RTL's own test holds the numbers)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import ROW_NORMS_LATENCY_CLK
from lanewise.sim.row_norms import row_norms_clk


@given(st.lists(st.integers(1, 100), min_size=1, max_size=20))
def test_rows_are_as_far_apart_as_they_are_long(rows):
    clocks = row_norms_clk(rows)
    assert [b - a for a, b in pairwise(clocks)] == rows[1:]
    assert clocks[-1] == sum(rows) - 1 + ROW_NORMS_LATENCY_CLK


def test_no_row_no_norms():
    assert row_norms_clk([]) == []


def test_a_row_without_a_beat_is_refused():
    with pytest.raises(ValueError, match=r"^a row's beats must be at least 1, not 0$"):
        row_norms_clk([3, 0])
