"""Element-wise operators: one result for each position, operands broadcast."""

from typing import Any

from torch import Tensor

from lanewise.mapping.canonical import Call, Canonical, Rule
from lanewise.mapping.graph import Attribute

_UNARY = {
    "abs": "abs", "acos": "acos", "asin": "asin", "atan": "atan", "ceil": "ceil", "cos": "cos",
    "cosh": "cosh", "erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "exp": "exp", "exp2": "exp2",
    "expm1": "expm1", "floor": "floor", "frac": "frac", "hardsigmoid": "hardsigmoid",
    "hardswish": "hardswish", "log": "log", "log10": "log10",
    "log1p": "log1p", "log2": "log2", "log_sigmoid": "log_sigmoid", "logit": "logit", "mish": "mish",
    "neg": "negate", "reciprocal": "reciprocal", "relu": "relu", "relu6": "relu6", "round": "round",
    "rsqrt": "rsqrt", "selu": "selu", "sigmoid": "sigmoid", "sign": "sign", "silu": "silu", "sin": "sin",
    "sinh": "sinh", "softsign": "softsign", "sqrt": "sqrt", "tan": "tan", "tanh": "tanh", "trunc": "trunc",
    "logical_not": "logical_not", "bitwise_not": "logical_not",
}  # fmt: skip

_BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "maximum": "maximum",
    "minimum": "minimum", "rsub": "reverse_subtract", "atan2": "atan2", "fmod": "remainder",
    "remainder": "remainder", "floor_divide": "floor_divide", "prelu": "prelu", "_prelu_kernel": "prelu",
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


def _binary(call: Call) -> Canonical:
    function = _BINARY[call.name]
    attributes = _scalar(call)
    if call.arguments.get("rounding_mode") is not None:
        function = "floor_divide"
    if function in ("subtract", "divide") and not isinstance(call["self"], Tensor):
        function = f"reverse_{function}"
    if (alpha := call.arguments.get("alpha", 1)) != 1:
        attributes["alpha"] = float(alpha)
    return _form(call, function, **attributes)


def _compare(call: Call) -> Canonical:
    return _form(call, "compare", relation=_COMPARE[call.name], **_scalar(call))


def _power(call: Call) -> Canonical:
    base, exponent = call["self"], call["exponent"]
    if not isinstance(exponent, Tensor):
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
    return _form(call, "leaky_relu", slope=float(call["negative_slope"]))


def _softplus(call: Call) -> Canonical:
    return _form(call, "softplus", beta=float(call["beta"]), threshold=float(call["threshold"]))


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
    **dict.fromkeys(_COMPARE, _compare),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "clip", "hardtanh"), _clamp),
    **dict.fromkeys(("where", "masked_fill"), _select),
    **dict.fromkeys(("to", "_to_copy"), _cast),
    "pow": _power,
    "square": _square,
    "gelu": _gelu,
    "elu": _elu,
    "leaky_relu": _leaky_relu,
    "softplus": _softplus,
}
