"""Leverage-score sampling of a gradient's rows, and the two products of it (Xi et al., arXiv 2306.11987, section 4.2).

The rows of all words are stacked, ``hi`` above ``lo``; a row's score is its norm in the gradient's units (dX), times that of its X (dW).
Kept rows are compacted, so that the products are really smaller.

A kept row is worth 1 / p. In dX a row of the sum is a row of the gradient: the output path multiplies by 1 / p. In dW the sampled rows
are what is summed over, and an INT4 array can neither scale one summand nor hold lo / p in four bits. So a kept row is worth a power of
two, by chance the one below or above 1 / p, with the mean 1 / p: see :func:`row_weights`. Rows of one worth are one tile of the
sum, which leaves the array as INT32; the output path scales it and adds it to the others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lanewise.models.int4.integers import Gradient
from lanewise.models.row_sampler import (
    ALWAYS,
    leverage_probabilities,
    probability_bits,
    row_powers,
    row_sampler,
)

RowBits = Callable[[int], npt.NDArray[np.uint16]]
"""Gives the sampler's next random bits, one beat a row."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptRows:
    """What one product took of a gradient."""

    product: str
    """``dx`` or ``dw``."""
    rows: int
    """N, of the gradient."""
    worths: tuple[npt.NDArray[np.float64], ...]
    """Of each word's kept rows, shape ``(kept,)``: 1 / p in dX, powers of two in dW."""


Observer = Callable[[KeptRows], None]
"""Is told of each sampled product."""


def row_norms(integers: torch.Tensor) -> npt.NDArray[np.float64]:
    """Euclidean norm of each row of small integers, shape ``(rows,)``; sums are exact below 2**24."""
    squares: npt.NDArray[np.float32] = torch.linalg.vecdot(integers, integers).numpy()
    return np.sqrt(squares.astype(np.float64))


def row_weights(
    probabilities: npt.NDArray[np.uint16], random: npt.NDArray[np.uint16]
) -> npt.NDArray[np.int64]:
    """Worth of kept rows, 2 to the power of :func:`~lanewise.models.row_sampler.row_powers`, which has the arguments.

    >>> row_weights(np.array([65535, 40000, 40000], np.uint16), np.array([0, 25535, 25536], np.uint16)).tolist()
    [1, 2, 1]
    """
    return 1 << row_powers(probabilities, random)


def sampled_rows(
    scores: npt.NDArray[np.float64], total: int, row_bits: RowBits | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Indices of the kept rows, their probabilities and random bits, each of shape ``(kept,)``.

    Args:
        scores: Shape ``(rows,)``.
        total: Expected number of kept rows.
        row_bits: The generator; all rows are kept without.
    """
    if row_bits is None or not scores.size:
        rows = scores.shape[0]
        return np.arange(rows), np.full(rows, ALWAYS, np.uint16), np.zeros(rows, np.uint16)
    probabilities = probability_bits(leverage_probabilities(scores, total))
    random = row_bits(scores.shape[0])
    kept = row_sampler(probabilities, random)
    return kept, probabilities[kept], random[kept]


def input_product(
    gradient: Gradient,
    weight: torch.Tensor,
    row_bits: RowBits | None = None,
    observer: Observer | None = None,
) -> torch.Tensor:
    """``dY @ W``, in the units of the gradient's reals times ``weight``'s integers.

    Args:
        gradient: Shape ``(n, m)``.
        weight: INT4 in FP32, shape ``(m, k)``.
        row_bits: The sampler's generator; no sampling without.
        observer: Is told what is kept.

    Returns:
        FP32, shape ``(n, k)``: of each word an exact INT32 product of its kept rows, times its factor; the words' sum.
    """
    n = gradient.words[0][1].shape[0]
    scores = np.concatenate([worth * row_norms(word) for worth, word in gradient.words])
    kept, probabilities, _ = sampled_rows(scores, n, row_bits)
    worths = np.where(probabilities == ALWAYS, 1.0, 65536.0 / np.maximum(probabilities, 1))
    if observer is not None:
        observer(_told("dx", n, kept, worths, len(gradient.words)))
    factors = torch.from_numpy(worths.astype(np.float32))
    result = torch.zeros(n, weight.shape[1])
    for place, (worth, word) in enumerate(gradient.words):
        mine = slice(*np.searchsorted(kept, [place * n, (place + 1) * n]))
        index = torch.from_numpy(kept[mine] - place * n)
        product = _rows(word, index) @ weight
        product.mul_((factors[mine] * (worth / gradient.units)).unsqueeze(1))
        result = product if len(index) == n and place == 0 else result.index_add_(0, index, product)
    return result


def weight_product(
    gradient: Gradient, x: torch.Tensor, row_bits: RowBits | None = None, observer: Observer | None = None
) -> torch.Tensor:
    """``dY^T @ X``, in the units of the gradient's reals times ``x``'s integers.

    Args:
        gradient: Shape ``(n, m)``.
        x: INT4 in FP32, shape ``(n, k)``.
        row_bits: The sampler's generator; no sampling without.
        observer: Is told what is kept.

    Returns:
        FP32, shape ``(m, k)``: of each word and worth an exact INT32 product of such rows, times its factor; their sum.
    """
    n, m = gradient.words[0][1].shape
    x_norms = row_norms(x)
    scores = np.concatenate([worth * row_norms(word) * x_norms for worth, word in gradient.words])
    kept, probabilities, random = sampled_rows(scores, n, row_bits)
    weights = row_weights(probabilities, random)
    if observer is not None:
        observer(_told("dw", n, kept, weights.astype(np.float64), len(gradient.words)))
    result = torch.zeros(m, x.shape[1])
    for place, (worth, word) in enumerate(gradient.words):
        mine = slice(*np.searchsorted(kept, [place * n, (place + 1) * n]))
        rows, powers = kept[mine] - place * n, weights[mine]
        for power in np.unique(powers):
            index = torch.from_numpy(rows[powers == power])
            product = _rows(word, index).T @ _rows(x, index)
            result.add_(product, alpha=worth * float(power) / gradient.units)
    return result


def _told(
    product: str, n: int, kept: npt.NDArray[np.int64], worths: npt.NDArray[np.float64], words: int
) -> KeptRows:
    """Of stacked rows, ``n`` a word, by rising index."""
    return KeptRows(
        product=product,
        rows=n,
        worths=tuple(np.split(worths, np.searchsorted(kept, n * np.arange(1, words)))),
    )


def _rows(matrix: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The rows that the index names, in its order, which is rising."""
    return matrix if len(index) == matrix.shape[0] else matrix.index_select(0, index)
