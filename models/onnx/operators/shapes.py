"""Shapes: what moves elements, and what asks how many there are."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.models.onnx.call import Call, Operator
from lanewise.models.onnx.types import torch_type

LARGEST = 1 << 28
"""Elements of a constant that is made."""


def _sane(shape: list[int]) -> list[int]:
    """A shape that is not absurd.

    Raises:
        ValueError: It is.
    """
    if math.prod(shape) > LARGEST:
        raise ValueError(f"a constant of shape {tuple(shape)} has more than {LARGEST} elements")
    return shape


def _reshape(c: Call) -> Tensor:
    x: Tensor = c[0]
    shape = c.ints("shape", 1) or []
    if not c.attribute("allowzero", 0):
        shape = [x.shape[place] if size == 0 else size for place, size in enumerate(shape)]
    return x.reshape(shape)


def _shape(c: Call) -> Tensor:
    shape = list(c[0].shape)
    return torch.tensor(shape[c.attribute("start", 0) : c.attribute("end", len(shape))], dtype=torch.int64)


def _flatten(c: Call) -> Tensor:
    x: Tensor = c[0]
    axis = c.attribute("axis", 1)
    axis += x.dim() if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _squeeze(c: Call) -> Tensor:
    x: Tensor = c[0]
    axes = c.ints("axes", 1)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(c: Call) -> Tensor:
    x: Tensor = c[0]
    axes = c.ints("axes", 1) or []
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _transpose(c: Call) -> Tensor:
    x: Tensor = c[0]
    return x.permute(c.ints("perm") or list(range(x.dim()))[::-1])


def _slice(c: Call) -> Tensor:
    x: Tensor = c[0]
    starts, ends = c.ints("starts", 1) or [], c.ints("ends", 2) or []
    axes = c.ints("axes", 3)
    axes = list(range(len(starts))) if axes is None else axes
    steps = c.ints("steps", 4) or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis %= x.dim()
        size = x.shape[axis]
        if step > 0:
            parts = [slice(None)] * x.dim()
            low, high, _ = slice(start, end, step).indices(size)
            parts[axis] = slice(low, max(low, high), step)
            x = x[tuple(parts)]
        else:
            places = range(size)[slice(start, None if end < -size else end, step)]
            _sane([0 if places == range(size)[::-1] else len(places)])
            whole = places == range(size)[::-1]
            x = x.flip(axis) if whole else x.index_select(axis, torch.tensor(places).long().to(x.device))
    return x


def _split(c: Call) -> tuple[Tensor, ...]:
    x: Tensor = c[0]
    axis = c.attribute("axis", 0)
    sizes = c.ints("split", 1)
    if sizes is None:
        count = c.attribute("num_outputs", len(c.node.outputs))
        size = -(-x.shape[axis] // count)
        return x.split(size, axis)  # type: ignore[no-untyped-call, no-any-return]
    return x.split(sizes, axis)  # type: ignore[no-untyped-call, no-any-return]


def _concat(c: Call) -> Any:
    parts = [part for part in c.operands if part is not None]
    return torch.cat(parts, c.attribute("axis", 1))


def _expand(c: Call) -> Tensor:
    x: Tensor = c[0]
    shape = c.ints("shape", 1) or []
    rank = max(x.dim(), len(shape))
    sizes, mine = [1] * (rank - len(shape)) + shape, [1] * (rank - x.dim()) + list(x.shape)
    shape = [size if own == 1 else own for size, own in zip(sizes, mine)]
    return x.expand(shape if x.is_meta else _sane(shape))


def _tile(c: Call) -> Tensor:
    x: Tensor = c[0]
    repeats = c.ints("repeats", 1) or []
    if not x.is_meta:
        _sane([x.numel(), *repeats])
    return x.repeat(repeats)


def _constant_of_shape(c: Call) -> Tensor:
    value = c.attribute("value")
    shape = _sane(c.ints("shape", 0) or [])
    if value is None:
        return torch.zeros(shape, dtype=torch.float32)
    return torch.full(shape, value.item(), dtype=value.dtype)


def _constant(c: Call) -> Tensor:
    for name, dtype in (("value_float", torch.float32), ("value_floats", torch.float32)):
        if c.attribute(name) is not None:
            return torch.tensor(c.attribute(name), dtype=dtype)
    for name in ("value_int", "value_ints"):
        if c.attribute(name) is not None:
            return torch.tensor(c.attribute(name), dtype=torch.int64)
    value: Tensor = c.attribute("value")
    return value


def _range(c: Call) -> Tensor:
    start, limit, delta = (c.value(place) for place in range(3))
    (count,) = _sane([max(0, math.ceil((limit.item() - start.item()) / delta.item()))])
    values: Tensor = start + delta * torch.arange(count)
    return values.to(start.dtype)


def _pad(c: Call) -> Tensor:
    x: Tensor = c[0]
    pads = c.ints("pads", 1) or []
    axes = c.ints("axes", 3)
    axes = [axis % x.dim() for axis in (range(x.dim()) if axes is None else axes)]
    around = {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    amounts = [around.get(axis, (0, 0)) for axis in range(x.dim())]
    mode = c.attribute("mode", "constant")
    if mode == "constant":
        value = c.value(2).item() if c.has(2) and c.value(2).numel() else c.attribute("value", 0.0)
        flat = [amount for pair in reversed(amounts) for amount in pair]
        return F.pad(x, flat, value=value)
    for axis, (before, after) in enumerate(amounts):
        if before or after:
            x = _padded_axis(x, axis, before, after, mode)
    return x


def _padded_axis(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """Padded along one axis by PyTorch's own operator where it has one, else by picking elements."""
    names = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    if mode not in names:
        raise ValueError(f"mode must be constant, reflect, edge or wrap, not {mode}")
    size = x.shape[axis]
    _sane([before + size + after])
    places = torch.arange(-before, size + after)
    if mode == "edge":
        places = places.clamp(0, size - 1)
    elif mode == "wrap" or size == 1:
        places = places % size
    else:
        places = (places % (2 * size - 2) - (size - 1)).abs().neg() + size - 1
    return x.index_select(axis, places.to(x.device))


def _depth_to_space(c: Call) -> Tensor:
    x: Tensor = c[0]
    side, mode = c.attribute("blocksize"), c.attribute("mode", "DCR")
    if mode == "CRD":
        return F.pixel_shuffle(x, side)
    batch, channels, height, width = x.shape
    x = x.reshape(batch, side, side, channels // side**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(batch, channels // side**2, height * side, width * side)


def _space_to_depth(c: Call) -> Tensor:
    x: Tensor = c[0]
    side = c.attribute("blocksize")
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // side, side, width // side, side)
    x = x.permute(0, 1, 3, 5, 2, 4) if c.attribute("mode", "DCR") == "CRD" else x.permute(0, 3, 5, 1, 2, 4)
    return x.reshape(batch, channels * side**2, height // side, width // side)


def _triangle(c: Call) -> Tensor:
    k = int(c.value(1)) if c.has(1) else 0
    return torch.triu(c[0], k) if c.attribute("upper", 1) else torch.tril(c[0], k)


def _eye(c: Call) -> Tensor:
    x: Tensor = c[0]
    dtype = torch_type(c.attribute("dtype")) if c.attribute("dtype") is not None else x.dtype
    k = c.attribute("k", 0)
    return torch.ones(_sane(list(x.shape))).triu(k).tril(k).to(dtype)


def _center_crop_pad(c: Call) -> Tensor:
    x: Tensor = c[0]
    axes = c.ints("axes")
    axes = [axis % x.dim() for axis in (range(x.dim()) if axes is None else axes)]
    for axis, wanted in zip(axes, c.ints("shape", 1) or [], strict=True):
        size = x.shape[axis]
        if wanted < size:
            x = x.narrow(axis, (size - wanted) // 2, wanted)
        elif wanted > size:
            before = (wanted - size) // 2
            x = F.pad(x, [0, 0] * (x.dim() - 1 - axis) + [before, wanted - size - before])
    return x


def _size(c: Call) -> Tensor:
    return torch.tensor(c[0].numel(), dtype=torch.int64)


SHAPES: Mapping[str, Operator] = {
    "CenterCropPad": _center_crop_pad,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "EyeLike": _eye,
    "Flatten": _flatten,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
}
"""By ONNX's name."""
ASK_SHAPES = frozenset(("Shape", "Size", "EyeLike"))
"""Operators whose result follows from the operand's shape."""
