"""Hardware results in the forward pass, derivatives of real functions in the backward pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from lanewise.errors import UserError
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.nn.activation import Activation
from lanewise.models.nn.session import paused


class _ExactDerivative(torch.autograd.Function):
    """``hardware(*tensors)``, with the derivative of ``exact(*tensors)``."""

    @staticmethod
    def forward(
        ctx: Any,
        hardware: Callable[..., torch.Tensor],
        exact: Callable[..., torch.Tensor],
        *tensors: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.exact = exact
        ctx.save_for_backward(*tensors)
        with paused():
            return hardware(*tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        needed = ctx.needs_input_grad[2:]
        tensors = [
            tensor if tensor is None else tensor.detach().requires_grad_(wanted)
            for tensor, wanted in zip(ctx.saved_tensors, needed)
        ]
        with paused(), torch.enable_grad():
            result = ctx.exact(*tensors)
        asked: list[Any] = [tensor for tensor, wanted in zip(tensors, needed) if wanted]
        gradients = iter(torch.autograd.grad(result, asked, gradient.to(result.dtype)))
        return None, None, *(next(gradients) if wanted else None for wanted in needed)


class _TableDerivative(torch.autograd.Function):
    """An activation, with the derivative of the segment's polynomial."""

    @staticmethod
    def forward(ctx: Any, hardware: Activation, x: torch.Tensor) -> torch.Tensor:
        ctx.hardware = hardware
        ctx.save_for_backward(x)
        with paused():
            return hardware(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        with paused():
            return None, gradient * ctx.hardware.slope(x)


class _Replaced(torch.autograd.Function):
    """A given result, with the derivative of what it takes the place of."""

    @staticmethod
    def forward(ctx: Any, hardware: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        return hardware.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ARG004 - PyTorch's
        return None, gradient


def straight_through(
    hardware: Callable[..., torch.Tensor], exact: Callable[..., torch.Tensor], *tensors: torch.Tensor | None
) -> torch.Tensor:
    """``hardware(*tensors)``, with the derivative of ``exact(*tensors)``; once differentiable.

    Raises:
        UserError: A transform of :mod:`torch.func` runs it.
    """
    _refuse_transforms()
    result: torch.Tensor = _ExactDerivative.apply(hardware, exact, *tensors)  # type: ignore[no-untyped-call]
    return result


def activated(hardware: Activation, x: torch.Tensor, gradient: str = "exact") -> torch.Tensor:
    """``hardware(x)`` with one of the :data:`~lanewise.models.nn.config.GRADIENTS`; once differentiable.

    A range reduction has the exact function's derivative always.

    Raises:
        UserError: A transform of :mod:`torch.func` runs it.
    """
    _refuse_transforms()
    if gradient == "exact" or hardware.table is None:
        return straight_through(hardware, hardware.exact, x)
    result: torch.Tensor = _TableDerivative.apply(hardware, x)  # type: ignore[no-untyped-call]
    return result


def flex_sfu_function(
    table: SfuTable, exact: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Flex-SFU with a floating-point table of your own, as a differentiable function of tensors.

    Args:
        table: Of any function.
        exact: The function, for its derivative; that of the segment's polynomial if ``None``.

    Returns:
        A function that rounds its operand to the table's format and gives the hardware's result, in the operand's type and shape.

    Raises:
        ValueError: The table is an integer format's, whose numbers stand for others.
    """
    if not table.form.floating:
        raise ValueError(f"table must be of a floating-point format, not {table.format}")
    hardware = Activation(
        name="table", format=table.format, exact=exact or torch.clone, bits=lambda x: flex_sfu(x, table),
        range=(-table.form.maximum, table.form.maximum), table=table,
    )  # fmt: skip
    return lambda x: activated(hardware, x, "table" if exact is None else "exact")


def in_place_of(exact: torch.Tensor, hardware: torch.Tensor) -> torch.Tensor:
    """``hardware``, with the derivative of ``exact``; of equal shape."""
    _refuse_transforms()
    result: torch.Tensor = _Replaced.apply(hardware.to(exact.dtype), exact)  # type: ignore[no-untyped-call]
    return result


def _refuse_transforms() -> None:
    if torch._C._are_functorch_transforms_active():
        raise UserError(
            "the hardware's functions must be computed on plain tensors, not on those of torch.func's transforms (vmap, grad, "
            "jvp, ...); expected the exact network there"
        )
