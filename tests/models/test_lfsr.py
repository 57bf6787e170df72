"""The generator against one written bit by bit, and its statistics."""

import numpy as np
import pytest

from lanewise.models.lfsr import lane_states, random_bits


def stepped(state, beats):
    """Bits of one lane, a step at a time, and the state after."""
    bits = []
    for _ in range(beats):
        bits.append(state & 0xFFFF)
        for _ in range(16):
            state = (state >> 1) ^ (0x80200003 if state & 1 else 0)
    return bits, state


@pytest.mark.parametrize(("lanes", "beats"), [(1, 0), (1, 1), (1, 3000), (5, 7), (16, 1100), (300, 65)])
def test_jumps_are_steps(lanes, beats):
    states = lane_states(7, lanes)
    bits, after = random_bits(states, beats)
    assert (bits.shape, bits.dtype, after.dtype) == ((beats, lanes), np.uint16, np.uint32)
    for lane in {0, lanes // 2, lanes - 1}:
        expected, state = stepped(int(states[lane]), beats)
        assert bits[:, lane].tolist() == expected
        assert after[lane] == state


def test_parts_join():
    states = lane_states(3, 16)
    whole, end = random_bits(states, 2000)
    first, middle = random_bits(states, 777)
    second, after = random_bits(middle, 2000 - 777)
    np.testing.assert_array_equal(whole, np.concatenate([first, second]))
    np.testing.assert_array_equal(end, after)


def test_states_differ_and_are_not_zero():
    for seed in (0, 1, -1, 2**40):
        states = lane_states(seed, 1000)
        assert states.dtype == np.uint32
        assert len(set(states.tolist())) == 1000
        assert (states != 0).all()
    assert lane_states(0, 1).tolist() == [1]  # the one seed whose hash is 0


def test_bits_are_uniform():
    bits, _ = random_bits(lane_states(11, 16), 1 << 14)
    counts = np.bincount(bits.reshape(-1) >> 8, minlength=256)
    expected = bits.size / 256
    assert np.square(counts - expected).sum() / expected < 330  # chi-squared of 255, far out
    assert abs(np.corrcoef(bits[:-1, 0], bits[1:, 0])[0, 1]) < 0.03
    assert abs(np.corrcoef(bits[:, 0], bits[:, 1])[0, 1]) < 0.03
