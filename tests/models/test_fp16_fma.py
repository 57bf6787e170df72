"""The golden multiply-add against numpy's float64 and float16, and that reference against exact fractions."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.models.fp16_fma import FP16_NAN, fp16_fma
from lanewise.verify.fp16_reference import (
    CANONICAL_NAN,
    SPECIAL_VALUES,
    fp16_fma_reference,
    random_triples,
    special_triples,
)

SEED = 20_240_501
MILLIONS = 21

bits = st.integers(0, 0xFFFF)


def test_special_values():
    assert np.unique(SPECIAL_VALUES).size == SPECIAL_VALUES.size == 30
    triples = special_triples()
    assert triples[0].size == 60**3
    np.testing.assert_array_equal(fp16_fma(*triples), fp16_fma_reference(*triples))


def test_random_values():
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    for _ in range(MILLIONS):
        triples = random_triples(rng, 1_000_000)
        np.testing.assert_array_equal(fp16_fma(*triples), fp16_fma_reference(*triples))


def test_random_values_hit_what_they_are_meant_to():
    """Without this the comparison above could pass on easy operands alone."""
    a, b, c = random_triples(np.random.default_rng(SEED), 50_000)
    result = fp16_fma_reference(a, b, c)
    neighbours = [(result & 0x7FFF).astype(np.int64) + step for step in (-1, 1)]
    x, y, z = (v.view(np.float16).astype(np.float64) for v in (a, b, c))
    with np.errstate(all="ignore"):
        total = np.abs(x * y + z)  # rounded, but a tie of two FP16 values is exact in float64
        middles = [(total == (_magnitude(result) + _magnitude(other)) / 2) for other in neighbours]
    assert np.count_nonzero(middles[0] | middles[1]) > 2_000, "ties"
    magnitude = result & 0x7FFF
    assert np.count_nonzero((magnitude > 0) & (magnitude < 0x400)) > 2_000, "subnormal results"
    finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
    assert np.count_nonzero(finite & (magnitude == 0x7C00)) > 1_000, "overflows"
    assert np.count_nonzero(finite & (magnitude == 0)) > 100, "sums of zero"


def _magnitude(pattern):
    return (pattern & 0x7FFF).astype(np.uint16).view(np.float16).astype(np.float64)


@given(a=bits, b=bits, c=bits)
def test_reference_is_exact(a, b, c):
    """Against rational arithmetic: no FP16 value is nearer, and of two equally near the even one is taken."""
    result = int(fp16_fma_reference(*(np.array([v], np.uint16) for v in (a, b, c)))[0])
    x, y, z = (float(np.array(v, np.uint16).view(np.float16)) for v in (a, b, c))
    if not np.isfinite([x, y, z]).all():
        with np.errstate(invalid="ignore"):
            expected = np.float64(x) * y + z
        assert result == (CANONICAL_NAN if np.isnan(expected) else (0xFC00 if expected < 0 else 0x7C00))
        return
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    if exact == 0:
        negative = (np.signbit(x) != np.signbit(y)) and np.signbit(z)
        both_zero = Fraction(x) * Fraction(y) == 0
        assert result == (0x8000 if negative and both_zero else 0)
        return
    assert result >> 15 == (exact < 0)
    magnitude = result & 0x7FFF
    if abs(exact) >= 65_520:  # halfway from the largest number to 2**16
        assert magnitude == 0x7C00
        return
    around = [k for k in (magnitude - 1, magnitude, magnitude + 1) if 0 <= k < 0x7C00]
    distance = {k: abs(abs(exact) - _value(k)) for k in around}
    near = [k for k, d in distance.items() if d == min(distance.values())]
    assert magnitude == (near[0] if len(near) == 1 else next(k for k in near if k % 2 == 0))


def _value(magnitude):
    return Fraction(float(np.array(magnitude, np.uint16).view(np.float16)))


@given(a=bits, b=bits, c=bits)
def test_symmetry(a, b, c):
    a, b, c = (np.array([v], np.uint16) for v in (a, b, c))
    result = fp16_fma(a, b, c)
    assert fp16_fma(b, a, c) == result
    negated = fp16_fma(a ^ 0x8000, b, c ^ 0x8000)
    assert negated in (result ^ 0x8000, result) if result in (0, FP16_NAN) else negated == result ^ 0x8000


def test_shapes_and_types():
    a = np.arange(6, dtype=np.uint16).reshape(2, 3)
    result = fp16_fma(a, np.uint16([0x3C00]), np.zeros((2, 1), np.uint16))
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, a)
    assert fp16_fma(*np.zeros((3, 0), np.uint16)).shape == (0,)
    message = re.escape("b must be a uint16 array, not dtype('int64')")
    with pytest.raises(TypeError, match=f"^{message}$"):
        fp16_fma(a, a.astype(np.int64), a)
