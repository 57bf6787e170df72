"""The golden random bits against a step-by-step register, and their statistics."""

import re

import numpy as np
import pytest

from lanewise.models.lfsr import lane_states, random_bits


def _slow(state, beats):
    drawn = []
    for _ in range(beats):
        drawn.append(state & 0xFFFF)
        for _ in range(16):
            state = (state >> 1) ^ (0x80200003 if state & 1 else 0)
    return drawn, state


@pytest.mark.parametrize("beats", [0, 1, 2, 3, 37, 256, 1000])
def test_equals_the_register_step_by_step(beats):
    states = lane_states(7, 3)
    bits, after = random_bits(states, beats)
    expected = [_slow(int(state), beats) for state in states]
    np.testing.assert_array_equal(bits, np.array([drawn for drawn, _ in expected]).T.reshape(beats, 3))
    assert after.tolist() == [state for _, state in expected]
    assert (bits.dtype, after.dtype) == (np.uint16, np.uint32)


def test_two_draws_are_one_longer_draw():
    states = lane_states(1, 4)
    first, between = random_bits(states, 301)
    second, after = random_bits(between, 99)
    both, end = random_bits(states, 400)
    np.testing.assert_array_equal(np.concatenate([first, second]), both)
    np.testing.assert_array_equal(after, end)


def test_bits_are_uniform_and_lanes_differ():
    bits, _ = random_bits(lane_states(3, 8), 1 << 16)
    values = bits.astype(np.float64)
    assert abs(values.mean() / 32767.5 - 1) < 0.005
    assert abs(np.corrcoef(values.T) - np.eye(8)).max() < 0.02
    assert abs(np.corrcoef(values[1:, 0], values[:-1, 0])[0, 1]) < 0.02
    counts = np.bincount(bits.reshape(-1) >> 8, minlength=256)
    chi_squared = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert chi_squared < 330  # 255 degrees of freedom: one in a thousand is beyond


def test_states_are_never_zero():
    assert lane_states(0, 1).item() != 0
    assert lane_states(0xFFFFFFFF, 64).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lane_states(1 << 32, 1), "seed must be 0 to 2**32 - 1, not 4294967296"),
        (lambda: lane_states(1, 0), "lanes must be at least 1, not 0"),
        (lambda: random_bits(lane_states(1, 1), -1), "beats must be at least 0, not -1"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
