"""Element-wise operators: one result for each position, operands broadcast."""

import math
from typing import Any

import torch
from torch import Tensor

from lanewise.mapping.canonical import Call, Canonical, Rule
from lanewise.mapping.graph import Attribute

_UNARY = {
    "abs": "abs", "acos": "acos", "asin": "asin", "atan": "atan", "ceil": "ceil", "cos": "cos",
    "cosh": "cosh", "erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "exp": "exp", "exp2": "exp2",
    "expm1": "expm1", "floor": "floor", "frac": "frac", "hardsigmoid": "hardsigmoid",
    "hardswish": "hardswish", "log": "log", "log10": "log10",
    "log1p": "log1p", "log2": "log2", "log_sigmoid": "log_sigmoid", "mish": "mish",
    "neg": "negate", "reciprocal": "reciprocal", "relu": "relu", "relu6": "relu6",
    "rsqrt": "rsqrt", "selu": "selu", "sigmoid": "sigmoid", "sign": "sign", "silu": "silu", "sin": "sin",
    "sinh": "sinh", "softsign": "softsign", "sqrt": "sqrt", "tan": "tan", "tanh": "tanh", "trunc": "trunc",
}  # fmt: skip

_BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "maximum": "maximum",
    "minimum": "minimum", "atan2": "atan2", "fmod": "truncated_remainder",
    "remainder": "remainder", "floor_divide": "floor_divide", "_prelu_kernel": "prelu",
}  # fmt: skip

_ROUNDED_QUOTIENTS = {"floor": "floor_divide", "trunc": "truncated_divide"}
_ORDERED = ("subtract", "divide", "floor_divide", "truncated_divide", "remainder", "truncated_remainder")
"""Functions whose operands cannot be exchanged."""

_LOGIC = {
    "logical_and": "logical_and", "logical_or": "logical_or", "logical_xor": "logical_xor",
    "bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor",
}  # fmt: skip

_COMPARE = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal", "isnan": "nan", "isinf": "infinite",
}  # fmt: skip


def _form(call: Call, function: str, **attributes: Attribute) -> Canonical:
    return Canonical(kind="elementwise", function=function, tensors=call.tensors, attributes=attributes)


def _scalar(call: Call) -> dict[str, Attribute]:
    """The one operand that is a number, if there is one."""
    operands = list(call.arguments.values())[:2]
    numbers = [float(operand) for operand in operands if isinstance(operand, int | float)]
    return {"scalar": numbers[0]} if numbers else {}


def _unary(call: Call) -> Canonical:
    return _form(call, _UNARY[call.name])


def _binary(call: Call) -> Canonical | None:
    if call.name == "mul" and call["self"] is call["other"]:
        return Canonical(
            kind="elementwise", function="pow", tensors=(call["self"],), attributes={"exponent": 2.0}
        )
    function = _BINARY[call.name]
    attributes = _scalar(call)
    if (mode := call.arguments.get("rounding_mode")) is not None:
        function = _ROUNDED_QUOTIENTS[mode]
    if function in _ORDERED and not isinstance(call["self"], Tensor):
        function = f"reverse_{function}"
    if call.arguments.get("alpha", 1) != 1:
        return None  # a product first
    return _form(call, function, **attributes)


def _reverse_subtract(call: Call) -> Canonical | None:
    x, other = call["self"], call["other"]
    if call["alpha"] != 1:
        return None
    if isinstance(other, Tensor):
        return Canonical(kind="elementwise", function="subtract", tensors=(other, x))
    return _form(call, "reverse_subtract", scalar=float(other))


def _logic(call: Call) -> Canonical | None:
    """Of truth values; of whole numbers ``bitwise_and`` is another function."""
    truths = len(call.tensors) == 2 and all(tensor.dtype == torch.bool for tensor in call.tensors)
    return _form(call, _LOGIC[call.name]) if truths else None


def _not(call: Call) -> Canonical:
    """Of whole numbers ``~x`` is ``-1 - x``."""
    if call["self"].dtype == torch.bool:
        return _form(call, "logical_not")
    if call.name == "bitwise_not":
        return _form(call, "reverse_subtract", scalar=-1.0)
    return _form(call, "compare", relation="equal", scalar=0.0)


def _round(call: Call) -> Canonical:
    """To so many decimals, if there are any."""
    decimals = int(call.arguments.get("decimals", 0))
    return _form(call, "round_decimals", decimals=decimals) if decimals else _form(call, "round")


def _logit(call: Call) -> Canonical:
    """``epsilon``: how near 0 and 1 the operand is taken to be at most."""
    epsilon = call["eps"]
    return _form(call, "logit") if epsilon is None else _form(call, "logit", epsilon=float(epsilon))


def _finite(call: Call) -> Canonical:
    """What stands for no number and for infinities; left out where it is the type's largest number."""
    given = {"nan": call["nan"] or 0.0, "positive": call["posinf"], "negative": call["neginf"]}
    numbers: dict[str, Attribute] = {name: float(value) for name, value in given.items() if value is not None}
    return _form(call, "nan_to_num", **numbers)


def _compare(call: Call) -> Canonical:
    return _form(call, "compare", relation=_COMPARE[call.name], **_scalar(call))


def _power(call: Call) -> Canonical | None:
    base, exponent = call["self"], call["exponent"]
    if not isinstance(exponent, Tensor):
        if exponent == 0:
            return None  # ones, whatever the base is
        return _form(call, "pow", exponent=float(exponent))
    return _form(call, "pow") if isinstance(base, Tensor) else _form(call, "pow", base=float(base))


def _square(call: Call) -> Canonical:
    return _form(call, "pow", exponent=2.0)


def _gelu(call: Call) -> Canonical:
    return _form(call, "gelu_tanh" if call["approximate"] == "tanh" else "gelu")


def _clamp(call: Call) -> Canonical:
    low, high = (
        call.arguments.get(a, call.arguments.get(b)) for a, b in (("min", "min_val"), ("max", "max_val"))
    )
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        if low is None or high is None:
            return _form(call, "maximum" if high is None else "minimum")
        return _form(call, "clamp")
    if (low, high) == (0, 6):
        return _form(call, "relu6")
    if low == 0 and high in (None, math.inf):
        return _form(call, "relu")
    if high is None:
        return _form(call, "maximum", scalar=float(low))
    if low is None:
        return _form(call, "minimum", scalar=float(high))
    return _form(call, "clamp", minimum=float(low), maximum=float(high))


def _elu(call: Call) -> Canonical | None:
    if call["scale"] != 1 or call["input_scale"] != 1:
        return None
    return _form(call, "elu", alpha=float(call["alpha"]))


def _leaky_relu(call: Call) -> Canonical:
    if call["negative_slope"] == 0:
        return _form(call, "relu")
    return _form(call, "leaky_relu", slope=float(call["negative_slope"]))


def _softplus(call: Call) -> Canonical:
    return _form(call, "softplus", beta=float(call["beta"]), threshold=float(call["threshold"]))


def _prelu(call: Call) -> Canonical | None:
    """A slope for each channel, axis 1, is for rows a vector along the last axis; for pictures it is no operand as it stands."""
    x, slopes = call["self"], call["weight"]
    return _form(call, "prelu") if slopes.numel() == 1 or x.dim() <= 2 else None


def _select(call: Call) -> Canonical | None:
    """``where(condition, a, b)`` and ``masked_fill(x, mask, value)``: condition, then what is taken where it holds and where not."""
    fill = call.name == "masked_fill"
    if not fill and "self" not in call.arguments:
        return None  # the indices of what is true: the shape depends on data
    condition = call["mask" if fill else "condition"]
    branches = (
        {"true": call["value"], "false": call["self"]}
        if fill
        else {"true": call["self"], "false": call["other"]}
    )
    tensors = tuple(t for t in (condition, *branches.values()) if isinstance(t, Tensor))
    numbers: dict[str, Attribute] = {
        name: float(value) for name, value in branches.items() if isinstance(value, int | float)
    }
    return Canonical(kind="elementwise", function="select", tensors=tensors, attributes=numbers)


def _cast(call: Call) -> Canonical:
    x: Tensor = call["self"]
    other: Any = call.arguments.get("other")
    target = other.dtype if isinstance(other, Tensor) else call.arguments.get("dtype")
    if target is None or target == x.dtype:
        return Canonical(kind="movement", tensors=(x,), attributes={"operation": "clone"})
    names = {"from": str(x.dtype).removeprefix("torch."), "to": str(target).removeprefix("torch.")}
    return Canonical(kind="elementwise", function="cast", tensors=(x,), attributes=names)


RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_LOGIC, _logic),
    **dict.fromkeys(_COMPARE, _compare),
    **dict.fromkeys(("logical_not", "bitwise_not"), _not),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "clip", "hardtanh"), _clamp),
    **dict.fromkeys(("where", "masked_fill"), _select),
    **dict.fromkeys(("to", "_to_copy"), _cast),
    "rsub": _reverse_subtract,
    "round": _round,
    "logit": _logit,
    "nan_to_num": _finite,
    "prelu": _prelu,
    "pow": _power,
    "square": _square,
    "gelu": _gelu,
    "elu": _elu,
    "leaky_relu": _leaky_relu,
    "softplus": _softplus,
}
