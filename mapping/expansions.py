"""Operators without a kernel of their own, as several that have one.

The graph keeps what the network means; :class:`~lanewise.mapping.lower_values.LoweredValues` lowers what is returned here, in which values keep their
numbers and new ones come behind them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

from lanewise.mapping.graph import Attribute, Graph, Operator, Value


class _Parts:
    """The operators that one operator becomes, written as an expression."""

    def __init__(self, operator: Operator, values: list[Value]) -> None:
        self.operator, self.values = operator, values
        self.made: list[Operator] = []

    def shape(self, value: int) -> tuple[int, ...]:
        return self.values[value].shape

    def of(self, function: str, *inputs: int, kind: str = "elementwise", shape: tuple[int, ...] | None = None, **attributes: Attribute) -> int:  # fmt: skip
        """One operator; returns its result."""
        if shape is None:
            shape = max((self.shape(i) for i in inputs), key=lambda each: (len(each), prod(each)))
        name = f"{self.operator.name}.{function or kind}"
        name += f"#{count}" if (count := sum(each.name.split("#")[0] == name for each in self.made)) else ""
        value = Value(id=len(self.values), shape=shape, dtype=self.values[inputs[0]].dtype, producer=0, origin="operator")  # fmt: skip
        self.values.append(value)
        self.made.append(
            Operator(
                index=0, name=name, kind=kind, function=function, inputs=inputs, outputs=(value.id,), attributes=attributes
            )
        )  # fmt: skip
        return value.id

    def times(self, value: int, factor: float) -> int:
        """A product with a number."""
        return value if factor == 1 else self.of("multiply", value, scalar=factor)

    def reduced(self, function: str, value: int, *, keep: bool | None = None) -> int:
        """A reduction along the operator's axes."""
        axes, shape = self.axes, self.shape(self.operator.inputs[0])
        keep = bool(self.operator.attributes.get("keep")) if keep is None else keep
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        left = tuple(size for axis, size in enumerate(shape) if axis not in axes)
        return self.of(function, value, kind="reduce", shape=kept if keep else left, axes=axes, keep=keep)

    @property
    def axes(self) -> tuple[int, ...]:
        found = self.operator.attributes.get("axes")
        if found is None:
            found = self.operator.attributes.get("axis")
        return tuple(int(a) for a in found) if isinstance(found, tuple) else (int(found),)  # type: ignore[arg-type]

    @property
    def length(self) -> int:
        """Elements that a reduction is over."""
        return prod(self.shape(self.operator.inputs[0])[axis] for axis in self.axes)

    def number(self, name: str, default: float = 0.0) -> float:
        """An attribute that is a number."""
        found = self.operator.attributes.get(name, default)
        return float(found) if isinstance(found, int | float) else default


Rule = Callable[[_Parts], int | None]
"""Writes the parts; returns the result, or ``None`` if the operator has a kernel, or nothing that it could be made of."""


def _norm(parts: _Parts) -> int | None:
    """The root of a mean, times the root of the count: a sum of squares soon is beyond FP16."""
    (x,) = parts.operator.inputs
    order = parts.number("order", 2.0)
    if order == 2:
        root = parts.of("sqrt", parts.reduced("mean", parts.of("pow", x, exponent=2.0)))
        return parts.times(root, math.sqrt(parts.length))
    if order not in (1, math.inf):
        return None
    return parts.reduced("sum" if order == 1 else "max", parts.of("abs", x))


def _variance(parts: _Parts) -> int:
    """Two passes: the mean, then the mean of the squares of what is left."""
    (x,) = parts.operator.inputs
    rest = parts.of("subtract", x, parts.reduced("mean", x, keep=True))
    variance = parts.reduced("mean", parts.of("pow", rest, exponent=2.0))
    correction = parts.number("correction")
    return parts.times(variance, parts.length / (parts.length - correction)) if parts.length > correction else variance  # fmt: skip


def _logsumexp(parts: _Parts) -> int:
    (x,) = parts.operator.inputs
    most = parts.reduced("max", x, keep=True)
    powers = parts.of("exp", parts.of("subtract", x, most))
    keep = bool(parts.operator.attributes.get("keep", True))
    logarithm = parts.of("log", parts.reduced("sum", powers, keep=keep))
    if not keep:
        shape = parts.shape(logarithm)
        most = parts.of("view", most, kind="movement", shape=shape, operation="reshape")
    return parts.of("add", logarithm, most)


def _log_softmax(parts: _Parts) -> int | None:
    (x,) = parts.operator.inputs
    if not parts.operator.attributes.get("log"):
        return None
    most = parts.reduced("max", x, keep=True)
    rest = parts.of("subtract", x, most)
    logarithm = parts.of("log", parts.reduced("sum", parts.of("exp", rest), keep=True))
    return parts.of("subtract", rest, logarithm)


def _minimum(parts: _Parts) -> int:
    (x,) = parts.operator.inputs
    return parts.of("negate", parts.reduced("max", parts.of("negate", x)))


def _any(parts: _Parts) -> int:
    (x,) = parts.operator.inputs
    return parts.reduced("max", parts.of("compare", x, relation="not_equal", scalar=0.0))


def _all(parts: _Parts) -> int:
    (x,) = parts.operator.inputs
    none = parts.of("compare", x, relation="equal", scalar=0.0)
    return parts.of("reverse_subtract", parts.reduced("max", none), scalar=1.0)


def _clamp(parts: _Parts) -> int | None:
    x, *bounds = parts.operator.inputs
    if len(bounds) != 2:
        return None
    return parts.of("minimum", parts.of("maximum", x, bounds[0]), bounds[1])


_SQUARINGS = 8
"""Of the largest power that is made of products."""


def _power(parts: _Parts) -> int | None:
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


def _elu(parts: _Parts) -> int | None:
    """``max(x, 0) + alpha (exp(min(x, 0)) - 1)``, where alpha is not 1."""
    (x,) = parts.operator.inputs
    selu = parts.operator.function == "selu"
    alpha, scale = (1.6732632423543772, 1.0507009873554805) if selu else (parts.number("alpha", 1.0), 1.0)
    if alpha == 1:
        return None
    power = parts.of("exp", parts.of("minimum", x, scalar=0.0))
    below = parts.times(parts.of("subtract", power, scalar=1.0), alpha)
    return parts.times(parts.of("add", below, parts.of("relu", x)), scale)


def _prelu(parts: _Parts) -> int | None:
    x, slope = parts.operator.inputs
    below = parts.of("minimum", x, scalar=0.0)
    if prod(parts.shape(slope)) > 1 and len(parts.shape(x)) > 2 and len(parts.shape(slope)) == 1:
        return None  # a slope for each channel, which is not the last axis
    return parts.of("add", parts.of("multiply", below, slope), parts.of("relu", x))


def _floored(parts: _Parts) -> int:
    quotient = parts.of("divide", *parts.operator.inputs, **_scalar(parts))
    return parts.of("floor", quotient)


def _remainder(parts: _Parts) -> int:
    """``a - b floor(a / b)``."""
    product = parts.of("multiply", _floored(parts), *parts.operator.inputs[1:], **_scalar(parts))
    return parts.of("subtract", parts.operator.inputs[0], product)


def _scalar(parts: _Parts) -> dict[str, Any]:
    return {"scalar": parts.number("scalar")} if "scalar" in parts.operator.attributes else {}


def _sign(parts: _Parts) -> int:
    (x,) = parts.operator.inputs
    above = parts.of("compare", x, relation="greater", scalar=0.0)
    return parts.of("subtract", above, parts.of("compare", x, relation="less", scalar=0.0))


def _chain(*steps: tuple[str, float | None]) -> Rule:
    """Functions one after the other, each with its number."""

    def rule(parts: _Parts) -> int:
        (value,) = parts.operator.inputs
        for function, scalar in steps:
            value = parts.of(function, value) if scalar is None else parts.of(function, value, scalar=scalar)
        return value

    return rule


def _hyperbolic(parts: _Parts) -> int:
    """sinh and cosh by exp."""
    (x,) = parts.operator.inputs
    power = parts.of("exp", x)
    other = parts.of("exp", parts.of("negate", x))
    return parts.times(
        parts.of("add" if parts.operator.function == "cosh" else "subtract", power, other), 0.5
    )


def _tangent(parts: _Parts) -> int:
    (x,) = parts.operator.inputs
    return parts.of("divide", parts.of("sin", x), parts.of("cos", x))


def _softsign(parts: _Parts) -> int:
    (x,) = parts.operator.inputs
    return parts.of("divide", x, parts.of("add", parts.of("abs", x), scalar=1.0))


def _fraction(parts: _Parts) -> int:
    (x,) = parts.operator.inputs
    return parts.of("subtract", x, parts.of("trunc", x))


def _standard_deviation(parts: _Parts) -> int:
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


def expanded(graph: Graph) -> Graph:
    """The graph with the operators that have no kernel written as several; itself, if there are none."""
    values, operators, changed = list(graph.values), list[Operator](), False
    for operator in graph.operators:
        rule = _RULES.get((operator.kind, operator.function))
        parts = _Parts(operator, values) if rule is not None and len(operator.outputs) == 1 else None
        before = len(values)
        result = rule(parts) if rule is not None and parts is not None else None
        if parts is None or result is None or not parts.made:
            del values[before:]
            operators.append(operator)
            continue
        changed = True
        last = parts.made[-1]
        del values[last.outputs[0] :]
        operators += [*parts.made[:-1], replace(last, name=operator.name, outputs=operator.outputs)]
    if not changed:
        return graph
    numbered = tuple(replace(operator, index=index) for index, operator in enumerate(operators))
    produced = {out: operator.index for operator in numbered for out in operator.outputs}
    return replace(
        graph,
        operators=numbered,
        values=tuple(replace(value, producer=produced.get(value.id)) for value in values),
    )
