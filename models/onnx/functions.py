"""Operators that the ONNX standard itself writes out in others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lanewise.models.onnx.file import OnnxGraph, OnnxNode, graph_of


def _schema(node: OnnxNode) -> Any:
    from onnx import defs

    if "." in node.operator:
        return None
    try:
        return defs.get_schema(node.operator, node.opset, "")
    except defs.SchemaError:
        return None


def is_function(node: OnnxNode) -> bool:
    """Whether the standard writes the operator out."""
    schema = _schema(node)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def expanded(
    node: OnnxNode, operands: Sequence[Any], path: Path
) -> tuple[list[str], list[str], tuple[OnnxNode, ...]]:
    """Names of the inputs and results, and the nodes of the function that ``node`` calls.

    Raises:
        ValueError: The standard has no function for it.
    """
    from onnx import FunctionProto, helper

    schema = _schema(node)
    attributes = {
        name: value for name, value in node.attributes.items() if not isinstance(value, OnnxGraph | Tensor)
    }
    if schema is not None and schema.has_context_dependent_function:
        call = helper.make_node(node.operator, node.inputs, node.outputs, **attributes)
        types = [_type(operand).SerializeToString() for operand in operands]
        version = max(v for v in schema.context_dependent_function_opset_versions if v <= node.opset)
        text = schema.get_context_dependent_function_with_opset_version(
            version, call.SerializeToString(), types
        )
        function = FunctionProto.FromString(text)
    elif schema is not None and schema.has_function:
        version = max(v for v in schema.function_opset_versions if v <= node.opset)
        function = FunctionProto.FromString(schema.get_function_with_opset_version(version))
    else:
        raise ValueError("is not known with these options")
    defaults = {
        name: helper.get_attribute_value(item.default_value)
        for name, item in schema.attributes.items()
        if item.default_value.name
    }
    bound = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in (defaults | dict(node.attributes)).items()
    }
    opsets = {item.domain or "ai.onnx": item.version for item in function.opset_import}
    return list(function.input), list(function.output), graph_of(function.node, opsets, path, bound)


def _type(operand: Any) -> Any:
    from onnx import TypeProto, helper

    if not isinstance(operand, Tensor):
        return TypeProto()
    return helper.make_tensor_type_proto(_CODES[operand.dtype], list(operand.shape))


_CODES = {
    torch.float32: 1, torch.uint8: 2, torch.int8: 3, torch.uint16: 4, torch.int16: 5, torch.int32: 6,
    torch.int64: 7, torch.bool: 9, torch.float16: 10, torch.float64: 11, torch.bfloat16: 16,
}  # fmt: skip
"""ONNX's numbers of types."""
