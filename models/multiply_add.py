"""The bits of the multiply-add of every number format."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.formats import NumberFormat
from lanewise.models.numbers import Bits, bits_dtype, check_bits, decode, round_float

Int: TypeAlias = npt.NDArray[np.int64]

_CHUNK = 1 << 15
"""Elements computed at a time, so that the intermediates stay in the cache."""


def multiply_add(
    a: Bits,
    b: Bits,
    c: Bits,
    form: NumberFormat,
    *,
    shifts: tuple[int, int] = (0, 0),
    zero_annihilates: bool = False,
) -> Bits:
    """``a * b + c``, rounded once, to nearest, ties to even.

    Floating point as IEEE 754 fusedMultiplyAdd: subnormals are exact, an exact sum of zero is +0 unless both
    terms are -0, every NaN result is the format's one NaN; an overflow gives infinity or, in E4M3, which has
    none, the largest number. Computed in float64: the product of two significands of at most 24 bits is exact,
    the sum is rounded to odd (Boldo and Melquiond, IEEE Trans. Computers 57, 2008) by means of the exact error
    of Knuth's two-sum, and no step leaves float64's range.

    Integers: ``(a * b + (c << shifts[1])) >> shifts[0]``, the last shift rounding, the result saturating:
    ``a`` has ``shifts[0]`` bits behind its binary point, ``c`` has ``shifts[0] - shifts[1]``.

    Args:
        a: Bit patterns: Flex-SFU's coefficient.
        b: Bit patterns, broadcast against ``a``: Flex-SFU's element.
        c: Bit patterns, broadcast against ``a``.
        form: Of all operands and of the result.
        shifts: Only for integers: below ``2 * bits`` and below ``bits``.
        zero_annihilates: Zero ``a`` times infinite ``b`` is a zero instead of NaN, as Flex-SFU needs it: a
            segment of slope zero is level all the way to infinity.

    Returns:
        Bit patterns of the broadcast shape.

    Raises:
        TypeError: An operand's width is not the format's.
        ValueError: A shift is out of range.

    >>> from lanewise.formats import FORMATS
    >>> a, b, c = np.array([[0x3C01, 0x7C00], [0x3C01, 0x0000], [0xBC02, 0x3C00]], np.uint16)
    >>> [hex(int(y)) for y in multiply_add(a, b, c, FORMATS["fp16"])]
    ['0x10', '0x7e00']
    >>> a, b, c = np.array([[96], [101], [3]], np.uint8)
    >>> multiply_add(a, b, c, FORMATS["int8"], shifts=(6, 5))  # 1.5 * 101 + 3 / 2
    array([127], dtype=uint8)
    """
    for name, operand in (("a", a), ("b", b), ("c", c)):
        check_bits(name, operand, form)
    limits = (2 * form.bits, form.bits) if not form.floating else (1, 1)
    if not all(0 <= shift < limit for shift, limit in zip(shifts, limits, strict=True)):
        raise ValueError(f"shifts must be below {limits} for {form.name}, not {shifts!r}")
    a, b, c = np.broadcast_arrays(a, b, c)
    out = np.empty(a.size, bits_dtype(form))
    flat = [operand.reshape(-1) for operand in (a, b, c)]
    for chunk in _chunks(a.size):
        part = [operand[chunk] for operand in flat]
        out[chunk] = (
            _floating(part[0], part[1], part[2], form, zero_annihilates)
            if form.floating
            else _integer(part[0], part[1], part[2], form, shifts)
        )
    return out.reshape(a.shape)


def _chunks(size: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, size, _CHUNK))


def _floating(a: Bits, b: Bits, c: Bits, form: NumberFormat, zero_annihilates: bool) -> Bits:
    with np.errstate(invalid="ignore"):
        x, y, z = (decode(np.ascontiguousarray(v), form) for v in (a, b, c))
        if zero_annihilates:
            y = np.where((x == 0) & np.isinf(y), np.copysign(1.0, y), y)
        product = x * y
        total = product + z
        part = total - product
        error = (product - (total - part)) + (z - part)
        pattern = total.view(np.int64)
        inexact = np.isfinite(total) & (error != 0)
        too_far = inexact & (np.signbit(error) != np.signbit(total))
        pattern = np.where(inexact, (pattern - too_far) | 1, pattern)  # truncated, then made odd
    return round_float(pattern, form)


def _integer(a: Bits, b: Bits, c: Bits, form: NumberFormat, shifts: tuple[int, int]) -> Bits:
    signed: Any = {8: np.int8, 16: np.int16, 32: np.int32}[form.bits]
    x, y, z = (np.ascontiguousarray(v).view(signed).astype(np.int64) for v in (a, b, c))
    total = x * y + (z << shifts[1])  # at most 2 * bits bits
    shift = shifts[0]
    if shift:
        half, rest = 1 << (shift - 1), total & ((1 << shift) - 1)
        total >>= shift
        total += (rest > half) | ((rest == half) & (total & 1 == 1))
    top = 1 << (form.bits - 1)
    result: Bits = np.clip(total, -top, top - 1).astype(bits_dtype(form))
    return result
