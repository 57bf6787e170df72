"""The element-wise instructions against arithmetic in Python's integers and fractions, and against each other."""

# ruff: noqa: ARG005
import math
import re

import numpy as np
import pytest

from lanewise.formats import FORMATS
from lanewise.isa.operations import OPERATIONS, Width
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import bits_dtype, decode, encode
from lanewise.models.vector_elements import evaluate, is_elementwise
from lanewise.models.vector_floats import float_format
from lanewise.models.vector_integers import unsigned_dtype
from lanewise.verify.operands import random_triples, special_triples, special_values

SEED = 20_240_621
EVERY = np.arange(1 << 16, dtype=np.uint16)
FLOATS = [FORMATS[name] for name in ("fp16", "bf16", "fp32")]


def name_of(form):
    return form.name


def run(mnemonic, vs2, vs1=None, vd=None, *, form=None, sew=None, **more):
    sew = form.bits if sew is None else sew
    altfmt = form is not None and form.name == "bf16"
    return evaluate(OPERATIONS[mnemonic], vs2, vs1, vd, sew_bits=sew, altfmt=altfmt, **more)


# --- integers: each operation once more, in Python's integers


def s(x, bits):
    return x - (x >> (bits - 1) << bits)


INTEGERS = {  # of vs2, vs1, vd as unsigned numbers and SEW
    "vadd": lambda a, b, d, n: a + b, "vsub": lambda a, b, d, n: a - b, "vrsub": lambda a, b, d, n: b - a,
    "vminu": lambda a, b, d, n: min(a, b), "vmaxu": lambda a, b, d, n: max(a, b),
    "vmin": lambda a, b, d, n: min(s(a, n), s(b, n)), "vmax": lambda a, b, d, n: max(s(a, n), s(b, n)),
    "vand": lambda a, b, d, n: a & b, "vor": lambda a, b, d, n: a | b, "vxor": lambda a, b, d, n: a ^ b,
    "vsll": lambda a, b, d, n: a << b % n, "vsrl": lambda a, b, d, n: a >> b % n, "vsra": lambda a, b, d, n: s(a, n) >> b % n,
    "vnsrl": lambda a, b, d, n: a >> b % (2 * n), "vnsra": lambda a, b, d, n: s(a, 2 * n) >> b % (2 * n),
    "vmseq": lambda a, b, d, n: a == b, "vmsne": lambda a, b, d, n: a != b, "vmsltu": lambda a, b, d, n: a < b,
    "vmslt": lambda a, b, d, n: s(a, n) < s(b, n), "vmsleu": lambda a, b, d, n: a <= b,
    "vmsle": lambda a, b, d, n: s(a, n) <= s(b, n), "vmsgtu": lambda a, b, d, n: a > b, "vmsgt": lambda a, b, d, n: s(a, n) > s(b, n),
    "vmul": lambda a, b, d, n: a * b, "vmulh": lambda a, b, d, n: s(a, n) * s(b, n) >> n,
    "vmulhu": lambda a, b, d, n: a * b >> n, "vmulhsu": lambda a, b, d, n: s(a, n) * b >> n,
    "vmadd": lambda a, b, d, n: b * d + a, "vnmsub": lambda a, b, d, n: a - b * d,
    "vmacc": lambda a, b, d, n: b * a + d, "vnmsac": lambda a, b, d, n: d - b * a,
    "vwaddu.v": lambda a, b, d, n: a + b, "vwsubu.v": lambda a, b, d, n: a - b,
    "vwadd.v": lambda a, b, d, n: s(a, n) + s(b, n), "vwsub.v": lambda a, b, d, n: s(a, n) - s(b, n),
    "vwaddu.w": lambda a, b, d, n: a + b, "vwsubu.w": lambda a, b, d, n: a - b,
    "vwadd.w": lambda a, b, d, n: a + s(b, n), "vwsub.w": lambda a, b, d, n: a - s(b, n),
    "vwmulu": lambda a, b, d, n: a * b, "vwmul": lambda a, b, d, n: s(a, n) * s(b, n), "vwmulsu": lambda a, b, d, n: s(a, n) * b,
    "vwmaccu": lambda a, b, d, n: a * b + d, "vwmacc": lambda a, b, d, n: s(a, n) * s(b, n) + d,
    "vwmaccsu": lambda a, b, d, n: a * s(b, n) + d, "vwmaccus": lambda a, b, d, n: s(a, n) * b + d,
    "vzext": lambda a, b, d, n: a, "vmv": lambda a, b, d, n: b,
}  # fmt: skip
INTEGER_NAMES = [
    mnemonic
    for mnemonic, operation in OPERATIONS.items()
    if is_elementwise(operation)
    and not operation.floating
    and not mnemonic.startswith(("vsext", "vmerge"))
    and operation.vs2 is not Width.MASK
]


def corners(rng, bits, count):
    values = rng.integers(0, 1 << bits, count, dtype=np.uint64)
    edges = np.array([0, 1, 2, (1 << bits) - 1, (1 << bits) - 2, 1 << (bits - 1), (1 << (bits - 1)) - 1])
    return np.where(rng.integers(0, 2, count), values, rng.choice(edges, count).astype(np.uint64)).astype(
        unsigned_dtype(bits)
    )


@pytest.mark.parametrize("mnemonic", INTEGER_NAMES)
def test_integers(mnemonic):
    operation, rng = OPERATIONS[mnemonic], np.random.default_rng(SEED)
    base, form = mnemonic.split(".")[:2]
    model = INTEGERS.get(f"{base}.{form[0]}") or INTEGERS[base]
    for sew in operation.sews:
        a = corners(rng, operation.vs2.bits(sew) if operation.vs2 else sew, 600)
        b = corners(rng, sew, 600)
        bits = 1 if operation.vd is Width.MASK else operation.vd.bits(sew)
        d = corners(rng, max(8, bits), 600)
        result = run(
            mnemonic, a if operation.vs2 else None, b if operation.vs1 or operation.scalar else None,
            d if operation.reads_vd else None, sew=sew,
        )  # fmt: skip
        wanted = [model(*v, sew) % (1 << bits) for v in zip(a.tolist(), b.tolist(), d.tolist(), strict=True)]
        assert result.dtype == (np.bool_ if bits == 1 else unsigned_dtype(bits))
        assert result.tolist() == wanted, sew


@pytest.mark.parametrize(("mnemonic", "bits"), [("vsext.vf2", 16), ("vsext.vf4", 8)])
def test_sign_extension(mnemonic, bits):
    x = np.arange(1 << bits).astype(unsigned_dtype(bits))
    assert run(mnemonic, x, sew=32).view(np.int32).tolist() == [s(v, bits) for v in range(1 << bits)]


def test_mask_logic():
    a, b = np.array([False, False, True, True]), np.array([False, True, False, True])
    tables = {"vmand": "0001", "vmnand": "1110", "vmandn": "0010", "vmor": "0111", "vmnor": "1000", "vmorn": "1011",
              "vmxor": "0110", "vmxnor": "1001"}  # fmt: skip
    for base, table in tables.items():
        assert run(f"{base}.mm", a, b, sew=8).tolist() == [bit == "1" for bit in table], base


def test_merges_select_and_keep_bits():
    mask = np.array([True, False])
    signalling = np.array([0x7C01, 0xFC01], np.uint16)
    assert run("vmerge.vvm", signalling, signalling[::-1], sew=16, mask=mask).tolist() == [0xFC01, 0xFC01]
    assert run("vfmerge.vfm", signalling, np.uint16(0x7D00), sew=16, mask=mask).tolist() == [0x7D00, 0xFC01]
    with pytest.raises(ValueError, match=r"^vmerge.vvm needs a mask$"):
        run("vmerge.vvm", signalling, signalling, sew=16)


# --- floating point


def pairs(form, count=60_000):
    rng = np.random.default_rng(SEED)
    special, drawn = special_triples(form), random_triples(rng, count, form)
    return tuple(np.concatenate([x, y]) for x, y in zip(special, drawn, strict=True))


@pytest.mark.parametrize("form", FLOATS, ids=name_of)
def test_sums_and_products_are_multiply_adds(form):
    """Which are held to exact fractions: a + b = 1 a + b, a b = a b + -0."""
    a, b, _ = pairs(form)
    one, zero = encode([1.0], form), encode([-0.0], form)
    sign = a.dtype.type(1 << (form.bits - 1))
    wanted = {
        "vfadd.vv": multiply_add(a, one, b, form),
        "vfsub.vv": multiply_add(a, one, b ^ sign, form),
        "vfrsub.vf": multiply_add(a ^ sign, one, b, form),
        "vfmul.vv": multiply_add(a, b, zero, form),
    }
    for mnemonic, result in wanted.items():
        np.testing.assert_array_equal(run(mnemonic, a, b, form=form), result, err_msg=mnemonic)


@pytest.mark.parametrize("form", FLOATS, ids=name_of)
@pytest.mark.parametrize("factor", [True, False])
def test_multiply_adds(form, factor):
    vs2, vs1, vd = pairs(form, 6000)
    sign = vs1.dtype.type(1 << (form.bits - 1))
    product, addend = (vd, vs2) if factor else (vs2, vd)
    names = ("madd", "nmadd", "msub", "nmsub") if factor else ("macc", "nmacc", "msac", "nmsac")
    signs = ((0, 0), (1, 1), (0, 1), (1, 0))
    for name, (of_product, of_addend) in zip(names, signs, strict=True):
        wanted = multiply_add(vs1 ^ sign * of_product, product, addend ^ sign * of_addend, form)
        np.testing.assert_array_equal(run(f"vf{name}.vv", vs2, vs1, vd, form=form), wanted, err_msg=name)


@pytest.mark.parametrize("form", FLOATS[:2], ids=name_of)
def test_widening(form):
    wide = FORMATS["fp32"]
    a, b, _ = pairs(form, 12_000)
    d = np.resize(special_values(wide), a.shape)
    x, y = (encode(decode(v, form), wide) for v in (a, b))  # exact, but for NaN payloads
    for name in ("vfwadd", "vfwsub", "vfwmul"):
        narrow = f"vf{name[3:]}.vv"
        np.testing.assert_array_equal(
            run(f"{name}.vv", a, b, form=form), run(narrow, x, y, form=wide), err_msg=name
        )
        if name != "vfwmul":
            np.testing.assert_array_equal(run(f"{name}.wv", d, b, form=form), run(narrow, d, y, form=wide))
    for name in ("macc", "nmacc", "msac", "nmsac"):
        result = run(f"vfw{name}.vf", a, b[:1], d, form=form)
        np.testing.assert_array_equal(result, run(f"vf{name}.vf", x, y[:1], d, form=wide), err_msg=name)
    np.testing.assert_array_equal(run("vfwcvt.f.f.v", a, form=form), x)


@pytest.mark.parametrize("form", FLOATS, ids=name_of)
def test_minimum_and_maximum(form):
    values = special_values(form)
    a, b = (grid.reshape(-1) for grid in np.meshgrid(values, values))
    x, y = decode(a, form), decode(b, form)
    for mnemonic, largest in (("vfmin.vv", False), ("vfmax.vv", True)):
        result = run(mnemonic, a, b, form=form)
        for k in range(a.size):
            if math.isnan(x[k]) and math.isnan(y[k]):
                wanted = form.nan_bits
            elif math.isnan(x[k]) or math.isnan(y[k]):
                wanted = b[k] if math.isnan(x[k]) else a[k]
            else:
                order = [(x[k], not np.signbit(x[k]), a[k]), (y[k], not np.signbit(y[k]), b[k])]
                wanted = (max(order) if largest else min(order))[2]
            assert result[k] == wanted, (mnemonic, hex(a[k]), hex(b[k]))


@pytest.mark.parametrize("form", FLOATS, ids=name_of)
def test_comparisons(form):
    a, b, _ = pairs(form, 6000)
    x, y = decode(a, form), decode(b, form)
    for name, wanted in (
        ("eq", x == y), ("ne", x != y), ("lt", x < y), ("le", x <= y), ("gt", x > y), ("ge", x >= y),
    ):  # fmt: skip
        for kind in ("vv", "vf") if name not in ("gt", "ge") else ("vf",):
            np.testing.assert_array_equal(run(f"vmf{name}.{kind}", a, b, form=form), wanted, err_msg=name)


@pytest.mark.parametrize("form", FLOATS, ids=name_of)
def test_sign_injection_keeps_every_bit(form):
    a, b, _ = pairs(form, 6000)
    sign = 1 << (form.bits - 1)
    for x, y, *results in zip(
        a.tolist(), b.tolist(), *(run(f"vfsgnj{k}.vv", a, b, form=form).tolist() for k in ("", "n", "x")), strict=True
    ):  # fmt: skip
        low = x & (sign - 1)
        assert results == [low | (y & sign), low | (~y & sign), low | ((x ^ y) & sign)]


# --- conversions


def whole(x, bits, signed, truncate):
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if math.isnan(x):
        return high
    if math.isinf(x):
        return high if x > 0 else low
    return min(max(math.trunc(x) if truncate else round(x), low), high)  # Python rounds ties to even


@pytest.mark.parametrize("form", FLOATS, ids=name_of)
@pytest.mark.parametrize("name", ["xu.f", "x.f", "rtz.xu.f", "rtz.x.f"])
def test_to_integers(form, name):
    """FP16 and BF16: every operand."""
    x = EVERY if form.bits == 16 else np.unique(np.concatenate(pairs(form, 20_000)))
    numbers = decode(x, form).tolist()
    kinds = {"vfcvt": ("v", form.bits, form.bits), "vfncvt": ("w", form.bits // 2, form.bits // 2)}
    if form.bits == 16:
        kinds["vfwcvt"] = ("v", 16, 32)
    for base, (suffix, sew, bits) in kinds.items():
        result = run(f"{base}.{name}.{suffix}", x, form=form, sew=sew)
        signed = "xu" not in name
        wanted = [whole(v, bits, signed, "rtz" in name) % (1 << bits) for v in numbers]
        assert result.dtype == unsigned_dtype(bits)
        assert result.tolist() == wanted, base


@pytest.mark.parametrize("form", FLOATS, ids=name_of)
@pytest.mark.parametrize("signed", [True, False])
def test_from_integers(form, signed):
    name = "f.x" if signed else "f.xu"
    rng = np.random.default_rng(SEED)
    for bits, mnemonic, sew in (
        (form.bits // 2, f"vfwcvt.{name}.v", form.bits // 2), (form.bits, f"vfcvt.{name}.v", form.bits),
        (2 * form.bits, f"vfncvt.{name}.w", form.bits),
    ):  # fmt: skip
        if bits == 64:
            continue
        x = np.arange(1 << bits).astype(unsigned_dtype(bits)) if bits <= 16 else corners(rng, 32, 20_000)
        if bits == 32:
            x[:4000] >>= rng.integers(0, 32, 4000).astype(np.uint32)
        values = [s(v, bits) if signed else v for v in x.tolist()]
        result = run(mnemonic, x, form=form, sew=sew)
        np.testing.assert_array_equal(result, encode(np.array(values, np.float64), form), err_msg=mnemonic)


@pytest.mark.parametrize("form", FLOATS[:2], ids=name_of)
def test_between_floats(form):
    wide = FORMATS["fp32"]
    every = run("vfwcvt.f.f.v", EVERY, form=form)
    nan = np.isnan(decode(EVERY, form))
    np.testing.assert_array_equal(decode(every, wide)[~nan], decode(EVERY, form)[~nan])
    assert np.all(every[nan] == wide.nan_bits)
    np.testing.assert_array_equal(run("vfncvt.f.f.w", every, form=form), np.where(nan, form.nan_bits, EVERY))
    x = np.concatenate([*pairs(wide, 30_000), every[~nan] + 1, every[~nan] - 1])
    between = every[~nan] + np.uint32(1 << (wide.fraction_bits - form.fraction_bits - 1))  # ties
    x = np.concatenate([x, between, between + 1, between - 1])
    np.testing.assert_array_equal(run("vfncvt.f.f.w", x, form=form), encode(decode(x, wide), form))


# --- what is refused


@pytest.mark.parametrize(
    ("mnemonic", "operands", "sew", "error", "message"),
    [
        ("vid.v", (None, None), 8, ValueError, "vid.v is not element-wise"),
        ("vfadd.vv", (None, None), 8, ValueError, "SEW of vfadd.vv must be one of (16, 32), not 8"),
        ("vadd.vv", (np.zeros(2, np.uint8), None), 8, ValueError, "vadd.vv needs vs1"),
        ("vmacc.vv", (np.zeros(2, np.uint8),) * 2, 8, ValueError, "vmacc.vv needs vd"),
        ("vadd.vv", (np.zeros(2, np.uint8), np.zeros(2, np.int8)), 8, TypeError, "vs1 of vadd.vv must be a uint8 array, not int8"),
        ("vwadd.wx", (np.zeros(2, np.uint8), np.uint8(1)), 8, TypeError, "vs2 of vwadd.wx must be a uint16 array, not uint8"),
    ],
)  # fmt: skip
def test_what_is_refused(mnemonic, operands, sew, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        run(mnemonic, *operands, sew=sew)


def test_operands_are_broadcast_and_not_changed():
    x = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert run("vadd.vx", x, np.uint8(255), sew=8).tolist() == [[255, 0, 1], [2, 3, 4]]
    assert run("vmv.v.x", None, np.uint8(7), sew=8).shape == ()
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert float_format(16, altfmt=False).name == "fp16"
    assert bits_dtype(FORMATS["fp16"]) is np.uint16
