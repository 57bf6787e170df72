"""Reading ONNX files: nodes, and weights as tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lanewise.errors import UserError


@dataclass(frozen=True, kw_only=True)
class OnnxNode:
    """One operator of a graph."""

    operator: str
    inputs: tuple[str, ...]
    """Names; an optional one that is left out is empty."""
    output: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxFile:
    """A graph of operators that give one result each."""

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    weights: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]


def read_onnx(path: Path) -> OnnxFile:
    """The graph of an ONNX file, its constants among the weights.

    Raises:
        UserError: It is no ONNX file, or an operator gives several results.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import helper, numpy_helper

    try:
        model = onnx.load(path)
    except (OSError, DecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}; expected an ONNX file") from None
    weights = {item.name: _tensor(numpy_helper.to_array(item)) for item in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if len(node.output) != 1:
            raise UserError(f"{path}: {node.op_type} must give one result, not {len(node.output)}")
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "Constant":
            weights[node.output[0]] = _tensor(numpy_helper.to_array(attributes["value"]))
            continue
        nodes.append(
            OnnxNode(
                operator=node.op_type,
                inputs=tuple(node.input),
                output=node.output[0],
                attributes=attributes,
            )
        )
    return OnnxFile(
        path=path,
        inputs=tuple(item.name for item in model.graph.input if item.name not in weights),
        outputs=tuple(item.name for item in model.graph.output),
        nodes=tuple(nodes),
        weights=weights,
        metadata={item.key: item.value for item in model.metadata_props},
    )


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))
