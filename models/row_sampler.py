"""Bits of the row sampler, and the probabilities that it is given.

Source: Xi, Li, Chen, Zhu, arXiv 2306.11987: leverage scores ``p_i ~ ||g_i||`` (input gradient) or ``||g_i|| ||x_i||``
(weight gradient) over the stacked hi and lo rows, normalised to sum N, repeatedly clipped at 1 and the rest
rescaled; a row is kept with probability ``p_i`` and then weighs ``1 / p_i``.

The sums of squares come from a unit right behind the quantiser (:mod:`lanewise.models.row_norms`): a square of four bits is a
few gates, and the vector unit, which would have to read every nibble again and widen it, takes about 0.1 clocks an element and
word. The square roots, the sum over all rows and the divisions that make probabilities of them are a row's, not an
element's, and stay with the vector unit.
"""

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

ALWAYS = 65535
"""The probability that keeps a row whatever the random bits."""


def leverage_probabilities(norms: Reals, kept: float) -> Reals:
    """Probabilities in the ratio of the norms that add up to ``kept``, none above 1. Shape of ``norms``, ``(rows,)``.

    Those above 1 are clipped and the others rescaled, until none is above 1. If no more than ``kept`` rows have a
    norm above 0, all of them have probability 1. A row of norm 0 has probability 0.

    Args:
        kept: Rows to keep on average, above 0 and at most the number of rows.

    Raises:
        ValueError: A norm is negative or not finite, ``norms`` is not one row of numbers, or ``kept`` is out of range.

    >>> leverage_probabilities(np.array([8.0, 1.0, 1.0, 2.0]), 2).tolist()
    [1.0, 0.25, 0.25, 0.5]
    """
    if norms.ndim != 1 or not norms.size:
        raise ValueError(f"norms must have the shape (rows,), at least one, not {norms.shape}")
    if not (np.isfinite(norms).all() and (norms >= 0).all()):
        raise ValueError("norms must be finite and at least 0")
    if not 0 < kept <= norms.size:
        raise ValueError(f"kept must be above 0 and at most {norms.size}, not {kept}")
    certain = np.zeros(norms.shape, np.bool_)
    while True:
        rest: Reals = np.where(certain, 0.0, norms)
        rest = np.ldexp(rest, -np.frexp(rest.max())[1])  # so that nothing overflows
        total = rest.sum()
        probabilities: Reals = certain.astype(np.float64)
        if total == 0:
            return probabilities
        left = kept - certain.sum()
        above = rest * left > total
        if left <= 0 or not above.any():
            probabilities += rest * (max(left, 0) / total)
            return probabilities
        certain |= above


def probability_bits(probabilities: Reals) -> npt.NDArray[np.uint16]:
    """Probabilities as the sampler takes them: to the nearest 1/65536, at least that of what is not 0; 65535 is 1.

    Raises:
        ValueError: One is not within 0 and 1.

    >>> probability_bits(np.array([0.0, 1e-9, 0.5, 0.9999, 0.99999])).tolist()
    [0, 1, 32768, 65529, 65535]
    """
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must be 0 to 1")
    rounded = np.minimum(np.rint(probabilities * 65536), ALWAYS)
    return np.where(probabilities > 0, np.maximum(rounded, 1), 0).astype(np.uint16)


def row_weights(bits: npt.NDArray[np.uint16]) -> Reals:
    """What a kept row weighs, the reciprocal of the probability that its bits really give; 0 for a row that never is.

    >>> row_weights(np.array([0, 16384, 65535], np.uint16)).tolist()
    [0.0, 4.0, 1.0]
    """
    real = np.where(bits == ALWAYS, 65536.0, bits.astype(np.float64))
    return np.divide(65536.0, real, out=np.zeros_like(real), where=real > 0)


def row_sampler(bits: npt.NDArray[np.uint16], random: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    """Numbers of the kept rows, in order: those with ``bits`` 65535, or with random bits below theirs.

    Args:
        bits: Probabilities of :func:`probability_bits`, shape ``(rows,)``.
        random: The generator's bits of one lane, same shape: one draw a row.

    Raises:
        ValueError: The shapes differ.

    >>> row_sampler(np.array([65535, 100, 100, 0], np.uint16), np.array([65535, 100, 99, 0], np.uint16))
    array([0, 2])
    """
    if bits.shape != random.shape:
        raise ValueError(f"random must have the shape {bits.shape}, not {random.shape}")
    return np.flatnonzero((bits == ALWAYS) | (random < bits))


def row_powers(bits: npt.NDArray[np.uint16], random: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    """Logarithms, 0 to 16, of what kept rows are worth: powers of two whose mean over ``random`` below ``p`` is ``65536 / p``.

    With 2**k <= 65536 / p < 2**(k+1), it is k + 1 if ``random < 2**(16-k) - p``, else k: the bits that kept the row decide, no
    others are drawn. ``2**(k+1) * (2**(16-k) - p) + 2**k * (2p - 2**(16-k)) = 65536``, so the mean over all bits is 1.

    Args:
        bits: Of the kept rows, shape ``(kept,)``; 65535 is 1. What was not kept has no power.
        random: What kept them, same shape.

    Raises:
        ValueError: The shapes differ.

    >>> row_powers(np.array([65535, 40000, 40000, 1], np.uint16), np.array([0, 25535, 25536, 0], np.uint16))
    array([ 0,  1,  0, 16])
    """
    if bits.shape != random.shape:
        raise ValueError(f"random must have the shape {bits.shape}, not {random.shape}")
    p = bits.astype(np.int64)
    length = np.frexp(p - 1)[1].astype(np.int64)  # 2**length is the least power of two that is not below p
    return np.where(p == ALWAYS, 0, 16 - length + (random < (1 << length) - p))
