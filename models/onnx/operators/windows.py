"""Windows over pictures, sequences and volumes: convolution, pooling, resizing."""

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.models.onnx.call import Call, Operator

_CONVOLUTIONS: Mapping[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: Mapping[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAXIMA: Mapping[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_MEANS: Mapping[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _geometry(
    c: Call, x: Tensor, kernel: Sequence[int]
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Strides, dilations and the padding before and after each axis."""
    axes = x.dim() - 2
    if axes not in _CONVOLUTIONS:
        raise ValueError(f"must have 1 to 3 axes of space, not {axes}")
    strides = c.ints("strides") or [1] * axes
    dilations = c.ints("dilations") or [1] * axes
    mode = c.attribute("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        pads = []
        for size, side, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
            reach = (side - 1) * dilation + 1
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            low = total // 2
            pads.append((low, total - low) if mode == "SAME_UPPER" else (total - low, low))
        return strides, dilations, pads
    flat = (c.ints("pads") if mode == "NOTSET" else None) or [0] * 2 * axes
    return strides, dilations, list(zip(flat[:axes], flat[axes:], strict=True))


def _padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float) -> tuple[Tensor, list[int]]:
    """``x`` with what a symmetric padding cannot do, and the symmetric padding left to do."""
    if all(low == high for low, high in pads):
        return x, [low for low, _ in pads]
    return F.pad(x, [side for pair in reversed(pads) for side in pair], value=value), [0] * len(pads)


def convolution(c: Call, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution with the attributes of ``Conv``."""
    strides, dilations, pads = _geometry(c, x, weight.shape[2:])
    x, padding = _padded(x, pads, 0.0)
    result: Tensor = _CONVOLUTIONS[len(pads)](
        x, weight, bias, strides, padding, dilations, c.attribute("group", 1)
    )
    return result


def _transposed(c: Call) -> Tensor:
    x, weight, bias = c[0], c[1], c.maybe(2)
    kernel = weight.shape[2:]
    strides, dilations, _ = _geometry(c, x, kernel)
    axes = len(strides)
    extra = c.ints("output_padding") or [0] * axes
    group = c.attribute("group", 1)
    full = [
        (size - 1) * stride + more + (side - 1) * dilation + 1
        for size, stride, more, side, dilation in zip(
            x.shape[2:], strides, extra, kernel, dilations, strict=True
        )
    ]
    wanted, mode = c.ints("output_shape"), c.attribute("auto_pad", "NOTSET")
    if wanted is None and mode.startswith("SAME"):
        wanted = [size * stride for size, stride in zip(x.shape[2:], strides)]
    if wanted is not None:
        wanted = wanted[-axes:]
        totals = [size - want for size, want in zip(full, wanted)]
        halves = [total // 2 for total in totals]
        pads = [
            (half, total - half) if mode == "SAME_UPPER" else (total - half, half)
            for total, half in zip(totals, halves)
        ]
    else:
        flat = c.ints("pads") or [0] * 2 * axes
        pads = list(zip(flat[:axes], flat[axes:], strict=True))
    if all(low == high and low >= 0 for low, high in pads):
        padding = [low for low, _ in pads]
        result: Tensor = _TRANSPOSED[axes](x, weight, bias, strides, padding, extra, group, dilations)
        return result
    result = _TRANSPOSED[axes](x, weight, bias, strides, 0, extra, group, dilations)
    return F.pad(result, [-side for pair in reversed(pads) for side in pair])


def _ceiling(c: Call, x: Tensor, pads: list[tuple[int, int]], kernel: list[int], strides: list[int],
             dilations: list[int]) -> list[tuple[int, int]]:  # fmt: skip
    """The padding with what a rounded-up size reaches beyond it."""
    if not c.attribute("ceil_mode", 0):
        return pads
    more = []
    for size, (low, high), side, stride, dilation in zip(x.shape[2:], pads, kernel, strides, dilations):
        reach = (side - 1) * dilation + 1
        steps = ceil((size + low + high - reach) / stride)
        if steps * stride >= size + low:  # a window must not start in the padding after the end
            steps -= 1
        more.append((low, max(high, steps * stride + reach - size - low)))
    return more


def _max_pool(c: Call) -> Any:
    x: Tensor = c[0]
    kernel = c.ints("kernel_shape") or []
    strides, dilations, pads = _geometry(c, x, kernel)
    pads = _ceiling(c, x, pads, kernel, strides, dilations)
    plain = all(low == high <= side // 2 for (low, high), side in zip(pads, kernel))
    dtype = x.dtype
    if not x.is_floating_point():
        x = x.to(torch.float32)
    padding = [low for low, _ in pads]
    padded = x
    if not plain:
        padded, padding = _padded(x, [(low, high + 0) for low, high in pads], -torch.inf)
        if any(padding):
            flat = [side for pair in reversed(pads) for side in pair]
            padded, padding = F.pad(x, flat, value=-torch.inf), [0] * len(pads)
    pool = _MAXIMA[len(pads)]
    if len(c.node.outputs) < 2 or not c.node.outputs[1]:
        return pool(padded, kernel, strides, padding, dilations).to(dtype)
    result, places = pool(padded, kernel, strides, padding, dilations, return_indices=True)
    if not plain or c.attribute("storage_order", 0):
        places = _places(c, x, places, padded.shape[2:], [low if not any(padding) else 0 for low, _ in pads])
    offset = torch.arange(x.shape[0] * x.shape[1], device=x.device)
    size = x.shape[2:].numel()
    return result.to(dtype), places + (offset * size).reshape(x.shape[0], x.shape[1], *[1] * len(pads))


def _places(c: Call, x: Tensor, places: Tensor, padded: Sequence[int], before: list[int]) -> Tensor:
    """Indices into the padded picture as ones into ``x``, the last axis first if that is asked for."""
    coordinates = []
    for size, low in zip(reversed(padded), reversed(before)):
        coordinates.append(places % size - low)
        places = places // size
    sizes = list(x.shape[2:])
    order = list(zip(reversed(coordinates), sizes))
    if c.attribute("storage_order", 0):
        order.reverse()
    result = torch.zeros_like(places)
    for coordinate, size in order:
        result = result * size + coordinate
    return result


def _average_pool(c: Call) -> Any:
    x: Tensor = c[0]
    kernel = c.ints("kernel_shape") or []
    strides, dilations, pads = _geometry(c, x, kernel)
    counted = bool(c.attribute("count_include_pad", 0))
    grown = _ceiling(c, x, pads, kernel, strides, dilations)
    dense = all(dilation == 1 for dilation in dilations)
    if dense and grown == pads and all(low == high <= side // 2 for (low, high), side in zip(pads, kernel)):
        padding = [low for low, _ in pads]
        return _MEANS[len(pads)](x, kernel, strides, padding, count_include_pad=counted)
    ones = torch.ones_like(x[:1, :1])
    flat = [side for pair in reversed(pads) for side in pair]
    beyond = [more - side for (_, side), (_, more) in zip(pads, grown)]
    tail = [part for more in reversed(beyond) for part in (0, more)]
    total = _window_sum(F.pad(F.pad(x, flat), tail), kernel, strides, dilations)
    ones = F.pad(F.pad(ones, flat, value=1.0 if counted else 0.0), tail)
    return total / _window_sum(ones, kernel, strides, dilations)


def _window_sum(x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> Tensor:
    weight = torch.ones(x.shape[1], 1, *kernel, dtype=x.dtype, device=x.device)
    result: Tensor = _CONVOLUTIONS[len(kernel)](x, weight, None, strides, 0, dilations, x.shape[1])
    return result


def _norm_pool(c: Call) -> Any:
    x: Tensor = c[0]
    kernel, p = c.ints("kernel_shape") or [], c.attribute("p", 2)
    strides, dilations, pads = _geometry(c, x, kernel)
    pads = _ceiling(c, x, pads, kernel, strides, dilations)
    flat = [side for pair in reversed(pads) for side in pair]
    return _window_sum(F.pad(x.abs() ** p, flat), kernel, strides, dilations) ** (1 / p)


def _global_average(c: Call) -> Any:
    x: Tensor = c[0]
    return x.mean(list(range(2, x.dim())), keepdim=True)


def _global_maximum(c: Call) -> Any:
    x: Tensor = c[0]
    return x.amax(list(range(2, x.dim())), keepdim=True)


def _global_norm(c: Call) -> Any:
    x: Tensor = c[0]
    return torch.linalg.vector_norm(x, c.attribute("p", 2), list(range(2, x.dim())), keepdim=True)


def _resize(c: Call) -> Tensor:
    """PyTorch's own interpolation where it is the same, else sizes alone by it."""
    x: Tensor = c[0]
    old = c.opset < 11 or c.node.operator == "Upsample"
    axes = [axis % x.dim() for axis in c.ints("axes") or range(x.dim())]
    sizes, scales = None, c.attribute("scales")
    if old and c.has(1):
        scales = c.value(1).tolist()
    elif not old and c.has(3):
        sizes = [int(size) for size in c.value(3).tolist()]
    elif not old and c.has(2):
        scales = c.value(2).tolist()
    shape, factors = list(x.shape), [1.0] * x.dim()
    if sizes is not None:
        policy = c.attribute("keep_aspect_ratio_policy", "stretch")
        ratios = [size / x.shape[axis] for size, axis in zip(sizes, axes)]
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            sizes = [floor(ratio * x.shape[axis] + 0.5) for axis in axes]
        for axis, size in zip(axes, sizes):
            shape[axis], factors[axis] = size, size / x.shape[axis]
    else:
        for axis, factor in zip(axes, scales or []):
            shape[axis], factors[axis] = floor(x.shape[axis] * factor), factor
    return _interpolated(c, x, shape, factors, exact=sizes is not None)


def _interpolated(c: Call, x: Tensor, shape: list[int], factors: list[float], *, exact: bool) -> Tensor:
    if shape == list(x.shape):
        return x
    mode = c.attribute("mode", "nearest")
    old = c.opset < 11 or c.node.operator == "Upsample"
    placing = "asymmetric" if old else c.attribute("coordinate_transformation_mode", "half_pixel")
    nearest = "floor" if old else c.attribute("nearest_mode", "round_prefer_floor")
    smooth = bool(c.attribute("antialias", 0))
    if x.shape[:2] != torch.Size(shape[:2]) or not 3 <= x.dim() <= 5:
        if not x.is_meta:
            raise ValueError("only the axes of space can be resized")
        return x.new_empty(shape)
    kinds = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}
    kinds |= {"nearest": dict.fromkeys((3, 4, 5), "nearest")}
    kind = kinds.get(mode, {}).get(x.dim())
    if kind is None:
        raise ValueError(f"mode {mode} of {x.dim() - 2} axes of space is not known")
    same = {
        "nearest": (placing == "asymmetric" and nearest == "floor"),
        "linear": placing in ("half_pixel", "pytorch_half_pixel", "align_corners"),
        "cubic": placing in ("half_pixel", "pytorch_half_pixel", "align_corners")
        and (c.attribute("cubic_coeff_a", -0.75) == (-0.5 if smooth else -0.75))
        and not c.attribute("exclude_outside", 0),
    }[mode]
    whole = all(abs(f - round(f)) < 1e-6 and round(f) >= 1 for f in factors)
    if mode == "nearest" and whole and placing in ("half_pixel", "pytorch_half_pixel", "asymmetric"):
        same = same or nearest.startswith("round")
        same = same and not (placing == "asymmetric" and nearest != "floor")
    sound = all(abs(f * side - new) < 1e-4 for f, side, new in zip(factors, x.shape, shape))
    tiny = placing == "pytorch_half_pixel" and 1 in shape[2:]
    same = same and not smooth and not tiny and (sound or placing != "align_corners")
    if not same and not x.is_meta:
        raise ValueError(f"{mode} by {placing} ({nearest}) is known by its shape alone")
    options: dict[str, Any] = {} if mode == "nearest" else {"align_corners": placing == "align_corners"}
    if smooth and mode != "nearest":
        options["antialias"] = True
    if exact or smooth or mode == "nearest":
        return F.interpolate(x, size=shape[2:], mode=kind, **options)
    return F.interpolate(x, scale_factor=factors[2:], mode=kind, recompute_scale_factor=False, **options)


def _grid_sample(c: Call) -> Tensor:
    names = {"linear": "bilinear", "cubic": "bicubic"}
    mode = c.attribute("mode", "bilinear")
    return F.grid_sample(
        c[0], c[1], names.get(mode, mode), c.attribute("padding_mode", "zeros"),
        bool(c.attribute("align_corners", 0)),
    )  # fmt: skip


def _affine_grid(c: Call) -> Tensor:
    return F.affine_grid(c[0], c.ints("size", 1) or [], bool(c.attribute("align_corners", 0)))


def _local_response(c: Call) -> Tensor:
    size = c.attribute("size")
    x: Tensor = c[0]
    squares = F.pad(x.square().movedim(1, -1), [(size - 1) // 2, size // 2])
    total = squares.unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    alpha, beta, bias = c.attribute("alpha", 1e-4), c.attribute("beta", 0.75), c.attribute("bias", 1.0)
    return x / (total * (alpha / size) + bias) ** beta  # type: ignore[no-any-return]


def _columns_to_image(c: Call) -> Tensor:
    pads = c.ints("pads") or [0, 0, 0, 0]
    if pads[:2] != pads[2:]:
        raise ValueError("pads must be symmetric")
    image, block = (
        tuple(c.ints(name, place) or ()) for name, place in (("image_shape", 1), ("block_shape", 2))
    )
    dilations, strides = (tuple(c.ints(name) or (1, 1)) for name in ("dilations", "strides"))
    return F.fold(c[0], image, block, dilations, tuple(pads[:2]), strides)


WINDOWS: Mapping[str, Operator] = {
    "AffineGrid": _affine_grid,
    "AveragePool": _average_pool,
    "Col2Im": _columns_to_image,
    "Conv": lambda c: convolution(c, c[0], c[1], c.maybe(2)),
    "ConvTranspose": _transposed,
    "GlobalAveragePool": _global_average,
    "GlobalLpPool": _global_norm,
    "GlobalMaxPool": _global_maximum,
    "GridSample": _grid_sample,
    "LRN": _local_response,
    "LpPool": _norm_pool,
    "MaxPool": _max_pool,
    "Resize": _resize,
    "Upsample": _resize,
}
"""By ONNX's name."""
