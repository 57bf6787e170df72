"""Element-wise functions, made of those that have a kernel."""

import math
from collections.abc import Mapping
from math import prod
from typing import Any

from lanewise.mapping.expansion_parts import Parts, Rule


def _clamp(parts: Parts) -> int | None:
    x, *bounds = parts.operator.inputs
    if len(bounds) != 2:
        return None
    return parts.of("minimum", parts.of("maximum", x, bounds[0]), bounds[1])


_SQUARINGS = 16
"""Of the largest power that is made of products."""


def _power(parts: Parts) -> int | None:
    """Whole powers by squaring, others by exp and log, which is for positive numbers."""
    exponent = parts.operator.attributes.get("exponent")
    if len(parts.operator.inputs) > 1:
        x, y = parts.operator.inputs
        return parts.of("exp", parts.of("multiply", parts.of("log", x), y))
    (x,) = parts.operator.inputs
    if not isinstance(exponent, int | float):
        return parts.of("exp", parts.times(x, math.log(base))) if (base := parts.number("base")) > 0 else None
    if exponent in (-1.0, -0.5, 0.5, 1.0, 2.0, 3.0):
        return None
    whole = abs(int(exponent))
    if exponent == int(exponent) and not 0 < whole < 2**_SQUARINGS:
        return None
    if exponent != int(exponent):
        return parts.of("exp", parts.times(parts.of("log", x), float(exponent)))
    result: int | None = None
    power = x
    while whole:
        if whole & 1:
            result = power if result is None else parts.of("multiply", result, power)
        whole >>= 1
        power = parts.of("pow", power, exponent=2.0) if whole else power
    assert result is not None
    return result if exponent > 0 else parts.of("reciprocal", result)


def _elu(parts: Parts) -> int | None:
    """``max(x, 0) + alpha (exp(min(x, 0)) - 1)``, where alpha is not 1."""
    (x,) = parts.operator.inputs
    selu = parts.operator.function == "selu"
    alpha, scale = (1.6732632423543772, 1.0507009873554805) if selu else (parts.number("alpha", 1.0), 1.0)
    if alpha == 1:
        return None
    power = parts.of("exp", parts.of("minimum", x, scalar=0.0))
    below = parts.times(parts.of("subtract", power, scalar=1.0), alpha)
    return parts.times(parts.of("add", below, parts.of("relu", x)), scale)


def _prelu(parts: Parts) -> int | None:
    x, slope = parts.operator.inputs
    below = parts.of("minimum", x, scalar=0.0)
    if prod(parts.shape(slope)) > 1 and len(parts.shape(x)) > 2 and len(parts.shape(slope)) == 1:
        return None  # a slope for each channel, which is not the last axis
    return parts.of("add", parts.of("multiply", below, slope), parts.of("relu", x))


_QUOTIENTS = {
    "floor_divide": "floor", "remainder": "floor", "truncated_divide": "trunc", "truncated_remainder": "trunc"
}  # fmt: skip


def _whole_quotient(parts: Parts) -> int:
    """``floor(a / b)``, or without what is behind the point; of ``reverse_`` functions ``a`` is the number."""
    function = parts.operator.function.removeprefix("reverse_")
    divide = "reverse_divide" if function != parts.operator.function else "divide"
    quotient = parts.of(divide, *parts.operator.inputs, **_scalar(parts))
    return parts.of(_QUOTIENTS[function], quotient)


def _remainder(parts: Parts) -> int:
    """``a - b floor(a / b)``, or of the quotient without what is behind the point."""
    quotient = _whole_quotient(parts)
    if parts.operator.function.startswith("reverse_"):
        product = parts.of("multiply", quotient, parts.operator.inputs[0])
        return parts.of("reverse_subtract", product, **_scalar(parts))
    product = parts.of("multiply", quotient, *parts.operator.inputs[1:], **_scalar(parts))
    return parts.of("subtract", parts.operator.inputs[0], product)


def _scalar(parts: Parts) -> dict[str, Any]:
    return {"scalar": parts.number("scalar")} if "scalar" in parts.operator.attributes else {}


def _sign(parts: Parts) -> int:
    (x,) = parts.operator.inputs
    above = parts.of("compare", x, relation="greater", scalar=0.0)
    return parts.of("subtract", above, parts.of("compare", x, relation="less", scalar=0.0))


def _chain(*steps: tuple[str, float | None]) -> Rule:
    """Functions one after the other, each with its number."""

    def rule(parts: Parts) -> int:
        (value,) = parts.operator.inputs
        for function, scalar in steps:
            value = parts.of(function, value) if scalar is None else parts.of(function, value, scalar=scalar)
        return value

    return rule


def _hyperbolic(parts: Parts) -> int:
    """sinh and cosh by exp."""
    (x,) = parts.operator.inputs
    power = parts.of("exp", x)
    other = parts.of("exp", parts.of("negate", x))
    return parts.times(
        parts.of("add" if parts.operator.function == "cosh" else "subtract", power, other), 0.5
    )


def _tangent(parts: Parts) -> int:
    (x,) = parts.operator.inputs
    return parts.of("divide", parts.of("sin", x), parts.of("cos", x))


def _softsign(parts: Parts) -> int:
    (x,) = parts.operator.inputs
    return parts.of("divide", x, parts.of("add", parts.of("abs", x), scalar=1.0))


def _fraction(parts: Parts) -> int:
    (x,) = parts.operator.inputs
    return parts.of("subtract", x, parts.of("trunc", x))


_ARCCOSINE = (1.5707288, -0.2121144, 0.0742610, -0.0187293)
"""Abramowitz and Stegun, 4.4.45: of powers of x, to 7e-5."""


def _arc(parts: Parts) -> int:
    """acos, asin: a root times a polynomial of the absolute value; of negative ones what is missing to pi."""
    (x,) = parts.operator.inputs
    size = parts.of("abs", x)
    *rest, first = _ARCCOSINE
    polynomial = parts.of("add", parts.times(size, first), scalar=rest[-1])
    for factor in rest[-2::-1]:
        polynomial = parts.of("add", parts.of("multiply", polynomial, size), scalar=factor)
    arc = parts.of("multiply", parts.of("sqrt", parts.of("reverse_subtract", size, scalar=1.0)), polynomial)
    below = parts.of("compare", x, relation="less", scalar=0.0)
    missing = parts.of("reverse_subtract", parts.times(arc, 2.0), scalar=math.pi)
    arc = parts.of("add", arc, parts.of("multiply", missing, below))
    return arc if parts.operator.function == "acos" else parts.of("reverse_subtract", arc, scalar=math.pi / 2)


def _inverse_hyperbolic(parts: Parts) -> int:
    """asinh: a logarithm of the absolute value, with the sign of the number."""
    (x,) = parts.operator.inputs
    size = parts.of("abs", x)
    root = parts.of("sqrt", parts.of("add", parts.of("pow", x, exponent=2.0), scalar=1.0))
    logarithm = parts.of("log", parts.of("add", root, size))
    above = parts.of("compare", x, relation="greater", scalar=0.0)
    sign = parts.of("subtract", above, parts.of("compare", x, relation="less", scalar=0.0))
    return parts.of("multiply", logarithm, sign)


_LARGEST = 65504.0
"""Of the finite FP16 numbers."""


def _finite(parts: Parts) -> int:
    """nan_to_num: a number where there is none, and numbers, by default the largest ones, in place of infinities."""
    (x,) = parts.operator.inputs
    result = parts.of("select", parts.of("compare", x, relation="nan"), x, true=parts.number("nan"))
    for name, infinity in (("positive", math.inf), ("negative", -math.inf)):
        if name in parts.operator.attributes:
            infinite = parts.of("compare", x, relation="equal", scalar=infinity)
            result = parts.of("select", infinite, result, true=parts.number(name))
    return parts.of("maximum", parts.of("minimum", result, scalar=_LARGEST), scalar=-_LARGEST)


def _softplus(parts: Parts) -> int | None:
    """``softplus(beta x) / beta``, and x itself where ``beta x`` is above the threshold.

    There, to FP16, softplus is x anyway, unless the threshold is low.
    """
    (x,) = parts.operator.inputs
    beta, threshold = parts.number("beta", 1.0), parts.number("threshold", 20.0)
    low = threshold < _SOFTPLUS_IS_X
    if beta == 1 and not low:
        return None
    x = parts.times(x, beta)
    if not low:
        return parts.times(parts.of("softplus", x), 1 / beta)
    below = parts.of("softplus", parts.of("minimum", x, scalar=threshold))
    step = max(threshold, 0.0) + math.log1p(math.exp(-abs(threshold)))
    rest = parts.of("subtract", parts.of("maximum", x, scalar=threshold), scalar=step)
    above = parts.of("compare", x, relation="greater", scalar=threshold)
    return parts.times(parts.of("add", below, parts.of("multiply", rest, above)), 1 / beta)


_SOFTPLUS_IS_X = 8.0
"""From here on softplus is less than half of FP16's unit in the last place above its operand."""

_MOST_DECIMALS = 4
"""Powers of ten up to this one are FP16 numbers."""


def _round_decimals(parts: Parts) -> int | None:
    """What is behind the point, times a power of ten, rounded; before the point nothing changes.

    The same of a sum: the whole part is even times the power of ten, so ties go where they would go.
    """
    (x,) = parts.operator.inputs
    decimals = int(parts.number("decimals"))
    if abs(decimals) > _MOST_DECIMALS:
        return None
    power = 10.0 ** abs(decimals)
    if decimals < 0:
        return parts.times(parts.of("round", parts.of("divide", x, scalar=power)), power)
    whole = parts.of("trunc", x)
    rest = parts.of("round", parts.times(parts.of("subtract", x, whole), power))
    return parts.of("add", whole, parts.of("divide", rest, scalar=power))


def _logit(parts: Parts) -> int:
    """``-log(1 / x - 1)``, of what is between epsilon and 1 - epsilon."""
    (x,) = parts.operator.inputs
    if (epsilon := parts.number("epsilon")) > 0:
        x = parts.of("minimum", parts.of("maximum", x, scalar=epsilon), scalar=1 - epsilon)
    odds = parts.of("subtract", parts.of("reciprocal", x), scalar=1.0)
    return parts.of("negate", parts.of("log", odds))


RULES: Mapping[tuple[str, str], Rule] = {
    ("elementwise", "clamp"): _clamp,
    ("elementwise", "pow"): _power,
    ("elementwise", "elu"): _elu,
    ("elementwise", "selu"): _elu,
    ("elementwise", "prelu"): _prelu,
    **{
        ("elementwise", before + name): _remainder if "remainder" in name else _whole_quotient
        for name in _QUOTIENTS
        for before in ("", "reverse_")
    },
    ("elementwise", "sign"): _sign,
    ("elementwise", "acos"): _arc,
    ("elementwise", "asin"): _arc,
    ("other", "asinh"): _inverse_hyperbolic,
    ("elementwise", "nan_to_num"): _finite,
    ("elementwise", "softplus"): _softplus,
    ("elementwise", "round_decimals"): _round_decimals,
    ("elementwise", "sinh"): _hyperbolic,
    ("elementwise", "cosh"): _hyperbolic,
    ("elementwise", "tan"): _tangent,
    ("elementwise", "softsign"): _softsign,
    ("elementwise", "frac"): _fraction,
    ("elementwise", "expm1"): _chain(("exp", None), ("subtract", 1.0)),
    ("elementwise", "log1p"): _chain(("add", 1.0), ("log", None)),
    ("elementwise", "exp2"): _chain(("multiply", math.log(2)), ("exp", None)),
    ("elementwise", "log2"): _chain(("log", None), ("multiply", 1 / math.log(2))),
    ("elementwise", "log10"): _chain(("log", None), ("multiply", 1 / math.log(10))),
    ("elementwise", "erfc"): _chain(("erf", None), ("reverse_subtract", 1.0)),
    ("elementwise", "logit"): _logit,
}
"""By kind and function."""
