"""Clocks of the operand path: laws that hold without the RTL (the RTL's own test holds the numbers)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import ROW_NORMS_LATENCY_CLK, OperandPathConfig
from lanewise.sim.operand_path import operand_norms_clk, operand_path_clk, operand_path_tensors_clk
from lanewise.sim.walsh_hadamard import walsh_hadamard_clk

lanes = st.sampled_from([8, 16, 32, 64])
blocks = st.sampled_from([1, 8, 16, 32, 64])


@given(lanes, blocks, st.integers(1, 100))
def test_never_faster_than_the_lanes_and_the_transform_allow(n, block, count):
    config = OperandPathConfig(lanes=n)
    beats = count * config.block_beats(block)
    clocks = operand_path_clk(beats, config, block)
    assert clocks > beats
    assert clocks > walsh_hadamard_clk(beats, config, block)


@given(lanes, st.lists(st.tuples(st.integers(1, 20), blocks), min_size=1, max_size=6))
def test_tensors_take_their_own_clocks_and_two_between(n, sizes):
    config = OperandPathConfig(lanes=n)
    each = [(count * config.block_beats(block), block) for count, block in sizes]
    own = sum(operand_path_clk(beats, config, block) for beats, block in each)
    assert operand_path_tensors_clk(each, config) == own + 2 * len(each) - 1


def test_no_tensor_is_refused():
    with pytest.raises(ValueError, match=r"^tensors must be one or more, not none$"):
        operand_path_tensors_clk([], OperandPathConfig())


@given(lanes, blocks, st.integers(1, 20), st.integers(1, 20))
def test_norms_follow_their_row_s_last_int4(n, block, blocks_a_row, rows):
    config = OperandPathConfig(lanes=n)
    row_beats = blocks_a_row * config.block_beats(block)
    clocks = operand_norms_clk(rows * row_beats, row_beats, config, block)
    assert clocks == [
        operand_path_clk((k + 1) * row_beats, config, block) + ROW_NORMS_LATENCY_CLK for k in range(rows)
    ]


def test_no_rows_have_no_norms():
    assert operand_norms_clk(8, 0, OperandPathConfig(), 64) == []


def test_part_of_a_row_is_refused():
    with pytest.raises(ValueError, match=r"^row_beats must be 0 or divide the 8 beats, not 3$"):
        operand_norms_clk(8, 3, OperandPathConfig(), 64)
