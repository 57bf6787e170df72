"""Clocks of the stream ``matrix``: laws that hold without the RTL (the RTL's own test holds the numbers)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import MatrixConfig
from lanewise.sim.matrix_stream import (
    Command,
    MatrixStream,
    matrix_stream_beats_clk,
    matrix_stream_first_step_clk,
    matrix_stream_leave_clk,
    matrix_stream_result_clk,
    matrix_stream_tile_clk,
)
from lanewise.sim.matrix_unit import matrix_unit_starts_clk

shapes = st.builds(
    lambda r, c, n: MatrixConfig(rows=r, columns=c, output_lanes=n),
    st.integers(1, 64), st.integers(1, 64), st.integers(1, 64),
)  # fmt: skip
commands = st.builds(
    lambda k, passes, reload: Command(k=k, passes=passes, reload=reload),
    st.integers(1, 200), st.sampled_from([1, 2, 4]), st.booleans(),
)  # fmt: skip
offers = st.lists(st.tuples(commands, st.integers(0, 300)), min_size=1, max_size=20)


@given(shapes, commands, st.integers(0, 1000))
def test_alone_a_tile_takes_its_closed_form(config, command, start):
    times = MatrixStream(config).start(command, start)
    beats = matrix_stream_beats_clk(command.k, command.passes, config)
    assert (times.start, times.free) == (start, start + beats)
    assert times.first_step == start + matrix_stream_first_step_clk(config)
    steps = command.k % config.block_steps or config.block_steps
    assert times.last_step == start + beats + 1 + steps
    constants = (2 * config.row_beats - 1) * command.reload
    drain = config.rows * config.row_beats
    assert times.results_written == times.last_step + 2 + constants + drain + 8
    result = matrix_stream_result_clk(command.k, command.passes, config, reload=command.reload)
    assert times.results_written + 1 == start + result


@given(shapes, st.integers(1, 300), st.sampled_from([1, 2, 4]), st.booleans())
def test_equal_tiles_reach_their_period(config, k, passes, reload):
    stream = MatrixStream(config)
    starts = [stream.start(Command(k=k, passes=passes, reload=reload), 0).start for _ in range(40)]
    assert starts[39] - starts[29] == 10 * matrix_stream_tile_clk(k, passes, config, reload=reload)


@given(shapes, st.lists(st.integers(1, 6), min_size=1, max_size=12))
def test_whole_blocks_keep_the_array_as_busy_as_steps_on_offer(config, blocks):
    """The array's first steps are those of the matrix unit that has every step as soon as it can take it."""
    leave = matrix_stream_leave_clk(config) // config.block_steps + 1
    k = [config.block_steps * max(leave, count) for count in blocks]
    stream = MatrixStream(config)
    firsts = [stream.start(Command(k=each), 0).first_step for each in k]
    assert [first - firsts[0] for first in firsts] == matrix_unit_starts_clk(k, config)


@given(shapes, offers)
def test_order(config, sequence):
    stream = MatrixStream(config)
    times = [stream.start(command, offer) for command, offer in sequence]
    for each, (_, offer) in zip(times, sequence, strict=True):
        assert offer <= each.start < each.first_step <= each.last_step < each.results_written
        assert each.operands_read < each.last_step
        assert each.operands_read == each.free > each.start
    for early, late in pairwise(times):
        assert early.free <= late.start
        assert early.last_step < late.first_step
        assert late.results_written - early.results_written >= config.rows * config.row_beats


@given(shapes, offers, st.integers(0, 19))
def test_a_later_offer_makes_nothing_earlier(config, sequence, place):
    place %= len(sequence)
    first, second = MatrixStream(config), MatrixStream(config)
    for number, (command, offer) in enumerate(sequence):
        before = first.start(command, offer)
        after = second.start(command, offer + 50 * (number == place))
        assert after.start >= before.start
        assert after.last_step >= before.last_step
        assert after.results_written >= before.results_written


@given(shapes, st.integers(1, 100), st.integers(1, 100))
def test_an_accumulated_tile_ends_as_one_that_is_whole_where_chunks_are_blocks(config, k, chunk):
    cut = config.block_steps * chunk
    whole, parts = MatrixStream(config), MatrixStream(config)
    expected = whole.start(Command(k=cut + k), 0)
    first = parts.start(Command(k=cut, last=False), 0)
    last = parts.start(Command(k=k), 0)
    assert first.results_written == 0
    assert (first.first_step, last.free, last.results_written) == (
        expected.first_step, expected.free, expected.results_written,
    )  # fmt: skip


@pytest.mark.parametrize(("k", "passes"), [(0, 1), (1, 0)])
def test_commands_without_steps_are_refused(k, passes):
    with pytest.raises(ValueError, match=r"^k and passes must be at least 1, not "):
        Command(k=k, passes=passes)
