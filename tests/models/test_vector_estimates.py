"""The estimates against the algorithm of RVV 1.0, 13.9 and 13.10, one operand at a time, and against the true values."""

import numpy as np
import pytest

from lanewise.formats import FORMATS
from lanewise.models.numbers import decode
from lanewise.models.vector_estimates import (
    reciprocal_estimate,
    reciprocal_table,
    square_root_estimate,
    square_root_table,
)
from lanewise.verify.operands import corner_elements

SEED = 20_240_631
FLOATS = [FORMATS[name] for name in ("fp16", "bf16", "fp32")]


def operands(form):
    rng = np.random.default_rng(SEED)
    x = corner_elements(rng, form, 30_000)
    if form.bits == 32:  # subnormals with any number of leading zeros
        small = rng.integers(0, 1 << 24, 5000, dtype=np.uint32) >> rng.integers(0, 24, 5000).astype(np.uint32)
        x = np.concatenate([x, small, small | np.uint32(1 << 31)])
    return x


def one_by_one(x, form, root):
    """By the words of the specification, bit by bit."""
    f, e = form.fraction_bits, form.exponent_bits
    sign, exponent, significand = x >> (e + f), x >> f & (1 << e) - 1, x & (1 << f) - 1
    top, zero = (1 << e) - 1, exponent == 0 and significand == 0
    if exponent == top and significand:
        return form.nan_bits
    if root and sign and not zero:
        return form.nan_bits
    if zero:
        return sign << (e + f) | top << f
    if exponent == top:
        return sign << (e + f)
    if exponent == 0:
        while not significand >> (f - 1) & 1:
            exponent, significand = exponent - 1, significand << 1
        significand = significand << 1 & (1 << f) - 1
        if not root and exponent not in (0, -1):
            return sign << (e + f) | top << f
    if root:
        table = square_root_table()[(exponent & 1) << 6 | significand >> (f - 6)]
        return ((3 * form.bias - 1 - exponent) // 2) << f | int(table) << (f - 7)
    fraction = int(reciprocal_table()[significand >> (f - 7)]) << (f - 7)
    exponent = 2 * form.bias - 1 - exponent
    if exponent in (0, -1):
        fraction = (1 << f | fraction) >> (1 - exponent)
        exponent = 0
    return sign << (e + f) | exponent << f | fraction


@pytest.mark.parametrize("form", FLOATS, ids=lambda form: form.name)
@pytest.mark.parametrize("root", [False, True])
def test_every_bit(form, root):
    """FP16 and BF16: every operand."""
    x = operands(form)
    result = (square_root_estimate if root else reciprocal_estimate)(x, form)
    wanted = [one_by_one(v, form, root) for v in x.tolist()]
    differ = np.flatnonzero(result != np.array(wanted, x.dtype))
    assert not differ.size, [(hex(x[k]), hex(result[k]), hex(wanted[k])) for k in differ[:5]]


@pytest.mark.parametrize("form", FLOATS, ids=lambda form: form.name)
def test_error(form):
    """Seven bits: the relative error is at most 2**-7, wherever operand and result are normal."""
    x = operands(form)
    value = decode(x, form)
    smallest = 2.0 ** (1 - form.bias)
    with np.errstate(all="ignore"):
        exact = {"vfrec7": 1 / value, "vfrsqrt7": 1 / np.sqrt(value)}
    for name, function in (("vfrec7", reciprocal_estimate), ("vfrsqrt7", square_root_estimate)):
        normal = (
            (np.abs(exact[name]) >= smallest) & (np.abs(exact[name]) <= form.maximum) & np.isfinite(value)
        )
        error = decode(function(x[normal], form), form) / exact[name][normal] - 1
        assert normal.sum() > x.size // 4
        assert np.abs(error).max() <= 2**-7, name


def test_tables_fall():
    """First and last entries, and order, as printed in the specification."""
    rec, root = reciprocal_table(), square_root_table()
    assert rec[:4].tolist() == [127, 125, 123, 121]
    assert rec[-4:].tolist() == [2, 1, 1, 0]
    assert root[:4].tolist() == [52, 51, 50, 48]
    assert root[64:68].tolist() == [127, 125, 123, 121]
    assert np.all(np.diff(rec) <= 0)
    assert np.all(np.diff(root[:64]) <= 0)
    assert np.all(np.diff(root[64:]) <= 0)
