"""What stands in the way of recognising a form: results that nobody reads, copies, a parameter in the middle of a product."""

from dataclasses import replace

from lanewise.mapping.graph import Operator
from lanewise.mapping.patterns.rewriter import Rewriter

_STEPS = 12
"""Operators between a row and what divides it, at most."""


def leave_out_unread(rewriter: Rewriter) -> None:
    """A maximum whose places nobody reads is a maximum alone, and a copy of what was just computed is that."""
    for index in sorted(rewriter.operators):
        operator = rewriter.operators.get(index)
        if operator is None:
            continue
        if operator.kind == "reduce" and operator.function in ("max", "min") and len(operator.outputs) == 2:
            place = operator.outputs[1]
            if not rewriter.readers.get(place) and place not in rewriter.results:
                rewriter.operators[index] = replace(operator, outputs=operator.outputs[:1])
        elif operator.kind == "movement" and operator.attributes.get("operation") == "clone":
            _leave_out_copy(rewriter, operator)


def _leave_out_copy(rewriter: Rewriter, copy: Operator) -> None:
    """Values do not change; a copy of a view may lie otherwise, and stays."""
    if len(copy.inputs) != 1 or len(copy.outputs) != 1 or copy.outputs[0] in rewriter.results:
        return
    if any(rewriter.operators[i].kind != "elementwise" for i in rewriter.readers.get(copy.outputs[0], ())):
        return  # a piece of something
    (source,) = copy.inputs
    producer = rewriter.producer(source)
    if producer is None or producer.kind in ("elementwise", "matmul", "normalise", "softmax"):
        alike = rewriter.values[source].dtype == rewriter.values[copy.outputs[0]].dtype
        if rewriter.computed(source) and alike and rewriter.shape(source) == rewriter.shape(copy.outputs[0]):
            rewriter.drop(copy, source)


def move_parameters_out(rewriter: Rewriter) -> None:
    """``w * x * rsqrt(..x..)`` and ``x * (w * rsqrt(..x..))`` become ``x * rsqrt(..x..) * w``, as norms are written elsewhere."""
    for index in sorted(rewriter.operators):
        outer = rewriter.operators.get(index)
        if outer is None or not _is_product(outer, ("multiply", "divide")):
            continue
        for place in (0, 1) if outer.function == "multiply" else (0,):
            inner = rewriter.producer(outer.inputs[place])
            if inner is None or not _is_product(inner, ("multiply",)):
                continue
            if rewriter.only_reader(inner.outputs[0]) is not outer:
                continue
            parameters = [value for value in inner.inputs if not rewriter.computed(value)]
            others = [value for value in inner.inputs if rewriter.computed(value)]
            if len(parameters) != 1:
                continue
            operands = [*others, outer.inputs[1 - place]]
            if place == 1:
                operands.reverse()
            if _is_row_and_divisor(rewriter, outer, operands):
                rewriter.read_others(outer, (operands[0], operands[1]))
                rewriter.remove(inner)
                last = rewriter.put(
                    rewriter.operators[outer.index], "elementwise", "multiply", {}, inner.name
                )
                rewriter.read_others(last, (last.inputs[0], parameters[0]))
                break


def _is_product(operator: Operator, functions: tuple[str, ...]) -> bool:
    return operator.kind == "elementwise" and operator.function in functions and len(operator.inputs) == 2


def _is_row_and_divisor(rewriter: Rewriter, product: Operator, operands: list[int]) -> bool:
    """Whether one is a tensor of the result's shape, and the other a number for each of its rows that is made of it by a reduction."""
    shape = rewriter.shape(product.outputs[0])
    whole = [value for value in operands if rewriter.shape(value) == shape]
    rows = [value for value in operands if rewriter.shape(value) != shape]
    if len(whole) != 1 or len(rows) != 1 or (product.function == "divide" and operands[0] != whole[0]):
        return False
    value, reduced = rows[0], False
    for _ in range(_STEPS):
        if value == whole[0]:
            return reduced
        producer = rewriter.producer(value)
        if producer is None or producer.kind not in ("elementwise", "reduce", "movement"):
            return False
        if len(set(producer.inputs)) != 1 or len(producer.outputs) != 1:
            return False
        reduced = reduced or producer.kind == "reduce"
        value = producer.inputs[0]
    return False
