"""What a segment's table entry holds."""

import numpy as np
import numpy.typing as npt

from lanewise.models.numbers import Bits


def coefficient_table(segment: npt.NDArray[np.int64], coefficients: Bits) -> Bits:
    """Coefficients of each element's segment.

    Args:
        segment: Segment of each element, any shape, each in [0, segments - 1].
        coefficients: Bit patterns, shape ``(segments, degree + 1)``, lowest power first.

    Returns:
        Bit patterns, shape of ``segment`` and then ``(degree + 1,)``.

    Raises:
        IndexError: A segment is outside the table.

    >>> coefficient_table(np.array([2, 0]), np.arange(8, dtype=np.uint16).reshape(4, 2))
    array([[4, 5],
           [0, 1]], dtype=uint16)
    """
    if np.any(segment < 0):
        raise IndexError("segment must be at least 0")
    return coefficients[segment]
