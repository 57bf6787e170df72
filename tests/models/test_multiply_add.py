"""The golden multiply-add of every format against exact fractions, and FP16's against integer arithmetic as well."""

import re
from fractions import Fraction

import numpy as np
import pytest

from lanewise.formats import FORMATS
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import bits_dtype, decode, encode
from lanewise.verify.fp16_reference import fp16_fma_reference
from lanewise.verify.operands import random_triples, special_triples, special_values

SEED = 20_240_501
MILLIONS = 6
FLOATS = [form for form in FORMATS.values() if form.floating]
INTEGERS = [form for form in FORMATS.values() if not form.floating]


def name_of(form):
    return form.name


def exact(a, b, c, form):
    """The bit pattern that rounding the exact sum to nearest even gives, by comparing with fractions."""
    x, y, z = (decode(np.array([v], bits_dtype(form)), form)[0] for v in (a, b, c))
    with np.errstate(invalid="ignore"):
        special = x * y + z
    if not (np.isfinite(x) and np.isfinite(y) and np.isfinite(z)):
        return encode([special], form)[0]  # infinities and NaNs are exact in float64
    total = Fraction(x) * Fraction(y) + Fraction(z)
    if total == 0:
        return encode([special], form)[0]  # float64 knows the sign of zero
    magnitude, sign = abs(total), int(total < 0)
    low, high = 0, form.maximum_bits
    number = lambda bits: Fraction(decode(np.array([bits], bits_dtype(form)), form)[0])  # noqa: E731
    if magnitude >= number(high):
        step = number(high) - number(high - 1)
        over = magnitude >= number(high) + step / 2 and form.infinities
        result = form.infinity_bits if over else high
    else:
        while high - low > 1:  # neighbours on both sides
            middle = (low + high) // 2
            low, high = (middle, high) if number(middle) <= magnitude else (low, middle)
        below, above = magnitude - number(low), number(high) - magnitude
        result = low if below < above or (below == above and low % 2 == 0) else high
    return result | sign << (form.bits - 1)


@pytest.mark.parametrize("form", FLOATS, ids=name_of)
def test_against_exact_fractions(form):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    for triples in (special_triples(form), random_triples(rng, 12_000, form)):
        some = rng.permutation(triples[0].size)[:2500]
        a, b, c = (operand[some] for operand in triples)
        results = multiply_add(a, b, c, form)
        for x, y, z, result in zip(a.tolist(), b.tolist(), c.tolist(), results.tolist(), strict=True):
            assert result == exact(x, y, z, form), (hex(x), hex(y), hex(z))


def test_fp16_against_integer_arithmetic():
    print(f"seed {SEED}")
    form, rng = FORMATS["fp16"], np.random.default_rng(SEED)
    for triples in (special_triples(form), *(random_triples(rng, 1_000_000, form) for _ in range(MILLIONS))):
        np.testing.assert_array_equal(multiply_add(*triples, form), fp16_fma_reference(*triples))


@pytest.mark.parametrize("form", INTEGERS, ids=name_of)
def test_integers_against_exact_fractions(form):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    top = 1 << (form.bits - 1)
    for triples in (special_triples(form), random_triples(rng, 4000, form)):
        some = rng.permutation(triples[0].size)[:2000]
        for chunk in np.array_split(some, 50):
            product, addend = int(rng.integers(2 * form.bits)), int(rng.integers(form.bits))
            a, b, c = (operand[chunk] for operand in triples)
            results = multiply_add(a, b, c, form, shifts=(product, addend))
            x, y, z, r = (decode(v, form).astype(int).tolist() for v in (a, b, c, results))
            for p, q, s, result in zip(x, y, z, r, strict=True):
                value = round(Fraction(p * q + (s << addend), 1 << product))  # Python rounds ties to even
                assert result == min(max(value, -top), top - 1)


@pytest.mark.parametrize("form", FLOATS, ids=name_of)
def test_random_triples_hit_what_they_are_meant_to(form):
    """Without this the comparisons above could pass on easy operands alone."""
    a, b, c = random_triples(np.random.default_rng(SEED), 60_000, form)
    result = multiply_add(a, b, c, form)
    x, y, z, r = (decode(v, form) for v in (a, b, c, result))
    finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
    magnitude = result & bits_dtype(form)((1 << (form.bits - 1)) - 1)
    with np.errstate(all="ignore"):
        total = x * y + z
    assert np.count_nonzero(finite & (magnitude > 0) & (magnitude < 1 << form.fraction_bits)) > 1000, (
        "subnormals"
    )
    assert np.count_nonzero(finite & (magnitude == 0)) > 50, "zeros"
    assert np.count_nonzero(finite & (np.abs(total) > form.maximum)) > 300, "overflows"
    with np.errstate(all="ignore"):
        step = np.abs(np.abs(decode(result ^ bits_dtype(form)(1), form)) - np.abs(r))
        tie = np.abs(np.abs(total) - np.abs(r)) == step / 2
    assert np.count_nonzero(finite & tie) > 500, "ties"


@pytest.mark.parametrize("form", FLOATS, ids=name_of)
def test_zero_coefficients_make_level_tails(form):
    infinity = special_values(form)[np.isinf(decode(special_values(form), form))]
    x = infinity if infinity.size else encode([form.maximum, -form.maximum], form)
    zeros, one = encode([0.0, -0.0], form), encode([1.0], form)
    assert np.all(multiply_add(zeros, x, one, form, zero_annihilates=True) == one)
    if infinity.size:
        assert np.all(multiply_add(zeros, x, one, form) == form.nan_bits)
    nan = np.array([form.nan_bits], bits_dtype(form))
    assert multiply_add(zeros[:1], nan, one, form, zero_annihilates=True)[0] == form.nan_bits


def test_broadcasting_and_shape():
    form = FORMATS["bf16"]
    a, b = encode([[1.0], [2.0]], form), encode([1.0, 3.0, 5.0], form)
    result = multiply_add(a, b, encode(0.5, form), form)
    assert decode(result, form).tolist() == [[1.5, 3.5, 5.5], [2.5, 6.5, 10.5]]


@pytest.mark.parametrize("place", range(3))
def test_operands_of_another_width_are_refused(place):
    operands = [np.zeros(2, np.uint16)] * 3
    operands[place] = np.zeros(2, np.uint8)
    message = f"{'abc'[place]} must be a uint16 array (fp16), not dtype('uint8')"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        multiply_add(*operands, FORMATS["fp16"])


@pytest.mark.parametrize(
    ("name", "shifts"), [("int8", (16, 0)), ("int8", (0, 8)), ("int32", (-1, 0)), ("fp16", (1, 0))]
)
def test_shifts_out_of_range_are_refused(name, shifts):
    form = FORMATS[name]
    zeros = np.zeros(1, bits_dtype(form))
    with pytest.raises(ValueError, match=r"^shifts must be below .* not \("):
        multiply_add(zeros, zeros, zeros, form, shifts=shifts)
