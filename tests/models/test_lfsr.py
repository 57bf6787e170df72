"""The golden generator against single steps, and how random it is."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.models.lfsr import TAPS, lane_states, random_bits
from lanewise.rtl import lfsr as rtl


def one_by_one(state, beats):
    bits = []
    for _ in range(beats):
        bits.append(state & 0xFFFF)
        for _ in range(16):
            state = (state >> 1) ^ (TAPS if state & 1 else 0)
    return bits, state


@given(seed=st.integers(0, 2**32 - 1), lanes=st.integers(1, 5), beats=st.integers(0, 70))
def test_equals_single_steps(seed, lanes, beats):
    states = lane_states(seed, lanes)
    bits, after = random_bits(states, beats)
    assert bits.shape == (beats, lanes)
    for lane in range(lanes):
        expected, state = one_by_one(int(states[lane]), beats)
        assert (bits[:, lane].tolist(), after[lane]) == (expected, state)


@given(seed=st.integers(0, 2**32 - 1), first=st.integers(0, 3000), second=st.integers(0, 3000))
def test_a_run_in_two_parts_is_the_whole(seed, first, second):
    states = lane_states(seed, 3)
    whole, end = random_bits(states, first + second)
    head, middle = random_bits(states, first)
    tail, after = random_bits(middle, second)
    np.testing.assert_array_equal(np.vstack([head, tail]), whole)
    np.testing.assert_array_equal(after, end)


def test_the_period_is_2_to_the_32_less_1():
    """Squaring the step 32 times gives the step again, and no proper divisor of the period gives the identity."""

    def product(x, y):
        return (x.astype(np.int64) @ y & 1).astype(np.uint8)

    step = np.zeros((32, 32), np.uint8)
    for k in range(32):
        image = (1 << k >> 1) ^ (TAPS if k == 0 else 0)
        step[:, k] = [image >> bit & 1 for bit in range(32)]

    def power(exponent):
        result, base = np.eye(32, dtype=np.uint8), step
        while exponent:
            if exponent & 1:
                result = product(result, base)
            base, exponent = product(base, base), exponent >> 1
        return result

    period = 2**32 - 1
    identity = np.eye(32, dtype=np.uint8)
    assert np.array_equal(power(period), identity)
    for prime in (3, 5, 17, 257, 65537):
        assert not np.array_equal(power(period // prime), identity)


def test_bits_are_uniform_and_lanes_unlike():
    """Means, and correlations of lanes and of neighbouring beats, within five standard deviations of 2**18 beats."""
    bits, _ = random_bits(lane_states(1, 4), 1 << 18)
    x = (bits - 32767.5) / 65536 * np.sqrt(12)
    limit = 5 / np.sqrt(len(x))
    assert np.all(np.abs(x.mean(axis=0)) < limit)
    assert np.all(np.abs(np.corrcoef(x.T) - np.eye(4)) < limit)
    assert np.all(np.abs((x[1:] * x[:-1]).mean(axis=0)) < limit)


def test_no_state_is_zero_and_the_polynomial_is_one():
    seeds = [(-lane * 0x9E3779B9) % 2**32 for lane in range(8)]
    assert [lane_states(seed, 8)[lane] for lane, seed in enumerate(seeds)] == [1] * 8
    assert rtl.TAPS == TAPS


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lane_states(-1, 1), "seed must be 0 to 2**32 - 1, not -1"),
        (lambda: lane_states(1, 0), "lanes must be at least 1, not 0"),
        (lambda: random_bits(np.array([0], np.uint32), 1), "states must be other than 0"),
        (lambda: random_bits(np.array([1], np.uint32), -1), "beats must be at least 0, not -1"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
