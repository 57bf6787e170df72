"""Bits of the row sampler: which rows of a gradient are kept, and with what probability.

Leverage-score sampling of Xi, Li, Chen and Zhu (arXiv 2306.11987): the probability of a row is proportional to its norm, with a given
sum, repeatedly clipped at 1.
"""

import numpy as np
import numpy.typing as npt

ALWAYS = 65535
"""The probability that is 1; any other ``p`` is ``p / 65536``."""


def row_probabilities(norms: npt.NDArray[np.float64], total: float) -> npt.NDArray[np.float64]:
    """Probabilities proportional to ``norms`` with the sum ``total``, repeatedly clipped at 1 and the rest rescaled.

    Args:
        norms: Not negative, shape ``(rows,)``.
        total: Expected number of kept rows. With no more rows than that of positive norm, each of these has 1.

    Returns:
        Shape ``(rows,)``, in [0, 1]; 0 where the norm is 0.

    >>> row_probabilities(np.array([8.0, 1, 2, 0, 1]), 3).tolist()
    [1.0, 0.5, 1.0, 0.0, 0.5]
    """
    certain = np.zeros(norms.shape, bool)
    while True:
        rest: npt.NDArray[np.float64] = np.where(certain, 0.0, norms)
        weight = rest.sum()
        result: npt.NDArray[np.float64] = certain.astype(np.float64)
        if weight == 0:
            return result
        left = total - certain.sum()
        more = rest * left > weight  # beyond 1
        if left <= 0 or not more.any():
            result += rest * (max(left, 0) / weight)
            return result
        certain |= more


def probability_bits(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """The nearest 16-bit probabilities; at least 1 / 65536 where the probability is not 0, and 65535 from 65534.5 / 65536 on.

    >>> probability_bits(np.array([0, 1e-9, 0.5, 1])).tolist()
    [0, 1, 32768, 65535]
    """
    scaled = np.minimum(np.rint(probabilities * 65536), ALWAYS)
    return np.where(probabilities > 0, np.maximum(scaled, 1), 0).astype(np.uint16)


def sample_rows(
    probabilities: npt.NDArray[np.uint16], random: npt.NDArray[np.uint16]
) -> npt.NDArray[np.int64]:
    """Indices of the kept rows, in order: those with ``p == 65535`` or ``random < p``.

    Args:
        probabilities: Shape ``(rows,)``.
        random: The generator's bits, one beat a row, shape ``(rows,)``.

    >>> sample_rows(np.array([65535, 100, 100, 0], np.uint16), np.array([65535, 99, 100, 0], np.uint16)).tolist()
    [0, 1]
    """
    return np.flatnonzero((probabilities == ALWAYS) | (random < probabilities))
