"""The quantiser against rational arithmetic, and the mean of what is stochastic."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from lanewise.models.int4_quantiser import (
    multiplier_of,
    quantise_nearest,
    quantise_stochastic,
    split_gradient,
)

RNG = np.random.default_rng(3)
Y = np.concatenate(
    [RNG.integers(-(2**21), 2**21, 300), RNG.integers(-99, 100, 100), [0, 2**21 - 1, -(2**21)]]
)
RANDOM = RNG.integers(0, 65536, Y.shape).astype(np.uint16)
SCALES = [(1, 16), (32768, 16), (65535, 30), (40000, 32), (54321, 47), (49152, 20)]


@pytest.mark.parametrize(("multiplier", "shift"), SCALES)
@pytest.mark.parametrize("bits", [4, 8])
def test_quantisers_are_exact(multiplier, shift, bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    values = [Fraction(int(y) * multiplier, 2**shift) for y in Y]
    nearest = [min(max(round(v), low), high) for v in values]
    assert quantise_nearest(Y, multiplier, shift, bits).tolist() == nearest
    moved = [floor(v + Fraction(int(r), 65536)) for v, r in zip(values, RANDOM)]
    stochastic = quantise_stochastic(Y, multiplier, shift, RANDOM, bits)
    assert stochastic.tolist() == [min(max(v, low), high) for v in moved]


@pytest.mark.parametrize(("multiplier", "shift"), SCALES)
def test_split_is_exact(multiplier, shift):
    hi, lo = split_gradient(Y, multiplier, shift, RANDOM)
    for place, y in enumerate(Y):
        value = round(Fraction(int(y) * multiplier, 2 ** (shift - 12)))
        value = min(max(value, -409600), 409600)
        high = min(max(round(Fraction(value, 14 * 4096)), -6), 6)
        low = floor(Fraction(value - 14 * 4096 * high + (int(RANDOM[place]) >> 4), 4096))
        assert (hi[place], lo[place]) == (high, min(max(low, -6), 6))


def test_split_is_unbiased_where_the_low_word_fits():
    """hi takes the nearest multiple of 14; within +-6 of one the mean of 14 hi + lo is the value."""
    multiplier, shift = 1 << 15, 20
    y = np.arange(-90 * 32, 91 * 32, 7)
    value = y / 32
    rest = value - 14 * np.rint(value / 14)
    random = np.arange(0, 65536, 16, dtype=np.uint16)
    hi, lo = split_gradient(y[:, None], multiplier, shift, random[None, :])
    mean = (14 * hi + lo).mean(1)
    fits = np.abs(rest) <= 6
    assert fits.mean() > 0.8
    np.testing.assert_allclose(mean[fits], value[fits], atol=1e-12)
    assert (np.abs(mean - value)[~fits] <= 1).all()


@pytest.mark.parametrize("scale", [2.0**-32, 1e-7, 0.3, 0.5, 65535 / 65536])
def test_multiplier_is_the_nearest(scale):
    multiplier, shift = multiplier_of(scale)
    assert 2**15 <= multiplier < 2**16
    assert 16 <= shift <= 47
    assert abs(multiplier - scale * 2.0**shift) <= 0.5


def test_multiplier_that_rounds_up_to_the_next_power():
    assert multiplier_of(0.25 - 2**-20) == (1 << 15, 17)


@pytest.mark.parametrize("scale", [1.0, 2.0**-33, 0.0, -0.5])
def test_scales_out_of_range(scale):
    with pytest.raises(ValueError, match=r"^scale must be in \[2\*\*-32, 1\), not "):
        multiplier_of(scale)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 16, 4), "multiplier must be 1 to 65535, not 0"),
        ((1, 15, 4), "shift must be 16 to 47, not 15"),
        ((1, 16, 5), "bits must be 4 or 8, not 5"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        quantise_nearest(Y, *arguments)
