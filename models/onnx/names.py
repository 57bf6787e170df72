"""Who reads which value of an ONNX graph."""

from collections.abc import Sequence
from dataclasses import replace

from lanewise.models.onnx.file import OnnxGraph, OnnxNode


def without_casts(nodes: Sequence[OnnxNode], outputs: Sequence[str]) -> list[OnnxNode]:
    """The nodes without Identity, whose readers read its operand; those that give ``outputs`` stay."""
    names: dict[str, str] = {}
    kept = []
    for node in nodes:
        inputs = tuple(names.get(name, name) for name in node.inputs)
        if node.operator == "Identity" and len(inputs) == 1 and node.output not in outputs:
            names[node.output] = inputs[0]
        elif any(isinstance(value, OnnxGraph) for value in node.attributes.values()):
            missing = [name for name in free_names(node) if name in names]  # read by name further in
            kept += [
                OnnxNode(operator="Identity", inputs=(names.pop(name),), outputs=(name,)) for name in missing
            ]
            kept.append(replace(node, inputs=inputs))
        else:
            kept.append(replace(node, inputs=inputs))
    return kept


def free_names(node: OnnxNode) -> set[str]:
    """What the graphs among the attributes read of their surroundings (and some names of their own)."""
    names: set[str] = set()
    for value in node.attributes.values():
        if isinstance(value, OnnxGraph):
            names |= set(value.outputs)
            for inner in value.nodes:
                names |= {*inner.inputs, *free_names(inner)}
    return names
