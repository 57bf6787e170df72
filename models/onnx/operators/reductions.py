"""Rows: reductions, softmax, normalisations."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.models.onnx.call import Call, Operator

_Reduction = Callable[[Tensor, list[int], bool], Any]


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _reduced(function: _Reduction) -> Operator:
    def operator(c: Call) -> Any:
        x: Tensor = c[0]
        axes = c.ints("axes", 1)
        if not axes:
            if c.attribute("noop_with_empty_axes", 0):
                return _untouched(c.node.operator, x)
            axes = list(range(x.dim()))
        if x.dim() == 0:
            x, axes = x.reshape(1), [0]
            return function(x, axes, False)
        return function(x, axes, bool(c.attribute("keepdims", 1))).to(x.dtype)

    return operator


def _untouched(operator: str, x: Tensor) -> Tensor:
    """A reduction over no axis: what it does to each element alone."""
    if operator in ("ReduceL1", "ReduceL2"):
        return x.abs()
    return {"ReduceSumSquare": torch.square, "ReduceLogSum": torch.log}.get(operator, torch.clone)(x)


def _maximum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if any(x.shape[axis] == 0 for axis in axes):
        low = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
        return torch.full_like(x.sum(axes, keepdim=keep), low)
    return x.amax(axes, keepdim=keep)


def _minimum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if any(x.shape[axis] == 0 for axis in axes):
        high = math.inf if x.is_floating_point() else torch.iinfo(x.dtype).max
        return torch.full_like(x.sum(axes, keepdim=keep), high)
    return x.amin(axes, keepdim=keep)


def _softmax(c: Call) -> Tensor:
    x: Tensor = c[0]
    log = c.node.operator == "LogSoftmax"
    function = torch.log_softmax if log else torch.softmax
    if c.opset >= 13:
        return function(x, c.attribute("axis", -1))
    axis = c.attribute("axis", 1)
    axis += x.dim() if axis < 0 else 0
    if axis == x.dim() - 1:
        return function(x, axis)
    return function(x.flatten(axis), -1).reshape(x.shape)


def _hardmax(c: Call) -> Tensor:
    x: Tensor = c[0]
    axis = c.attribute("axis", -1 if c.opset >= 13 else 1)
    if c.opset >= 13 or axis in (-1, x.dim() - 1):
        return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1)
    flat = x.flatten(axis)
    return torch.zeros_like(flat).scatter(-1, flat.argmax(-1, keepdim=True), 1).reshape(x.shape)


def _batch_norm(c: Call) -> Any:
    x, scale, shift, mean, variance = (c[place] for place in range(5))
    epsilon = c.attribute("epsilon", 1e-5)
    if not c.attribute("training_mode", 0):
        return F.batch_norm(x, mean, variance, scale, shift, eps=epsilon)
    momentum = c.attribute("momentum", 0.9)
    axes = [0, *range(2, x.dim())]
    new_mean, new_variance = x.mean(axes), x.var(axes, unbiased=False)
    y = F.batch_norm(x, new_mean, new_variance, scale, shift, eps=epsilon)
    return (
        y,
        mean * momentum + new_mean * (1 - momentum),
        variance * momentum + new_variance * (1 - momentum),
    )


def _layer_norm(c: Call) -> Any:
    x: Tensor = c[0]
    axis = c.attribute("axis", -1) % x.dim()
    shape, epsilon = x.shape[axis:], c.attribute("epsilon", 1e-5)
    scale, shift = (part if part is None else part.expand(shape) for part in (c.maybe(1), c.maybe(2)))
    y = F.layer_norm(x, shape, scale, shift, epsilon)
    if len(c.node.outputs) < 2:
        return y
    axes = list(range(axis, x.dim()))
    mean = x.mean(axes, keepdim=True)
    deviation = (x - mean).square().mean(axes, keepdim=True)
    return y, mean, (deviation + epsilon).rsqrt()


def rms_norm(x: Tensor, scale: Tensor | None, axis: int, epsilon: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * scale over the axes from ``axis`` on."""
    shape = list(x.shape[axis % x.dim() :])
    return F.rms_norm(x, shape, None if scale is None else scale.expand(shape), epsilon)


def _instance_norm(c: Call) -> Tensor:
    return F.instance_norm(c[0], weight=c[1], bias=c[2], eps=c.attribute("epsilon", 1e-5))


def _group_norm(c: Call) -> Tensor:
    x, scale, shift, groups = c[0], c[1], c[2], c.attribute("num_groups")
    if scale.shape[0] != x.shape[1]:  # before set 21 a number for each group
        scale, shift = (part.repeat_interleave(x.shape[1] // groups) for part in (scale, shift))
    return F.group_norm(x, groups, scale, shift, c.attribute("epsilon", 1e-5))


def _mean_variance(c: Call) -> Any:
    x: Tensor = c[0]
    axes = c.ints("axes") or [0, 2, 3]
    mean = x.mean(axes, keepdim=True)
    deviation = ((x * x).mean(axes, keepdim=True) - mean * mean).sqrt()
    return (x - mean) / (deviation + 1e-9)


def _lp_normalisation(c: Call) -> Any:
    x: Tensor = c[0]
    norm = torch.linalg.vector_norm(x, c.attribute("p", 2), c.attribute("axis", -1), keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm) if not x.is_meta else x / norm


def _dropout(c: Call) -> Any:
    x: Tensor = c[0]
    training = c.has(2) and bool(c.value(2))
    if training and (float(c.value(1)) if c.has(1) else 0.5):
        raise ValueError("is random: expected a network for inference")
    if len(c.node.outputs) < 2 or not c.node.outputs[1]:
        return x
    return x, torch.ones_like(x, dtype=torch.bool)


REDUCTIONS: Mapping[str, Operator] = {
    "BatchNormalization": _batch_norm,
    "Dropout": _dropout,
    "GroupNormalization": _group_norm,
    "Hardmax": _hardmax,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax,
    "LpNormalization": _lp_normalisation,
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": lambda c: rms_norm(
        c[0], c.maybe(1), c.attribute("axis", -1), c.attribute("epsilon", 1e-5)
    ),
    "ReduceL1": _reduced(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduced(lambda x, axes, keep: torch.linalg.vector_norm(x.float(), 2, axes, keepdim=keep)),
    "ReduceLogSum": _reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep).log()),
    "ReduceLogSumExp": _reduced(lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep)),
    "ReduceMax": _reduced(_maximum),
    "ReduceMean": _reduced(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduced(_minimum),
    "ReduceProd": _reduced(_product),
    "ReduceSum": _reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceSumSquare": _reduced(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "Softmax": _softmax,
}
"""By ONNX's name."""
