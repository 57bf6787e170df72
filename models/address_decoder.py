"""Which segment an element falls in: integer comparison of FP16 bit patterns."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bits: TypeAlias = npt.NDArray[np.uint16]


def fp16_key(x: Bits) -> Bits:
    """The rank of FP16 bit patterns in the total order of sign-magnitude integers, as unsigned integers.

    ``x ^ 0x8000`` for a clear sign bit, ``~x`` for a set one. Numbers and infinities rank as their values
    do, -0 just below +0; NaNs rank outside the infinities, on the side of their sign bit (IEEE 754-2019,
    5.10, totalOrder).

    Args:
        x: Bit patterns, uint16, any shape.

    >>> fp16_key(np.array([0xFFFF, 0xFC00, 0x8000, 0x0000, 0x7C00, 0x7FFF], np.uint16)).tolist()
    [0, 1023, 32767, 32768, 64512, 65535]
    """
    return np.where(x & 0x8000, ~x, x ^ 0x8000).astype(np.uint16)


def address_decoder(x: Bits, breakpoints: Bits) -> npt.NDArray[np.int64]:
    """The number of breakpoints that are at most ``x``, in the order of :func:`fp16_key`.

    So segment 0 is left of the first breakpoint, and an element equal to a breakpoint belongs to the segment
    on the right.

    Args:
        x: Bit patterns of the elements, uint16, any shape.
        breakpoints: Bit patterns, uint16, shape ``(segments - 1,)``, in ascending order.

    Returns:
        Segment of each element, shape of ``x``, each in [0, segments - 1].

    Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546), address decoding unit.

    >>> x, breakpoints = np.array([[0xBC00, 0x8000, 0x3C00], [0x8000, 0x0000, 0x3C01]], np.uint16)
    >>> address_decoder(x, breakpoints)
    array([0, 1, 2])
    """
    return np.searchsorted(fp16_key(breakpoints), fp16_key(x), side="right")
