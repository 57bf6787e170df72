"""Operators over rows: softmax, normalisation, reductions, and gathering rows of a table."""

from math import prod

import torch
from torch import Tensor

from lanewise.mapping.canonical import Call, Canonical, Rule
from lanewise.mapping.graph import Attribute


def _softmax(call: Call) -> Canonical:
    x: Tensor = call["self"]
    axis = call["dim"] % max(1, x.dim())
    attributes: dict[str, Attribute] = {
        "axis": axis,
        "length": x.shape[axis] if x.dim() else 1,
        "log": "log" in call.name,
    }
    return Canonical(kind="softmax", tensors=(x,), attributes=attributes)


def _normalise(call: Call) -> Canonical | None:
    name = call.name.removeprefix("native_")
    x: Tensor = call["input"]
    weight, bias = call.arguments.get("weight"), call.arguments.get("bias")
    if (weight is None and bias is not None) or (weight is not None and bias is None and name in _PAIRED):
        return None  # the one without the other is no operand
    statistics: list[Tensor] = []
    attributes: dict[str, Attribute] = {}
    match name:
        case "layer_norm" | "rms_norm":
            length = prod(call["normalized_shape"])
        case "group_norm":
            groups = call["num_groups"] if "num_groups" in call.arguments else call["group"]
            length = prod(x.shape[1:]) // groups
            attributes["groups"] = groups
        case "instance_norm":
            if not call["use_input_stats"]:
                return None
            length = prod(x.shape[2:])
        case _:
            if call["training"] or call["running_mean"] is None:
                return None  # statistics of this batch
            length = x.shape[1]
            statistics = [call["running_mean"], call["running_var"]]
    epsilon = torch.finfo(x.dtype).eps if call["eps"] is None else call["eps"]
    attributes |= {"length": length, "affine": weight is not None, "epsilon": float(epsilon)}
    operands = tuple(tensor for tensor in (x, weight, bias, *statistics) if isinstance(tensor, Tensor))
    return Canonical(kind="normalise", function=name, tensors=operands, attributes=attributes)


_PAIRED = ("group_norm", "instance_norm", "batch_norm")
"""Norms with both parameters or none."""

_REDUCTIONS = {
    "sum": "sum", "mean": "mean", "amax": "max", "amin": "min", "max": "max", "min": "min",
    "argmax": "argmax", "argmin": "argmin", "var": "variance", "std": "standard_deviation",
    "prod": "product", "any": "any",
    "all": "all", "linalg_vector_norm": "norm", "logsumexp": "logsumexp",
    "cumsum": "cumsum", "cumprod": "cumprod",
}  # fmt: skip


def _reduce(call: Call) -> Canonical | None:
    if call.overload == "other":  # max(a, b)
        return Canonical(kind="elementwise", function=f"{call.name}imum", tensors=call.tensors)
    x: Tensor = call["self"]
    axes = call.arguments.get("dim")
    axes = [axes] if isinstance(axes, int) else axes or range(x.dim())
    if any(not isinstance(axis, int) for axis in axes):
        return None
    attributes: dict[str, Attribute] = {
        "axes": tuple(sorted(axis % max(1, x.dim()) for axis in axes)),
        "keep": bool(call.arguments.get("keepdim", False)),
    }
    if call.name.startswith(("var", "std")):
        correction = call.arguments.get("correction", 1.0 if call.arguments.get("unbiased", True) else 0.0)
        attributes["correction"] = 1.0 if correction is None else float(correction)
    if call.name == "linalg_vector_norm":
        attributes["order"] = float(call["ord"])
    return Canonical(kind="reduce", function=_REDUCTIONS[call.name], tensors=(x,), attributes=attributes)


def _embedding(call: Call) -> Canonical:
    table: Tensor = call["weight"]
    attributes: dict[str, Attribute] = {"rows": table.shape[0], "width": table.shape[1]}
    return Canonical(kind="embedding", tensors=(table, call["indices"]), attributes=attributes)


_NORMALISATIONS = (
    "layer_norm", "native_layer_norm", "rms_norm", "group_norm", "native_group_norm", "instance_norm",
    "batch_norm", "native_batch_norm",
)  # fmt: skip

RULES: dict[str, Rule] = {
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(_NORMALISATIONS, _normalise),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "embedding": _embedding,
}
