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


_SQUARINGS = 8
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
    if exponent != int(exponent) or not 0 < whole < 2**_SQUARINGS:
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


def _floored(parts: Parts) -> int:
    quotient = parts.of("divide", *parts.operator.inputs, **_scalar(parts))
    return parts.of("floor", quotient)


def _remainder(parts: Parts) -> int:
    """``a - b floor(a / b)``."""
    product = parts.of("multiply", _floored(parts), *parts.operator.inputs[1:], **_scalar(parts))
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
    """nan_to_num: zero where there is no number, and the largest numbers in place of infinities."""
    (x,) = parts.operator.inputs
    number = parts.of("select", parts.of("compare", x, relation="nan"), x, true=0.0)
    return parts.of("maximum", parts.of("minimum", number, scalar=_LARGEST), scalar=-_LARGEST)


RULES: Mapping[tuple[str, str], Rule] = {
    ("elementwise", "clamp"): _clamp,
    ("elementwise", "pow"): _power,
    ("elementwise", "elu"): _elu,
    ("elementwise", "selu"): _elu,
    ("elementwise", "prelu"): _prelu,
    ("elementwise", "floor_divide"): _floored,
    ("elementwise", "remainder"): _remainder,
    ("elementwise", "sign"): _sign,
    ("elementwise", "acos"): _arc,
    ("elementwise", "asin"): _arc,
    ("other", "asinh"): _inverse_hyperbolic,
    ("other", "nan_to_num"): _finite,
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
    ("elementwise", "logit"): _chain(
        ("reciprocal", None), ("subtract", 1.0), ("log", None), ("negate", None)
    ),
}
"""By kind and function."""
