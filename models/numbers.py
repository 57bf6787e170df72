"""What the bits of a number format mean: exact values, rounding, and rank."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.formats import NumberFormat

Bits: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
"""Bit patterns: uint8, uint16 or uint32, as wide as the format."""
Reals: TypeAlias = npt.NDArray[np.float64]


def bits_dtype(form: NumberFormat) -> type[np.unsignedinteger[Any]]:
    """The unsigned integer as wide as the format.

    >>> from lanewise.formats import FORMATS
    >>> bits_dtype(FORMATS["bf16"]).__name__
    'uint16'
    """
    kinds: dict[int, type[np.unsignedinteger[Any]]] = {8: np.uint8, 16: np.uint16, 32: np.uint32}
    return kinds[form.bits]


def check_bits(name: str, bits: Any, form: NumberFormat) -> None:
    """Refuse what is no array of bit patterns of ``form``.

    Raises:
        TypeError: ``bits`` has another type; the message has ``name``.
    """
    if not isinstance(bits, np.ndarray) or bits.dtype != bits_dtype(form):
        wanted = bits_dtype(form).__name__
        raise TypeError(
            f"{name} must be a {wanted} array ({form.name}), not {getattr(bits, 'dtype', bits)!r}"
        )


def decode(bits: Bits, form: NumberFormat) -> Reals:
    """The numbers that bit patterns stand for; every format's are exact in float64. Shape of ``bits``.

    Raises:
        TypeError: ``bits`` are not as wide as the format.

    >>> from lanewise.formats import FORMATS
    >>> decode(np.array([0x08, 0x7E, 0xFF], np.uint8), FORMATS["fp8e4m3"]).tolist()
    [0.015625, 448.0, nan]
    >>> decode(np.array([0x7F, 0x80], np.uint8), FORMATS["int8"]).tolist()
    [127.0, -128.0]
    """
    check_bits("bits", bits, form)
    if not form.floating:
        return bits.view({8: np.int8, 16: np.int16, 32: np.int32}[form.bits]).astype(np.float64)
    wide = bits.astype(np.int64)
    exponent = (wide >> form.fraction_bits) & ((1 << form.exponent_bits) - 1)
    fraction = wide & ((1 << form.fraction_bits) - 1)
    significand = fraction | (np.minimum(exponent, 1) << form.fraction_bits)
    place = np.maximum(exponent, 1) - form.bias - form.fraction_bits
    magnitude = np.ldexp(significand.astype(np.float64), place)
    unsigned = wide & ((1 << (form.bits - 1)) - 1)
    if form.infinities:
        magnitude = np.where(unsigned == form.infinity_bits, np.inf, magnitude)
        magnitude = np.where(unsigned > form.infinity_bits, np.nan, magnitude)
    else:
        magnitude = np.where(unsigned == form.nan_bits, np.nan, magnitude)
    return np.where(wide >> (form.bits - 1), -magnitude, magnitude)


def encode(x: npt.ArrayLike, form: NumberFormat) -> Bits:
    """The nearest number of the format, ties to even.

    Floating point: what overflows becomes infinity, or the largest number where the format has no infinities
    (E4M3, which takes infinity so, too); NaN becomes the format's one NaN; zeros keep their signs.
    Integers: saturating; NaN becomes 0.

    Args:
        x: Real numbers, float64, any shape.

    >>> from lanewise.formats import FORMATS
    >>> [hex(v) for v in encode([1.0, 464.0, -np.inf, 2.0**-10], FORMATS["fp8e4m3"])]
    ['0x38', '0x7e', '0xfe', '0x0']
    >>> encode([2.5, -300.0, np.nan], FORMATS["int8"]).view(np.int8).tolist()
    [2, -128, 0]
    """
    x = np.asarray(x, np.float64)
    if not form.floating:
        top = 1 << (form.bits - 1)
        limited = np.clip(np.rint(np.nan_to_num(x, nan=0.0, posinf=top, neginf=-top)), -top, top - 1)
        whole = np.asarray(limited, np.int64)  # of one number an array, too
        wrapped: Bits = whole.astype(bits_dtype(form))
        return wrapped
    return round_float(np.ascontiguousarray(x).view(np.int64).reshape(x.shape), form)


def round_float(pattern: npt.NDArray[np.int64], form: NumberFormat) -> Bits:
    """Round float64 bit patterns, as :func:`encode` does, to a floating-point format."""
    unsigned = pattern & 0x7FFF_FFFF_FFFF_FFFF
    exponent = unsigned >> 52
    significand = (unsigned & ((1 << 52) - 1)) | (np.minimum(exponent, 1) << 52)
    new_exponent = np.maximum(exponent, 1) - 1023 + form.bias
    shift = np.minimum(52 - form.fraction_bits + np.maximum(1 - new_exponent, 0), 60)
    kept, rest = significand >> shift, significand & ((np.int64(1) << shift) - 1)
    half = np.int64(1) << (shift - 1)
    kept += (rest > half) | ((rest == half) & (kept & 1 == 1))
    result = (np.maximum(new_exponent - 1, 0) << form.fraction_bits) + kept  # kept: hidden bit included
    top = form.infinity_bits if form.infinities else form.maximum_bits
    result = np.where(exponent == 0x7FF, top, np.minimum(result, top))
    sign = (pattern < 0).astype(np.int64) << (form.bits - 1)
    nan = unsigned > 0x7FF << 52
    return np.where(nan, form.nan_bits, result | sign).astype(bits_dtype(form))


def rank(bits: Bits, form: NumberFormat) -> Bits:
    """Place of bit patterns in the format's order, as unsigned integers of the same width.

    Floating point is ordered as sign-magnitude integers: numbers and infinities rank as their values do, -0
    just below +0; NaNs rank outside, on the side of their sign bit (IEEE 754-2019, 5.10, totalOrder).
    Integers are ordered as two's complement. So one tree of unsigned comparisons serves all formats.

    >>> from lanewise.formats import FORMATS
    >>> rank(np.array([0xFFFF, 0xFC00, 0x8000, 0x0000, 0x7C00, 0x7FFF], np.uint16), FORMATS["fp16"]).tolist()
    [0, 1023, 32767, 32768, 64512, 65535]
    >>> rank(np.array([0x80, 0xFF, 0x00], np.uint8), FORMATS["int8"]).tolist()
    [0, 127, 128]
    """
    check_bits("bits", bits, form)
    sign = bits.dtype.type(1 << (form.bits - 1))
    if not form.floating:
        return bits ^ sign
    return np.where(bits & sign, ~bits, bits ^ sign).astype(bits.dtype)


def unrank(ranks: Bits, form: NumberFormat) -> Bits:
    """Inverse of :func:`rank`."""
    check_bits("ranks", ranks, form)
    sign = ranks.dtype.type(1 << (form.bits - 1))
    if not form.floating:
        return ranks ^ sign
    return np.where(ranks & sign, ranks ^ sign, ~ranks).astype(ranks.dtype)
