"""Bits of the Walsh-Hadamard unit: floating point to fixed point, and the exact transform of blocks."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.config import FIXED_POINT_EXPONENTS, HADAMARD_BLOCKS
from lanewise.formats import FORMATS, NumberFormat
from lanewise.models.numbers import Bits, decode

Ints = npt.NDArray[np.int64]

LIMIT = (1 << 15) - 1
"""The largest magnitude of a fixed-point element."""


def fixed_point(x: Bits, exponent: int, form: NumberFormat = FORMATS["fp16"]) -> Ints:
    """``x * 2**exponent`` rounded to the nearest integer, ties to even, saturated to +-32767. Shape of ``x``.

    NaN gives 0; infinities saturate.

    Args:
        x: Bit patterns of ``form``.
        exponent: One a tensor, -16 to 31.

    Raises:
        ValueError: ``exponent`` is out of range.
        TypeError: ``x`` is no array of bit patterns.

    >>> fixed_point(np.array([0x3C00, 0x0001, 0xFC00, 0x7E00], np.uint16), 10).tolist()
    [1024, 0, -32767, 0]
    """
    low, high = FIXED_POINT_EXPONENTS
    if not low <= exponent <= high:
        raise ValueError(f"exponent must be {low} to {high}, not {exponent}")
    scaled = np.ldexp(decode(x, form), exponent)  # exact: a power of two, far from float64's ends
    limited: npt.NDArray[np.float64] = np.clip(np.nan_to_num(scaled, nan=0.0), -LIMIT, LIMIT)
    return np.rint(limited).astype(np.int64)


def walsh_hadamard(x: npt.NDArray[np.integer[Any]], block: int) -> Ints:
    """Each block of the last axis times Sylvester's matrix of +-1, exactly; not normalised. Shape of ``x``.

    Row ``i``, column ``j`` of the matrix is -1 to the number of ones in ``i & j``; with block 1 nothing changes.

    Args:
        x: Integers; the last axis is a multiple of ``block``.
        block: 1, 8, 16, 32 or 64.

    Raises:
        ValueError: ``block`` is another, or does not divide the last axis.

    >>> walsh_hadamard(np.array([[1, 0, 0, 0, 0, 0, 0, 1]]), 8).tolist()
    [[2, 0, 0, 2, 0, 2, 2, 0]]
    """
    if block not in HADAMARD_BLOCKS:
        raise ValueError(f"block must be 1, 8, 16, 32 or 64, not {block}")
    if x.ndim == 0 or x.shape[-1] % block:
        raise ValueError(f"the last axis must be a multiple of block = {block}, not {x.shape[-1:]}")
    y = x.astype(np.int64)
    stride = 1
    while stride < block:
        pairs = y.reshape(-1, 2, stride)
        y = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        stride *= 2
    return y.reshape(x.shape)
