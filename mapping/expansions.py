"""Operators without a kernel of their own, as several that have one.

The graph keeps what the network means; :class:`~lanewise.mapping.lower_values.LoweredValues` lowers what is returned here, in which values keep their
numbers and new ones come behind them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from lanewise.mapping import expansions_linear, expansions_order
from lanewise.mapping.complex_values import as_pairs
from lanewise.mapping.expansion_parts import Parts, Rule
from lanewise.mapping.graph import Graph, Operator


def _norm(parts: Parts) -> int | None:
    """The root of a mean, times the root of the count: a sum of squares soon is beyond FP16."""
    (x,) = parts.operator.inputs
    order = parts.number("order", 2.0)
    if order == 2:
        root = parts.of("sqrt", parts.reduced("mean", parts.of("pow", x, exponent=2.0)))
        return parts.times(root, math.sqrt(parts.length))
    if order not in (1, math.inf):
        return None
    return parts.reduced("sum" if order == 1 else "max", parts.of("abs", x))


def _variance(parts: Parts) -> int:
    """Two passes: the mean, then the mean of the squares of what is left."""
    (x,) = parts.operator.inputs
    rest = parts.of("subtract", x, parts.reduced("mean", x, keep=True))
    variance = parts.reduced("mean", parts.of("pow", rest, exponent=2.0))
    correction = parts.number("correction")
    return parts.times(variance, parts.length / (parts.length - correction)) if parts.length > correction else variance  # fmt: skip


def _logsumexp(parts: Parts) -> int:
    (x,) = parts.operator.inputs
    most = parts.reduced("max", x, keep=True)
    powers = parts.of("exp", parts.of("subtract", x, most))
    keep = bool(parts.operator.attributes.get("keep", True))
    logarithm = parts.of("log", parts.reduced("sum", powers, keep=keep))
    if not keep:
        shape = parts.shape(logarithm)
        most = parts.of("view", most, kind="movement", shape=shape, operation="reshape")
    return parts.of("add", logarithm, most)


def _log_softmax(parts: Parts) -> int | None:
    (x,) = parts.operator.inputs
    if not parts.operator.attributes.get("log"):
        return None
    most = parts.reduced("max", x, keep=True)
    rest = parts.of("subtract", x, most)
    logarithm = parts.of("log", parts.reduced("sum", parts.of("exp", rest), keep=True))
    return parts.of("subtract", rest, logarithm)


def _minimum(parts: Parts) -> int | Sequence[int | None] | None:
    if len(parts.operator.outputs) > 1:
        return expansions_order.most(parts)
    (x,) = parts.operator.inputs
    return parts.of("negate", parts.reduced("max", parts.of("negate", x)))


def _any(parts: Parts) -> int:
    (x,) = parts.operator.inputs
    return parts.reduced("max", parts.of("compare", x, relation="not_equal", scalar=0.0))


def _all(parts: Parts) -> int:
    (x,) = parts.operator.inputs
    none = parts.of("compare", x, relation="equal", scalar=0.0)
    return parts.of("reverse_subtract", parts.reduced("max", none), scalar=1.0)


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


def _standard_deviation(parts: Parts) -> int:
    return parts.of("sqrt", _variance(parts))


_RULES: Mapping[tuple[str, str], Rule] = {
    ("reduce", "norm"): _norm,
    ("reduce", "variance"): _variance,
    ("reduce", "standard_deviation"): _standard_deviation,
    ("reduce", "logsumexp"): _logsumexp,
    ("reduce", "min"): _minimum,
    ("reduce", "any"): _any,
    ("reduce", "all"): _all,
    ("softmax", ""): _log_softmax,
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
    **expansions_order.RULES,
    **expansions_linear.RULES,
}
"""By kind and function."""


def expanded(graph: Graph) -> Graph:
    """The graph with the operators that have no kernel written as several; itself, if there are none."""
    given = graph
    graph = as_pairs(graph)
    values, operators, changed = list(graph.values), list[Operator](), graph is not given
    read = {value for operator in graph.operators for value in operator.inputs} | set(graph.outputs)
    for operator in graph.operators:
        if operator.function == "_local_scalar_dense" and not operator.outputs:
            changed = True  # what the program is steered by, and nothing computed
            continue
        rule = _RULES.get((operator.kind, operator.function))
        parts = Parts(operator, values, read)
        before = len(values)
        found = rule(parts) if rule is not None and operator.outputs else None
        if found is None or not parts.made:
            del values[before:]
            operators.append(operator)
            continue
        changed = True
        results = (found,) if isinstance(found, int) else tuple(found)
        named = {new: old for new, old in zip(results, operator.outputs, strict=True) if new is not None}
        last = {new: place for place, made in enumerate(parts.made) for new in made.outputs}
        for new in named:  # the operator's own result has its place; nobody reads this one
            values[new] = replace(values[new], origin="constant", producer=None)
        unread = [old for new, old in zip(results, operator.outputs) if new is None]
        for old in unread:
            values[old] = replace(values[old], origin="constant", producer=None)
        if not named:
            del values[before:]
            continue  # nobody reads any of it
        chief = last[next(iter(named))]
        for place, made in enumerate(parts.made):
            inputs, outputs = (
                tuple(named.get(value, value) for value in ids) for ids in (made.inputs, made.outputs)
            )
            name = operator.name if place == chief else made.name
            if (name, inputs, outputs) != (made.name, made.inputs, made.outputs):
                made = replace(made, name=name, inputs=inputs, outputs=outputs)
            operators.append(made)
    if not changed:
        return graph
    numbered = tuple(
        operator if operator.index == index else replace(operator, index=index)
        for index, operator in enumerate(operators)
    )
    produced = {out: operator.index for operator in numbered for out in operator.outputs}
    placed = (
        value if value.producer == produced.get(value.id) else replace(value, producer=produced.get(value.id))
        for value in values
    )
    return replace(graph, operators=numbered, values=tuple(placed))
