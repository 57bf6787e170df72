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
from lanewise.models.onnx.fusion import free_names, fuse, without_casts
from lanewise.models.onnx.operators import OPERATORS
from lanewise.models.onnx.operators.quantised import QUANTISED
from lanewise.models.onnx.operators.shapes import ASK_SHAPES

_FUSED: Mapping[str, Operator] = {
    "LayerNorm": lambda c: F.layer_norm(c[0], c[1].shape, c[1], c[2], c.attribute("epsilon")),
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
        self._bodies: dict[int, list[OnnxNode]] = {}
        self.nodes = _needed(_fused(graph, self.outputs, exact), self.outputs)
        made = {name for node in self.nodes for name in node.outputs}
        given = {item.name for item in graph.inputs}
        for name in self.outputs:
            if name not in made | given | set(graph.weights):
                raise UserError(f"{file.path}: has no value {name}; expected one of its graph")
        self._check(self.nodes)
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
        scope = _Scope(values=weights | values, known=dict(self._constants), device=device)
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
            if (
                node.operator not in OPERATORS
                and node.operator not in (*_FUSED, "If")
                and not is_function(node)
            ):
                where = f"node {node.name or node.output}"
                raise UserError(
                    f"{self.path}: {where}: operator {node.operator} is unknown; expected one of docs/networks.md"
                )
            for value in node.attributes.values():
                if isinstance(value, OnnxGraph):
                    self._check(self._body(value))

    def _body(self, graph: OnnxGraph) -> list[OnnxNode]:
        if id(graph) not in self._bodies:
            self._bodies[id(graph)] = _fused(graph, graph.outputs, self._exact)
        return self._bodies[id(graph)]

    # Running

    def _run(self, scope: "_Scope", node: OnnxNode, step: nn.Module | None) -> None:
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
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{self.path}: node {node.name or node.output}: {node.operator}: {reason}"
            ) from error

    def _operate(self, scope: "_Scope", node: OnnxNode, step: nn.Module | None) -> None:
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
            scope.add(name, result, None)

    def _results(
        self, scope: "_Scope", node: OnnxNode, operands: Sequence[Any], known: Sequence[Any],
        device: torch.device, step: nn.Module | None,
    ) -> Sequence[Any]:  # fmt: skip
        call = Call(
            node=node, operands=operands, known=known, device=device, exact=self._exact,
            run=lambda graph, operands: [value for value, _ in self._graph(scope, graph, operands)],
        )  # fmt: skip
        operator = OPERATORS.get(node.operator) or _FUSED.get(node.operator)
        if operator is not None:
            try:
                result = operator(call) if step is None else step(operator, call)
                return result if isinstance(result, tuple) else (result,)
            except NotImplementedError:
                pass  # known, but not with these options
        inner = _Scope(values={}, known={}, device=device)
        names, outputs, nodes = expanded(node, operands, self.path)
        for name, value, constant in zip(names, operands, known):
            inner.add(name, value, constant)
        for part in nodes:
            self._run(inner, part, None)
        wanted = [*node.outputs, *[""] * (len(outputs) - len(node.outputs))]
        return [inner.value(name) if want else None for name, want in zip(outputs, wanted)]

    def _graph(self, scope: "_Scope", graph: OnnxGraph, operands: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Results of a graph among the attributes, and what is known of them."""
        inner = _Scope(values=dict(scope.values), known=dict(scope.known), device=scope.device)
        for name, weight in graph.weights.items():
            inner.add(name, weight.to(scope.device), weight if _known(weight) else None)
        for item, operand in zip(graph.inputs, operands):
            on_cpu = isinstance(operand, Tensor) and scope.device.type == "meta" and not operand.is_meta
            inner.add(item.name, operand, operand if on_cpu else None)
        for node in self._body(graph):
            self._run(inner, node, None)
        return [(inner.value(name), inner.known.get(name)) for name in graph.outputs]


class _Step(nn.Module):
    """One node, so that what it runs is named after it."""

    def forward(self, operator: Operator, call: Call) -> Any:
        return operator(call)


class _Scope:
    """Values by name, and what is known of them before the network runs."""

    def __init__(self, *, values: dict[str, Any], known: dict[str, Any], device: torch.device) -> None:
        self.values = values
        self.known = known
        self.device = device

    def add(self, name: str, value: Any, known: Any) -> None:
        """A value; ``None`` if it is only known."""
        if not name:
            return
        self.values.pop(name, None)
        self.known.pop(name, None)
        if value is not None:
            self.values[name] = value
        if known is not None:
            self.known[name] = known

    def value(self, name: str) -> Any:
        """A value on the network's device."""
        if name not in self.values:
            if name not in self.known:
                raise ValueError(f"{name} is read before it is computed")
            known = self.known[name]
            moved = (
                [part.to(self.device) for part in known] if isinstance(known, list) else known.to(self.device)
            )
            self.values[name] = moved
        return self.values[name]

    def truth(self, name: str) -> bool:
        """A condition.

        Raises:
            ValueError: It is not known.
        """
        known = self.known.get(name)
        if known is None and not self.value(name).is_meta:
            known = self.value(name)
        if known is None:
            raise ValueError(f"{name} must be known before the network runs")
        return bool(known)


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
