"""What a segment's table entry holds."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bits: TypeAlias = npt.NDArray[np.uint16]


def coefficient_table(segment: npt.NDArray[np.int64], slopes: Bits, offsets: Bits) -> tuple[Bits, Bits]:
    """Slope and offset of each element's segment.

    Args:
        segment: Segment of each element, any shape, each in [0, segments - 1].
        slopes: Bit patterns, uint16, shape ``(segments,)``.
        offsets: Bit patterns, uint16, shape ``(segments,)``.

    Returns:
        Bit patterns of the slopes and of the offsets, each of the shape of ``segment``.

    Raises:
        IndexError: A segment is outside the table.

    >>> coefficient_table(np.array([2, 0]), np.arange(4, dtype=np.uint16), np.arange(4, 8, dtype=np.uint16))
    (array([2, 0], dtype=uint16), array([6, 4], dtype=uint16))
    """
    if np.any(segment < 0):
        raise IndexError("segment must be at least 0")
    return slopes[segment], offsets[segment]
