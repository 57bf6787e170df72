"""Softmax and norms of :mod:`lanewise.models.rows` on tensors: the same bits, an order of magnitude faster.

What makes it fast needs a reason each: PyTorch's FP16 difference and product round an FP32 one, which is innocuous;
the square of an FP16 number is exact in FP32, so that adding it is the fused multiply-add; and the float64 of a
multiply-add of FP16 numbers never lies in the middle of two FP16 numbers unless the exact result does.
"""

from collections.abc import Callable
from math import prod
from typing import TypeAlias

import numpy as np
import torch

from lanewise.formats import FORMATS
from lanewise.models.nn.lookup import operand_bits
from lanewise.models.numbers import Bits
from lanewise.models.reduction import LOWEST
from lanewise.models.rows import HIGHEST, newton_reciprocal, newton_rsqrt, row_sums, square_sums
from lanewise.models.vector import execute

Exponential: TypeAlias = Callable[[Bits], Bits]
"""FP16 bit patterns of numbers of at most 0 to those of their exp."""


def softmax(x: torch.Tensor, dim: int, exponential: Exponential, vlen_bits: int = 1024) -> torch.Tensor:
    """Softmax along ``dim``; shape and type of ``x``. Golden model: :func:`lanewise.models.rows.softmax_bits`."""
    if x.dim() == 0:
        return torch.ones_like(x)
    half = _half(x.movedim(dim, -1))
    peak = torch.where(half.isnan(), LOWEST, half).amax(-1, keepdim=True).clamp_min(LOWEST)
    shifted = torch.fmax(half - peak, torch.tensor(LOWEST, dtype=torch.float16))
    powers = torch.from_numpy(exponential(shifted.numpy().view(np.uint16)).view(np.float16))
    total = _sum(powers.float(), vlen_bits)
    factor = torch.fmin(_single(newton_reciprocal, total), torch.tensor(HIGHEST))
    return _result(powers * factor.half(), x).movedim(-1, dim)


def layer_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    epsilon: float,
    vlen_bits: int = 1024,
) -> torch.Tensor:
    """Layer norm of the last axis; shape and type of ``x``. Golden model: :func:`lanewise.models.rows.layer_norm_bits`.

    Args:
        x: Shape ``(..., n)``.
        weight: Broadcast against ``x``; 1 if only ``bias`` is given.
        bias: Likewise; 0 if only ``weight`` is given.
        epsilon: Added to the variance.
        vlen_bits: Bits of a vector register.
    """
    half = _half(x)
    total = _sum(half.float(), vlen_bits)
    mean = (total * float(np.float32(1 / half.shape[-1]))).half()
    result = _normalised(half - mean, epsilon, vlen_bits)
    if weight is None and bias is None:
        return _result(result, x)
    one, zero = torch.ones(1, dtype=torch.float16), torch.zeros(1, dtype=torch.float16)
    factor = one if weight is None else _half(weight)
    offset = zero if bias is None else _half(bias)
    wide = result.double().mul_(factor.double()).add_(offset.double())
    with np.errstate(over="ignore"):
        return _result(torch.from_numpy(wide.numpy().astype(np.float16)), x)  # PyTorch would round twice


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor | None, epsilon: float, vlen_bits: int = 1024
) -> torch.Tensor:
    """RMS norm of the last axis; arguments as :func:`layer_norm`. Golden model: :func:`lanewise.models.rows.rms_norm_bits`."""
    result = _normalised(_half(x), epsilon, vlen_bits)
    return _result(result if weight is None else result * _half(weight), x)


def group_norm(
    x: torch.Tensor, groups: int, weight: torch.Tensor | None, bias: torch.Tensor | None, epsilon: float, vlen_bits: int = 1024
) -> torch.Tensor:  # fmt: skip
    """Layer norm of each group of channels, with the channels' weights; shape and type of ``x``.

    Args:
        x: Shape ``(batch, channels, ...)``.
        groups: A divisor of the channels.
        weight: Shape ``(channels,)``.
        bias: Likewise.
        epsilon: Added to the variance.
        vlen_bits: Bits of a vector register.
    """
    batch, channels = x.shape[:2]
    size = prod(x.shape[2:])

    def spread(parameter: torch.Tensor | None) -> torch.Tensor | None:
        if parameter is None:
            return None
        return (
            parameter.reshape(1, groups, channels // groups, 1)
            .expand(-1, -1, -1, size)
            .reshape(1, groups, -1)
        )

    rows = x.reshape(batch, groups, channels // groups * size)
    return layer_norm(rows, spread(weight), spread(bias), epsilon, vlen_bits).reshape(x.shape)


def _half(x: torch.Tensor) -> torch.Tensor:
    """The nearest FP16 numbers."""
    return torch.from_numpy(np.ascontiguousarray(operand_bits(x, FORMATS["fp16"])).view(np.float16))


def _result(half: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return half.to(dtype=like.dtype, device=like.device)


def _single(function: Callable[[Bits], Bits], x: torch.Tensor) -> torch.Tensor:
    """A scalar kernel on one FP32 number a row."""
    return torch.from_numpy(function(x.numpy().view(np.uint32)).view(np.float32))


def _normalised(half: torch.Tensor, epsilon: float, vlen_bits: int) -> torch.Tensor:
    length = half.shape[-1]
    step = square_sums(length, vlen_bits)
    sums = torch.zeros(*half.shape[:-1], step)
    wide = half.float()
    for start in range(0, length, step):
        part = wide[..., start : start + step]
        sums[..., : part.shape[-1]] += part * part
    total = _pairwise(sums)
    mean = execute("vfmadd", [total.numpy(), np.full(total.shape, epsilon, np.float32)], 32, 1 / length)
    factor = _single(newton_rsqrt, torch.from_numpy(mean))
    return half * factor.clamp_max(HIGHEST).half()  # a NaN stays one


def _pairwise(x: torch.Tensor) -> torch.Tensor:
    """FP32 sum of the last axis, neighbours first; shape ``(..., 1)``: :func:`lanewise.models.vector.pairwise_sum`."""
    length = x.shape[-1]
    width = 1 << max(0, length - 1).bit_length()
    x = torch.nn.functional.pad(x, (0, width - length))
    while x.shape[-1] > 1:
        x = x[..., ::2] + x[..., 1::2]
    return x + 0.0  # +0 of -0


def _sum(x: torch.Tensor, vlen_bits: int) -> torch.Tensor:
    """FP32 sum of rows as the kernels order it; shape ``(..., 1)``."""
    length = x.shape[-1]
    whole = 16 * length <= 8 * vlen_bits
    step = length if whole else 2 * vlen_bits // 16
    parts = [_pairwise(x[..., start : start + step]) for start in range(0, length, step)]
    count = row_sums(len(parts))
    sums = [torch.zeros(1) for _ in range(count)]
    for index, part in enumerate(parts):
        sums[index % count] = part + sums[index % count]
    while len(sums) > 1:
        sums = [left + right for left, right in zip(sums[::2], sums[1::2])]
    return sums[0]
