"""The 7-bit estimates ``vfrec7`` and ``vfrsqrt7``, for every operand. Source: RISC-V "V" Vector Extension 1.0, 13.9 and 13.10."""

from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.formats import NumberFormat
from lanewise.models.numbers import Bits, bits_dtype

Int: TypeAlias = npt.NDArray[np.int64]


@cache
def reciprocal_table() -> Int:
    """Seven fraction bits of 1/x for each of the 128 intervals of a significand: at its middle, rounded.

    >>> reciprocal_table()[[0, 64, 127]].tolist()
    [127, 42, 0]
    """
    middle = 2 / (1 + (np.arange(128) + 0.5) / 128)
    return np.rint((middle - 1) * 128).astype(np.int64)


@cache
def square_root_table() -> Int:
    """Seven fraction bits of 1/sqrt(x): indexed by the exponent's last bit, then six bits of the significand.

    >>> square_root_table()[[0, 63, 64, 127]].tolist()
    [52, 0, 127, 53]
    """
    index = np.arange(128)
    significand = 1 + (index % 64 + 0.5) / 64
    middle = 2 / np.sqrt(
        np.where(index < 64, 2 * significand, significand)
    )  # an odd exponent doubles the operand
    return np.rint((middle - 1) * 128).astype(np.int64)


def _take_apart(x: Bits, form: NumberFormat) -> tuple[Int, Int, Int]:
    """Sign bit in its place; exponent, 0 or less of subnormals; fraction behind the hidden bit."""
    wide, f = x.astype(np.int64), form.fraction_bits
    sign = wide & 1 << (form.bits - 1)
    exponent, fraction = wide >> f & (1 << form.exponent_bits) - 1, wide & (1 << f) - 1
    _, length = np.frexp(fraction.astype(np.float64))
    shift = np.where(exponent == 0, f + 1 - length, 0)  # brings the leading one to the hidden bit
    return sign, np.where(exponent == 0, 1 - shift, exponent), fraction << shift & (1 << f) - 1


def reciprocal_estimate(x: Bits, form: NumberFormat) -> Bits:
    """``vfrec7.v``: 1/x to 7 bits.

    A subnormal result is its first bits, cut off; below a quarter of the smallest normal number the reciprocal overflows to
    infinity, of zeros exactly so; 1/infinity is zero; all with their sign. NaN gives the one NaN.

    >>> from lanewise.formats import FORMATS
    >>> x = np.array([0x3C00, 0x7800, 0x0100, 0x00FF, 0xFC00], np.uint16)
    >>> [hex(y) for y in reciprocal_estimate(x, FORMATS["fp16"])]
    ['0x3bf8', '0x1fe', '0x7bf8', '0x7c00', '0x8000']
    """
    f, top = form.fraction_bits, (1 << form.exponent_bits) - 1
    sign, exponent, fraction = _take_apart(x, form)
    seven = reciprocal_table()[fraction >> (f - 7)]
    new = 2 * form.bias - 1 - exponent
    significand = (128 | seven) << (f - 7)
    subnormal = significand >> np.clip(1 - new, 0, f + 1)
    result: Any = np.where(new > 0, (new << f) | seven << (f - 7), subnormal)
    result = np.where(new >= top, form.infinity_bits, result)
    unsigned = x.astype(np.int64) & (1 << (form.bits - 1)) - 1
    result = np.where(unsigned == 0, form.infinity_bits, np.where(unsigned == form.infinity_bits, 0, result))
    result = np.where(unsigned > form.infinity_bits, form.nan_bits, result | sign)
    estimate: Bits = result.astype(bits_dtype(form))
    return estimate


def square_root_estimate(x: Bits, form: NumberFormat) -> Bits:
    """``vfrsqrt7.v``: 1/sqrt(x) to 7 bits; of zeros infinities, of infinity zero, of what is below zero the one NaN.

    >>> from lanewise.formats import FORMATS
    >>> [hex(y) for y in square_root_estimate(np.array([0x4400, 0x0001, 0x8000, 0xBC00], np.uint16), FORMATS["fp16"])]
    ['0x37f8', '0x6bf8', '0xfc00', '0x7e00']
    """
    f = form.fraction_bits
    sign, exponent, fraction = _take_apart(x, form)
    seven = square_root_table()[(exponent & 1) << 6 | fraction >> (f - 6)]
    result: Any = (3 * form.bias - 1 - exponent >> 1 << f) | seven << (f - 7)
    unsigned = x.astype(np.int64) & (1 << (form.bits - 1)) - 1
    result = np.where(unsigned == form.infinity_bits, 0, result)
    result = np.where((unsigned > form.infinity_bits) | (sign != 0), form.nan_bits, result)
    result = np.where(unsigned == 0, form.infinity_bits | sign, result)
    estimate: Bits = result.astype(bits_dtype(form))
    return estimate
