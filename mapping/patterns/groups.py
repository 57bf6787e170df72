"""Group norms that are written as a norm of the channels' groups: a reshape, a layer norm, a reshape back."""

from dataclasses import replace
from math import prod

from lanewise.mapping.graph import Attribute, Operator
from lanewise.mapping.patterns.rewriter import Rewriter


def replace_group_norms(rewriter: Rewriter) -> None:
    """A norm of rows that are groups of a picture's channels becomes a group norm, with a factor and an addend for each channel if both follow."""
    for index in sorted(rewriter.operators):
        norm = rewriter.operators.get(index)
        if norm is None or norm.kind != "normalise" or norm.function != "layer_norm":
            continue
        before = rewriter.producer(norm.inputs[0])
        after = rewriter.only_reader(norm.outputs[0])
        if (
            len(norm.inputs) != 1
            or len(norm.outputs) != 1
            or norm.attributes.get("affine")
            or before is None
            or after is None
            or not (_reshape(before) and _reshape(after))
        ):
            continue
        groups = _groups(rewriter, norm, before, after)
        if groups is None or rewriter.only_reader(before.outputs[0]) is not norm:
            continue
        attributes: dict[str, Attribute] = {
            "groups": groups, "length": norm.attributes["length"], "affine": False, "epsilon": norm.attributes["epsilon"]
        }  # fmt: skip
        members = [before.index, norm.index, after.index]
        made = rewriter.replace(
            members, _named(after, norm), "normalise", "group_norm", before.inputs, attributes
        )
        _with_parameters(rewriter, made)


def _named(last: Operator, norm: Operator) -> Operator:
    return replace(last, name=norm.name)


def _reshape(operator: Operator) -> bool:
    return (
        operator.kind == "movement"
        and operator.function == "view"
        and operator.attributes.get("operation") == "reshape"
        and len(operator.inputs) == len(operator.outputs) == 1
    )


def _groups(rewriter: Rewriter, norm: Operator, before: Operator, after: Operator) -> int | None:
    """How many groups of channels, axis 1, the rows are; ``None``: they are something else."""
    shape, rows = rewriter.shape(before.inputs[0]), rewriter.shape(norm.outputs[0])
    if len(shape) < 3 or rewriter.shape(after.outputs[0]) != shape or len(rows) < 3:
        return None
    length, groups = norm.attributes["length"], rows[1]
    whole = (
        rows[0] == shape[0]
        and prod(rows[2:]) == length
        and norm.attributes.get("axis") in (None, len(rows) - 1)
    )
    return groups if whole and shape[1] % groups == 0 else None


def _with_parameters(rewriter: Rewriter, norm: Operator) -> None:
    """Both or none."""
    shape, members, parameters = rewriter.shape(norm.outputs[0]), [norm.index], list[int]()
    last = norm
    for wanted in ("multiply", "add"):
        after = rewriter.only_reader(last.outputs[0])
        if after is None or after.kind != "elementwise" or after.function != wanted or len(after.inputs) != 2:
            return
        (parameter,) = [value for value in after.inputs if value != last.outputs[0]] or (after.inputs[0],)
        along = (shape[1], *(1,) * (len(shape) - 2))
        own = rewriter.shape(parameter)
        if rewriter.computed(parameter) or own[-len(along) :] != along or prod(own) != shape[1]:
            return
        if rewriter.shape(after.outputs[0]) != shape:
            return
        members.append(after.index)
        parameters.append(parameter)
        last = after
    rewriter.replace(
        members, _named(last, norm), "normalise", "group_norm", (*norm.inputs, *parameters), {**norm.attributes, "affine": True}
    )  # fmt: skip
