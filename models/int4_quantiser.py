"""Bits of the quantiser behind the Hadamard unit: integers of 22 bits to INT4 or INT8, or to two INT4 words.

A value is ``v / 2**shift`` with ``v = y * multiplier``. The split of gradients is that of Xi, Li, Chen and Zhu (arXiv 2306.11987, bit
splitting): B = 14, s = 196 / (2 max|g|), and g is about (14 hi + lo) / s.
"""

from math import frexp, ldexp

import numpy as np
import numpy.typing as npt

from lanewise.models.walsh_hadamard import Integers

SHIFTS = range(16, 48)
SPLIT_BASE = 14
"""What one step of ``hi`` is worth in steps of ``lo``."""
SPLIT_LIMIT = 6
"""Of the magnitude of both words."""
SPLIT_TOP = 98
"""What the largest gradient becomes: ``s * max|g|``."""
SPLIT_SATURATION = 100
"""Of the value that is split, in steps of ``lo``."""
_FRACTION_BITS = 12
_ONE = 1 << _FRACTION_BITS


def multiplier_of(scale: float) -> tuple[int, int]:
    """``(multiplier, shift)`` whose ``multiplier / 2**shift`` is nearest to ``scale``, ``multiplier`` in [2**15, 2**16).

    Raises:
        ValueError: ``scale`` is not in [2**-32, 65535.5 * 2**-16).

    >>> multiplier_of(0.75)
    (49152, 16)
    """
    fraction, exponent = frexp(scale)
    multiplier, shift = round(ldexp(fraction, 16)), 16 - exponent
    if multiplier == 1 << 16:
        multiplier, shift = 1 << 15, shift - 1
    if not (multiplier > 0 and shift in SHIFTS):
        raise ValueError(f"scale must be in [2**-32, 1), not {scale!r}")
    return multiplier, shift


def quantise_nearest(y: Integers, multiplier: int, shift: int, bits: int = 4) -> Integers:
    """``clip(rne(y * multiplier / 2**shift))``: the nearest integer, ties to even, saturated to ``bits`` bits.

    Args:
        y: Any shape, of 22 bits.
        multiplier: 1 to 65535.
        shift: 16 to 47.
        bits: 4 or 8.

    Raises:
        ValueError: A parameter is out of range.

    >>> quantise_nearest(np.array([1, 3, 5, 1000, -1000]), 1 << 15, 16).tolist()
    [0, 2, 2, 7, -8]
    """
    low, high = _range(multiplier, shift, bits)
    return np.clip(_nearest(np.asarray(y, np.int64) * multiplier, shift), low, high)


def quantise_stochastic(
    y: Integers, multiplier: int, shift: int, random: npt.NDArray[np.uint16], bits: int = 4
) -> Integers:
    """``clip(floor((y * multiplier + random * 2**(shift - 16)) / 2**shift))``: up with the fraction's probability.

    Args:
        y: Any shape, of 22 bits.
        multiplier: 1 to 65535.
        shift: 16 to 47.
        random: The lanes' bits, shape of ``y``.
        bits: 4 or 8.

    Raises:
        ValueError: A parameter is out of range.

    >>> quantise_stochastic(np.array([3, 3]), 1 << 15, 16, np.array([32767, 32768], np.uint16)).tolist()
    [1, 2]
    """
    low, high = _range(multiplier, shift, bits)
    value = np.asarray(y, np.int64) * multiplier + (random.astype(np.int64) << (shift - 16))
    result: Integers = np.clip(value >> shift, low, high)
    return result


def split_gradient(
    y: Integers, multiplier: int, shift: int, random: npt.NDArray[np.uint16]
) -> tuple[Integers, Integers]:
    """Two INT4 words: ``hi`` the nearest multiple of 14, ``lo`` the rest, rounded stochastically; both within +-6.

    Args:
        y: Any shape, of 22 bits.
        multiplier: 1 to 65535.
        shift: 16 to 47.
        random: The lanes' bits, of which the 12 highest decide, shape of ``y``.

    Raises:
        ValueError: A parameter is out of range.

    >>> hi, lo = split_gradient(np.array([100, -20, 7]), 1 << 15, 15 + 1, np.zeros(3, np.uint16))
    >>> hi.tolist(), lo.tolist()
    ([4, -1, 0], [-6, 4, 3])
    """
    _range(multiplier, shift, 4)
    top = SPLIT_SATURATION * _ONE
    value = np.clip(_nearest(np.asarray(y, np.int64) * multiplier, shift - _FRACTION_BITS), -top, top)
    base = SPLIT_BASE * _ONE
    quotient, rest = np.divmod(value, base)
    quotient += (2 * rest > base) | ((2 * rest == base) & (quotient & 1 == 1))
    hi = np.clip(quotient, -SPLIT_LIMIT, SPLIT_LIMIT)
    lo = (value - base * hi + (random.astype(np.int64) >> 4)) >> _FRACTION_BITS
    return hi, np.clip(lo, -SPLIT_LIMIT, SPLIT_LIMIT)


def _nearest(value: Integers, shift: int) -> Integers:
    """``value / 2**shift`` to the nearest integer, ties to even."""
    quotient, rest, half = value >> shift, value & ((1 << shift) - 1), 1 << (shift - 1)
    up = (rest > half) | ((rest == half) & (quotient & 1 == 1))
    result: Integers = quotient + up
    return result


def _range(multiplier: int, shift: int, bits: int) -> tuple[int, int]:
    """Least and largest integer of so many bits, after a check of the parameters."""
    if not 1 <= multiplier <= 65535:
        raise ValueError(f"multiplier must be 1 to 65535, not {multiplier!r}")
    if shift not in SHIFTS:
        raise ValueError(f"shift must be 16 to 47, not {shift!r}")
    if bits not in (4, 8):
        raise ValueError(f"bits must be 4 or 8, not {bits!r}")
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
