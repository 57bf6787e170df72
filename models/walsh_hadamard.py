"""Bits of the Hadamard unit: fixed point, and an exact block Walsh-Hadamard transform of it."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS
from lanewise.models.numbers import decode

Integers: TypeAlias = npt.NDArray[np.int64]

BLOCKS = (1, 8, 16, 32, 64)
"""Elements that are turned together; 1 turns nothing."""
LIMIT = 32767
"""Of a fixed-point magnitude: 16 bits, which grow to 22 in a block of 64."""


def fixed_point(x: npt.NDArray[np.uint16], exponent: int) -> Integers:
    """``x * 2**exponent``, to the nearest integer, ties to even, saturated to +-32767.

    Args:
        x: FP16 bit patterns, any shape. Infinities saturate, NaN gives 0.
        exponent: -16 to 31, one a tensor.

    Raises:
        TypeError: ``x`` is not uint16.
        ValueError: ``exponent`` is out of range.

    >>> fixed_point(np.array([1.5, -0.25, 65504, -np.inf, np.nan], np.float16).view(np.uint16), 1).tolist()
    [3, 0, 32767, -32767, 0]
    """
    if not -16 <= exponent <= 31:
        raise ValueError(f"exponent must be -16 to 31, not {exponent}")
    scaled = np.ldexp(decode(x, FORMATS["fp16"]), exponent)
    limited = np.clip(np.rint(np.nan_to_num(scaled, nan=0.0, posinf=LIMIT, neginf=-LIMIT)), -LIMIT, LIMIT)
    result: Integers = limited.astype(np.int64)
    return result


def walsh_hadamard(x: Integers, block: int) -> Integers:
    """``x`` times the block-diagonal Hadamard matrix along its last axis, exact.

    Sylvester's order; the entries are +-1, not normalised: the quantiser's multiplier takes care of ``1 / sqrt(block)``.

    Args:
        x: Integers, shape ``(..., n)``, ``n`` a multiple of ``block``.
        block: One of :data:`BLOCKS`.

    Raises:
        ValueError: ``block`` is none of them or does not divide ``n``.

    >>> walsh_hadamard(np.array([[1, 0, 0, 0, 0, 0, 0, 2]]), 8).tolist()
    [[3, -1, -1, 3, -1, 3, 3, -1]]
    """
    if block not in BLOCKS:
        raise ValueError(f"block must be one of {BLOCKS}, not {block!r}")
    if x.shape[-1] % block:
        raise ValueError(f"the last axis must be a multiple of {block} long, not {x.shape[-1]}")
    result, half = np.asarray(x, np.int64), 1
    while half < block:
        pairs = result.reshape(*x.shape[:-1], x.shape[-1] // (2 * half), 2, half)
        result = np.stack([pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]], -2)
        half *= 2
    return result.reshape(x.shape)
