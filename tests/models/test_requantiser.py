"""The golden output path against exact fractions."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.models.requantiser import requantise

INT32 = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([-(2**31), 2**31 - 1, 0, 1, -1])
U16 = st.integers(0, 65535) | st.sampled_from([0, 1, 65535, 32768])
SHIFT = st.integers(0, 63)


def one(total, bias, column, row, shift, form, random=None):
    random = None if random is None else [[random]]
    return requantise(
        np.array([[total]]), bias=[bias], column_multiplier=[column], row_multiplier=[row], shift=[shift],
        form=form, random=random,
    ).item()  # fmt: skip


@given(INT32, INT32, U16, U16, SHIFT, st.sampled_from([("int4", 4), ("int8", 8)]))
def test_nearest_integers_are_those_of_fractions(total, bias, column, row, shift, form):
    name, bits = form
    value = Fraction((total + bias) * column * row, 1 << shift)
    expected = min(max(round(value), -(1 << (bits - 1))), (1 << (bits - 1)) - 1)  # round() takes ties to even
    assert one(total, bias, column, row, shift, name) == expected


@given(INT32, INT32, U16, U16, SHIFT, U16)
def test_stochastic_integers_are_those_of_fractions(total, bias, column, row, shift, random):
    draw = Fraction(random >> max(0, 16 - shift) << max(0, shift - 16), 1 << shift)
    value = Fraction((total + bias) * column * row, 1 << shift)
    expected = min(max(math.floor(value + draw), -128), 127)
    assert one(total, bias, column, row, shift, "int8", random) == expected


def exactly(value, precision, least, bits):
    """Bit pattern of the nearest number, from fractions alone; ``least``: exponent of the least normal number."""
    magnitude = abs(value)
    if magnitude == 0:
        return 0
    exponent = max(least, math.floor(math.log2(magnitude.numerator) - math.log2(magnitude.denominator)))
    while exponent > least and magnitude < Fraction(2) ** exponent:
        exponent -= 1
    while magnitude >= Fraction(2) ** (exponent + 1):
        exponent += 1
    units = round(magnitude / Fraction(2) ** (exponent - precision + 1))
    pattern = ((exponent - least) << (precision - 1)) + units
    infinity = ((1 << (bits - precision)) - 1) << (precision - 1)
    return min(pattern, infinity) | (value < 0) << 15


@given(INT32, INT32, U16, U16, SHIFT, st.sampled_from([("fp16", 11, -14), ("bf16", 8, -126)]))
def test_floating_point_is_rounded_once(total, bias, column, row, shift, form):
    name, precision, least = form
    value = Fraction((total + bias) * column * row, 1 << shift)
    assert one(total, bias, column, row, shift, name) == exactly(value, precision, least, 16)


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_tie_is_seen_below_what_float64_holds(extra):
    """2**11 + 1, in units of 2**52, is halfway between two FP16 numbers; one unit of 2**0 more or less decides."""
    scale = {"column_multiplier": [65535], "row_multiplier": [65535], "shift": 50}
    total = np.array([[2**31 - 1, 2**31 - 2]])
    values = [Fraction((int(t) + extra) * 65535**2, 1 << 50) for t in total[0]]
    got = requantise(total, bias=[extra, extra], form="fp16", **scale | {"column_multiplier": [65535] * 2})
    assert got[0].tolist() == [exactly(value, 11, -14, 16) for value in values]


def test_the_mean_of_stochastic_results_is_the_value():
    draws = np.arange(65536)[None]
    for total in (-7, -1, 0, 1, 5):
        got = requantise(
            np.full((1, 65536), total), bias=[0], column_multiplier=[1], row_multiplier=[3], shift=[3],
            form="int4", random=draws,
        )  # fmt: skip
        assert got.mean() == total * 3 / 8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"form": "int16"}, "form must be one of int4, int8, fp16, bf16, not 'int16'"),
        ({"shift": [64]}, "shift must be in [0, 63], not 64 to 64"),
        ({"bias": [2**31]}, f"bias must be in [{-(2**31)}, {2**31 - 1}], not {2**31} to {2**31}"),
        ({"row_multiplier": [-1]}, "row_multiplier must be in [0, 65535], not -1 to -1"),
        ({"random": [[65536]]}, "random must be in [0, 65535], not 65536 to 65536"),
    ],
)
def test_bad_arguments_are_refused(changed, message):
    usual = {"bias": [0], "column_multiplier": [1], "row_multiplier": [1], "shift": [0], "form": "int8"}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        requantise(np.array([[1]]), **usual | changed)
