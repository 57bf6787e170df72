"""The golden bits of spiking layers: against real numbers, against the sigmoid, and their random integers' statistics."""

import numpy as np
import pytest

from lanewise.config import Rounding
from lanewise.models.int4_quantiser import QuantiserSettings
from lanewise.models.lfsr import lane_states, random_bits
from lanewise.models.operand_path import OperandSettings, operand_path, quantiser_scale
from lanewise.models.spsn.bits import (
    GAIN,
    currents,
    draws,
    firing_table,
    lif_spikes,
    packed,
    readout,
    spsn_spikes,
    thresholds,
    voltages,
)  # fmt: skip
from lanewise.models.spsn.hardware import HardwareSettings, probability_error, quantised
from lanewise.models.spsn.random_numbers import BITS, GENERATORS, advance, numbers

SEED = 5
WORDS = 64


def inputs(steps: int = 200, scale: float = 0.3) -> np.ndarray:
    return np.random.default_rng(SEED).normal(0.05, scale, (steps, 3, 16)).astype(np.float16)


def test_voltages_are_near_real_ones():
    x = inputs()
    a, b = (float(np.float16(decay)) for decay in (0.8, 0.9))
    current = voltage = np.zeros(x.shape[1:])
    for one in x.astype(np.float64):
        current = a * current + one
        voltage = b * voltage + current
    assert np.abs(voltages(x, 0.8, 0.9)[-1] - voltage).max() < 0.03
    assert np.abs(currents(x, 0.8)[-1] - current).max() < 0.005
    total = readout(x, 0.8, 0.9)
    assert total.dtype == np.float32
    np.testing.assert_allclose(total, voltages(x, 0.8, 0.9).astype(np.float64).sum(0), rtol=1e-4, atol=1e-2)


def test_a_neuron_that_fires_starts_again():
    x = np.full((6, 1), 0.6, np.float16)  # 0.6, 1.14, then from 0 with the current that goes on
    fired = lif_spikes(x, 0.0, 0.9)
    assert fired[:, 0].tolist() == [False, True, False, True, False, True]
    assert not lif_spikes(np.ones((1, 1), np.float16), 0.0, 0.9).any()  # 1 is not more than 1


@pytest.mark.parametrize(("segments", "most"), [(8, 0.016), (32, 0.003)])
def test_probability_is_the_sigmoids(segments, most):
    assert 1 / (1 << (BITS + 1)) / 2 < probability_error(segments) < most


def test_thresholds_are_integers_from_0_to_2048():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    found = thresholds(finite, firing_table())
    assert found.min() >= 0
    assert found.max() == 1 << BITS
    assert found[finite < -1].max() == 0


@pytest.mark.parametrize("generator", GENERATORS)
def test_numbers_are_uniform_and_do_not_follow_each_other(generator):
    stream = numbers(generator, lane_states(SEED, WORDS))
    drawn = np.stack([next(stream) for _ in range(2000)]).astype(np.float64) / (1 << BITS)
    assert abs(drawn.mean() - 0.49975) < 0.003
    counts = np.histogram(drawn, 64, (0, 1))[0]
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 110  # 63 degrees of freedom: one in 5,000
    centred = drawn - drawn.mean()
    for one, other in ((centred[:-1], centred[1:]), (centred[:, :-1], centred[:, 1:])):
        assert abs((one * other).mean() / centred.var()) < 0.012


def test_generators_step_as_they_are_defined():
    states = np.array([1, 0xDEADBEEF], np.uint32)
    assert advance("congruential", states).tolist() == [
        (int(s) * 1664525 + 1013904223) % 2**32 for s in states
    ]
    with pytest.raises(ValueError, match="generator must be one of congruential, xorshift, not 'lfsr'"):
        advance("lfsr", states)


def test_firing_rate_is_the_probability():
    voltage = 0.7
    x = np.full((1000, 1, 256), voltage / GAIN, np.float16)
    random = draws("congruential", lane_states(SEED, 128), 1000, 256, block=1, samples=1, joint=True)
    rate = spsn_spikes(x, 0.0, 0.0, random, firing_table()).mean()
    assert abs(rate - 1 / (1 + np.exp(-voltage))) < 0.003


def test_the_operand_path_fires_with_the_same_probability():
    """Stochastic rounding by the lanes' LFSRs of what the kernel compares."""
    lanes = 16
    bits = thresholds(np.full((4000, lanes), 0.7 / GAIN, np.float16), firing_table()).view(np.uint16)
    multiplier, shift = quantiser_scale(1.0, 1, BITS)
    quantiser = QuantiserSettings(multiplier=multiplier, shift=shift, rounding=Rounding.STOCHASTIC)
    settings = OperandSettings(block=1, exponent=24, quantiser=quantiser)
    low = operand_path(bits, settings, lane_states(SEED, lanes))[1]
    assert set(np.unique(low)) == {0, 1}
    assert abs(low.mean() - 1 / (1 + np.exp(-0.7))) < 0.006
    assert random_bits(lane_states(SEED, lanes), 1)[0].shape == (1, lanes)


def test_draws_are_one_stream_in_the_kernels_order():
    seeds = lane_states(SEED, 8)
    stream = numbers("xorshift", seeds)
    first, second = next(stream), next(stream)
    found = draws("xorshift", seeds, 2, 8, block=2, samples=1, joint=True)
    assert found[:, 0].tolist() == [[*first[0:4], *first[8:12]], [*first[4:8], *first[12:16]]]
    found = draws("xorshift", seeds, 1, 32, block=1, samples=1, joint=False)
    assert found[0, 0].tolist() == [*first, *second]


def test_packed_spikes_are_two_a_byte():
    assert packed(np.array([[1, 0, 1, 1]], np.bool_)).tolist() == [[0x11, 0x10]]


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_weights_are_near(bits):
    weight = np.random.default_rng(SEED).normal(0, 1, (5, 90))
    integers, scale = quantised(weight, bits)
    assert integers.min() >= -(1 << (bits - 1))
    assert integers.max() < 1 << (bits - 1)
    assert np.abs(integers * scale - weight).std() < {4: 0.15, 8: 0.01}[bits]
    with pytest.raises(ValueError, match="weight_bits must be 4 or 8, not 5"):
        HardwareSettings(weight_bits=5)
