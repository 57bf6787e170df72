"""The golden FP16 array against torch and against exact rational arithmetic."""

import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lanewise.models.fp16_array import fp16_array, fp32_sums


def numbers(seed, shape):
    """Finite numbers of every exponent, few of them far from each other."""
    rng = np.random.default_rng(seed)
    exponents = np.clip(rng.integers(0, 31) + rng.integers(-6, 7, shape), 0, 30)
    return (rng.integers(0, 2, shape) << 15 | exponents << 10 | rng.integers(0, 1 << 10, shape)).astype(
        np.uint16
    )


def rounded(value, digits, least):
    """``value`` to nearest even with so many binary digits, or to multiples of 2**least."""
    if value == 0:
        return value
    exponent = max(_exponent(abs(value)) - digits + 1, least)
    return round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent


def _exponent(value):
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    return exponent if Fraction(2) ** exponent <= value else exponent - 1


@given(m=st.integers(1, 3), k=st.integers(1, 20), n=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_equals_rational_arithmetic_with_two_roundings(m, k, n, seed):
    a, w = numbers(seed, (m, k)), numbers(seed + 1, (k, n))
    result = fp16_array(a, w).view(np.float16)
    for i in range(m):
        for j in range(n):
            total = Fraction(0)
            for x, y in zip(a[i].view(np.float16), w[:, j].copy().view(np.float16), strict=True):
                total = rounded(total + Fraction(float(x)) * Fraction(float(y)), 24, -149)
            expected = rounded(total, 11, -24)
            if abs(expected) > 65504:
                assert result[i, j] == (np.inf if expected > 0 else -np.inf)
            else:
                assert Fraction(float(result[i, j])) == expected


@given(k=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_equals_torch_addition_by_addition(k, seed):
    a, w = numbers(seed, (2, k)), numbers(seed + 1, (k, 3))
    left, right = (torch.from_numpy(x.view(np.float16)).float() for x in (a, w))
    total = torch.zeros(2, 3)
    for step in range(k):
        total = total + torch.outer(left[:, step], right[step])
    np.testing.assert_array_equal(fp32_sums(a, w)[0], total.numpy())
    np.testing.assert_array_equal(fp16_array(a, w), total.half().numpy().view(np.uint16))


@given(k=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_sums_are_multiples_of_the_least_product(k, seed):
    """What lets the hardware do without subnormal sums."""
    sums, _ = fp32_sums(numbers(seed, (2, k)), numbers(seed + 1, (k, 3)))
    np.testing.assert_array_equal(np.round(sums.astype(np.float64) * 2.0**48) / 2.0**48, sums)


@pytest.mark.parametrize("special", [0x7C00, 0xFC00, 0x7E00, 0xFFFF])
def test_an_infinity_or_nan_makes_the_one_nan(special):
    a, w = np.array([[0x3C00, special], [0x3C00, 0x3C00]], np.uint16), np.array([[0x3C00], [0]], np.uint16)
    assert fp16_array(a, w).tolist() == [[0x7E00], [0x3C00]]
    assert fp16_array(w.T.copy(), a.T.copy()).tolist() == [[0x7E00, 0x3C00]]


def test_zeros_and_overflow():
    one, big, tiny = 0x3C00, 0x7BFF, 0x0001
    assert fp16_array(np.array([[0x8000]], np.uint16), np.array([[one]], np.uint16)).item() == 0
    assert fp16_array(np.array([[tiny]], np.uint16), np.array([[0x8001]], np.uint16)).item() == 0x8000
    assert fp16_array(np.array([[big]], np.uint16), np.array([[0x3C01]], np.uint16)).item() == 0x7C00
    assert fp16_array(np.zeros((2, 0), np.uint16), np.zeros((0, 1), np.uint16)).tolist() == [[0], [0]]


@pytest.mark.parametrize(
    ("a", "w", "message"),
    [
        (np.zeros((1, 1), np.int64), np.zeros((1, 1), np.uint16), "a must be of uint16, not int64"),
        (np.zeros((1, 1), np.uint16), np.zeros((1, 1), np.float16), "w must be of uint16, not float16"),
        (np.zeros(1, np.uint16), np.zeros((1, 1), np.uint16), "a must have 2 dimensions, not 1"),
        (np.zeros((1, 2), np.uint16), np.zeros((1, 1), np.uint16), "a and w must share k, not (1, 2) and (1, 1)"),
    ],
)  # fmt: skip
def test_bad_operands_are_refused(a, w, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fp16_array(a, w)
