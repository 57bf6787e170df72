"""Bits of the row norms: sums of squares of INT4 numbers.

Source: Xi, Li, Chen, Zhu, arXiv 2306.11987: the leverage scores are their square roots, or products of two.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.config import ROW_NORM_BITS


def row_norms(x: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Sum of the squares of each row, exact modulo 2**24: rows of fewer than 2**18 numbers never wrap.

    Args:
        x: One word of each number, shape ``(rows, columns)``, each in [-8, 7].

    Returns:
        Shape ``(rows,)``.

    Raises:
        ValueError: ``x`` has no rows and columns, or a number is outside INT4.

    >>> row_norms(np.array([[-8, 7, 0], [1, -2, 3]])).tolist()
    [113, 14]
    """
    if x.ndim != 2:
        raise ValueError(f"x must have the shape (rows, columns), not {x.shape}")
    if x.size and not (x.min() >= -8 and x.max() <= 7):
        raise ValueError(f"x must be -8 to 7, not {x.min()} to {x.max()}")
    squares: npt.NDArray[np.int64] = np.square(x, dtype=np.int64).sum(axis=1)
    return squares & ((1 << ROW_NORM_BITS) - 1)
