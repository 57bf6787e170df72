"""Patterns of ONNX operators that are one operator in PyTorch, and one table of Flex-SFU: GELU, SiLU, layer norm.

ONNX of these versions has none of the three, so exporters write them out. Recognising them is what every runtime does
before it runs such a file.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from lanewise.models.onnx.file import OnnxNode
from lanewise.models.onnx.names import free_names

_Found = tuple[OnnxNode, list[OnnxNode]] | None
"""The fused node and the nodes that it replaces."""


def fuse(
    nodes: Sequence[OnnxNode],
    weights: Mapping[str, torch.Tensor],
    outputs: Sequence[str] = (),
    *,
    exact: bool = True,
) -> list[OnnxNode]:
    """The nodes with every pattern put together as ``Gelu``, ``Silu`` or ``LayerNorm``.

    Unless it is to be ``exact``, a product and its bias are ``Linear``, and attention's factor follows its product.

    A node that something outside its pattern reads, or one of ``outputs``, ends the match. Each node belongs to one
    pattern at most, the first that is found.
    """
    graph = _Graph(nodes, weights, outputs)
    patterns = [_gelu, _tanh_gelu, _silu, _layer_norm]
    patterns += [] if exact else [_linear, _scaled_product]
    replaced: dict[str, OnnxNode] = {}
    gone: set[str] = set()
    for node in nodes:
        for pattern in patterns:
            found = pattern(graph, node)
            if found is None or not graph.alone(found[1], found[0].output):
                continue
            names = {part.output for part in found[1]}
            if not names & (gone | set(replaced)):
                replaced[found[0].output] = found[0]
                gone |= names - {found[0].output}
    kept = (node for node in nodes if node.output not in gone)
    return [part for node in kept for part in _parts(replaced.get(node.output), node)]


def _parts(found: OnnxNode | None, old: OnnxNode) -> list[OnnxNode]:
    """What stands for a node: ``ScaledMatMul`` is a product and a factor."""
    node = found or old
    if found is None or node.operator != "ScaledMatMul":
        return [node]
    left, right = node.inputs
    product = f"{node.output}/product"
    return [
        OnnxNode(
            operator="MatMul", inputs=(left, right), outputs=(product,), opset=node.opset, name=node.name
        ),
        OnnxNode(
            operator="Scale",
            inputs=(product,),
            outputs=node.outputs,
            attributes=node.attributes,
            name=f"{node.name}/scale",
        ),
    ]


class _Graph:
    def __init__(
        self, nodes: Sequence[OnnxNode], weights: Mapping[str, torch.Tensor], outputs: Sequence[str]
    ) -> None:
        self.maker = {name: node for node in nodes for name in node.outputs if name}
        self.outputs = set(outputs)
        self.weights = weights
        self.readers: dict[str, list[OnnxNode]] = {}
        for node in nodes:
            for name in (*node.inputs, *free_names(node)):
                self.readers.setdefault(name, []).append(node)

    def made(self, name: str, operator: str) -> OnnxNode | None:
        """The node that gives ``name``, if it is such an operator with as many operands as in a pattern."""
        node = self.maker.get(name)
        return node if node is not None and _is(node, operator) else None

    def number(self, name: str) -> float | None:
        """A constant of one element; with more than one axis it would give its result more as well."""
        weight = self.weights.get(name)
        if weight is None or weight.numel() != 1 or weight.dim() > 1 or weight.is_meta or weight.is_complex():
            return None
        return float(weight)

    def with_constant(self, node: OnnxNode | None, value: float) -> str | None:
        """The other operand of a sum or product one of whose operands is the constant ``value``."""
        if node is None:
            return None
        for this, other in (node.inputs, node.inputs[::-1]):
            if self.is_number(this, value):
                return other
        return None

    def is_number(self, name: str, value: float) -> bool:
        """Whether ``name`` is the constant ``value``."""
        number = self.number(name)
        return number is not None and abs(number - value) <= 1e-6 * abs(value)

    def before_constant(self, node: OnnxNode | None, value: float) -> str | None:
        """The first operand of a node whose second is the constant ``value``."""
        return node.inputs[0] if node is not None and self.is_number(node.inputs[1], value) else None

    def mean_of(self, name: str) -> OnnxNode | None:
        """The node that gives ``name``, if it is the mean over the last axis, which stays as one of size 1."""
        node = self.made(name, "ReduceMean")
        if node is None or node.attributes.get("keepdims", 1) != 1:
            return None
        axes = node.attributes.get("axes")
        if len(node.inputs) == 2 and axes is None and node.inputs[1] in self.weights:
            weight = self.weights[node.inputs[1]]
            axes = None if weight.is_meta else weight.reshape(-1).tolist()
        return node if axes is not None and list(axes) == [-1] else None

    def alone(self, parts: Sequence[OnnxNode], output: str) -> bool:
        """Whether nobody but ``parts`` reads what they give, ``output`` apart."""
        names = {part.output for part in parts}
        if (names - {output}) & self.outputs or any(len(part.outputs) > 1 for part in parts):
            return False
        return all(
            reader.output in names for name in names - {output} for reader in self.readers.get(name, [])
        )


_OPERANDS = {
    "Add": 2,
    "Div": 2,
    "Erf": 1,
    "MatMul": 2,
    "Mul": 2,
    "Pow": 2,
    "Sigmoid": 1,
    "Sqrt": 1,
    "Sub": 2,
    "Tanh": 1,
}
"""How many the operators of patterns have."""


def _is(node: OnnxNode, operator: str) -> bool:
    """Whether a node is such an operator: set 6 puts a second operand's axes where an attribute says."""
    if node.operator != operator or not node.output or "axis" in node.attributes:
        return False
    return len(node.inputs) == _OPERANDS.get(operator, len(node.inputs)) and "" not in node.inputs


def _factors(graph: _Graph, name: str, parts: list[OnnxNode]) -> tuple[float, list[str]]:
    """The constant and the other factors of a product, whose nodes are added to ``parts``."""
    node = graph.made(name, "Mul")
    if node is None:
        return 1.0, [name]
    constant, names = 1.0, []
    parts.append(node)
    for factor in node.inputs:
        value = graph.number(factor)
        if value is not None:
            constant *= value
            continue
        inner = graph.made(factor, "Mul")
        if inner is not None and len(parts) < 3 and graph.readers.get(factor, []) == [node]:
            more, others = _factors(graph, factor, parts)
            constant *= more
            names += others
        else:
            names.append(factor)
    return constant, names


def _halves(graph: _Graph, last: OnnxNode) -> Iterator[tuple[str, list[OnnxNode], str]]:
    """What x (1 + y) / 2 may be made of, its factors in any order: x, the nodes down to the sum, and y."""
    if not _is(last, "Mul"):
        return
    parts: list[OnnxNode] = []
    constant, names = _factors(graph, last.output, parts)
    if len(names) != 2 or abs(constant - 0.5) > 1e-6:
        return
    for x, name in (names, names[::-1]):
        total = graph.made(name, "Add")
        inner = graph.with_constant(total, 1.0)
        if total is not None and inner is not None:
            yield x, [*parts, total], inner


def _gelu(graph: _Graph, last: OnnxNode) -> _Found:
    """x (1 + erf(x / sqrt 2)) / 2, its factors in any order."""
    for x, parts, inner in _halves(graph, last):
        erf = graph.made(inner, "Erf")
        if erf is None:
            continue
        scaled = graph.made(erf.inputs[0], "Div")
        operand = graph.before_constant(scaled, 2**0.5)
        if scaled is None:
            scaled = graph.made(erf.inputs[0], "Mul")
            operand = graph.with_constant(scaled, 0.5**0.5)
        if scaled is not None and operand == x:
            return _node("Gelu", (x,), last.output), [*parts, erf, scaled]
    return None


def _tanh_gelu(graph: _Graph, last: OnnxNode) -> _Found:
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    for x, parts, inner in _halves(graph, last):
        tanh = graph.made(inner, "Tanh")
        outer = graph.made(tanh.inputs[0], "Mul") if tanh is not None else None
        sum_name = graph.with_constant(outer, math.sqrt(2 / math.pi))
        added = graph.made(sum_name, "Add") if sum_name is not None else None
        if not (tanh and outer and added) or x not in added.inputs:
            continue
        cubic = graph.made(added.inputs[1 if added.inputs[0] == x else 0], "Mul")
        power_name = graph.with_constant(cubic, 0.044715)
        power = graph.made(power_name, "Pow") if power_name is not None else None
        if cubic is None or power is None or graph.before_constant(power, 3.0) != x:
            continue
        node = _node("Gelu", (x,), last.output, {"approximate": "tanh"})
        return node, [*parts, tanh, outer, added, cubic, power]
    return None


def _linear(graph: _Graph, last: OnnxNode) -> _Found:
    """x weight + bias."""
    if not _is(last, "Add"):
        return None
    for name, bias in (last.inputs, last.inputs[::-1]):
        product = graph.made(name, "MatMul")
        weight = None if product is None else graph.weights.get(product.inputs[1])
        shift = graph.weights.get(bias)
        if product is None or weight is None or shift is None or weight.dim() != 2:
            continue
        if shift.shape == weight.shape[1:]:
            return _node("Linear", (*product.inputs, bias), last.output), [last, product]
    return None


def _scaled_product(graph: _Graph, last: OnnxNode) -> _Found:
    """(a c) (b d) as (a b) (c d): exporters put the square root of attention's scale on both operands."""
    if not _is(last, "MatMul"):
        return None
    operands, parts, factor = [], [last], 1.0
    for name in last.inputs:
        node = graph.made(name, "Mul")
        value = None if node is None else graph.number(node.inputs[1])
        if node is None or value is None:
            return None
        factor *= value
        operands.append(node.inputs[0])
        parts.append(node)
    return _node("ScaledMatMul", operands, last.output, {"factor": factor}), parts


def _silu(graph: _Graph, last: OnnxNode) -> _Found:
    """x sigmoid(x)."""
    if not _is(last, "Mul"):
        return None
    for x, name in (last.inputs, last.inputs[::-1]):
        sigmoid = graph.made(name, "Sigmoid")
        if sigmoid is not None and sigmoid.inputs[0] == x:
            return _node("Silu", (x,), last.output), [last, sigmoid]
    return None


def _layer_norm(graph: _Graph, last: OnnxNode) -> _Found:
    """(x - mean) / sqrt(mean((x - mean)^2) + eps) * scale + shift, over the last axis."""
    product = graph.made(last.inputs[0], "Mul") if _is(last, "Add") else None
    quotient = graph.made(product.inputs[0], "Div") if product is not None else None
    difference = graph.made(quotient.inputs[0], "Sub") if quotient is not None else None
    root = graph.made(quotient.inputs[1], "Sqrt") if quotient is not None else None
    padded = graph.made(root.inputs[0], "Add") if root is not None else None
    variance = graph.mean_of(padded.inputs[0]) if padded is not None else None
    square = graph.made(variance.inputs[0], "Pow") if variance is not None else None
    mean = graph.mean_of(difference.inputs[1]) if difference is not None else None
    if not (product and quotient and difference and root and padded and variance and square and mean):
        return None
    x = difference.inputs[0]
    scale, shift = (graph.weights.get(name) for name in (product.inputs[1], last.inputs[1]))
    eps = graph.number(padded.inputs[1])
    sound = (
        mean.inputs[0] == x
        and graph.before_constant(square, 2.0) == difference.output
        and scale is not None
        and shift is not None
        and scale.shape == shift.shape
        and scale.ndim == 1
    )
    if not sound or eps is None:
        return None
    node = _node("LayerNorm", (x, product.inputs[1], last.inputs[1]), last.output, {"epsilon": eps})
    return node, [last, product, quotient, difference, root, padded, variance, square, mean]


def _node(
    operator: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Any] | None = None
) -> OnnxNode:
    return OnnxNode(
        operator=operator, inputs=tuple(inputs), outputs=(output,), attributes=attributes or {}, name=output
    )
