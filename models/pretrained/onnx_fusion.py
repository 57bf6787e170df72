"""Patterns of ONNX operators that are one operator in PyTorch, and one table of Flex-SFU: GELU, SiLU, layer norm.

ONNX of these versions has none of the three, so exporters write them out. Recognising them is what every runtime does
before it runs such a file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lanewise.models.pretrained.onnx_file import OnnxNode

_Found = tuple[OnnxNode, list[OnnxNode]] | None
"""The fused node and the nodes that it replaces."""


def without_casts(nodes: Sequence[OnnxNode]) -> list[OnnxNode]:
    """The nodes without Identity, whose readers read its operand."""
    names: dict[str, str] = {}
    kept = []
    for node in nodes:
        inputs = tuple(names.get(name, name) for name in node.inputs)
        if node.operator == "Identity":
            names[node.output] = inputs[0]
        else:
            kept.append(_node(node.operator, inputs, node.output, node.attributes))
    return kept


def fuse(nodes: Sequence[OnnxNode], weights: Mapping[str, torch.Tensor]) -> list[OnnxNode]:
    """The nodes with every pattern put together as ``Gelu``, ``Silu`` or ``LayerNorm``.

    A node that something outside its pattern reads ends the match.
    """
    graph = _Graph(nodes, weights)
    replaced: dict[str, OnnxNode] = {}
    gone: set[str] = set()
    for node in nodes:
        for pattern in (_gelu, _silu, _layer_norm):
            found = pattern(graph, node)
            if found is not None and graph.alone(found[1], found[0].output):
                replaced[found[0].output] = found[0]
                gone |= {part.output for part in found[1]} - {found[0].output}
    return [replaced.get(node.output, node) for node in nodes if node.output not in gone]


class _Graph:
    def __init__(self, nodes: Sequence[OnnxNode], weights: Mapping[str, torch.Tensor]) -> None:
        self.maker = {node.output: node for node in nodes}
        self.weights = weights
        self.readers: dict[str, list[OnnxNode]] = {}
        for node in nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)

    def made(self, name: str, operator: str) -> OnnxNode | None:
        """The node that gives ``name``, if it is such an operator."""
        node = self.maker.get(name)
        return node if node is not None and node.operator == operator else None

    def with_constant(self, node: OnnxNode | None, value: float) -> str | None:
        """The other operand of a node one of whose operands is the constant ``value``."""
        if node is None or len(node.inputs) != 2:
            return None
        for this, other in (node.inputs, node.inputs[::-1]):
            if this in self.weights and self.weights[this].numel() == 1:
                number = float(self.weights[this])
                if abs(number - value) <= 1e-6 * abs(value):
                    return other
        return None

    def alone(self, parts: Sequence[OnnxNode], output: str) -> bool:
        """Whether nobody but ``parts`` reads what they give, ``output`` apart."""
        names = {part.output for part in parts}
        return all(
            reader.output in names for name in names - {output} for reader in self.readers.get(name, [])
        )


def _gelu(graph: _Graph, last: OnnxNode) -> _Found:
    """x (1 + erf(x / sqrt 2)) / 2."""
    half = graph.with_constant(last, 0.5) if last.operator == "Mul" else None
    product = graph.made(half, "Mul") if half is not None else None
    if product is None:
        return None
    for x, name in (product.inputs, product.inputs[::-1]):
        total = graph.made(name, "Add")
        inner = graph.with_constant(total, 1.0)
        erf = graph.made(inner, "Erf") if inner is not None else None
        scaled = graph.made(erf.inputs[0], "Div") if erf is not None else None
        if total is None or erf is None or scaled is None or scaled.inputs[0] != x:
            continue
        if graph.with_constant(scaled, 2**0.5) == x:
            return _node("Gelu", (x,), last.output), [last, product, total, erf, scaled]
    return None


def _silu(graph: _Graph, last: OnnxNode) -> _Found:
    """x sigmoid(x)."""
    if last.operator != "Mul":
        return None
    for x, name in (last.inputs, last.inputs[::-1]):
        sigmoid = graph.made(name, "Sigmoid")
        if sigmoid is not None and sigmoid.inputs[0] == x:
            return _node("Silu", (x,), last.output), [last, sigmoid]
    return None


def _layer_norm(graph: _Graph, last: OnnxNode) -> _Found:
    """(x - mean) / sqrt(mean((x - mean)^2) + eps) * scale + shift, over the last axis."""
    product = graph.made(last.inputs[0], "Mul") if last.operator == "Add" else None
    quotient = graph.made(product.inputs[0], "Div") if product is not None else None
    difference = graph.made(quotient.inputs[0], "Sub") if quotient is not None else None
    root = graph.made(quotient.inputs[1], "Sqrt") if quotient is not None else None
    padded = graph.made(root.inputs[0], "Add") if root is not None else None
    variance = graph.made(padded.inputs[0], "ReduceMean") if padded is not None else None
    square = graph.made(variance.inputs[0], "Pow") if variance is not None else None
    mean = graph.made(difference.inputs[1], "ReduceMean") if difference is not None else None
    if not (product and quotient and difference and root and padded and variance and square and mean):
        return None
    x = difference.inputs[0]
    scale, shift, eps = (
        graph.weights.get(name) for name in (product.inputs[1], last.inputs[1], padded.inputs[1])
    )
    sound = (
        mean.inputs[0] == x
        and square.inputs[0] == difference.output
        and graph.with_constant(square, 2.0) == difference.output
        and all(list(part.attributes.get("axes", ())) == [-1] for part in (mean, variance))
        and scale is not None
        and shift is not None
        and eps is not None
        and scale.shape == shift.shape
        and scale.ndim == eps.numel() == 1
    )
    if not sound or eps is None:
        return None
    node = _node("LayerNorm", (x, product.inputs[1], last.inputs[1]), last.output, {"epsilon": float(eps)})
    return node, [last, product, quotient, difference, root, padded, variance, square, mean]


def _node(
    operator: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Any] | None = None
) -> OnnxNode:
    return OnnxNode(operator=operator, inputs=tuple(inputs), output=output, attributes=attributes or {})
