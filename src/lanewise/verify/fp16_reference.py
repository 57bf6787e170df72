"""A reference for the FP16 fused multiply-add that shares nothing with the golden model: integer arithmetic alone."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bits: TypeAlias = npt.NDArray[np.uint16]
Int: TypeAlias = npt.NDArray[np.int64]

CANONICAL_NAN = 0x7E00
_CHUNK = 1 << 15


def fp16_fma_reference(a: Bits, b: Bits, c: Bits) -> Bits:
    """IEEE 754 binary16 ``a * b + c``, rounded once to nearest, ties to even; NaN is 0x7E00.

    The product (22 bits) is placed at bits 3 to 24 of an integer and the addend shifted beside it; addend
    bits below bit 1 are collected in bit 0 (rounding to odd). That loses nothing: an addend reaching so low
    is too small for the subtraction to cancel the product's leading bits. The addend's last bit goes no
    higher than bit 27; beyond that the product only decides how to round, and there it still does.

    Args:
        a: Bit patterns, broadcast against ``b`` and ``c``; as they are.
    """
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
    return np.where(nan, CANONICAL_NAN, result | (sign << 15))
