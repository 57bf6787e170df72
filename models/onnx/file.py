"""Reading ONNX files: nodes, and weights as tensors."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import torch

from lanewise.errors import UserError
from lanewise.models.onnx.proto import OLDEST, load_proto
from lanewise.models.onnx.types import tensor_of, torch_type, type_name

LARGEST = 1 << 16
"""Elements of the largest tensor of integers that shapes may depend on; of other types, ``FEW``."""

FEW = 16

Dimension: TypeAlias = int | str | None
"""A size, the name of one that is open, or neither."""


@dataclass(frozen=True, kw_only=True)
class OnnxNode:
    """One operator of a graph."""

    operator: str
    """With its domain in front unless that is ONNX's own: ``Conv``, ``com.microsoft.Gelu``."""
    inputs: tuple[str, ...]
    """Names; an optional one that is left out is empty."""
    outputs: tuple[str, ...]
    """Likewise."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Tensors are PyTorch's, text is ``str``, graphs are :class:`OnnxGraph`."""
    opset: int = OLDEST
    """Version of the operators of its domain."""
    name: str = ""

    @property
    def output(self) -> str:
        """Its first result."""
        return self.outputs[0]


@dataclass(frozen=True, kw_only=True)
class OnnxInput:
    """An input of a graph."""

    name: str
    dtype: torch.dtype | None
    shape: tuple[Dimension, ...] | None
    """``None`` where the file does not say."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxGraph:
    """Nodes in the order of execution, with their constants among the weights."""

    inputs: tuple[OnnxInput, ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    weights: Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxFile:
    """A graph and where it comes from."""

    path: Path
    graph: OnnxGraph
    metadata: Mapping[str, str]

    @property
    def weights(self) -> Mapping[str, torch.Tensor]:
        """The graph's weights by name."""
        return self.graph.weights


def read_onnx(path: Path, *, shapes_only: bool = False) -> OnnxFile:
    """The graph of an ONNX file, its constants among the weights.

    Args:
        path: The file; what it keeps outside lies beside it.
        shapes_only: Weights are on the ``meta`` device, apart from those that shapes may depend on
            (:data:`LARGEST`); files beside it are read for these alone.

    Raises:
        UserError: As of :func:`load_proto`; or a value is given twice, or a weight or name cannot be read.
    """
    model = load_proto(path)
    opsets = {item.domain or "ai.onnx": item.version for item in model.opset_import}
    try:
        graph = _Reader(path, opsets, shapes_only).graph(model.graph)
        metadata = {item.key: item.value for item in model.metadata_props}
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - text that is no UTF-8, sizes that overflow, whatever PyTorch raises
        raise UserError(f"{path}: cannot be read: {_reason(error)}; expected an ONNX file") from None
    return OnnxFile(path=path, graph=graph, metadata=metadata)


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def graph_of(
    nodes: Any, opsets: Mapping[str, int], path: Path, bound: Mapping[str, Any]
) -> tuple[OnnxNode, ...]:
    """The nodes of a function of the ONNX standard.

    Args:
        nodes: As ONNX has them.
        opsets: Versions by domain, ``ai.onnx`` its own.
        path: For messages.
        bound: What the function's attributes are.
    """
    reader = _Reader(path, opsets, False, bound)
    return tuple(reader.node(node) for node in nodes)


class _Reader:
    def __init__(
        self, path: Path, opsets: Mapping[str, int], shapes_only: bool, bound: Mapping[str, Any] | None = None
    ) -> None:
        self._bound = bound or {}
        self._path = path
        self._opsets = opsets
        self._shapes_only = shapes_only

    def graph(self, graph: Any) -> OnnxGraph:
        if len(graph.sparse_initializer):
            raise UserError(f"{self._path}: has sparse weights; expected dense ones")
        weights = {item.name: self._tensor(item) for item in graph.initializer}
        inputs = tuple(self._input(item) for item in graph.input if item.name not in weights)
        self._once(graph, [item.name for item in inputs])
        nodes = tuple(self.node(node) for node in graph.node if not self._constant(node, weights))
        return OnnxGraph(
            inputs=inputs, outputs=tuple(item.name for item in graph.output), nodes=nodes, weights=weights
        )

    def _text(self, *names: Any) -> None:
        """Refuse names that are no text: protobuf gives them as bytes."""
        if not all(isinstance(name, str) for name in names):
            raise UserError(f"{self._path}: cannot be read: a name is no UTF-8; expected an ONNX file")

    def _once(self, graph: Any, inputs: list[str]) -> None:
        """Refuse a graph whose values are not each given once."""
        self._text(*inputs, *(item.name for item in (*graph.initializer, *graph.output)))
        given = [*inputs, *(item.name for item in graph.initializer)]
        given += [name for node in graph.node for name in node.output if name]
        twice = sorted(name for name, count in Counter(given).items() if count > 1)
        if twice:
            raise UserError(f"{self._path}: gives value {twice[0]} twice; expected each once")

    def node(self, node: Any) -> OnnxNode:
        """A node with its attributes.

        Raises:
            UserError: It has no result, or the file does not say of which set it is.
        """
        names = [node.op_type, node.domain, node.name, *node.input, *node.output]
        self._text(*names, *(part for item in node.attribute for part in (item.name, item.ref_attr_name)))
        domain = node.domain or "ai.onnx"
        where = f"node {node.name or node.op_type}"
        if not any(node.output):
            raise UserError(f"{self._path}: {where}: has no result; expected one")
        if domain == "ai.onnx" and domain not in self._opsets:
            raise UserError(f"{self._path}: {where}: is of no operator set; expected its version")
        return OnnxNode(
            operator=node.op_type if domain == "ai.onnx" else f"{domain}.{node.op_type}",
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes={item.name: self._attribute(item) for item in node.attribute},
            opset=self._opsets.get(domain, 1),
            name=node.name,
        )

    def _constant(self, node: Any, weights: dict[str, torch.Tensor]) -> bool:
        """Whether a node is a constant, which is then among the weights."""
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            return False
        if len(node.attribute) != 1:
            return False
        (attribute,) = node.attribute
        value = self._attribute(attribute)
        if attribute.name == "value":
            weights[node.output[0]] = value
        elif attribute.name in ("value_float", "value_floats"):
            weights[node.output[0]] = torch.tensor(value, dtype=torch.float32)
        elif attribute.name in ("value_int", "value_ints"):
            weights[node.output[0]] = torch.tensor(value, dtype=torch.int64)
        else:
            raise UserError(
                f"{self._path}: node {node.name or node.output[0]}: {attribute.name} is no tensor of numbers"
            )
        return True

    def _attribute(self, item: Any) -> Any:
        from onnx import AttributeProto, helper

        if item.ref_attr_name:
            return self._bound.get(item.ref_attr_name)
        value = helper.get_attribute_value(item)
        if item.type == AttributeProto.TENSOR:
            return self._tensor(value)
        if item.type == AttributeProto.GRAPH:
            return self.graph(value)
        if item.type == AttributeProto.STRING:
            return value.decode(errors="replace")
        if item.type == AttributeProto.STRINGS:
            return [part.decode(errors="replace") for part in value]
        return list(value) if item.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value

    def _input(self, item: Any) -> OnnxInput:
        if not item.type.HasField("tensor_type"):
            return OnnxInput(name=item.name, dtype=None, shape=None)
        kind = item.type.tensor_type
        shape = None
        if kind.HasField("shape"):
            shape = tuple(
                side.dim_value
                if side.HasField("dim_value") and side.dim_value >= 0
                else side.dim_param.strip("?") or None
                for side in kind.shape.dim
            )
        return OnnxInput(name=item.name, dtype=torch_type(kind.elem_type), shape=shape)

    def _tensor(self, item: Any) -> torch.Tensor:
        from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data
        from onnx.numpy_helper import to_array

        name = item.name or "constant"
        dtype = torch_type(item.data_type)
        if dtype is None or any(side < 0 for side in item.dims):
            raise UserError(f"{self._path}: {name}: is no tensor of numbers; expected those alone")
        try:
            if self._shapes_only and not _small(dtype, prod(item.dims)):
                self._check_bytes(item)
                return torch.empty(tuple(item.dims), dtype=dtype, device="meta")
            if uses_external_data(item):
                load_external_data_for_tensor(item, str(self._path.parent))
            return tensor_of(to_array(item))
        except Exception as error:  # noqa: BLE001 - onnx raises kinds of its own, some no subclass of another
            raise UserError(
                f"{self._path}: {name}: cannot be read: {_reason(error)}; expected its data in or beside the file"
            ) from None

    @staticmethod
    def _check_bytes(item: Any) -> None:
        """Refuse a weight that is not read but is not as long as its shape says."""
        from onnx.helper import tensor_dtype_to_np_dtype

        bits = (
            4
            if type_name(item.data_type).endswith("int4")
            else 2
            if type_name(item.data_type).endswith("int2")
            else 0
        )
        size = prod(item.dims)
        wanted = (
            size * tensor_dtype_to_np_dtype(item.data_type).itemsize if not bits else -(-size * bits // 8)
        )
        if item.HasField("raw_data") and len(item.raw_data) != wanted:
            raise ValueError(f"has {len(item.raw_data)} bytes, not {wanted}")


def _small(dtype: torch.dtype, size: int) -> bool:
    return size <= (LARGEST if dtype in (torch.int64, torch.int32, torch.bool) else FEW)
