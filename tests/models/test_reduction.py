"""Range-reduced functions against float64: every FP16 operand, FP32 by random bits and corners."""

import numpy as np
import pytest

from lanewise.errors import UserError
from lanewise.formats import FORMATS
from lanewise.models.numbers import decode, encode
from lanewise.models.reduction import (
    EXP32_MINIMUM,
    REDUCED,
    TRIGONOMETRIC_MAXIMUM,
    normal_reciprocal,
    normal_rsqrt,
    reduced,
)
from lanewise.models.reduction_tables import reduction_table

SEED = 3
EVERY = np.arange(1 << 16, dtype=np.uint16)
EXACT = {
    "exp": np.exp,
    "exp_nonpositive": np.exp,
    "reciprocal": lambda x: 1 / x,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
}


# function: by (segments, degree), the largest relative error where the result is a normal number; then the largest
# absolute error, in smallest subnormal numbers, where it is below. All as measured, a fifth up
FP16_BOUNDS = {
    "exp": ({(16, 1): 4.7e-2, (16, 2): 3.6e-3, (32, 1): 3.2e-3, (32, 2): 2.2e-3, (64, 1): 1.6e-3}, (21, 2.4)),
    "exp_nonpositive": (
        {(16, 1): 2.1e-2, (16, 2): 4.1e-3, (32, 1): 3.0e-3, (32, 2): 2.4e-3, (64, 1): 1.8e-3}, (9, 3.3),
    ),
    "reciprocal": ({(8, 1): 2.4e-3, (8, 2): 1.4e-3, (16, 1): 9.7e-4, (32, 1): 6.2e-4, (64, 1): 6.7e-4}, (2.4, 1.5)),
    "rsqrt": ({(8, 1): 3.0e-3, (8, 2): 8.8e-4, (16, 1): 1.2e-3, (32, 1): 7.3e-4, (64, 1): 6.3e-4}, (0, 0)),
    "log": ({(8, 1): 1.5e-3, (8, 2): 1.2e-3, (16, 1): 1.1e-3, (32, 1): 1.0e-3, (64, 1): 1.0e-3}, (0, 0)),
    "sin": ({(8, 1): 2.0e-3, (8, 2): 1.2e-3, (16, 1): 1.5e-3, (32, 1): 1.5e-3, (64, 1): 1.4e-3}, (1.7, 1.2)),
    "cos": ({(8, 1): 2.2e-3, (8, 2): 1.3e-3, (16, 1): 1.4e-3, (32, 1): 1.4e-3, (64, 1): 1.3e-3}, (1.7, 1.2)),
}  # fmt: skip


def check(function, bits, form, y, relative, subnormal, overflow=0.0):
    """NaN where the exact result is, infinite where it rounds to infinity, and close elsewhere."""
    with np.errstate(all="ignore"):
        exact = EXACT[function](decode(bits, form))
    rounded, got = decode(encode(exact, form), form), decode(y, form)
    assert np.array_equal(np.isnan(got), np.isnan(exact))
    near_the_end = np.abs(exact) > form.maximum * (1 - overflow)
    infinite = np.isinf(rounded) & ~near_the_end
    infinite |= np.isinf(exact)
    assert np.array_equal(got[infinite], rounded[infinite])
    finite = np.isfinite(rounded) & ~(near_the_end & np.isinf(got))
    got, exact = got[finite], exact[finite]
    assert np.isfinite(got).all()
    error = np.abs(got - exact)
    normal = np.abs(exact) >= 2.0 ** (1 - form.bias)
    assert (error[normal] / np.abs(exact[normal])).max() <= relative
    assert error[~normal].max(initial=0) <= subnormal * 2.0 ** (1 - form.bias - form.fraction_bits)


@pytest.mark.parametrize(
    ("function", "segments", "degree"),
    [(function, *size) for function, (relative, _) in FP16_BOUNDS.items() for size in relative],
)
def test_every_fp16_operand(function, segments, degree):
    relative, subnormal = FP16_BOUNDS[function]
    bound = relative[segments, degree]
    bits = EVERY if function != "exp_nonpositive" else EVERY[decode(EVERY, FORMATS["fp16"]) <= 0]
    y = reduced(function, bits, reduction_table(function, segments=segments, degree=degree))
    coarse = (segments, degree) in ((16, 1), (8, 1))
    check(function, bits, FORMATS["fp16"], y, bound, subnormal[0 if coarse else 1], overflow=bound)


# function: by (segments, degree), the largest relative error; as measured, a fifth up
FP32_BOUNDS = {
    "exp": {(32, 1): 4.8e-5, (32, 2): 1.8e-7},
    "reciprocal": {(32, 1): 1.2e-4, (64, 2): 2.7e-7},
    "rsqrt": {(32, 1): 1.9e-4, (64, 2): 3.3e-7},
    "log": {(32, 1): 3.7e-5, (32, 2): 2.8e-7},
    "sin": {(32, 1): 7.5e-5, (32, 2): 2.9e-7},
    "cos": {(32, 1): 7.5e-5, (32, 2): 3.2e-7},
}
CORNERS = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.1754942e-38, -1.17549435e-38, 1e-39, 1.0, -1.0, 3.4e38, 88.72, 88.73,
     89, 1e4, -86, -104, -1e30, 0.70710677, 0.7071068, 0.99999994, 1.0000001, 1.5707964, 3.1415927, 1e5], np.float32,
).view(np.uint32)  # fmt: skip


@pytest.mark.parametrize(
    ("function", "segments", "degree"),
    [(function, *size) for function, relative in FP32_BOUNDS.items() for size in relative],
)
def test_fp32_operands(function, segments, degree):
    form, rng = FORMATS["fp32"], np.random.default_rng(SEED)
    bits = rng.integers(0, 1 << 32, 20_000, dtype=np.uint32)
    bits = np.concatenate([CORNERS, bits, rng.uniform(-86, 88, 20_000).astype(np.float32).view(np.uint32)])
    x = decode(bits, form)
    with np.errstate(invalid="ignore"):
        if function == "exp":
            bits = bits[~((x < EXP32_MINIMUM) & (x > -104))]
        elif function in ("sin", "cos"):  # farther out a zero's neighbourhood loses the relative accuracy
            bits = bits[~(np.abs(x) > 1e3) | np.isinf(x)]
    y = reduced(function, bits, reduction_table(function, segments=segments, degree=degree, format="fp32"))
    bound = FP32_BOUNDS[function][segments, degree]
    # a subnormal reciprocal is as accurate, or nearest
    check(function, bits, form, y, bound, 1 + bound * 2**form.fraction_bits)


def test_fp32_exp_is_0_where_its_result_would_be_subnormal():
    x = np.linspace(-104, EXP32_MINIMUM - 1e-4, 1000).astype(np.float32)
    y = reduced("exp", x.view(np.uint32), reduction_table("exp", format="fp32"))
    assert not y.any()


@pytest.mark.parametrize("function", ["sin", "cos"])
def test_fp32_trigonometry_is_nan_beyond_its_range_and_absolutely_accurate_inside(function):
    table = reduction_table(function, format="fp32")
    outside = np.array([2**16 + 1, -1e30, np.inf], np.float32)
    assert np.isnan(reduced(function, outside.view(np.uint32), table).view(np.float32)).all()
    x = np.random.default_rng(SEED).uniform(-TRIGONOMETRIC_MAXIMUM, TRIGONOMETRIC_MAXIMUM, 20_000)
    x = x.astype(np.float32)
    error = reduced(function, x.view(np.uint32), table).view(np.float32) - EXACT[function](x.astype(float))
    assert np.abs(error).max() < 1.1e-4


def test_specials_have_their_signs():
    x = np.array([0.0, -0.0, np.inf, -np.inf], np.float16).view(np.uint16)
    assert reduced("reciprocal", x, reduction_table("reciprocal")).tolist() == [0x7C00, 0xFC00, 0, 0x8000]
    assert reduced("rsqrt", x, reduction_table("rsqrt")).tolist() == [0x7C00, 0xFC00, 0, 0x7E00]
    assert reduced("log", x, reduction_table("log")).tolist() == [0xFC00, 0xFC00, 0x7C00, 0x7E00]
    assert reduced("sin", x, reduction_table("sin")).tolist() == [0, 0x8000, 0x7E00, 0x7E00]
    assert reduced("exp_nonpositive", x[3:], reduction_table("exp_nonpositive")).tolist() == [0]


@pytest.mark.parametrize("function", sorted(set(REDUCED) - {"exp_nonpositive"}))
def test_a_nan_gives_the_canonical_nan(function):
    x = np.array([0x7C01, 0x7E00, 0xFFFF], np.uint16)
    assert reduced(function, x, reduction_table(function)).tolist() == [0x7E00] * 3


def test_a_masked_score_that_is_nan_counts_as_minus_infinity():
    x = np.array([0x7C01, 0xFE00], np.uint16)
    assert reduced("exp_nonpositive", x, reduction_table("exp_nonpositive")).tolist() == [0, 0]


@pytest.mark.parametrize("format", ["fp16", "fp32"])
def test_the_short_forms_equal_the_whole_ones_on_positive_normal_numbers(format):
    form = FORMATS[format]
    rng = np.random.default_rng(SEED)
    low = 1 << form.fraction_bits
    bits = rng.integers(low, form.infinity_bits, 5000).astype(np.uint16 if form.bits == 16 else np.uint32)
    table = reduction_table("reciprocal", format=format)
    assert np.array_equal(normal_reciprocal(bits, table), reduced("reciprocal", bits, table))
    table = reduction_table("rsqrt", format=format)
    assert np.array_equal(normal_rsqrt(bits, table), reduced("rsqrt", bits, table))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": "tan"}, "function must be one of exp, exp_nonpositive, reciprocal, rsqrt, log, sin, cos, not 'tan'"),
        ({"function": "log", "format": "bf16"}, "format must be fp16 or fp32, not 'bf16'"),
        ({"function": "exp", "segments": 8}, "segments must be 16, 32 or 64 for exp in fp16, not 8"),
        ({"function": "exp_nonpositive", "format": "fp32"}, "format must be fp16 for exp_nonpositive, not 'fp32'"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(UserError) as caught:
        reduction_table(**arguments)
    assert str(caught.value) == message


def test_what_has_no_reduction_is_refused():
    table = reduction_table("log", format="fp32")
    with pytest.raises(ValueError, match=r"function must be one of exp, .*, not 'tan'"):
        reduced("tan", CORNERS, table)
    with pytest.raises(ValueError, match="table must be one of exp_nonpositive's formats, not of fp32"):
        reduced("exp_nonpositive", CORNERS, table)
    with pytest.raises(TypeError, match="x must be a uint32 array"):
        reduced("log", EVERY, table)
