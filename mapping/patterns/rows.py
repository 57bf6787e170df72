"""Softmax, norms and reductions of one tensor, however they are written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import mpmath
from torch import Tensor

from lanewise.mapping.graph import Attribute, Operator
from lanewise.mapping.patterns.along import Along
from lanewise.mapping.patterns.growing import grown
from lanewise.mapping.patterns.numbers import evaluate, evaluate_exactly
from lanewise.mapping.patterns.rewriter import Rewriter
from lanewise.mapping.patterns.row_targets import (
    TOLERANCE,
    RowTarget,
    probes,
    reduced_targets,
    unlike,
    whole_row_targets,
    wide_probes,
)

LONGEST = 1 << 15
"""Numbers of the longest row that forms are compared on; of longer ones each stands for several elements."""
_REDUCTIONS = ("sum", "mean", "max", "min", "variance", "standard_deviation", "norm", "logsumexp")
_recognised: dict[tuple[Any, ...], RowTarget | None] = {}


def replace_rows(rewriter: Rewriter) -> None:
    """The largest sets of element-wise operators and reductions of one tensor along the same axes that are one operator become that operator."""
    for index in sorted(rewriter.operators, reverse=True):
        last = rewriter.operators.get(index)
        if last is None or not _of_rows(last) or last.kind == "movement":
            continue
        best: tuple[Sequence[Operator], int, tuple[int, ...], RowTarget] | None = None
        for members, source in grown(rewriter, last, _of_rows):
            axes = _axes(members)
            if len(members) > 1 and axes and rewriter.values[source].dtype.startswith(("float", "bfloat")):
                target = _recognise(rewriter, members, source, axes)
                if target is not None:
                    best = members, source, axes, target
        if best is not None:
            _put(rewriter, *best)


def _put(
    rewriter: Rewriter, members: Sequence[Operator], source: int, axes: tuple[int, ...], target: RowTarget
) -> None:
    last, shape = members[-1], rewriter.shape(source)
    length = prod(shape[axis] for axis in axes)
    attributes: dict[str, Attribute] = dict(target.attributes)
    if target.kind == "reduce":
        attributes |= {"axes": axes, "keep": len(rewriter.shape(last.outputs[0])) == len(shape)}
    else:
        attributes["length"] = length
        if target.kind == "softmax" or axes != (len(shape) - 1,):
            attributes["axis"] = axes[-1]
        if target.kind == "normalise":
            attributes["affine"] = False
    made = rewriter.replace(
        [operator.index for operator in members], last, target.kind, target.function, (source,), attributes
    )
    if target.factor != 1:
        rewriter.put(made, "elementwise", "multiply", {"scalar": target.factor}, f"{made.name}.factor")


def _of_rows(operator: Operator) -> bool:
    if len(operator.outputs) != 1:
        return False
    if operator.kind == "reduce":
        return operator.function in _REDUCTIONS
    if operator.kind == "softmax":
        return True
    if operator.kind == "movement":
        return operator.function == "view" and operator.attributes.get("operation") in ("reshape", "expand")
    return operator.kind == "elementwise"


def _axes(members: Sequence[Operator]) -> tuple[int, ...]:
    """Along which all reductions are; none if they are not the same ones."""
    found: set[Attribute | None] = {
        operator.attributes.get("axes") for operator in members if operator.kind == "reduce"
    }
    found |= {(operator.number("axis"),) for operator in members if operator.kind == "softmax"}
    (axes,) = found if len(found) == 1 else ((),)
    return tuple(int(axis) for axis in axes) if isinstance(axes, tuple) else ()


def _recognise(
    rewriter: Rewriter, members: Sequence[Operator], source: int, axes: tuple[int, ...]
) -> RowTarget | None:
    shape = rewriter.shape(source)
    if axes[-1] >= len(shape):
        return None
    length = prod(shape[axis] for axis in axes)
    reduced = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    removed = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    out = rewriter.shape(members[-1].outputs[0])
    trailing = axes == tuple(range(len(shape) - len(axes), len(shape)))
    if length <= 1 or (out == shape and len(axes) > 1 and not trailing):
        return None
    if out not in (shape, reduced, removed):
        return None
    forms = {source: "whole"}
    for operator in members:
        form = _form(operator, rewriter, forms, (shape, reduced, removed))
        if form is None:
            return None
        forms[operator.outputs[0]] = form
    places = {source: -1} | {operator.outputs[0]: number for number, operator in enumerate(members)}
    key = (
        length, len(axes) > 1,
        *((o.kind, o.function, *sorted(o.attributes.items()), forms[o.outputs[0]], *(places[i] for i in o.inputs)) for o in members),
    )  # fmt: skip
    if key not in _recognised:
        _recognised[key] = _compared(members, source, length, forms)
    return _recognised[key]


def _form(
    operator: Operator, rewriter: Rewriter, forms: Mapping[int, str], shapes: tuple[tuple[int, ...], ...]
) -> str | None:
    """``whole``: a number for each of the rows' elements; ``row``: one a row, whose axes are of one element; ``short``: without the axes; else ``None``."""
    named = dict(zip(("short", "row", "whole"), reversed(shapes), strict=True))
    out = rewriter.shape(operator.outputs[0])
    operands = [forms.get(value, "") for value in operator.inputs]
    if not operands or "" in operands:
        return None  # a parameter, or something of another shape
    if operator.kind == "reduce":
        keep = bool(operator.attributes.get("keep"))
        return ("row" if keep else "short") if operands == ["whole"] else None
    if operator.kind == "softmax":
        return "whole" if operands == ["whole"] else None
    if operator.kind == "movement":
        if operands[0] == "whole":
            return "whole" if out == named["whole"] else None
        return (
            "row"
            if out == named["row"]
            else "short"
            if out == named["short"]
            else "whole"
            if out == named["whole"] and operands[0] == "row"
            else None
        )
    if len(set(operands)) > 1 and "short" in operands:
        return None
    return "whole" if "whole" in operands else operands[0]


def _compared(
    members: Sequence[Operator], source: int, length: int, forms: Mapping[int, str]
) -> RowTarget | None:
    columns = min(length, LONGEST)
    each, more = divmod(length, columns)
    x, along = probes(columns), Along((*(each + 1,) * more, *(each,) * (columns - more)))
    result = _result(members, source, x, along)
    if result is None:
        return None
    whole = forms[members[-1].outputs[0]] == "whole"
    result = result.expand_as(x) if whole else result
    constants = [
        float(number)
        for operator in members
        for name in ("scalar", "minimum")
        if isinstance(number := operator.attributes.get(name), int | float) and 0 < number < 1
    ]
    for target in whole_row_targets(length, constants) if whole else reduced_targets(length):
        if not unlike(result, target.values(x, along), x).any() and _everywhere(
            members, source, length, target
        ):
            return target
    return None


def _result(members: Sequence[Operator], source: int, x: Tensor, along: Along) -> Tensor | None:
    values: dict[int, Tensor] = {source: x}
    for operator in members:
        operands = [values[i] for i in operator.inputs]
        found: Tensor | None = operands[0]
        if operator.kind in ("reduce", "softmax"):
            found = along.evaluate(operator, operands[0])
        elif operator.kind == "elementwise":
            found = evaluate(operator, operands)
        if found is None:
            return None
        values[operator.outputs[0]] = found
    return values[members[-1].outputs[0]]


_EXACT_PROBES = 16


def _everywhere(members: Sequence[Operator], source: int, length: int, target: RowTarget) -> bool:
    """Whether ``members`` are ``target`` at all FP16 numbers; where float64 overflows or loses its digits on the way, at some of them."""
    for exponential in (False, True) if target.exponential else (False,):
        x, along = wide_probes(length, exponential=exponential)
        result, wanted = _result(members, source, x, along), target.values(x, along)
        assert result is not None
        result = result.expand_as(wanted)
        wrong = unlike(result, wanted, x)
        lost = wrong & ~result.isfinite().all(-1)
        for rows in (wrong & ~lost, lost):
            places = rows.nonzero().flatten().tolist()
            steps = range(min(_EXACT_PROBES, len(places)))
            chosen = {places[i * (len(places) - 1) // max(1, len(steps) - 1)] for i in steps}
            if not all(_exactly(members, source, x[i], wanted[i], along) for i in chosen):
                return False
    return True


def _exactly(
    members: Sequence[Operator], source: int, row: Tensor, wanted: Tensor, along: Along
) -> bool:  # fmt: skip
    """Whether the results of one row are these, in numbers without a largest one."""
    values: dict[int, list[Any]] = {source: [mpmath.mpf(each) for each in row.tolist()]}
    goal = wanted.tolist()
    try:
        with mpmath.workprec(120):
            for operator in members:
                operands = [values[i] for i in operator.inputs]
                columns = max(map(len, operands))
                found = operands[0]
                if operator.kind in ("reduce", "softmax"):
                    found = along.evaluate_exactly(operator, operands[0])
                elif operator.kind == "elementwise":
                    found = [
                        evaluate_exactly(
                            operator, [each[column if len(each) > 1 else 0] for each in operands]
                        )
                        for column in range(columns)
                    ]
                values[operator.outputs[0]] = found
            result = values[members[-1].outputs[0]]
            result = result if len(result) == len(goal) else result * len(goal)
            error = max(abs(a - b) for a, b in zip(result, goal, strict=True))
            return bool(error <= TOLERANCE * max(map(abs, goal)))
    except (LookupError, ArithmeticError, ValueError, TypeError):
        return False


# Parameters

_PARAMETERS = {"layer_norm": 3, "rms_norm": 2}
"""Operands that a norm can have."""


def absorb_parameters(rewriter: Rewriter) -> None:
    """A multiplication by a parameter along a norm's axis, and an addition behind it, are the norm's own."""
    for index in sorted(rewriter.operators):
        norm = rewriter.operators.get(index)
        while norm is not None and norm.kind == "normalise" and norm.function in _PARAMETERS:
            norm = _absorbed(rewriter, norm)


def _absorbed(rewriter: Rewriter, norm: Operator) -> Operator | None:
    """The norm with the operator behind it, or with a cast; ``None`` if there is nothing to absorb."""
    (out,) = norm.outputs[:1]
    after = rewriter.only_reader(out)
    if (
        after is None
        or after.kind != "elementwise"
        or rewriter.shape(after.outputs[0]) != rewriter.shape(out)
    ):
        return None
    members, attributes = (norm.index, after.index), dict(norm.attributes)
    if after.function == "cast" and len(norm.outputs) == 1:
        names = [str(after.attributes.get(name)) for name in ("from", "to")]
        if all("float" in name for name in names):
            return rewriter.replace(members, replace(after, name=norm.name), "normalise", norm.function, norm.inputs, attributes)  # fmt: skip
        return None
    wanted = "add" if attributes.get("affine") else "multiply"
    full = len(norm.inputs) >= _PARAMETERS[norm.function]
    if len(norm.outputs) != 1 or after.function != wanted or len(after.inputs) != 2 or full:
        return None
    parameter = after.inputs[1] if after.inputs[0] == out else after.inputs[0]
    if rewriter.computed(parameter) or not _along(rewriter, norm, parameter):
        return None
    attributes["affine"] = True
    return rewriter.replace(members, replace(after, name=norm.name), "normalise", norm.function, (*norm.inputs, parameter), attributes)  # fmt: skip


def _along(rewriter: Rewriter, norm: Operator, parameter: int) -> bool:
    """Whether a parameter has a number for each element of a row, along the norm's axis."""
    shape, own = rewriter.shape(norm.outputs[0]), rewriter.shape(parameter)
    length, axis = norm.attributes["length"], norm.attributes.get("axis", len(shape) - 1)
    assert isinstance(axis, int)
    if prod(own) != length or shape[axis] != length:
        return False
    place = axis - len(shape) + len(own)
    return place >= 0 and own[place] == length
