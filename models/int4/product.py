"""The product of a linear layer and its two gradients' products on an INT4 array."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from lanewise.errors import UserError
from lanewise.models.int4.config import Int4Config
from lanewise.models.int4.integers import quantised_gradient
from lanewise.models.int4.operand import first_step, minmax_operand, operand
from lanewise.models.int4.sampling import Observer, input_product, weight_product
from lanewise.models.lfsr import lane_states, random_bits

LEAST_STEP = 2.0**-20
"""A learned step is taken to be no less."""


class Int4Product(nn.Module):
    """``x @ weight.T`` in INT4, forward and, by the configuration, backward.

    Forward: both operands are turned, quantised with a learned step each, and multiplied as integers. Backward: see
    :mod:`lanewise.models.int4.sampling`. What is INT4 is exactly what the golden models give; sums are scaled in FP32. Gradients are taken
    to be FP16 under a loss scale, the power of two that suits the tensor.

    Attributes:
        step_x: Learned step of ``x``, shape ``()``; 0 until the first batch sets it.
        step_weight: Learned step of the weight, shape ``()``.
        generators: States of the gradient's lanes and, last, of the row sampler, int64, shape ``(lanes + 1,)``. A state dict has
            them, so that a run that is resumed gives the bits of one that never stopped.
        observer: Is told what each backward product keeps, if not ``None``.
    """

    generators: torch.Tensor

    def __init__(self, weight: torch.Tensor, config: Int4Config, place: int = 0) -> None:
        """Of a weight of shape ``(m, k)``; ``place`` tells layers of one seed apart."""
        super().__init__()
        self.config = config
        self.observer: Observer | None = None
        self.block = config.turned(weight.shape[1])
        first = torch.tensor(first_step(weight, self.block))
        self.step_weight = nn.Parameter(first, requires_grad=not config.naive)
        self.step_x = nn.Parameter(torch.zeros(()), requires_grad=not config.naive)
        states = lane_states((config.seed + place * 0x10001) % 2**32, config.lanes + 1)
        self.register_buffer("generators", torch.from_numpy(states.astype(np.int64)))

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Shapes ``(..., k)`` and ``(m, k)`` to ``(..., m)``, in the type of ``x``.

        Raises:
            UserError: ``x`` is no floating-point tensor of that width.
        """
        if not x.is_floating_point() or x.shape[-1:] != weight.shape[-1:]:
            shape = f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"
            raise UserError(f"x must be floating-point, shape (..., {weight.shape[1]}), not {shape}")
        rows = x.reshape(-1, x.shape[-1]).to(torch.float32)
        if not self.config.naive and float(self.step_x.detach()) == 0 and rows.numel():
            with torch.no_grad():
                self.step_x.fill_(first_step(rows, self.block))
        result: torch.Tensor = _Function.apply(  # type: ignore[no-untyped-call]
            rows, weight.to(torch.float32), self.step_x, self.step_weight, self
        )
        return result.to(x.dtype).reshape(*x.shape[:-1], weight.shape[0])

    def gradient_bits(self, gradient: torch.Tensor) -> torch.Tensor | None:
        """The next random bits of the gradient's quantiser, int32 of its shape; ``None`` if it rounds to the nearest."""
        if self.config.naive:
            return None
        drawn = self.element_bits(gradient.numel())
        return torch.from_numpy(drawn.astype(np.int32)).reshape(gradient.shape)

    def element_bits(self, elements: int) -> npt.NDArray[np.uint16]:
        """The next random bits of the gradient's quantiser, one an element, in beats of ``lanes`` elements."""
        lanes = self.config.lanes
        states = self.generators[:lanes].numpy().astype(np.uint32)
        bits, after = random_bits(states, -(-elements // lanes))
        self.generators[:lanes] = torch.from_numpy(after.astype(np.int64))
        return bits.reshape(-1)[:elements]

    def row_bits(self, rows: int) -> npt.NDArray[np.uint16]:
        """The next random bits of the row sampler, one beat a row."""
        bits, after = random_bits(self.generators[-1:].numpy().astype(np.uint32), rows)
        self.generators[-1:] = torch.from_numpy(after.astype(np.int64))
        return bits[:, 0]

    def extra_repr(self) -> str:
        """For printing."""
        return f"block={self.block}, backward={self.config.backward}"


class _Function(torch.autograd.Function):
    """``x @ w.T``; the derivatives by x, w and both steps."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, w: torch.Tensor, step_x: torch.Tensor, step_w: torch.Tensor, layer: Int4Product
    ) -> torch.Tensor:  # fmt: skip
        if layer.config.naive:
            left, right = minmax_operand(x), minmax_operand(w)
        else:
            left = operand(x, max(float(step_x), LEAST_STEP), layer.block)
            right = operand(w, max(float(step_w), LEAST_STEP), layer.block)
        ctx.layer, ctx.left, ctx.right = layer, left, right
        return (left.integers @ right.integers.T).mul_(left.step * right.step)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        layer, left, right = ctx.layer, ctx.left, ctx.right
        config: Int4Config = layer.config
        want_x, want_w, want_step_x, want_step_w = ctx.needs_input_grad[:4]
        gradient = gradient.to(torch.float32)
        to_x = to_w = None
        if not config.backward:
            to_x = gradient @ right.integers if want_x or want_step_x else None
            to_w = gradient.T @ left.integers if want_w or want_step_w else None
        else:
            integers = quantised_gradient(
                gradient, splits=config.splits, random=layer.gradient_bits(gradient)
            )
            sampler = layer.row_bits if config.sampling and config.splits else None
            if want_x or want_step_x:
                to_x = input_product(integers, right.integers, sampler, layer.observer)
            if want_w or want_step_w:
                to_w = weight_product(integers, left.integers, sampler, layer.observer)
        if to_x is not None:
            to_x.mul_(right.step)
        if to_w is not None:
            to_w.mul_(left.step)
        return (
            left.input_gradient(to_x) if want_x and to_x is not None else None,
            right.input_gradient(to_w) if want_w and to_w is not None else None,
            left.step_gradient(to_x) if want_step_x and to_x is not None else None,
            right.step_gradient(to_w) if want_step_w and to_w is not None else None,
            None,
        )
