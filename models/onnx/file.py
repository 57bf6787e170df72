"""Reading ONNX files: nodes, and weights as tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from lanewise.errors import UserError

OLDEST = 6
"""Oldest set of operators that is read."""

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
        UserError: It is no ONNX file, of operators that are too old, or a weight cannot be read.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{path}: cannot be read: {reason}; expected an ONNX file") from None
    if not model.HasField("graph") or not model.opset_import:
        raise UserError(f"{path}: has no graph; expected an ONNX file")
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    opsets = {item.domain or "ai.onnx": item.version for item in model.opset_import}
    if opsets.get("ai.onnx", OLDEST) < OLDEST:
        raise UserError(f"{path}: operator set must be {OLDEST} or newer, not {opsets['ai.onnx']}")
    graph = _Reader(path, opsets, shapes_only).graph(model.graph)
    return OnnxFile(path=path, graph=graph, metadata={item.key: item.value for item in model.metadata_props})


def external_files(path: Path) -> list[Path]:
    """The files beside an ONNX file that hold weights of it; none if it is no ONNX file."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError):
        return []
    places = {
        entry.value
        for item in model.graph.initializer
        if uses_external_data(item)
        for entry in item.external_data
        if entry.key == "location"
    }
    return [path.parent / place for place in sorted(places)]


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
        nodes = tuple(self.node(node) for node in graph.node if not self._constant(node, weights))
        inputs = tuple(self._input(item) for item in graph.input if item.name not in weights)
        return OnnxGraph(
            inputs=inputs, outputs=tuple(item.name for item in graph.output), nodes=nodes, weights=weights
        )

    def node(self, node: Any) -> OnnxNode:
        """A node with its attributes."""
        domain = node.domain or "ai.onnx"
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
        if self._shapes_only and not _small(dtype, prod(item.dims)):
            return torch.empty(tuple(item.dims), dtype=dtype, device="meta")
        try:
            if uses_external_data(item):
                load_external_data_for_tensor(item, str(self._path.parent))
            return tensor_of(to_array(item))
        except Exception as error:  # noqa: BLE001 - onnx raises kinds of its own, some no subclass of another
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{self._path}: {name}: cannot be read: {reason}; expected its data in or beside the file"
            ) from None


def _small(dtype: torch.dtype, size: int) -> bool:
    return size <= (LARGEST if dtype in (torch.int64, torch.int32, torch.bool) else FEW)


def tensor_of(array: Any) -> torch.Tensor:
    """A NumPy array as a tensor; types that NumPy has not (``ml_dtypes``) become PyTorch's, 4 bits 8.

    Raises:
        ValueError: PyTorch has no such type.
    """
    array = np.array(array)
    name = array.dtype.name
    if name in ("int4", "uint4", "int2", "uint2"):
        array = array.astype(np.int8 if name.startswith("i") else np.uint8)
    elif name == "bfloat16" or name.startswith("float8"):
        dtype = getattr(torch, name, None)
        if dtype is None:
            raise ValueError(f"{name} is no type of PyTorch's")
        raw = torch.from_numpy(array.view(np.int16 if name == "bfloat16" else np.uint8))
        return raw.view(dtype)
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise ValueError(str(error)) from None


def torch_type(code: int) -> torch.dtype | None:
    """PyTorch's type for ONNX's number of one; ``None`` if it has none."""
    from onnx import TensorProto

    name = TensorProto.DataType.Name(code).lower() if code in TensorProto.DataType.values() else ""
    special = {"float": "float32", "double": "float64", "int4": "int8", "uint4": "uint8"}
    special |= {
        "float8e4m3fn": "float8_e4m3fn",
        "float8e5m2": "float8_e5m2",
        "int2": "int8",
        "uint2": "uint8",
    }
    special |= {"float8e4m3fnuz": "float8_e4m3fnuz", "float8e5m2fnuz": "float8_e5m2fnuz"}
    dtype = getattr(torch, special.get(name, name), None)
    return dtype if isinstance(dtype, torch.dtype) else None
