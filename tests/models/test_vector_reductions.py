"""Reductions against Python's integers and against sums written out."""

import functools
import re

import numpy as np
import pytest

from lanewise.formats import FORMATS
from lanewise.isa.operations import OPERATIONS, Unit
from lanewise.models.numbers import decode, encode
from lanewise.models.vector import pairwise_sum
from lanewise.models.vector_integers import unsigned_dtype
from lanewise.models.vector_reductions import reduce, tree_sum

SEED = 20_240_641
FP16, BF16, FP32 = (FORMATS[name] for name in ("fp16", "bf16", "fp32"))
COUNTS = (1, 2, 3, 7, 16, 33, 100)


def s(x, bits):
    return x - (x >> (bits - 1) << bits)


@pytest.mark.parametrize(
    "name", ["sum", "and", "or", "xor", "minu", "min", "maxu", "max", "wsum", "wsumu"], ids="vred{}".format
)
@pytest.mark.parametrize("sew", [8, 16, 32])
def test_integers(name, sew):
    mnemonic = f"vwred{name[1:]}.vs" if name.startswith("w") else f"vred{name}.vs"
    operation, rng = OPERATIONS[mnemonic], np.random.default_rng(SEED)
    if sew not in operation.sews:
        return
    bits = operation.vd.bits(sew)
    step = {
        "and": int.__and__, "or": int.__or__, "xor": int.__xor__, "minu": min, "maxu": max,
        "min": lambda a, b: min(a, b, key=lambda v: s(v, bits)), "max": lambda a, b: max(a, b, key=lambda v: s(v, bits)),
    }.get(name, lambda a, b: (a + b) % (1 << bits))  # fmt: skip
    for count in COUNTS:
        x = rng.integers(0, 1 << sew, count, dtype=np.uint64).astype(unsigned_dtype(sew))
        active, start = rng.integers(0, 3, count) > 0, int(rng.integers(1 << bits))
        values = [(s(v, sew) % (1 << bits) if name == "wsum" else v) for v in x[active].tolist()]
        result = reduce(operation, x, active, start, sew_bits=sew)
        assert result == functools.reduce(step, values, start)
        assert reduce(operation, x, np.zeros(count, bool), start, sew_bits=sew) == start


def neighbours(values):
    """The tree by recursion: halves of the next power of two."""
    if len(values) == 1:
        return values[0]
    half = 1 << ((len(values) - 1).bit_length() - 1)
    if len(values) <= half:
        return neighbours(values)
    return np.float32(neighbours(values[:half]) + neighbours(values[half:]))


@pytest.mark.parametrize("form", [FP16, BF16, FP32], ids=lambda form: form.name)
def test_sums_add_neighbours(form):
    operation = OPERATIONS["vfredusum.vs" if form is FP32 else "vfwredusum.vs"]
    rng = np.random.default_rng(SEED)
    for count in COUNTS * 20:
        x = encode(rng.normal(size=count) * 2.0 ** rng.integers(-8, 9, count), form)
        active, start = rng.integers(0, 4, count) > 0, encode(rng.normal(), FP32).reshape(1)
        terms = np.where(active, decode(x, form), -0.0).astype(np.float32)
        wanted = np.float32(neighbours(list(terms)) + start.view(np.float32)[0])
        result = reduce(operation, x, active, int(start[0]), sew_bits=form.bits, altfmt=form is BF16)
        assert result == wanted.view(np.uint32)


def test_order_matters():
    """Otherwise the test above could not fail: first to last, or halves onto each other, give other sums."""
    one = tree_sum(np.array([1, 2**24, 1, 1], np.float32).view(np.uint32), np.ones(4, bool), FP32)[0]
    assert one == 2**24 + 2  # first to last: 2**24
    other = tree_sum(np.array([2**24, 1, -(2**24), 1], np.float32).view(np.uint32), np.ones(4, bool), FP32)[0]
    assert other == 1  # halves onto each other: 2


def test_zeros_and_the_kernels_sum():
    operation = OPERATIONS["vfredusum.vs"]
    zero, minus = 0, 1 << 31
    x, all_of_them = np.full(3, minus, np.uint32), np.ones(3, bool)
    assert reduce(operation, x, all_of_them, minus, sew_bits=32) == minus
    assert reduce(operation, x, all_of_them, zero, sew_bits=32) == zero
    assert reduce(operation, x, ~all_of_them, minus, sew_bits=32) == minus
    x = np.random.default_rng(SEED).normal(size=77).astype(np.float16)
    result = reduce(OPERATIONS["vfwredusum.vs"], x.view(np.uint16), np.ones(77, bool), zero, sew_bits=16)
    assert result == pairwise_sum(x).view(np.uint32)


@pytest.mark.parametrize("form", [FP16, BF16, FP32], ids=lambda form: form.name)
def test_minimum_and_maximum(form):
    rng, kind = np.random.default_rng(SEED), unsigned_dtype(form.bits)
    low, high = OPERATIONS["vfredmin.vs"], OPERATIONS["vfredmax.vs"]
    more = {"sew_bits": form.bits, "altfmt": form is BF16}
    for count in COUNTS * 10:
        x = rng.integers(0, 1 << form.bits, count, dtype=np.uint64).astype(kind)
        active, start = rng.integers(0, 3, count) > 0, int(encode(rng.normal(), form))
        values = np.append(decode(x[active], form), decode(np.array([start], kind), form))
        for operation, function in ((low, np.nanmin), (high, np.nanmax)):
            result = np.array([reduce(operation, x, active, start, **more)], kind)
            assert decode(result, form)[0] == function(values)
    nan, signalling = form.nan_bits, form.infinity_bits + 1
    nans, zeros = np.array([signalling] * 3, kind), np.array([1 << (form.bits - 1), 0], kind)
    assert reduce(low, nans, np.ones(3, bool), signalling, **more) == nan
    assert reduce(low, nans, np.zeros(3, bool), signalling, **more) == signalling
    assert reduce(low, zeros, np.ones(2, bool), 0, **more) == 1 << (form.bits - 1)
    assert reduce(high, zeros, np.ones(2, bool), 1 << (form.bits - 1), **more) == 0


def test_others_are_refused():
    for mnemonic in ("vadd.vv", "vmv.s.x"):
        with pytest.raises(ValueError, match=f"^{re.escape(mnemonic)} is no reduction$"):
            reduce(OPERATIONS[mnemonic], np.zeros(1, np.uint8), np.ones(1, bool), 0, sew_bits=8)
    assert sum(o.mnemonic.endswith(".vs") and o.unit is Unit.ALU for o in OPERATIONS.values()) == 14
