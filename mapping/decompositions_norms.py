"""Norms with some of their parameters, and batch norms of this batch's own statistics."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def _layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, *others: Any
) -> Any:
    """Reached with a bias alone."""
    if weight is not None or bias is None:
        return NotImplemented
    return torch.ops.aten.layer_norm(input, normalized_shape, torch.ones_like(bias), bias, *others)


def _native_layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Any:
    if weight is not None or bias is None:
        return NotImplemented
    return torch.ops.aten.native_layer_norm(input, normalized_shape, torch.ones_like(bias), bias, eps)


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, *others: Any
) -> Any:
    if (weight is None) == (bias is None):
        return NotImplemented
    return torch.ops.aten.group_norm(input, num_groups, *_both(weight, bias), *others)


def _native_group_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, *others: Any) -> Any:
    if (weight is None) == (bias is None):
        return NotImplemented
    return torch.ops.aten.native_group_norm(input, *_both(weight, bias), *others)


def _instance_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, *others: Any) -> Any:
    if (weight is None) == (bias is None):
        return NotImplemented
    return torch.ops.aten.instance_norm(input, *_both(weight, bias), *others)


def _batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float, *others: Any,
) -> Any:  # fmt: skip
    """With one parameter of two; or without running statistics: then those of the batch count."""
    if running_mean is not None and running_var is not None and not training:
        if (weight is None) == (bias is None):
            return NotImplemented
        return torch.ops.aten.batch_norm(
            input, *_both(weight, bias), running_mean, running_var, training, momentum, eps, *others
        )
    if running_mean is not None or running_var is not None:
        return NotImplemented  # they change while the network runs
    axes = (0, *range(2, input.dim()))
    rest = input - input.mean(axes, keepdim=True)
    result = rest * torch.rsqrt(rest.square().mean(axes, keepdim=True) + eps)
    shape = (-1, *(1,) * (input.dim() - 2))
    result = result if weight is None else result * weight.reshape(shape)
    return result if bias is None else result + bias.reshape(shape)


def _both(weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both, where one is given; the other one changes nothing."""
    if weight is None:
        assert bias is not None
        return torch.ones_like(bias), bias
    return weight, torch.zeros_like(weight) if bias is None else bias


NORMS: dict[str, Callable[..., Any]] = {
    "layer_norm": _layer_norm,
    "native_layer_norm": _native_layer_norm,
    "group_norm": _group_norm,
    "native_group_norm": _native_group_norm,
    "instance_norm": _instance_norm,
    "batch_norm": _batch_norm,
}
"""By aten name."""
