"""The vector instructions' values against numpy and the RVV specification's own table entries."""

import numpy as np
import pytest

from lanewise.models.vector import execute, reciprocal_estimate, reciprocal_square_root_estimate

SEED = 7


def half(count=4096):
    print(f"seed {SEED}")
    return np.random.default_rng(SEED).normal(0, 4, count).astype(np.float16)


@pytest.mark.parametrize(
    ("base", "function"),
    [
        ("vfadd", np.add),
        ("vfsub", np.subtract),
        ("vfmul", np.multiply),
        ("vfmax", np.fmax),
        ("vfmin", np.fmin),
    ],
)
def test_fp16_arithmetic_is_correctly_rounded(base, function):
    a, b = half(), half()[::-1].copy()
    exact = function(a.astype(np.float64), b.astype(np.float64)).astype(np.float16)
    assert np.array_equal(execute(base, [a, b], 16).view(np.uint16), exact.view(np.uint16))


def test_multiply_adds_take_their_operands_in_the_specified_order():
    d, a, b = (np.full(1, v, np.float16) for v in (2, 3, 5))
    assert execute("vfmadd", [d, a, b], 16) == 2 * 3 + 5
    assert execute("vfmacc", [d, a, b], 16) == 3 * 5 + 2
    assert execute("vfnmsub", [d, a, b], 16) == -(2 * 3) + 5
    assert execute("vfnmsac", [d, a, b], 16) == -(3 * 5) + 2
    assert execute("vfmadd", [d, b], 16, constant=3.0) == 2 * 3 + 5
    assert execute("vfnmsac", [d, b], 16, constant=3.0) == -(3 * 5) + 2
    assert execute("vfrsub", [d], 16, constant=10.0) == 8


def test_a_multiply_add_rounds_once():
    a = np.array([1 + 2**-10], np.float16)
    assert execute("vfmadd", [a, a, -(a * a)], 16)[0] != 0  # the product's lost bits


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_estimates_have_seven_bits(dtype):
    x = np.exp2(np.random.default_rng(SEED).uniform(-8, 8, 10_000)).astype(dtype)
    assert np.max(np.abs(reciprocal_estimate(x) * x.astype(float) - 1)) < 2**-7
    assert np.max(np.abs(reciprocal_square_root_estimate(x) * np.sqrt(x.astype(float)) - 1)) < 2**-7


def test_estimates_are_the_specification_s_tables():
    # RVV 1.0, tables 16 and 17: first entries of vfrec7 (127, 125, 123, 121) and, for an even and an odd exponent, of vfrsqrt7
    x = (1 + np.arange(4) / 128).astype(np.float32)
    assert (reciprocal_estimate(x).view(np.uint32) >> 16 & 127).tolist() == [127, 125, 123, 121]
    x = (1 + np.arange(4) / 64).astype(np.float32)
    assert (reciprocal_square_root_estimate(x).view(np.uint32) >> 16 & 127).tolist() == [127, 125, 123, 121]
    assert (reciprocal_square_root_estimate(2 * x).view(np.uint32) >> 16 & 127).tolist() == [52, 51, 50, 48]


def test_conversions_round_to_even_and_saturate():
    x = np.array([0.5, 1.5, -2.5, 300, -300, np.nan], np.float16)
    assert execute("vfncvt.x.f", [x], 16).tolist() == [0, 2, -2, 127, -128, 127]
    assert execute("vfcvt.f.x", [np.array([-5], np.int32)], 32).tolist() == [-5.0]


def test_an_unknown_instruction_is_refused():
    with pytest.raises(ValueError, match="base must be an instruction of the vector model, not 'vfoo'"):
        execute("vfoo", [half()], 16)


def test_arithmetic_gives_the_canonical_nan_and_moves_keep_theirs():
    x = np.array([0xFC01, 0x7E55], np.uint16)
    assert execute("vfadd", [x, x], 16).view(np.uint16).tolist() == [0x7E00] * 2
    assert execute("vfwcvt.f.f", [x], 16).view(np.uint32).tolist() == [0x7FC00000] * 2
    assert execute("vfsgnjx", [x, x], 16).view(np.uint16).tolist() == [0x7C01, 0x7E55]


def test_integer_instructions_shift_and_compare_signed_numbers():
    x = np.array([0x8000, 0x7FFF, 0xFFFE], np.uint16)
    assert execute("vsra", [x], 16, 1).tolist() == [0xC000, 0x3FFF, 0xFFFF]
    assert execute("vmslt", [x], 16, -1).tolist() == [True, False, True]
    assert execute("vmseq", [x], 16, 0x7FFF).tolist() == [False, True, False]
    assert execute("vxor", [x], 16, 0xFFFF).tolist() == [0x7FFF, 0x8000, 1]
    assert execute("vand", [x], 16, -1 << 8).tolist() == [0x8000, 0x7F00, 0xFF00]
    assert execute("vrsub", [x], 16, 0).tolist() == [0x8000, 0x8001, 2]


def test_reductions_take_the_start_value_and_the_stated_order():
    ones = np.full(2049, 1, np.float16)
    start = np.array([2.0**24], np.float32)
    assert execute("vfwredusum", [ones, start], 16).tolist() == [2.0**24 + 2048]  # + 2049 would round to 2050
    order = np.array([2**24, 1, 1, 1, 1], np.float32)  # (2**24 + 1) + (1 + 1), then 1; ties to even
    assert execute("vfredusum", [order, np.zeros(1, np.float32)], 32).tolist() == [2.0**24 + 4]
    values = np.array([-3, np.nan, 2], np.float16)
    assert execute("vfredmax", [values, np.array([-1], np.float16)], 16).tolist() == [2]
    assert execute("vfredmin", [values, np.array([-4], np.float16)], 16).tolist() == [-4]


def test_widening_products_are_exact_and_sums_of_them_rounded_once():
    a = np.array([300, 2**-14], np.float16)
    assert execute("vfwmul", [a, a], 16).tolist() == [90000, 2.0**-28]
    d = np.array([2.0**24, -(2.0**-28)], np.float32)
    assert execute("vfwmacc", [d, a, a], 32).tolist() == [2.0**24 + 90000, 0]


def test_a_merge_keeps_the_bits():
    floats, bits = np.array([1.5, 2.5], np.float16), np.array([7, 9], np.uint16)
    merged = execute("vmerge", [bits, floats, np.array([True, False])], 16)
    assert merged.tolist() == [0x3E00, 9]
