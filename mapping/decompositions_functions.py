"""Activations and other functions that PyTorch runs as one operator, as those that have a canonical form."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name


def _add(self: Tensor, other: Any, alpha: float = 1) -> Any:
    """Reached with a factor of the second operand; likewise the next two."""
    return self + other * alpha


def _subtract(self: Tensor, other: Any, alpha: float = 1) -> Any:
    return self - other * alpha


def _reverse_subtract(self: Tensor, other: Any, alpha: float = 1) -> Any:
    return other - self * alpha


def _addcmul(self: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    product = tensor1 * tensor2
    return self + (product if value == 1 else product * value)


def _addcdiv(self: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    quotient = tensor1 / tensor2
    return self + (quotient if value == 1 else quotient * value)


def _lerp(self: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    return self + (end - self) * weight


def _elu(self: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    """Reached with a scale: ``scale (max(x, 0) + alpha (exp(input_scale min(x, 0)) - 1))``."""
    below = F.elu(torch.clamp(self, max=0) * input_scale, alpha)
    result = torch.relu(self) + below
    return result if scale == 1 else result * scale


def _celu(self: Tensor, alpha: float = 1.0) -> Tensor:
    return F.elu(self) if alpha == 1 else F.elu(self / alpha) * alpha


def _hardshrink(self: Tensor, lambd: float = 0.5) -> Tensor:
    return self * (self.abs() > lambd)


def _softshrink(self: Tensor, lambd: float = 0.5) -> Tensor:
    return self - torch.clamp(self, -lambd, lambd)


def _threshold(self: Tensor, threshold: float, value: float) -> Tensor:
    return torch.where(self > threshold, self, value)


def _logaddexp(self: Tensor, other: Tensor) -> Tensor:
    return torch.maximum(self, other) + F.softplus(-(self - other).abs())


def _power_zero(self: Any, exponent: Any) -> Tensor:  # noqa: ARG001
    """Reached with the exponent zero."""
    return torch.ones_like(self)


def _prelu(self: Tensor, weight: Tensor) -> Tensor:
    """Reached with a slope for each channel of a picture, axis 1."""
    slopes = weight.reshape(-1, *(1,) * (self.dim() - 2))
    return torch.ops.aten._prelu_kernel(self, slopes)  # type: ignore[no-any-return]


def _band(self: Tensor, diagonal: int, *, lower: bool) -> Tensor:
    rows, columns = (torch.arange(size, device=self.device) for size in self.shape[-2:])
    places = columns - rows[:, None]
    return torch.where(places <= diagonal if lower else places >= diagonal, self, 0.0)


def _tril(self: Tensor, diagonal: int = 0) -> Tensor:
    return _band(self, diagonal, lower=True)


def _triu(self: Tensor, diagonal: int = 0) -> Tensor:
    return _band(self, diagonal, lower=False)


def _logic(name: str) -> Callable[..., Any]:
    """Of numbers: of what is not zero."""

    def function(self: Tensor, other: Tensor) -> Any:
        return getattr(torch, name)(self != 0, other != 0)

    return function


def _two(name: str) -> Callable[..., Any]:
    """``var_mean`` and ``std_mean``, as PyTorch orders their results."""

    def function(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        (dim, keep) = (kwargs.get("dim", args[0] if args else None), bool(kwargs.get("keepdim", False)))
        if isinstance(dim, bool):  # the overload without axes
            return getattr(torch, name)(self, unbiased=dim), self.mean()
        if len(args) > 2:
            keep = bool(args[2])
        axes = range(self.dim()) if dim is None else dim
        return getattr(torch, name)(self, *args, **kwargs), self.mean(tuple(axes), keepdim=keep)

    return function


def _repeat_interleave(
    self: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Any:
    """Without an axis: of all elements in a row."""
    if not isinstance(repeats, int) or dim is not None:
        return NotImplemented
    return self.reshape(-1).repeat_interleave(repeats, 0, output_size=output_size)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": _add,
    "sub": _subtract,
    "rsub": _reverse_subtract,
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    "lerp": _lerp,
    "elu": _elu,
    "celu": _celu,
    "hardshrink": _hardshrink,
    "softshrink": _softshrink,
    "threshold": _threshold,
    "logaddexp": _logaddexp,
    "pow": _power_zero,
    "prelu": _prelu,
    "tril": _tril,
    "triu": _triu,
    **{name: _logic(name) for name in ("logical_and", "logical_or", "logical_xor")},
    "var_mean": _two("var"),
    "std_mean": _two("std"),
    "repeat_interleave": _repeat_interleave,
}
"""By aten name."""
