"""Element by element: arithmetic, activations, comparisons, logic, types."""

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.models.onnx.call import Call, Operator
from lanewise.models.onnx.types import torch_type


def _unary(function: Callable[[Tensor], Any]) -> Operator:
    return lambda c: function(c[0])


def _binary(function: Callable[[Any, Any], Any]) -> Operator:
    return lambda c: function(c.number(0), _aligned(c))


def _aligned(c: Call) -> Any:
    """The second operand; before set 7 its first axis may stand at any axis of the first operand."""
    axis = c.attribute("axis") if c.attribute("broadcast", 0) else None
    if axis is None:
        return c.number(1)
    behind = c[0].dim() - axis % c[0].dim() - c[1].dim()
    return c[1].reshape(*c[1].shape, *[1] * behind)


def _folded(function: Callable[[Any, Any], Any]) -> Operator:
    """Of any number of operands."""
    return lambda c: reduce(function, c.operands)


def _divide(c: Call) -> Tensor:
    x, y = c.number(0), _aligned(c)
    whole = not (x if isinstance(x, Tensor) else y).is_floating_point()
    return torch.div(x, y, rounding_mode="trunc") if whole else x / y


def _power(c: Call) -> Tensor:
    x = c[0]
    result: Tensor = x ** c.number(1)
    return result.to(x.dtype)


def _modulo(c: Call) -> Tensor:
    x, y = c[0], c.number(1)
    return torch.fmod(x, y) if c.attribute("fmod", 0) else torch.remainder(x, y)


def _clip(c: Call) -> Tensor:
    bounds = [
        c.number(place) if c.has(place) else c.attribute(name) for place, name in ((1, "min"), (2, "max"))
    ]
    if bounds == [None, None]:
        return c[0].clone()  # type: ignore[no-any-return]
    if any(isinstance(bound, Tensor) for bound in bounds):
        bounds = [
            bound if bound is None or isinstance(bound, Tensor) else torch.full((), bound, dtype=c[0].dtype)
            for bound in bounds
        ]
    return torch.clamp(c[0], *bounds)


def _cast(c: Call) -> Tensor:
    dtype = c[1].dtype if c.node.operator == "CastLike" else torch_type(c.attribute("to"))
    if dtype is None:
        raise ValueError(f"to is type {c.attribute('to')}, which PyTorch has not")
    x: Tensor = c[0]
    return x.to(dtype)


def _gelu(c: Call) -> Tensor:
    return F.gelu(c[0], approximate=c.attribute("approximate", "none"))


def _hard_sigmoid(c: Call) -> Any:
    alpha, beta = c.attribute("alpha", 0.2), c.attribute("beta", 0.5)
    if not c.exact and beta == 0.5 and math.isclose(alpha, 1 / 6, rel_tol=1e-4):
        return F.hardsigmoid(c[0])
    return (c[0] * alpha + beta).clamp(0, 1)


def _shift(c: Call) -> Any:
    function = torch.bitwise_left_shift if c.attribute("direction") == "LEFT" else torch.bitwise_right_shift
    return function(c[0].to(torch.int64), c[1].to(torch.int64)).to(c[0].dtype)


def _prelu(c: Call) -> Any:
    x, slope = c[0], c[1]
    known = c.known[1]
    if known is not None and known.numel() == 1:
        return F.leaky_relu(x, known.item())
    if c.opset < 7 and slope.dim() == 1:
        return F.prelu(x, slope)
    per_channel = slope.dim() == x.dim() - 1 and slope.numel() == slope.shape[0] == x.shape[1]
    if per_channel and slope.dim() > 0:
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


def _is_infinite(c: Call) -> Any:
    x = c[0]
    positive, negative = c.attribute("detect_positive", 1), c.attribute("detect_negative", 1)
    if positive and negative:
        return x.isinf()
    return (
        (x == math.inf)
        if positive
        else (x == -math.inf)
        if negative
        else torch.zeros_like(x, dtype=torch.bool)
    )


def _thresholded(c: Call) -> Any:
    return F.threshold(c[0], c.attribute("alpha", 1.0), 0.0)


def _shrink(c: Call) -> Any:
    x, bound, bias = c[0], c.attribute("lambd", 0.5), c.attribute("bias", 0.0)
    return torch.where(x < -bound, x + bias, torch.where(x > bound, x - bias, torch.zeros_like(x))).to(
        x.dtype
    )


def _softplus(c: Call) -> Any:
    return F.softplus(c[0])


def _swish(c: Call) -> Any:
    alpha = c.attribute("alpha", 1.0)
    return F.silu(c[0]) if alpha == 1 else c[0] * torch.sigmoid(c[0] * alpha)


def _where(c: Call) -> Tensor:
    return torch.where(c[0], c[1], c[2])


def _mean(c: Call) -> Any:
    return reduce(torch.add, c.operands) / len(c.operands)


_UNARY: Mapping[str, Callable[[Tensor], Any]] = {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin, "Asinh": torch.asinh,
    "Atan": torch.atan, "Atanh": torch.atanh, "BitwiseNot": torch.bitwise_not, "Ceil": torch.ceil,
    "Cos": torch.cos, "Cosh": torch.cosh, "Erf": torch.erf, "Exp": torch.exp, "Floor": torch.floor,
    "HardSwish": F.hardswish, "IsNaN": torch.isnan, "Log": torch.log, "Mish": F.mish, "Neg": torch.neg,
    "Not": torch.logical_not, "Reciprocal": torch.reciprocal, "Relu": torch.relu, "Round": torch.round,
    "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Silu": F.silu, "Sin": torch.sin, "Sinh": torch.sinh,
    "Softsign": F.softsign, "Sqrt": torch.sqrt, "Tan": torch.tan, "Tanh": torch.tanh,
}  # fmt: skip
_BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "Add": lambda x, y: x + y,
    "Mul": lambda x, y: x * y,
    "Sub": lambda x, y: x - y,
    "Equal": lambda x, y: x == y,
    "Greater": lambda x, y: x > y,
    "GreaterOrEqual": lambda x, y: x >= y,
    "Less": lambda x, y: x < y,
    "LessOrEqual": lambda x, y: x <= y,
    "And": lambda x, y: x & y,
    "Or": lambda x, y: x | y,
    "Xor": lambda x, y: x ^ y,
    "BitwiseAnd": lambda x, y: x & y,
    "BitwiseOr": lambda x, y: x | y,
    "BitwiseXor": lambda x, y: x ^ y,
}
ELEMENTWISE: Mapping[str, Operator] = {
    **{name: _unary(function) for name, function in _UNARY.items()},
    **{name: _binary(function) for name, function in _BINARY.items()},
    "BitShift": _shift,
    "Cast": _cast,
    "CastLike": _cast,
    "Celu": lambda c: F.celu(c[0], c.attribute("alpha", 1.0)),
    "Clip": _clip,
    "Div": _divide,
    "Elu": lambda c: F.elu(c[0], c.attribute("alpha", 1.0)),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "Identity": lambda c: c[0],
    "IsInf": _is_infinite,
    "LeakyRelu": lambda c: F.leaky_relu(c[0], c.attribute("alpha", 0.01)),
    "Max": _folded(torch.maximum),
    "Mean": _mean,
    "Min": _folded(torch.minimum),
    "Mod": _modulo,
    "PRelu": _prelu,
    "Pow": _power,
    "Selu": lambda c: F.selu(c[0]) if "gamma" not in c.node.attributes else _selu(c),
    "Shrink": _shrink,
    "Softplus": _softplus,
    "Sum": _folded(torch.add),
    "Swish": _swish,
    "ThresholdedRelu": _thresholded,
    "Where": _where,
}
"""By ONNX's name."""


def _selu(c: Call) -> Any:
    gamma = c.attribute("gamma", 1.0507009873554805)
    return F.elu(c[0], c.attribute("alpha", 1.6732632423543772)) * gamma
