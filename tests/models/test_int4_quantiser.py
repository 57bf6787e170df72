"""The golden quantiser against exact fractions and torch; stochastic rounding by its statistics."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import Rounding
from lanewise.models.int4_quantiser import QuantiserSettings, inside, multiplier_of, quantise, split
from lanewise.models.lfsr import lane_states, random_bits

elements = st.integers(-(1 << 21), (1 << 21) - 1)
multipliers = st.integers(1, 65535) | st.integers(0, 15).map(lambda k: 1 << k)
shifts = st.integers(16, 47)
draws = st.integers(0, 65535)


@given(elements, multipliers, shifts, st.sampled_from([4, 8]), draws)
def test_equals_the_definition_in_exact_fractions(y, multiplier, shift, bits, r):
    value = Fraction(y * multiplier, 1 << shift)
    top = 1 << (bits - 1)
    nearest = QuantiserSettings(multiplier=multiplier, shift=shift, bits=bits)
    assert quantise(np.array([y]), nearest).item() == min(max(round(value), -top), top - 1)
    stochastic = QuantiserSettings(
        multiplier=multiplier, shift=shift, bits=bits, rounding=Rounding.STOCHASTIC
    )
    expected = math.floor(value + Fraction(r, 65536))
    assert quantise(np.array([y]), stochastic, np.array([r], np.uint16)).item() == min(
        max(expected, -top), top - 1
    )


@given(elements, multipliers, shifts, st.sampled_from([4, 8]), st.sampled_from([-1, 1]), st.integers(-2, 2))
def test_inside_equals_the_definition_in_exact_fractions(y, multiplier, shift, bits, sign, step):
    """At the limits, beside them, and anywhere; the same whatever rounds, but for a split."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    at = ((low if sign < 0 else high) << shift) // multiplier + step
    ys = np.array([y, min(max(at, -(1 << 21)), (1 << 21) - 1)])
    for rounding in (Rounding.NEAREST, Rounding.STOCHASTIC):
        settings = QuantiserSettings(multiplier=multiplier, shift=shift, bits=bits, rounding=rounding)
        expected = [low <= Fraction(int(y) * multiplier, 1 << shift) <= high for y in ys]
        assert inside(ys, settings).tolist() == expected
    assert inside(ys, QuantiserSettings(multiplier=multiplier, shift=shift, rounding=Rounding.SPLIT)).all()


def test_limits_themselves_are_inside():
    for bits, low, high in ((4, -8, 7), (8, -128, 127)):
        settings = QuantiserSettings(multiplier=1, shift=16, bits=bits)
        y = np.array([(low << 16) - 1, low << 16, high << 16, (high << 16) + 1])
        assert inside(y, settings).tolist() == [False, True, True, False]


@given(elements, multipliers, shifts, draws)
def test_split_equals_the_definition_in_exact_fractions(y, multiplier, shift, r):
    settings = QuantiserSettings(multiplier=multiplier, shift=shift, rounding=Rounding.SPLIT)
    t = Fraction(round(Fraction(y * multiplier, 1 << (shift - 12))), 4096)
    t = min(max(t, Fraction(-100)), Fraction(100))
    hi_expected = min(max(round(t / 14), -6), 6)
    lo_expected = min(max(math.floor(t - 14 * hi_expected + Fraction(r >> 4, 4096)), -6), 6)
    hi, lo = split(np.array([y]), settings, np.array([r], np.uint16))
    assert (hi.item(), lo.item()) == (hi_expected, lo_expected)


def test_nearest_equals_torchs_fake_quantisation():
    y = np.random.default_rng(1).normal(scale=3000, size=10_000).astype(np.int64)
    multiplier, shift = multiplier_of(1 / 1024)
    q = quantise(y, QuantiserSettings(multiplier=multiplier, shift=shift))
    fake = torch.fake_quantize_per_tensor_affine(torch.from_numpy(y.astype(np.float32)), 1024.0, 0, -8, 7)
    np.testing.assert_array_equal(q * 1024, fake.numpy())


def test_stochastic_rounding_is_unbiased():
    random, _ = random_bits(lane_states(5, 64), 4096)
    for value in (-3.3, -0.25, 0.01, 0.5, 2.999):
        y = np.full(random.shape, round(value * 4096))
        settings = QuantiserSettings(multiplier=1 << 10, shift=22, rounding=Rounding.STOCHASTIC)
        q = quantise(y, settings, random)
        exact = round(value * 4096) / 4096
        fraction = exact - math.floor(exact)
        deviation = math.sqrt(fraction * (1 - fraction) / q.size)
        assert abs(q.mean() - exact) < 4 * deviation + 1 / 65536
        assert set(np.unique(q)) <= {math.floor(exact), math.floor(exact) + 1}


def test_split_is_unbiased_inside_its_range():
    """14 hi + lo has the gradient's mean where lo is not clipped: the paper's estimator."""
    random, _ = random_bits(lane_states(6, 64), 4096)
    settings = QuantiserSettings(multiplier=1 << 15, shift=27, rounding=Rounding.SPLIT)
    for value in (-80.4, -14.2, 0.3, 5.5, 33.7):
        y = np.full(random.shape, round(value * 4096))
        hi, lo = split(y, settings, random)
        exact = y.flat[0] / 4096
        assert abs((14 * hi + lo).mean() - exact) < 4 * 0.5 / math.sqrt(y.size) + 1 / 4096


def test_paper_scale_spans_the_range():
    """s = 196 / (2 max|g|): the largest gradient is 98 and saturates to 14 * 6 + 6 = 90."""
    settings = QuantiserSettings(multiplier=1 << 15, shift=16, rounding=Rounding.SPLIT)
    hi, lo = split(np.array([196, -196]), settings, np.zeros(2, np.uint16))
    assert (14 * hi + lo).tolist() == [90, -90]


@given(st.floats(2.0**-31, 0.99))
def test_multiplier_is_the_nearest(scale):
    multiplier, shift = multiplier_of(scale)
    assert 1 << 15 <= multiplier < 1 << 16
    exact = Fraction(scale)
    error = abs(Fraction(multiplier, 1 << shift) - exact)
    assert error <= Fraction(1, 1 << (shift + 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: QuantiserSettings(multiplier=0, shift=16), "multiplier must be 1 to 65535, not 0"),
        (lambda: QuantiserSettings(multiplier=1, shift=48), "shift must be 16 to 47, not 48"),
        (lambda: QuantiserSettings(multiplier=1, shift=16, bits=5), "bits must be 4 or 8, not 5"),
        (
            lambda: QuantiserSettings(multiplier=1, shift=16, bits=8, rounding=Rounding.SPLIT),
            "bits must be 4 with split, not 8",
        ),
        (lambda: multiplier_of(0.0), "scale must be positive and finite, not 0.0"),
        (lambda: multiplier_of(2.0), "scale must be 2**-32 to 1 - 2**-17, not 2.0"),
        (
            lambda: quantise(
                np.array([1]), QuantiserSettings(multiplier=1, shift=16, rounding=Rounding.STOCHASTIC)
            ),
            "random must be the lanes' random bits, not None",
        ),
        (
            lambda: split(np.array([1]), QuantiserSettings(multiplier=1, shift=16), None),
            "rounding must be split, not nearest",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
