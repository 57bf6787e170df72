"""ONNX's types of numbers as PyTorch's."""

from typing import Any

import numpy as np
import torch


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
    name = type_name(code)
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


def type_name(code: int) -> str:
    """ONNX's name of a type, in small letters; empty if there is none."""
    from onnx import TensorProto

    return TensorProto.DataType.Name(code).lower() if code in TensorProto.DataType.values() else ""
