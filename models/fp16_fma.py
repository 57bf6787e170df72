"""The bits of the FP16 fused multiply-add, in integer arithmetic."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bits: TypeAlias = npt.NDArray[np.uint16]
Int: TypeAlias = npt.NDArray[np.int64]

FP16_NAN = 0x7E00
"""The one NaN that the arithmetic makes (RISC-V's canonical NaN), whatever NaN came in."""

_CHUNK = 1 << 15
"""Elements computed at a time, so that the intermediates stay in the cache."""


def fp16_fma(a: Bits, b: Bits, c: Bits) -> Bits:
    """IEEE 754 binary16 ``a * b + c`` with one rounding, to nearest, ties to even.

    Subnormal operands and results are exact, an exact sum of zero is +0 unless both terms are -0, and every
    NaN result is :data:`FP16_NAN`.

    The product (22 bits) is placed at bits 3 to 24 of an integer and the addend shifted beside it; addend
    bits below bit 1 are collected in bit 0 (rounding to odd). That loses nothing: an addend reaching so low
    is too small for the subtraction to cancel the product's leading bits. The addend's last bit goes no
    higher than bit 27; beyond that the product only decides how to round, and there it still does.
    :mod:`lanewise.rtl.fp16_fma` places them in the same way.

    Args:
        a: Bit patterns, uint16.
        b: Bit patterns, uint16, broadcast against ``a``.
        c: Bit patterns, uint16, broadcast against ``a``.

    Returns:
        Bit patterns of the results, of the broadcast shape.

    Raises:
        TypeError: An operand is no uint16 array.

    >>> a, b, c = np.array([[0x3C01, 0x7C00], [0x3C01, 0x0000], [0xBC02, 0x3C00]], np.uint16)
    >>> [hex(int(y)) for y in fp16_fma(a, b, c)]
    ['0x10', '0x7e00']
    """
    for name, operand in (("a", a), ("b", b), ("c", c)):
        if np.asarray(operand).dtype != np.uint16:
            raise TypeError(f"{name} must be a uint16 array, not {np.asarray(operand).dtype!r}")
    a, b, c = np.broadcast_arrays(a, b, c)
    out = np.empty(a.size, np.uint16)
    flat = [operand.reshape(-1) for operand in (a, b, c)]
    for start in range(0, a.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        out[chunk] = _fma(*(operand[chunk].astype(np.int64) for operand in flat))
    return out.reshape(a.shape)


def _fma(a: Int, b: Int, c: Int) -> Int:
    magnitude = [v & 0x7FFF for v in (a, b, c)]
    ea, eb, ec = (np.maximum(v >> 10, 1) for v in magnitude)
    sa, sb, sc = ((v & 0x3FF) | ((v > 0x3FF) << 10) for v in magnitude)
    product = sa * sb
    product_sign, c_sign = (a ^ b) >> 15, c >> 15

    # Bit 37 weighs 2**(scale - 15): the place of a leading one whose biased exponent is ``scale``.
    distance = ea + eb - 1 - ec  # of the addend's leading bit below bit 37
    addend_on_top = (distance < 0) | (product == 0)
    scale = np.where(addend_on_top, ec, ea + eb - 1)
    distance = np.where(addend_on_top, 0, np.minimum(distance, 48))
    wide = sc << 48
    shifted = wide >> distance
    addend = (shifted >> 21) | ((shifted & ((1 << 21) - 1)) != 0)
    total = (product << 3) + np.where(product_sign == c_sign, addend, -addend)
    sign = np.where(total < 0, c_sign, product_sign)
    sign = np.where(total == 0, product_sign & c_sign, sign)
    total = np.abs(total)

    # Bring the leading one to bit 37, less far where the result is subnormal; round bits 26 and below away.
    leading = np.frexp(total.astype(np.float64))[1].astype(np.int64) - 1  # exact: less than 2**53
    shift = np.minimum(37 - leading, scale - 1)
    total <<= shift
    kept, rest = total >> 27, total & ((1 << 27) - 1)
    kept += (rest > 1 << 26) | ((rest == 1 << 26) & ((kept & 1) == 1))
    result = np.where(kept == 0, 0, ((scale - 1 - shift) << 10) + kept)  # kept: hidden bit included

    infinity = 0x1F << 10
    result = np.minimum(result, infinity)
    result = np.where(magnitude[0] >= infinity, infinity, result)
    result = np.where(magnitude[1] >= infinity, infinity, result)
    sign = np.where((magnitude[0] >= infinity) | (magnitude[1] >= infinity), product_sign, sign)
    c_infinite = magnitude[2] == infinity
    result, sign = np.where(c_infinite, infinity, result), np.where(c_infinite, c_sign, sign)
    product_infinite = (magnitude[0] == infinity) | (magnitude[1] == infinity)
    nan = (magnitude[0] > infinity) | (magnitude[1] > infinity) | (magnitude[2] > infinity)
    nan |= product_infinite & ((magnitude[0] == 0) | (magnitude[1] == 0))
    nan |= product_infinite & c_infinite & (product_sign != c_sign)
    return np.where(nan, FP16_NAN, result | (sign << 15))
