"""Which segment an element falls in: integer comparison of bit patterns."""

import numpy as np
import numpy.typing as npt

from lanewise.formats import NumberFormat
from lanewise.models.numbers import Bits, rank


def address_decoder(x: Bits, breakpoints: Bits, form: NumberFormat) -> npt.NDArray[np.int64]:
    """The number of breakpoints that are at most ``x``, in the order of :func:`~lanewise.models.numbers.rank`.

    So segment 0 is left of the first breakpoint, and an element equal to a breakpoint belongs to the segment
    on the right.

    Args:
        x: Bit patterns of the elements, any shape.
        breakpoints: Bit patterns, shape ``(segments - 1,)``, in ascending order.
        form: Format of both.

    Returns:
        Segment of each element, shape of ``x``, each in [0, segments - 1].

    Raises:
        TypeError: The bit patterns are not as wide as the format.

    Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546), address decoding unit.

    >>> from lanewise.formats import FORMATS
    >>> x, breakpoints = np.array([[0xBC00, 0x8000, 0x3C00], [0x8000, 0x0000, 0x3C01]], np.uint16)
    >>> address_decoder(x, breakpoints, FORMATS["fp16"])
    array([0, 1, 2])
    """
    return np.searchsorted(rank(breakpoints, form), rank(x, form), side="right")
