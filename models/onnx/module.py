"""An ONNX graph as a PyTorch module: each node one of PyTorch's operators."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils._python_dispatch import _disable_current_modes

from lanewise.errors import UserError
from lanewise.models.onnx.call import Call, Operator
from lanewise.models.onnx.file import FEW, LARGEST, OnnxFile, OnnxGraph, OnnxNode
from lanewise.models.onnx.functions import expanded, is_function
from lanewise.models.onnx.fusion import fuse
from lanewise.models.onnx.names import free_names, without_casts
from lanewise.models.onnx.operators import OPERATORS
from lanewise.models.onnx.operators.quantised import QUANTISED
from lanewise.models.onnx.operators.shapes import ASK_SHAPES
from lanewise.models.onnx.scope import Scope, is_real

UNROLLED = 1 << 20
"""Operators that a network's loops run at most."""


def _layer_norm(c: Call) -> Any:
    x, scale, shift, eps = c[0], c[1], c[2], c.attribute("epsilon")
    if scale.shape == x.shape[-1:]:
        return F.layer_norm(x, scale.shape, scale, shift, eps)
    return F.layer_norm(x, x.shape[-1:], eps=eps) * scale + shift  # one for all, or the last axis is 1


_FUSED: Mapping[str, Operator] = {
    "LayerNorm": _layer_norm,
    "Linear": lambda c: F.linear(c[0], c[1].mT, c[2]),
    "Scale": lambda c: c[0] * c.attribute("factor"),
}
"""What :func:`fuse` puts together and ONNX has not by such a name."""


class OnnxModule(nn.Module):
    """Runs a graph node by node. Floating-point weights are its parameters, others its buffers.

    What depends on constants and shapes alone is computed on the CPU, whatever device the inputs are on.

    Args:
        file: The graph.
        output: Its one result, any value of the graph; what only the rest needs is left out. By default the
            graph's own results.
        exact: Whether numbers count, as of :class:`Call`; otherwise shapes alone do.

    Raises:
        UserError: The graph has an operator that is not known here, or no such value.
    """

    def __init__(self, file: OnnxFile, output: str | None = None, *, exact: bool = True) -> None:
        super().__init__()
        graph = file.graph
        self.path = file.path
        self.inputs = graph.inputs
        self.outputs = graph.outputs if output is None else (output,)
        self._exact = exact
        self._bodies: dict[int, tuple[OnnxGraph, list[OnnxNode]]] = {}
        """By identity, each with its graph: another would get the number of one that is gone."""
        self._unrolled = 0
        self._check(_needed(graph.nodes, self.outputs))
        self.nodes = _needed(_fused(graph, self.outputs, exact), self.outputs)
        made = {name for node in self.nodes for name in node.outputs}
        given = {item.name for item in graph.inputs}
        for name in self.outputs:
            if name not in made | given | set(graph.weights):
                raise UserError(f"{file.path}: has no value {name}; expected one of its graph")
        read = {name for node in self.nodes for name in (*node.inputs, *free_names(node))} | set(self.outputs)
        self.places: dict[str, str] = {}
        for name, weight in graph.weights.items():
            if name in read:
                self.places[name] = place = self._free(name)
                if weight.is_floating_point():
                    self.register_parameter(place, nn.Parameter(weight.clone(), requires_grad=False))
                else:
                    self.register_buffer(place, weight.clone())
        self._constants = {name: graph.weights[name] for name in self.places if _known(graph.weights[name])}
        self._steps = [self._step(node) for node in self.nodes]

    def forward(self, *args: Tensor, **named: Tensor) -> Any:
        """The graph's results for its inputs, by position or by name; one alone is no tuple."""
        values = {item.name: value for item, value in zip(self.inputs, args)} | named
        tensors = [value for value in values.values() if isinstance(value, Tensor)]
        device = tensors[0].device if tensors else torch.device("cpu")
        weights = {name: getattr(self, place) for name, place in self.places.items()}
        self._unrolled = 0
        scope = Scope(values=weights | values, known=dict(self._constants), device=device)
        for node, step in zip(self.nodes, self._steps, strict=True):
            self._run(scope, node, step)
        results = tuple(scope.value(name) for name in self.outputs)
        return results[0] if len(results) == 1 else results

    @property
    def notes(self) -> list[str]:
        """What a user should know of how the graph is run."""
        found = sorted({node.operator for node in self.nodes} & set(QUANTISED))
        if self._exact or not found:
            return []
        return [f"{', '.join(found)}: quantisers leave values as they are, the machine has its own"]

    def _free(self, name: str) -> str:
        """A name for an attribute that nothing else has."""
        name = name.replace(".", "/").strip("/") or "unnamed"
        while hasattr(self, name):
            name += "_"
        return name

    def _step(self, node: OnnxNode) -> nn.Module:
        step = _Step()
        self.add_module(self._free(node.name or node.output), step)
        return step

    def _check(self, nodes: Sequence[OnnxNode]) -> None:
        """Refuse operators that are not known, in branches as well."""
        for node in nodes:
            known = node.operator in OPERATORS or node.operator == "If"
            if not known and not is_function(node):
                where = f"node {node.name or node.output}"
                raise UserError(
                    f"{self.path}: {where}: operator {node.operator} is unknown; expected one of docs/networks.md"
                )
            for value in node.attributes.values():
                if isinstance(value, OnnxGraph):
                    self._check(value.nodes)

    def _body(self, graph: OnnxGraph) -> list[OnnxNode]:
        if id(graph) not in self._bodies:
            self._bodies[id(graph)] = graph, _fused(graph, graph.outputs, self._exact)
        return self._bodies[id(graph)][1]

    # Running

    def _run(self, scope: Scope, node: OnnxNode, step: nn.Module | None) -> None:
        """Add a node's results to the scope.

        Raises:
            UserError: The operator cannot be run so.
        """
        try:
            if node.operator == "If":
                branch = node.attributes["then_branch" if scope.truth(node.inputs[0]) else "else_branch"]
                for name, (value, known) in zip(node.outputs, self._graph(scope, branch, ())):
                    scope.add(name, value, known)
                return
            self._operate(scope, node, step)
        except UserError:
            raise
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{self.path}: node {node.name or node.output}: {node.operator}: {reason}"
            ) from error

    def _operate(self, scope: Scope, node: OnnxNode, step: nn.Module | None) -> None:
        known = [scope.known.get(name) for name in node.inputs]
        bodies = any(isinstance(value, OnnxGraph) for value in node.attributes.values())
        static = not bodies and all(value is not None for name, value in zip(node.inputs, known) if name)
        if static or node.operator in ASK_SHAPES:
            with _disable_current_modes():
                operands = known if static else [scope.value(name) for name in node.inputs]
                results = self._results(scope, node, operands, known, torch.device("cpu"), None)
            for name, result in zip(node.outputs, results):
                scope.add(name, None, result)
            return
        operands = [scope.value(name) if name else None for name in node.inputs]
        results = self._results(scope, node, operands, known, scope.device, step)
        for name, result in zip(node.outputs, results):
            real = scope.device.type == "meta" and is_real(result)  # so it follows from what is known
            scope.add(name, None if real else result, result if real else None)

    def _results(
        self, scope: Scope, node: OnnxNode, operands: Sequence[Any], known: Sequence[Any],
        device: torch.device, step: nn.Module | None,
    ) -> Sequence[Any]:  # fmt: skip
        call = Call(
            node=node, operands=operands, known=known, device=device, exact=self._exact,
            run=lambda graph, operands: [
                known if value is None else value for value, known in self._graph(scope, graph, operands)
            ],
        )  # fmt: skip
        operator = OPERATORS.get(node.operator) or _FUSED.get(node.operator)
        if operator is not None:
            try:
                result = operator(call) if step is None else step(operator, call)
                return result if isinstance(result, tuple) else (result,)
            except NotImplementedError:
                pass  # known, but not with these options
        inner = Scope(values={}, known={}, device=device)
        names, outputs, nodes = expanded(node, operands, self.path)
        for name, value, constant in zip(names, operands, known):
            inner.add(name, value, constant)
        for part in nodes:
            self._run(inner, part, None)
        wanted = [*node.outputs, *[""] * (len(outputs) - len(node.outputs))]
        return [inner.value(name) if want else None for name, want in zip(outputs, wanted)]

    def _graph(self, scope: Scope, graph: OnnxGraph, operands: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Results of a graph among the attributes, and what is known of them; on ``meta`` one of the two.

        Raises:
            UserError: There is too much of it.
        """
        body = self._body(graph)
        self._unrolled += 1 + len(body)
        if self._unrolled > UNROLLED:
            raise UserError(
                f"{self.path}: its loops unroll to more than {UNROLLED} operators; expected fewer"
            )
        inner = Scope(values=dict(scope.values), known=dict(scope.known), device=scope.device)
        for name, weight in graph.weights.items():
            inner.add(name, weight.to(scope.device), weight if _known(weight) else None)
        for item, operand in zip(graph.inputs, operands):
            real = scope.device.type == "meta" and is_real(operand)
            inner.add(item.name, None if real else operand, operand if real else None)
        for node in body:
            self._run(inner, node, None)
        results = []
        for name in graph.outputs:
            known = inner.known.get(name)
            early = known is not None and scope.device.type == "meta"
            results.append((None if early else inner.value(name), known))
        return results


class _Step(nn.Module):
    """One node, so that what it runs is named after it."""

    def forward(self, operator: Operator, call: Call) -> Any:
        return operator(call)


def _known(weight: Tensor) -> bool:
    """Whether a constant's numbers may decide shapes."""
    few = LARGEST if weight.dtype in (torch.int64, torch.int32, torch.bool) else FEW
    return not weight.is_meta and weight.numel() <= few


def _fused(graph: OnnxGraph, outputs: Sequence[str], exact: bool) -> list[OnnxNode]:
    return fuse(without_casts(graph.nodes, outputs), graph.weights, outputs, exact=exact)


def _needed(nodes: Sequence[OnnxNode], outputs: Sequence[str]) -> list[OnnxNode]:
    """The nodes that ``outputs`` rest on."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            wanted |= {*node.inputs, *free_names(node)}
            kept.append(node)
    return kept[::-1]
