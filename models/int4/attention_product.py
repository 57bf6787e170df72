"""Attention's own products, QK^T and PV, and their gradients' products, as INT8 on the INT4 array: four passes, exact INT32 sums.

Xi et al. (arXiv 2306.11987) leave them in floating point, which their GPUs have. An operand is taken to be FP16 and goes to the nearest INT8
with one scale a tensor, its largest magnitude becoming 127; the incoming gradient goes there stochastically, under a loss scale. These are
:mod:`lanewise.models.operand_path`'s integers, without its transform.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from lanewise.models.int4.integers import (
    Scaling,
    highest,
    nearest,
    peak_of,
    quantised_gradient,
    scaled_values,
    turned_integers,
)
from lanewise.models.int4.product import Int4Product

BITS = 8
EXACT_IN_FP32 = 1024
"""Products of two INT8 are at most 2**14: sums of so many are at most 2**24, whatever their order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Int8Operand:
    """A real operand: about ``step * integers``."""

    integers: torch.Tensor
    """INT8 in FP32, the operand's shape."""
    step: float
    """What 1 stands for: the largest magnitude / 127, but for the 16 bits of the multiplier."""


def int8_operand(x: torch.Tensor) -> Int8Operand:
    """``x`` in INT8, to the nearest, ties to even.

    Args:
        x: FP32, any shape; rounded to FP16 first. NaN becomes 0, infinities saturate.
    """
    half = x.to(torch.float16)
    peak = min(peak_of(half), 65504.0)
    scaling = Scaling.of(peak, 1, highest(BITS) / peak if peak > 0 else 1.0)
    return Int8Operand(
        integers=nearest(scaled_values(turned_integers(half, scaling), scaling), BITS), step=1 / scaling.units
    )


def exact_product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``x @ y`` of INT8 in FP32: the array's sums, rounded to FP32 once and only above 2**24.

    Args:
        x: Shape ``(..., m, k)``; the array's 32 bits hold sums of 131,071 products.
        y: Shape ``(..., k, n)``.
    """
    if x.shape[-1] <= EXACT_IN_FP32:
        return x @ y
    return (x.to(torch.float64) @ y.to(torch.float64)).to(torch.float32)


def attention_product(x: torch.Tensor, y: torch.Tensor, layer: Int4Product) -> torch.Tensor:
    """``x @ y`` in INT8, forward and, by the layer's configuration, backward.

    Backward, ``dX = dZ Y^T`` and ``dY = X^T dZ`` take the INT8 operands of the forward pass and one INT8 gradient ``dZ``. As elsewhere, the
    products are real, of the quantised operands, without ``backward``, and the gradient goes to the nearest if ``naive``.

    Args:
        x: Shape ``(..., m, k)``.
        y: Shape ``(..., k, n)``, the leading axes those of ``x``.
        layer: Its generators round the gradient; they are in the layer's state dict.

    Returns:
        Shape ``(..., m, n)``, in the type of ``x``.
    """
    result: torch.Tensor = _Function.apply(  # type: ignore[no-untyped-call]
        x.to(torch.float32), y.to(torch.float32), layer
    )
    return result.to(x.dtype)


class _Function(torch.autograd.Function):
    """``x @ y``; the derivatives by both, straight through the rounding."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor, layer: Int4Product) -> torch.Tensor:
        left, right = int8_operand(x), int8_operand(y)
        ctx.layer, ctx.left, ctx.right = layer, left, right
        return exact_product(left.integers, right.integers).mul_(left.step * right.step)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        layer, left, right = ctx.layer, ctx.left, ctx.right
        want_x, want_y = ctx.needs_input_grad[:2]
        gradient = gradient.to(torch.float32)
        units = 1.0
        if layer.config.backward:
            quantised = quantised_gradient(
                gradient, splits=False, random=layer.gradient_bits(gradient), bits=BITS
            )
            ((_, gradient),), units = quantised.words, quantised.units
        product = exact_product if layer.config.backward else torch.matmul
        return (
            product(gradient, right.integers.mT).mul_(right.step / units) if want_x else None,
            product(left.integers.mT, gradient).mul_(left.step / units) if want_y else None,
            None,
        )
