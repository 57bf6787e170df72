"""Quantised networks. On request, quantisers leave values as they are: the machine has its own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.models.onnx.call import Call, Operator
from lanewise.models.onnx.operators.windows import convolution
from lanewise.models.onnx.types import torch_type


def _scaled_axis(c: Call, x: Tensor, part: Tensor | None) -> Tensor | None:
    """A scale or zero point along its axis, or in blocks of it."""
    if part is None or part.dim() == 0 or part.numel() == 1:
        return None if part is None else part.reshape(())
    axis = c.attribute("axis", 1) % x.dim()
    if part.dim() == 1:
        shape = [1] * x.dim()
        shape[axis] = -1
        return part.reshape(shape)
    block = c.attribute("block_size", 0) or -(-x.shape[axis] // part.shape[axis])
    return part.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])


def _quantise(c: Call) -> Any:
    x: Tensor = c[0]
    if not c.exact:
        return x
    zero = _scaled_axis(c, x, c.maybe(2))
    dtype = zero.dtype if zero is not None else torch_type(c.attribute("output_dtype", 0)) or torch.uint8
    if dtype.is_floating_point or dtype not in (torch.int8, torch.uint8, torch.int16, torch.uint16):
        raise ValueError(f"integers of 8 or 16 bits are known, not {dtype}")
    scale = _scaled_axis(c, x, c[1])
    assert scale is not None
    bounds = torch.iinfo(dtype)
    rounded = torch.round(x / scale)
    rounded = rounded if zero is None else rounded + zero.to(x.dtype)
    return rounded.clamp(bounds.min, bounds.max).to(torch.int32).to(dtype)


def _dequantise(c: Call) -> Any:
    x: Tensor = c[0]
    scale = c[1]
    if not c.exact:
        return x if x.dtype == scale.dtype else x.to(scale.dtype)
    zero = _scaled_axis(c, x, c.maybe(2))
    x = x.to(torch.float32)
    x = x if zero is None else x - zero.to(torch.float32)
    spread = _scaled_axis(c, x, scale)
    assert spread is not None
    return (x * spread.to(torch.float32)).to(scale.dtype)


def _dynamic(c: Call) -> Any:
    x: Tensor = c[0]
    if not c.exact:
        one = torch.ones((), dtype=x.dtype, device=x.device)
        return x, one, torch.zeros((), dtype=torch.uint8, device=x.device)
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = (high - low) / 255
    zero = torch.round(-low / scale).clamp(0, 255)
    return (torch.round(x / scale) + zero).clamp(0, 255).to(torch.uint8), scale, zero.to(torch.uint8)


def _centred(c: Call, place: int, zero: int, axis: int = -1) -> Tensor:
    """An operand less its zero point, as floating-point numbers (products are exact in them)."""
    x: Tensor = c[place]
    if not c.exact:
        return x if x.is_floating_point() else x.to(torch.float32)
    point = c.maybe(zero)
    x = x.to(torch.float64)
    if not isinstance(point, Tensor):
        return x
    if point.dim() == 1 and point.numel() > 1:
        shape = [1] * x.dim()
        shape[axis] = -1
        point = point.reshape(shape)
    return x - point.to(torch.float64)


def _matmul_integer(c: Call) -> Any:
    product = _centred(c, 0, 2, -2) @ _centred(c, 1, 3)
    return product.to(torch.int32) if c.exact else product


def _convolve_integer(c: Call) -> Any:
    result = convolution(c, _centred(c, 0, 2), _centred(c, 1, 3, 0), None)
    return result.to(torch.int32) if c.exact else result


def _requantised(c: Call, product: Tensor, scales: tuple[int, int], axis: int, out: int) -> Tensor:
    """The product in the steps of the result's scale, rounded and saturated."""
    scale = c[scales[0]].to(torch.float64) * c[scales[1]].to(torch.float64)
    if scale.dim() and scale.numel() > 1:
        shape = [1] * product.dim()
        shape[axis] = -1
        scale = scale.reshape(shape)
    zero = c[out + 1]
    bounds = torch.iinfo(zero.dtype)
    steps: Tensor = torch.round(product * scale / c[out].to(torch.float64)) + zero.to(torch.float64)
    return steps.clamp(bounds.min, bounds.max).to(torch.int32).to(zero.dtype)


def _linear_matmul(c: Call) -> Any:
    product = _centred(c, 0, 2, -2) @ _centred(c, 3, 5)
    return _requantised(c, product, (1, 4), -1, 6) if c.exact else product


def _linear_convolution(c: Call) -> Any:
    bias = c.maybe(8)
    x, weight = _centred(c, 0, 2), _centred(c, 3, 5, 0)
    result = convolution(c, x, weight, None if bias is None else bias.to(weight.dtype))
    return _requantised(c, result, (1, 4), 1, 6) if c.exact else result


def _linear(function: Any, scale_places: tuple[int, int, int]) -> Operator:
    """com.microsoft's operators on quantised numbers: the operator itself between quantisers."""

    def operator(c: Call) -> Any:
        if c.exact:
            raise ValueError("is known without its rounding alone")
        first, second, _ = scale_places
        parts = [c[place] for place in (first, second) if place >= 0]
        return function(*(part if part.is_floating_point() else part.to(torch.float32) for part in parts))

    return operator


QUANTISED: Mapping[str, Operator] = {
    "ConvInteger": _convolve_integer,
    "DequantizeLinear": _dequantise,
    "DynamicQuantizeLinear": _dynamic,
    "MatMulInteger": _matmul_integer,
    "QLinearConv": _linear_convolution,
    "QLinearMatMul": _linear_matmul,
    "QuantizeLinear": _quantise,
    "com.microsoft.DequantizeLinear": _dequantise,
    "com.microsoft.QLinearAdd": _linear(torch.add, (0, 3, 6)),
    "com.microsoft.QLinearGlobalAveragePool": _linear(lambda x: x.mean((2, 3), keepdim=True), (0, -1, 3)),
    "com.microsoft.QLinearLeakyRelu": _linear(F.leaky_relu, (0, -1, 3)),
    "com.microsoft.QLinearMul": _linear(torch.mul, (0, 3, 6)),
    "com.microsoft.QLinearSigmoid": _linear(torch.sigmoid, (0, -1, 3)),
    "com.microsoft.QuantizeLinear": _quantise,
}
"""By ONNX's name."""
