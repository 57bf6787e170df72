"""Complex numbers as pairs of real ones: a value gets a last axis, the real and the imaginary part."""

from dataclasses import replace

from lanewise.mapping.expansion_parts import Parts
from lanewise.mapping.graph import Attribute, Graph, Operator, Value


def as_pairs(graph: Graph) -> Graph:
    """The graph without complex values; itself, if there are none.

    What only moves data has the same axes, which are counted from the first. A product is four real ones, a difference and a sum; a cast from real
    numbers puts zeros beside them; sums are sums. Any other operator on complex numbers is left as ``other``, which has no kernel.
    """
    complex_ones = {value.id for value in graph.values if value.dtype.startswith("complex")}
    if not complex_ones:
        return graph
    values: list[Value] = [
        replace(v, shape=(*v.shape, 2), dtype="float32") if v.id in complex_ones else v for v in graph.values
    ]
    operators: list[Operator] = []
    for operator in graph.operators:
        if not complex_ones.intersection((*operator.inputs, *operator.outputs)):
            operators.append(operator)
            continue
        operators += _of_pairs(operator, values, complex_ones)
    numbered = tuple(replace(operator, index=index) for index, operator in enumerate(operators))
    produced = {out: operator.index for operator in numbered for out in operator.outputs}
    return replace(
        graph,
        operators=numbered,
        values=tuple(replace(value, producer=produced.get(value.id)) for value in values),
    )


_AS_THEY_ARE = (
    "clone", "reshape", "alias", "slice", "select", "split", "concat", "expand", "permute", "gather", "repeat",
)  # fmt: skip


def _of_pairs(operator: Operator, values: list[Value], complex_ones: set[int]) -> list[Operator]:
    ins = [value in complex_ones for value in operator.inputs]
    out = operator.outputs[0] in complex_ones
    parts = Parts(operator, values)
    match operator.kind, operator.function.removeprefix("complex_"):
        case "movement", _ if operator.attributes.get("operation") == "_conj":  # a view to PyTorch
            result = parts.of("multiply", operator.inputs[0], parts.constant("signs 1", (2,)))
        case "movement", _:
            return [_moved(operator, values, ins, out=out)]
        case "other", "_fft_c2c" | "_fft_r2c" | "_fft_c2r":
            return [operator]
        case (("other" | "elementwise"), "cast") if ins == [False] and out:
            real = parts.view(operator.inputs[0], (*parts.shape(operator.inputs[0]), 1))
            result = parts.padded(real, -1, 0, 1)
        case "other", "polar":
            length, angle = operator.inputs
            sides = [parts.of("multiply", parts.of(name, angle), length) for name in ("cos", "sin")]
            result = parts.concatenated([parts.view(side, (*parts.shape(side), 1)) for side in sides], -1)
        case (("other" | "elementwise"), "multiply") if ins == [True, True]:
            result = _product(parts)
        case (("other" | "elementwise"), ("add" | "subtract" as function)) if ins == [True, True]:
            result = parts.of(function, *operator.inputs)
        case _:
            return [replace(operator, kind="other")]
    shape = values[operator.outputs[0]].shape
    if parts.shape(result) != shape:
        raise ValueError(f"{operator.name}: parts must have shape {shape}, not {parts.shape(result)}")
    del values[result:]
    last = replace(parts.made[-1], name=operator.name, outputs=operator.outputs)
    return [*parts.made[:-1], last]


def _product(parts: Parts) -> int:
    """``(ac - bd) + (ad + bc) i``."""
    left, right = ([parts.sliced(value, -1, k, k + 1) for k in (0, 1)] for value in parts.operator.inputs)
    products = {(i, k): parts.of("multiply", left[i], right[k]) for i in (0, 1) for k in (0, 1)}
    real = parts.of("subtract", products[0, 0], products[1, 1])
    imaginary = parts.of("add", products[0, 1], products[1, 0])
    return parts.concatenated([real, imaginary], -1)


def _moved(operator: Operator, values: list[Value], ins: list[bool], *, out: bool) -> Operator:
    """The same movement of pairs; ``real`` is the first of each."""
    attributes: dict[str, Attribute] = dict(operator.attributes)
    operation = attributes.get("operation")
    rank = len(values[operator.inputs[0]].shape)
    if operation == "reinterpret":
        alike = ins[0] == out or values[operator.inputs[0]].shape == values[operator.outputs[0]].shape
        if alike:
            return replace(operator, function="view", attributes={"operation": "reshape"})
        slice_of: dict[str, Attribute] = {"operation": "select", "axis": rank - 1, "start": 0, "stop": 1, "step": 1}  # fmt: skip
        return replace(operator, function="view", attributes=slice_of)
    if operation not in _AS_THEY_ARE:
        return replace(operator, kind="other", function=f"complex_{operation}")
    permutation = attributes.get("permutation")
    if isinstance(permutation, tuple):
        attributes["permutation"] = (*permutation, len(permutation))
    return replace(operator, attributes=attributes)
