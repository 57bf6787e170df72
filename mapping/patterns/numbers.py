"""What element-wise operators compute, on numbers: in float64, and where that overflows in numbers without a largest one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mpmath
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.mapping.graph import Attribute, Operator

UNARY: Mapping[str, Callable[[Tensor], Tensor]] = {
    **{
        name: getattr(torch, name)
        for name in (
            "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "exp2", "expm1", "floor", "frac",
            "log", "log10", "log1p", "log2", "reciprocal", "relu", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh",
            "sqrt", "tan", "tanh", "trunc",
        )
    },
    **{name: getattr(F, name) for name in ("hardsigmoid", "hardswish", "mish", "relu6", "selu", "silu", "softsign", "gelu")},
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "log_sigmoid": F.logsigmoid,
    "negate": torch.neg,
    "square": torch.square,
    "logical_not": lambda x: torch.logical_not(x).to(torch.float64),
}  # fmt: skip
"""Functions of one tensor."""

_RELATIONS: Mapping[str, Callable[[Tensor, Any], Tensor]] = {
    "equal": torch.eq, "not_equal": torch.ne, "less": torch.lt, "less_equal": torch.le, "greater": torch.gt, "greater_equal": torch.ge,
}  # fmt: skip

_BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "reverse_subtract": lambda a, b: b - a,
    "reverse_divide": lambda a, b: b / a,
}


def evaluate(operator: Operator, operands: Sequence[Tensor]) -> Tensor | None:
    """The result of an element-wise operator; truth values are 1.0 and 0.0.

    Args:
        operands: float64, of shapes that broadcast.

    Returns:
        float64; ``None`` if the function is not known here.
    """
    function, attributes = operator.function, operator.attributes
    x = operands[0]
    scalar = _number(attributes, "scalar")
    if function in _BINARY:
        second = operands[1] if len(operands) > 1 else scalar
        if second is None:
            return None
        result: Tensor = _BINARY[function](x, second)
        return result
    if function in ("maximum", "minimum"):
        other = operands[1] if len(operands) > 1 else torch.tensor(scalar, dtype=torch.float64)
        return torch.maximum(x, other) if function == "maximum" else torch.minimum(x, other)
    if function == "compare":
        relation = _RELATIONS.get(str(attributes.get("relation")))
        second = operands[1] if len(operands) > 1 else scalar
        return None if relation is None or second is None else relation(x, second).to(torch.float64)
    if function == "select":
        return _select(attributes, operands)
    if function == "pow":
        if len(operands) > 1:
            return torch.pow(x, operands[1])
        exponent, base = (_number(attributes, name) for name in ("exponent", "base"))
        if exponent is not None:
            return torch.pow(x, exponent)
        return None if base is None else torch.pow(base, x)
    if len(operands) > 1:
        return None
    return _unary(operator, x)


def _number(attributes: Mapping[str, Attribute], name: str) -> float | None:
    found = attributes.get(name)
    return float(found) if isinstance(found, int | float) else None


def _unary(operator: Operator, x: Tensor) -> Tensor | None:
    attributes = operator.attributes

    def number(name: str, default: float) -> float:
        return float(attributes.get(name, default))  # type: ignore[arg-type]

    match operator.function:
        case "cast":
            target = str(attributes.get("to"))
            return x if "float" in target else (x != 0).to(torch.float64) if target == "bool" else None
        case "clamp" if "minimum" in attributes and "maximum" in attributes:
            return x.clamp(number("minimum", 0), number("maximum", 0))
        case "leaky_relu":
            return F.leaky_relu(x, number("slope", 0.01))
        case "elu":
            return F.elu(x, number("alpha", 1))
        case "softplus":
            return F.softplus(x, number("beta", 1), number("threshold", 20))
        case function if function in UNARY:
            return UNARY[function](x)
    return None


def _select(attributes: Mapping[str, Any], operands: Sequence[Tensor]) -> Tensor:
    condition, *rest = operands
    tensors = iter(rest)
    branches = [
        next(tensors) if attributes.get(name) is None else torch.tensor(attributes[name], dtype=torch.float64)
        for name in ("true", "false")
    ]
    return torch.where(condition != 0, branches[0], branches[1])


_EXACT: Mapping[str, Callable[[Any], Any]] = {
    "exp": mpmath.exp, "expm1": mpmath.expm1, "log": mpmath.log, "log1p": mpmath.log1p, "tanh": mpmath.tanh, "sqrt": mpmath.sqrt,
    "abs": abs, "negate": lambda x: -x, "square": lambda x: x * x, "reciprocal": lambda x: 1 / x, "relu": lambda x: max(x, mpmath.mpf(0)),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "silu": lambda x: x / (1 + mpmath.exp(-x)), "sinh": mpmath.sinh, "cosh": mpmath.cosh,
    "cast": lambda x: x, "erf": mpmath.erf,
}  # fmt: skip


def evaluate_exactly(operator: Operator, operands: Sequence[Any]) -> Any:
    """The same for mpmath's numbers, of those functions that float64 overflows in.

    Raises:
        LookupError: The function is not among them.
        ArithmeticError: There is no result.
    """
    function, attributes = operator.function, operator.attributes
    if function in _BINARY:
        second = operands[1] if len(operands) > 1 else mpmath.mpf(attributes["scalar"])
        return _BINARY[function](operands[0], second)
    if function == "pow" and "exponent" in attributes and len(operands) == 1:
        return mpmath.power(operands[0], attributes["exponent"])
    if len(operands) > 1:
        raise LookupError(function)
    return _EXACT[function](operands[0])
