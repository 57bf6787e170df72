"""The forward pass's operands: Hadamard quantiser with a learned step (Xi et al., arXiv 2306.11987; LSQ, Esser et al., 2020)."""

from dataclasses import dataclass
from math import sqrt

import torch

from lanewise.models.int4.integers import (
    INT4_HIGH,
    Scaling,
    inside,
    nearest,
    peak_of,
    scaled_values,
    turn,
    turned_integers,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Operand:
    """X or W in INT4: about ``step * integers``, once it is turned back."""

    integers: torch.Tensor
    """INT4 in FP32, shape ``(rows, n)``."""
    step: float
    """What 1 stands for: the learned step, but for the 16 bits of the multiplier."""
    inside: torch.Tensor
    """Whether the value was within [-8, 7] before it was rounded; bool, same shape. The hardware's flag."""
    slope: torch.Tensor
    """Derivative of ``step * integers`` by the step, FP32, same shape: the rounding error inside, the limit outside."""
    block: int
    """Elements that were turned together."""

    def input_gradient(self, gradient: torch.Tensor) -> torch.Tensor:
        """Of the real operand, straight through the rounding, from that of ``step * integers``."""
        return turn(gradient * self.inside, self.block).mul_(1 / sqrt(self.block))

    def step_gradient(self, gradient: torch.Tensor) -> torch.Tensor:
        """Of the step, shape ``()``, scaled by ``1 / sqrt(numel * 7)`` as LSQ has it."""
        return (gradient * self.slope).sum() / sqrt(max(gradient.numel(), 1) * INT4_HIGH)


def operand(x: torch.Tensor, step: float, block: int) -> Operand:
    """Quantise with a learned step.

    Args:
        x: FP32, shape ``(rows, n)``, ``n`` a multiple of ``block``; rounded to FP16 first.
        step: Positive.
        block: Elements that are turned together.
    """
    half = x.to(torch.float16)
    scaling = Scaling.of(peak_of(half), block, 1 / step)
    values = scaled_values(turned_integers(half, scaling), scaling)
    integers = nearest(values)
    passes = inside(values)
    slope = torch.where(passes, integers - values.to(torch.float32), integers)
    return Operand(integers=integers, step=1 / scaling.units, inside=passes, slope=slope, block=block)


def minmax_operand(x: torch.Tensor) -> Operand:
    """Quantise so that the largest magnitude becomes 7; no transform, no learned step.

    Args:
        x: FP32, shape ``(rows, n)``; rounded to FP16 first.
    """
    peak = min(peak_of(x.to(torch.float16)), 65504.0)
    return operand(x, peak / INT4_HIGH if peak > 0 else 1.0, 1)


def first_step(x: torch.Tensor, block: int) -> float:
    """LSQ's first step, ``2 mean|x| / sqrt(7)`` of the turned values; 1 of zeros."""
    values = turn(x.detach().to(torch.float16).to(torch.float32), block)
    mean = float(values.abs().mean(dtype=torch.float64)) / sqrt(block) if x.numel() else 0.0
    return 2 * mean / sqrt(INT4_HIGH) if 0 < mean < float("inf") else 1.0
