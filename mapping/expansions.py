"""Operators without a kernel of their own, as several that have one.

The graph keeps what the network means; :class:`~lanewise.mapping.lower_values.LoweredValues` lowers what is returned here, in which values keep their
numbers and new ones come behind them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lanewise.mapping import expansions_fourier, expansions_functions, expansions_linear, expansions_order
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
    **expansions_functions.RULES,
    **expansions_order.RULES,
    **expansions_linear.RULES,
    **expansions_fourier.RULES,
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
