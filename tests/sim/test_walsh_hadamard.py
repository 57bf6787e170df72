"""Clocks of the Walsh-Hadamard unit: laws that hold without the RTL (the RTL's own test holds the numbers)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import OperandPathConfig
from lanewise.sim.walsh_hadamard import walsh_hadamard_clk

lanes = st.sampled_from([8, 16, 32, 64])
blocks = st.sampled_from([1, 8, 16, 32, 64])


@given(lanes, blocks, st.integers(1, 1000))
def test_a_block_more_takes_its_beats_more(n, block, count):
    config = OperandPathConfig(lanes=n)
    beats = config.block_beats(block)
    more = walsh_hadamard_clk((count + 1) * beats, config, block)
    assert more - walsh_hadamard_clk(count * beats, config, block) == beats


@given(lanes, blocks)
def test_no_result_before_the_last_beat_of_its_block(n, block):
    config = OperandPathConfig(lanes=n)
    assert config.transform_latency_clk(block) > config.block_beats(block)
    assert config.transform_latency_clk(block) >= config.transform_latency_clk(1)


@pytest.mark.parametrize(
    ("beats", "block", "message"),
    [
        (0, 8, "beats must be a positive multiple of 1, not 0"),
        (3, 64, "beats must be a positive multiple of 4, not 3"),
        (4, 2, "block must be one of [1, 8, 16, 32, 64], not 2"),
    ],
)
def test_what_is_no_run_of_blocks_is_refused(beats, block, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        walsh_hadamard_clk(beats, OperandPathConfig(lanes=16), block)
