"""Conversions between integers and floating point, on bit patterns."""

import numpy as np

from lanewise.formats import NumberFormat
from lanewise.models.numbers import Bits
from lanewise.models.vector_floats import from_real, to_float32
from lanewise.models.vector_integers import signed, unsigned_dtype


def to_integer(x: Bits, form: NumberFormat, bits: int, *, sign: bool, truncate: bool) -> Bits:
    """Integers of ``bits`` bits: to nearest, ties to even, or towards zero; saturating, NaN to the largest.

    Args:
        x: Floating-point numbers of ``form``.
        form: A floating-point format.
        bits: Of the result.
        sign: Whether the result is signed; if not, what rounds below 0 becomes 0.
        truncate: Towards zero.

    >>> from lanewise.formats import FORMATS
    >>> x = np.array([2.5, -300, np.nan, np.inf], np.float16).view(np.uint16)
    >>> to_integer(x, FORMATS["fp16"], 8, sign=True, truncate=False).view(np.int8).tolist()
    [2, -128, 127, 127]
    """
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if sign else (0, (1 << bits) - 1)
    number = to_float32(x, form).astype(np.float64)  # holds 32 bits exactly
    whole = np.trunc(number) if truncate else np.rint(number)
    whole = np.where(np.isnan(number), float(high), np.clip(whole, low, high))
    return whole.astype(np.int64).astype(unsigned_dtype(bits))


def from_integer(x: Bits, form: NumberFormat, *, sign: bool) -> Bits:
    """The nearest floating-point number, infinity where it is too large for FP16.

    >>> from lanewise.formats import FORMATS
    >>> [hex(v) for v in from_integer(np.array([2049, 65520, 0xFFFFFFFF], np.uint32), FORMATS["fp16"], sign=False)]
    ['0x6800', '0x7c00', '0x7c00']
    """
    return from_real((signed(x) if sign else x).astype(np.float64), form)
