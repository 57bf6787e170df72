"""Functions of one tensor, however they are written."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import mpmath

from lanewise.mapping.graph import Operator
from lanewise.mapping.patterns.growing import grown
from lanewise.mapping.patterns.numbers import evaluate, evaluate_exactly
from lanewise.mapping.patterns.rewriter import Rewriter
from lanewise.mapping.patterns.targets import TOLERANCE, Target, probes, targets, unlike

Writing: TypeAlias = tuple[tuple[Any, ...], ...]
"""What a set of operators computes, without names: of each its function, its attributes, and its operands by place."""

_EXACT_PROBES = 16
_recognised: dict[Writing, Target | None] = {}


def replace_activations(rewriter: Rewriter) -> None:
    """The largest sets of element-wise operators of one tensor that are one operator become that operator."""
    for index in sorted(rewriter.operators, reverse=True):
        last = rewriter.operators.get(index)
        if last is None or not _pointwise(rewriter, last):
            continue
        shape = rewriter.shape(last.outputs[0])
        best: tuple[tuple[Operator, ...], int, Target] | None = None
        for members, source in grown(rewriter, last, lambda operator: _pointwise(rewriter, operator)):
            if rewriter.shape(source) != shape or not rewriter.values[source].dtype.startswith(
                ("float", "bfloat")
            ):
                continue
            if (target := recognise(members, source)) is not None:
                best = members, source, target
        if best is None:
            continue
        members, source, target = best
        if target.function != "identity":
            rewriter.replace([operator.index for operator in members], last, "elementwise", target.function, (source,), target.attributes)  # fmt: skip
        elif last.outputs[0] not in rewriter.results or source not in rewriter.results:
            for operator in members[:-1]:
                rewriter.remove(operator)
            rewriter.drop(last, source)


def recognise(members: Sequence[Operator], source: int) -> Target | None:
    """The one function that ``members`` compute of ``source``; ``None``: it has no operator, or they are that operator already."""
    if len(members) == 1 and (members[0].function not in ("multiply", "add", "subtract", "divide")):
        return None
    writing = _writing(members, source)
    if writing not in _recognised:
        _recognised[writing] = _compared(members, source)
    return _recognised[writing]


def _pointwise(rewriter: Rewriter, operator: Operator) -> bool:
    """Whether every operand is a number or a tensor of the result's shape."""
    if operator.kind != "elementwise" or len(operator.outputs) != 1:
        return False
    shape = rewriter.shape(operator.outputs[0])
    return all(rewriter.computed(i) and rewriter.shape(i) == shape for i in operator.inputs)


def _writing(members: Sequence[Operator], source: int) -> Writing:
    place = {source: -1} | {operator.outputs[0]: number for number, operator in enumerate(members)}
    return tuple(
        (operator.function, *sorted(operator.attributes.items()), *(place[i] for i in operator.inputs))
        for operator in members
    )


def _compared(members: Sequence[Operator], source: int) -> Target | None:
    x = probes()
    values = {source: x}
    for operator in members:
        found = evaluate(operator, [values[i] for i in operator.inputs])
        if found is None:
            return None
        values[operator.outputs[0]] = found
    result = values[members[-1].outputs[0]].expand_as(x)
    for target, wanted in targets(result):
        if len(members) == 1 and target.function not in ("identity",):
            continue  # one operator for another is no gain
        wrong = unlike(result, wanted)
        if wrong.any() and bool((result[wrong].isfinite()).any()):
            continue
        if not wrong.any() or _exactly(
            members, source, dict(zip(x[wrong].tolist(), wanted[wrong].tolist(), strict=True))
        ):
            return target
    return None


def _exactly(members: Sequence[Operator], source: int, wanted: Mapping[float, float]) -> bool:
    """Whether the results are these where float64 overflows on the way, at some of the points."""
    points = list(wanted)
    chosen = {
        points[round(i * (len(points) - 1) / (_EXACT_PROBES - 1))] for i in range(_EXACT_PROBES)
    }  # fmt: skip
    for point in chosen:
        values: dict[int, Any] = {source: mpmath.mpf(point)}
        try:
            with mpmath.workprec(120):
                for operator in members:
                    values[operator.outputs[0]] = evaluate_exactly(
                        operator, [values[i] for i in operator.inputs]
                    )
                result, goal = values[members[-1].outputs[0]], mpmath.mpf(wanted[point])
                if not abs(result - goal) <= TOLERANCE * abs(goal):
                    return False
        except (LookupError, ArithmeticError, ValueError, TypeError):
            return False
    return True
