"""An ONNX graph as a PyTorch module: each node one of PyTorch's operators."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.errors import UserError
from lanewise.models.pretrained.onnx_file import OnnxFile, OnnxNode
from lanewise.models.pretrained.onnx_fusion import fuse, without_casts

Attributes = Mapping[str, Any]


class OnnxModule(nn.Module):
    """Runs a graph node by node. Floating-point weights are its buffers; the smaller ones of shapes are not.

    Args:
        file: The graph; one input and one output.
        output: Its result; another value of the graph, if given, and then what only the rest needs is left out.

    Raises:
        UserError: The graph has an operator that is not known here, or no such value.
    """

    def __init__(self, file: OnnxFile, output: str | None = None) -> None:
        super().__init__()
        if len(file.inputs) != 1 or len(file.outputs) != 1:
            raise UserError(
                f"{file.path}: must have one input and one output, not {file.inputs}, {file.outputs}"
            )
        self.input = file.inputs[0]
        self.output = file.outputs[0] if output is None else output
        nodes = fuse(without_casts(file.nodes), file.weights)
        wanted, kept = {self.output}, []
        for node in reversed(nodes):
            if node.output in wanted:
                wanted |= set(node.inputs)
                kept.append(node)
        if not kept:
            raise UserError(f"{file.path}: has no value {self.output}; expected one of its graph")
        self.nodes = kept[::-1]
        unknown = sorted({node.operator for node in self.nodes} - set(_KNOWN))
        if unknown:
            raise UserError(f"{file.path}: operator {unknown[0]} is unknown; expected {', '.join(_KNOWN)}")
        self.places: dict[str, str] = {}
        for place, (name, weight) in enumerate(file.weights.items()):
            if name in wanted:
                self.places[name] = f"weight{place}"
                self.register_buffer(f"weight{place}", weight.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The graph's output for its one input."""
        values: dict[str, Any] = {name: getattr(self, place) for name, place in self.places.items()}
        values |= {"": None, self.input: x}
        for node in self.nodes:
            operands = [values[name] for name in node.inputs]
            values[node.output] = _operate(node, operands)
        result: torch.Tensor = values[self.output]
        return result


def _operate(node: OnnxNode, operands: Sequence[Any]) -> Any:
    if node.operator in _PLAIN:
        return _PLAIN[node.operator](*operands)
    return _WITH_ATTRIBUTES[node.operator](node.attributes, *operands)


def _convolution(a: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    x, padding = _padded(a, x, 0.0)
    return F.conv2d(x, weight, bias, a["strides"], padding, a["dilations"], a["group"])


def _padded(a: Attributes, x: Any, value: float) -> tuple[Any, list[int]]:
    """``x`` with what a symmetric padding cannot do, and the symmetric padding left to do."""
    if a.get("auto_pad", b"NOTSET") == b"SAME_UPPER":
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[2:], a["kernel_shape"], a["strides"], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads = [total // 2, total - total // 2, *pads]
        return F.pad(x, pads, value=value), [0, 0]
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return x, [top, left]
    return F.pad(x, [left, right, top, bottom], value=value), [0, 0]


def _max_pool(a: Attributes, x: Any) -> Any:
    x, padding = _padded(a, x, -torch.inf)
    return F.max_pool2d(x, a["kernel_shape"], a["strides"], padding)


def _average_pool(a: Attributes, x: Any) -> Any:
    return F.avg_pool2d(x, a["kernel_shape"], a["strides"], a["pads"][:2], count_include_pad=False)


def _batch_norm(a: Attributes, x: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> Any:
    return F.batch_norm(x, mean, variance, scale, shift, eps=a["epsilon"])


def _slice(x: Any, starts: Any, ends: Any, axes: Any, steps: Any = None) -> Any:
    for place, axis in enumerate(axes.tolist()):
        step = 1 if steps is None else int(steps[place])
        parts = [slice(None)] * x.ndim
        parts[axis] = slice(int(starts[place]), min(int(ends[place]), x.shape[axis]), step)
        x = x[tuple(parts)]
    return x


def _reshape(x: Any, shape: Any) -> Any:
    return x.reshape([x.shape[place] if size == 0 else size for place, size in enumerate(shape.tolist())])


def _unsqueeze(a: Attributes, x: Any) -> Any:
    for axis in sorted(a["axes"]):
        x = x.unsqueeze(axis)
    return x


_PLAIN: Mapping[str, Callable[..., Any]] = {
    "Add": lambda x, y: x + y,
    "Div": lambda x, y: x / y,
    "Erf": lambda x: x.erf(),
    "Gelu": lambda x: F.gelu(x),
    "MatMul": lambda x, y: x @ y,
    "Mul": lambda x, y: x * y,
    "Pow": lambda x, y: x**y,
    "Relu": lambda x: x.relu(),
    "Reshape": _reshape,
    "Shape": lambda x: torch.tensor(x.shape),
    "Sigmoid": lambda x: x.sigmoid(),
    "Silu": lambda x: F.silu(x),
    "Slice": _slice,
    "Sqrt": lambda x: x.sqrt(),
    "Sub": lambda x, y: x - y,
}
"""Operators of their operands."""
_WITH_ATTRIBUTES: Mapping[str, Callable[..., Any]] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Concat": lambda a, *parts: torch.cat(parts, a["axis"]),
    "Conv": _convolution,
    "HardSigmoid": lambda a, x: (x * a["alpha"] + a["beta"]).clamp(0, 1),
    "LayerNorm": lambda a, x, scale, shift: F.layer_norm(x, scale.shape, scale, shift, a["epsilon"]),
    "MaxPool": _max_pool,
    "ReduceMean": lambda a, x: x.mean(list(a["axes"]), keepdim=bool(a.get("keepdims", 1))),
    "Softmax": lambda a, x: x.softmax(a["axis"]),
    "Squeeze": lambda a, x: x.squeeze(tuple(a["axes"])),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
}
"""Operators of their attributes and operands."""
_KNOWN = sorted({*_PLAIN, *_WITH_ATTRIBUTES})
