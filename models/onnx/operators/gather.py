"""Picking, scattering and ordering elements."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.models.onnx.call import Call, Operator


def _gather(c: Call) -> Tensor:
    x: Tensor = c[0]
    axis = c.attribute("axis", 0) % x.dim()
    known = c.known[1]
    if known is not None and known.dim() == 0:
        return x.select(axis, int(known))
    indices: Tensor = c[1].to(torch.int64)
    if axis == 0 and x.dim() == 2 and x.is_floating_point() and known is None:
        return F.embedding(indices, x)
    if known is not None:
        run = _as_slice(known.reshape(-1).tolist(), x.shape[axis])
        if known.dim() == 1 and run is not None:
            return x.narrow(axis, *run)
        indices = (known.to(torch.int64) % max(x.shape[axis], 1)).to(x.device)
    elif indices.device.type != "meta":
        indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    result = x.index_select(axis, indices.reshape(-1))
    return result.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _as_slice(places: list[int], size: int) -> tuple[int, int] | None:
    """Start and length if the places follow each other."""
    start = places[0] % size if places and size else 0
    run = [place % size for place in places] == list(range(start, start + len(places))) if size else False
    return (start, len(places)) if run else None


def _gather_elements(c: Call) -> Tensor:
    return torch.gather(c[0], c.attribute("axis", 0), _positive(c, 1, c[0].shape[c.attribute("axis", 0)]))


def _positive(c: Call, place: int, size: int) -> Tensor:
    """Indices with those that count from the end put right."""
    indices: Tensor = c[place].to(torch.int64)
    return indices if indices.is_meta else torch.where(indices < 0, indices + size, indices)


def _gather_nd(c: Call) -> Tensor:
    x: Tensor = c[0]
    indices: Tensor = c[1].to(torch.int64)
    batch = c.attribute("batch_dims", 0)
    picked = indices.unbind(-1)
    leading = []
    for axis in range(batch):
        shape = [1] * picked[0].dim()
        shape[axis] = x.shape[axis]
        leading.append(torch.arange(x.shape[axis], device=x.device).reshape(shape))
    return x[(*leading, *picked)]


def _scatter_nd(c: Call) -> Tensor:
    x: Tensor = c[0]
    places = tuple(c[1].to(torch.int64).unbind(-1))
    mode = c.attribute("reduction", "none")
    if mode in ("none", "add"):
        return torch.index_put(x, places, c[2], accumulate=mode == "add")
    flat = torch.arange(x.numel(), device=x.device).reshape(x.shape)[places].reshape(-1)
    reductions = {"mul": "prod", "max": "amax", "min": "amin"}
    return x.reshape(-1).scatter_reduce(0, flat, c[2].reshape(-1), reductions[mode]).reshape(x.shape)


def _scatter_elements(c: Call) -> Tensor:
    x: Tensor = c[0]
    axis = c.attribute("axis", 0)
    indices = _positive(c, 1, x.shape[axis])
    mode = c.attribute("reduction", "none")
    if mode == "none":
        return x.scatter(axis, indices, c[2])
    reductions = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    return x.scatter_reduce(axis, indices, c[2], reductions[mode])


def _tensor_scatter(c: Call) -> Tensor:
    """Writes new positions into a cache, one start a sequence."""
    past, update = c[0], c[1]
    axis = c.attribute("axis", -2) % past.dim()
    length = update.shape[axis]
    starts = c.known[2] if c.has(2) else torch.zeros(past.shape[0], dtype=torch.int64)
    if starts is None or len(set(starts.tolist())) != 1 or c.attribute("mode", "linear") != "linear":
        starts = c[2] if c.has(2) else starts
        assert starts is not None
        shape = [1] * past.dim()
        shape[axis] = length
        places = starts.to(past.device).reshape(-1, *[1] * (past.dim() - 1)) + torch.arange(
            length, device=past.device
        ).reshape(shape)
        if c.attribute("mode", "linear") == "circular":
            places = places % past.shape[axis]
        return past.scatter(axis, places.expand(update.shape), update)  # type: ignore[no-any-return]
    return torch.slice_scatter(past, update, axis, int(starts[0]), int(starts[0]) + length)


def _top_k(c: Call) -> tuple[Tensor, Tensor]:
    k = int(c.value(1).item()) if c.has(1) else c.attribute("k")
    values, places = torch.topk(
        c[0], k, c.attribute("axis", -1), bool(c.attribute("largest", 1)), bool(c.attribute("sorted", 1))
    )
    return values, places


def _extreme(c: Call) -> Tensor:
    x: Tensor = c[0]
    axis, keep = c.attribute("axis", 0), bool(c.attribute("keepdims", 1))
    function = torch.argmax if c.node.operator == "ArgMax" else torch.argmin
    if c.attribute("select_last_index", 0):
        last: Tensor = x.shape[axis] - 1 - function(x.flip(axis), dim=axis, keepdim=keep)
        return last
    result: Tensor = function(x, dim=axis, keepdim=keep)
    return result


def _cumulative(c: Call) -> Tensor:
    x: Tensor = c[0]
    axis = int(c.value(1).item())
    backwards, exclusive = c.attribute("reverse", 0), c.attribute("exclusive", 0)
    product = c.node.operator == "CumProd"
    x = x.flip(axis) if backwards else x
    if exclusive:
        first = x.narrow(axis, 0, 1)
        first = torch.ones_like(first) if product else torch.zeros_like(first)
        x = torch.cat([first, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
    x = torch.cumprod(x, axis, dtype=x.dtype) if product else torch.cumsum(x, axis, dtype=x.dtype)
    return x.flip(axis) if backwards else x


def _one_hot(c: Call) -> Tensor:
    indices: Tensor = c[0]
    depth, values = int(c.value(1).item()), c[2]
    axis = c.attribute("axis", -1) % (indices.dim() + 1)
    classes = torch.arange(depth, device=indices.device)
    classes = classes.reshape([-1 if place == axis else 1 for place in range(indices.dim() + 1)])
    indices = indices.to(torch.int64).unsqueeze(axis)
    hot = (indices == classes) | (indices + depth == classes)
    return torch.where(hot, values[1], values[0])


def _nonzero(c: Call) -> Tensor:
    return torch.stack(torch.nonzero(c.value(0), as_tuple=True))


def _compress(c: Call) -> Tensor:
    x: Tensor = c[0]
    places = torch.nonzero(c.value(1)).reshape(-1).to(x.device)
    axis = c.attribute("axis")
    return x.reshape(-1).index_select(0, places) if axis is None else x.index_select(axis, places)


def _reverse_sequence(c: Call) -> Tensor:
    x: Tensor = c[0]
    batch, time = c.attribute("batch_axis", 1), c.attribute("time_axis", 0)
    steps = torch.arange(x.shape[time], device=x.device).unsqueeze(0)
    lengths = c[1].to(torch.int64).unsqueeze(1)
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)
    shape = [1] * x.dim()
    shape[batch], shape[time] = x.shape[batch], x.shape[time]
    places = (places if batch < time else places.mT).reshape(shape)
    return torch.gather(x, time, places.expand(x.shape))


GATHER: Mapping[str, Operator] = {
    "ArgMax": _extreme,
    "ArgMin": _extreme,
    "Compress": _compress,
    "CumProd": _cumulative,
    "CumSum": _cumulative,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": _nonzero,
    "OneHot": _one_hot,
    "ReverseSequence": _reverse_sequence,
    "Scatter": _scatter_elements,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "TensorScatter": _tensor_scatter,
    "TopK": _top_k,
}
"""By ONNX's name."""
