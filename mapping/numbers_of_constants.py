"""Operands that are constant tensors of one number, as that number: ``x / torch.tensor(2.0)`` is ``x / 2.0``."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch

from lanewise.mapping.canonical import Canonical
from lanewise.mapping.graph import Attribute

if TYPE_CHECKING:
    from torch import Tensor

_REVERSED: Mapping[str, str] = {
    "add": "add", "multiply": "multiply", "maximum": "maximum", "minimum": "minimum",
    **{
        name: f"reverse_{name}"
        for name in (
            "subtract", "divide", "floor_divide", "truncated_divide", "remainder", "truncated_remainder"
        )
    },
}  # fmt: skip
"""What a function is called with its operands exchanged."""
_RELATIONS = {
    "less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal",
    "equal": "equal", "not_equal": "not_equal",
}  # fmt: skip
_OF_ANY_SIZE = ("maximum", "minimum", "compare", "select")
"""Functions whose constant may be as large as the result: they begin activations."""


class NumberOf(Protocol):
    """Tells the number that a constant holds in all of its places; ``None``: it is none, or not known."""

    def __call__(self, tensor: "Tensor", *, alone: bool) -> float | None: ...


def with_numbers(form: Canonical, number_of: NumberOf) -> Canonical:
    """The same operator with its constant as an attribute, if it has one that changes nothing in the result's shape.

    Of an operator of which not all operands are constant.
    """
    if form.kind != "elementwise" or len(form.tensors) < 2:
        return form
    if form.function == "select":
        return _selection(form, number_of)
    if len(form.tensors) != 2 or not (form.function in _REVERSED or form.function in ("compare", "pow")):
        return form
    for place in (1, 0):
        other, constant = form.tensors[1 - place], form.tensors[place]
        if form.function == "pow" and place == 0:
            continue
        if (number := _number(form, constant, (other,), number_of)) is not None:
            return _with_number(form, other, number, first=place == 0)
    return _plain(form)


def _with_number(form: Canonical, other: "Tensor", number: float, *, first: bool) -> Canonical:
    function, attributes = form.function, dict(form.attributes)
    if function == "pow":
        if number == 0:
            return form
        return replace(form, tensors=(other,), attributes={**attributes, "exponent": number})
    if first and function == "compare":
        attributes["relation"] = _RELATIONS[str(attributes["relation"])]
    elif first:
        function = _REVERSED[function]
    return _plain(
        replace(form, function=function, tensors=(other,), attributes={**attributes, "scalar": number})
    )


def _plain(form: Canonical) -> Canonical:
    """The larger of a tensor and zero has a name of its own."""
    if form.function == "maximum" and form.attributes.get("scalar") == 0:
        return replace(form, function="relu", attributes={})
    return form


def _selection(form: Canonical, number_of: NumberOf) -> Canonical:
    """Branches that are one number."""
    condition, *rest = form.tensors
    numbers: dict[str, Attribute] = dict(form.attributes)
    tensors = [condition]
    names = [name for name in ("true", "false") if name not in numbers]
    for name, branch in zip(names, rest, strict=True):
        others = [tensor for tensor in form.tensors if tensor is not branch]
        number = _number(form, branch, tuple(others), number_of)
        if number is None:
            tensors.append(branch)
        else:
            numbers[name] = number
    if len(tensors) == 1:
        return form  # the shape and the type would be the condition's
    return replace(form, tensors=tuple(tensors), attributes=numbers)


def _broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def _number(
    form: Canonical, constant: "Tensor", others: "tuple[Tensor, ...]", number_of: NumberOf
) -> float | None:
    alone = form.function not in _OF_ANY_SIZE
    shapes = [tuple(other.shape) for other in others]
    if _broadcast(*shapes) != _broadcast(*shapes, tuple(constant.shape)):
        return None
    return number_of(constant, alone=alone)
