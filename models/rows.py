"""Softmax, layer norm and RMS norm of rows, step by step as the vector kernels compute them.

Elements are FP16, sums FP32. A sum adds neighbours pairwise (:func:`lanewise.models.vector.pairwise_sum`) over what the registers
hold at a time. A row of at most 8 registers is held whole. A longer row is taken in strips of 2 registers; strip i is added to sum
i modulo 4, and the sums pairwise. Squares are added register by register, element to element, and those sums pairwise.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from lanewise.formats import FORMATS
from lanewise.models.numbers import Bits, check_bits
from lanewise.models.reduction import LOWEST
from lanewise.models.vector import Array, execute, pairwise_sum

HIGHEST = 65504.0
"""Largest finite FP16 number: a row's factor is at most that, so that zeros times it are zeros."""

Elementwise: TypeAlias = Callable[[Bits], Bits]
"""Bit patterns to bit patterns of the same format and shape."""


def newton_reciprocal(x: Bits) -> Bits:
    """1/x by ``vfrec7`` and one Newton step, y (2 - x y); FP32, any shape. Of 0 and infinity it is NaN."""
    estimate = execute("vfrec7", [x], 32)
    error = execute("vfnmsub", [estimate, x, np.ones(x.shape, np.float32)], 32)
    return execute("vfmadd", [error, estimate, estimate], 32).view(np.uint32)


def newton_rsqrt(x: Bits) -> Bits:
    """1/sqrt(x) by ``vfrsqrt7`` and one Newton step, y + y/2 (1 - x y y); FP32, any shape. Of 0 and infinity it is NaN."""
    estimate = execute("vfrsqrt7", [x], 32)
    product = execute("vfmul", [x, estimate], 32)
    product = execute("vfnmsub", [product, estimate, np.ones(x.shape, np.float32)], 32)
    half = execute("vfmul", [estimate], 32, 0.5)
    return execute("vfmadd", [product, half, estimate], 32).view(np.uint32)


def softmax_bits(
    x: Bits,
    exponential: Elementwise,
    *,
    reciprocal: Elementwise = newton_reciprocal,
    vlen_bits: int = 1024,
) -> Bits:
    """Softmax of the last axis.

    Args:
        x: FP16 bit patterns, shape ``(..., n)``. A score of -infinity, or NaN, gets the weight of what lies 65504
            below the maximum. A row of nothing else has the weights 0.
        exponential: exp for operands of at most 0, FP16:
            ``lambda d: reduced("exp_nonpositive", d, reduction_table("exp_nonpositive"))``, or Flex-SFU's own table's.
        reciprocal: 1/x, FP32.
        vlen_bits: Bits of a vector register: decides on the order of the sums.

    Returns:
        FP16 bit patterns, shape of ``x``.

    >>> from lanewise.models.reduction import reduced
    >>> from lanewise.models.reduction_tables import reduction_table
    >>> scores = np.array([[0, 1, 2, -np.inf]], np.float16).view(np.uint16)
    >>> table = reduction_table("exp_nonpositive", segments=64)
    >>> softmax_bits(scores, lambda d: reduced("exp_nonpositive", d, table)).view(np.float16)
    array([[0.08997, 0.2446 , 0.665  , 0.     ]], dtype=float16)
    """
    check_bits("x", x, FORMATS["fp16"])
    lowest = np.full((1,), LOWEST, np.float16)
    shifted = execute("vfsub", [x, execute("vfredmax", [x, lowest], 16)], 16)
    powers = exponential(execute("vfmax", [shifted], 16, LOWEST).view(np.uint16))
    total = _sum(powers.view(np.float16), vlen_bits)
    factor = execute("vfmin", [reciprocal(total.view(np.uint32))], 32, HIGHEST)
    return _scaled(powers, factor.view(np.uint32))


def layer_norm_bits(
    x: Bits,
    *,
    weight: Bits | None = None,
    bias: Bits | None = None,
    epsilon: float = 1e-5,
    rsqrt: Elementwise = newton_rsqrt,
    vlen_bits: int = 1024,
) -> Bits:
    """``(x - mean) / sqrt(variance + epsilon) * weight + bias`` of the last axis.

    Args:
        x: FP16 bit patterns, shape ``(..., n)``.
        weight: FP16 bit patterns, shape ``(n,)``; with ``bias`` or neither.
        bias: Likewise.
        epsilon: Added to the variance, in FP32.
        rsqrt: 1/sqrt(x), FP32.
        vlen_bits: Bits of a vector register: decides on the order of the sums.

    Returns:
        FP16 bit patterns, shape of ``x``.

    Raises:
        ValueError: One of ``weight`` and ``bias`` is missing.

    >>> layer_norm_bits(np.array([[1000, 2000, 3000, 4000]], np.float16).view(np.uint16)).view(np.float16)
    array([[-1.342 , -0.4473,  0.4473,  1.342 ]], dtype=float16)
    """
    if (weight is None) != (bias is None):
        raise ValueError("weight and bias must both be given or neither, not one")
    check_bits("x", x, FORMATS["fp16"])
    length = x.shape[-1]
    total = _sum(x.view(np.float16), vlen_bits)
    mean = execute("vfncvt.f.f", [execute("vfmul", [total], 32, 1 / length)], 32)
    centred = execute("vfsub", [x, mean], 16).view(np.uint16)
    result = _normalised(centred, epsilon, rsqrt, vlen_bits)
    if weight is None or bias is None:
        return result
    return execute("vfmadd", [result, weight, bias], 16).view(np.uint16)


def rms_norm_bits(
    x: Bits,
    *,
    weight: Bits | None = None,
    epsilon: float = 1e-5,
    rsqrt: Elementwise = newton_rsqrt,
    vlen_bits: int = 1024,
) -> Bits:
    """``x / sqrt(mean of squares + epsilon) * weight`` of the last axis; arguments as :func:`layer_norm_bits`.

    >>> rms_norm_bits(np.array([[3, -3, 3, 3]], np.float16).view(np.uint16)).view(np.float16)
    array([[ 1., -1.,  1.,  1.]], dtype=float16)
    """
    check_bits("x", x, FORMATS["fp16"])
    result = _normalised(x, epsilon, rsqrt, vlen_bits)
    return result if weight is None else execute("vfmul", [result, weight], 16).view(np.uint16)


def _normalised(x: Bits, epsilon: float, rsqrt: Elementwise, vlen_bits: int) -> Bits:
    """x / sqrt(mean of squares + epsilon), or x HIGHEST if that is less; the squares are FP32, exact."""
    total = _sum_of_squares(x.view(np.float16), vlen_bits)
    mean = execute("vfmadd", [total, np.full(total.shape, epsilon, np.float32)], 32, 1 / x.shape[-1])
    factor = rsqrt(mean.view(np.uint32))
    too_large = execute("vmfgt", [factor], 32, HIGHEST)
    factor = execute("vfmerge", [factor, too_large], 32, HIGHEST)
    return _scaled(x, factor.view(np.uint32))


def _scaled(x: Bits, factor: Bits) -> Bits:
    """x times an FP32 number a row, which is rounded to FP16 before; shapes ``(..., n)`` and ``(..., 1)``."""
    return execute("vfmul", [x, execute("vfncvt.f.f", [factor], 32)], 16).view(np.uint16)


def square_sums(length: int, vlen_bits: int) -> int:
    """Sums that a row's squares are added to: as many as a register has FP16 elements, or the row."""
    return min(length, vlen_bits // 16)


def row_sums(strips: int) -> int:
    """Sums that the strips of a row which the registers do not hold are added to in turn: 1, 2 or 4."""
    return min(4, 1 << (strips - 1).bit_length())


def _sum(x: Array, vlen_bits: int) -> Array:
    """FP32 sum of rows of FP16, shape ``(..., 1)``."""
    length = x.shape[-1]
    whole = 16 * length <= 8 * vlen_bits
    step = length if whole else 2 * vlen_bits // 16
    parts = [pairwise_sum(x[..., start : start + step])[..., None] for start in range(0, length, step)]
    count = row_sums(len(parts))
    sums: list[Array] = [np.zeros(1, np.float32)] * count
    for index, part in enumerate(parts):
        sums[index % count] = execute("vfadd", [part, sums[index % count]], 32)
    while len(sums) > 1:
        sums = [execute("vfadd", [left, right], 32) for left, right in zip(sums[::2], sums[1::2])]
    return sums[0]


def _sum_of_squares(x: Array, vlen_bits: int) -> Array:
    """FP32 sum of the exact squares of rows of FP16, shape ``(..., 1)``."""
    length = x.shape[-1]
    step = square_sums(length, vlen_bits)
    sums = np.zeros((*x.shape[:-1], step), np.float32)
    for start in range(0, length, step):
        part = np.ascontiguousarray(x[..., start : start + step])
        count = part.shape[-1]
        sums[..., :count] = execute("vfwmacc", [sums[..., :count], part, part], 32)
    return pairwise_sum(sums)[..., None]
