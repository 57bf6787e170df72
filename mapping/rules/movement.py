"""Operators that compute nothing: the same elements elsewhere, repeated, or seen in another shape.

Whether data moves is not decided here: the recorder compares the storage of operand and result.
"""

from torch import Tensor

from lanewise.mapping.canonical import Call, Canonical, Rule
from lanewise.mapping.graph import Attribute

_PLAIN = {
    # aten name: operation
    "alias": "alias", "detach": "alias", "lift_fresh": "alias", "view_as": "reshape", "positive": "alias",
    "view": "reshape", "reshape": "reshape", "_unsafe_view": "reshape", "_reshape_alias": "reshape",
    "flatten": "reshape", "unflatten": "reshape", "unsqueeze": "reshape", "squeeze": "reshape",
    "ravel": "reshape", "expand": "expand", "expand_as": "expand", "repeat": "repeat",
    "repeat_interleave": "repeat_interleave", "tile": "repeat", "contiguous": "clone", "clone": "clone",
    "as_strided": "stride", "unfold": "stride", "diagonal": "stride",
    "index": "gather", "_unsafe_index": "gather", "index_select": "gather", "gather": "gather",
    "take_along_dim": "gather", "take": "gather", "index_put": "scatter", "scatter": "scatter",
    "slice_scatter": "scatter", "select_scatter": "scatter",
    "index_copy": "scatter", "masked_scatter": "scatter",
    "upsample_nearest1d": "upsample_nearest", "upsample_nearest2d": "upsample_nearest",
    "upsample_nearest3d": "upsample_nearest", "_upsample_nearest_exact2d": "upsample_nearest",
    "pixel_shuffle": "pixel_shuffle", "pixel_unshuffle": "pixel_shuffle",
    "channel_shuffle": "channel_shuffle", "im2col": "im2col", "view_as_real": "reinterpret",
    "view_as_complex": "reinterpret", "real": "reinterpret",
    "imag": "reinterpret",
}  # fmt: skip


def _form(call: Call, operation: str, **attributes: Attribute) -> Canonical:
    return Canonical(kind="movement", tensors=call.tensors, attributes={"operation": operation, **attributes})


def _plain(call: Call) -> Canonical | None:
    if call.name in ("view", "view_as_real") and call.overload == "dtype":
        return _form(call, "reinterpret")
    if call.name == "repeat_interleave" and isinstance(call.arguments.get("repeats"), Tensor):
        return None  # the shape depends on data
    if call.name == "repeat_interleave" and call.arguments.get("dim") is None:
        return None  # all elements in a row
    if call.name in ("view_as", "expand_as"):  # of the other tensor the shape alone counts
        return Canonical(
            kind="movement", tensors=(call["self"],), attributes={"operation": _PLAIN[call.name]}
        )
    return _form(call, _PLAIN[call.name])


def _permute(call: Call) -> Canonical | None:
    rank = call["self"].dim()
    if rank == 0:
        return _form(call, "alias")
    axes = list(range(rank))
    if call.name == "permute":
        axes = [axis % rank for axis in call["dims"]]
    elif call.name == "transpose":
        if "dim0" not in call.arguments or not isinstance(call["dim0"], int):
            return None
        a, b = call["dim0"] % rank, call["dim1"] % rank
        axes[a], axes[b] = axes[b], axes[a]
    elif rank >= 2:  # t, mT, adjoint of real tensors
        axes[-2], axes[-1] = axes[-1], axes[-2]
    return _form(call, "permute", permutation=tuple(axes))


def _slice(call: Call) -> Canonical:
    x: Tensor = call["self"]
    axis = call["dim"] % x.dim()
    size = x.shape[axis]
    start, stop = (size if end is None else end for end in (call["start"] or 0, call["end"]))
    start, stop = (min(max(end + size if end < 0 else end, 0), size) for end in (start, stop))
    return _form(call, "slice", axis=axis, start=start, stop=max(start, stop), step=call["step"])


def _select(call: Call) -> Canonical:
    x: Tensor = call["self"]
    axis = call["dim"] % x.dim()
    index = call["index"] % x.shape[axis] if isinstance(call["index"], int) else 0
    return _form(call, "select", axis=axis, start=index, stop=index + 1, step=1)


def _split(call: Call) -> Canonical | None:
    if not isinstance(call.arguments.get("dim"), int):
        return None
    return _form(call, "split", axis=call["dim"] % call["self"].dim())


def _concat(call: Call) -> Canonical:
    rank = call.tensors[0].dim() + (call.name == "stack")
    return _form(call, "concat", axis=call["dim"] % rank)


def _pad(call: Call) -> Canonical:
    mode = str(call.arguments.get("mode", "constant"))
    value = float(call.arguments.get("value") or 0.0)
    return _form(call, "pad", padding=tuple(call.arguments["pad"]), mode=mode, value=value)


def _roll(call: Call) -> Canonical:
    rank = call["self"].dim()
    axes = tuple(axis % rank for axis in call["dims"])
    return _form(call, "roll", shifts=tuple(call.arguments.get("shifts", ())), axes=axes)


def _dropout(call: Call) -> Canonical | None:
    """In evaluation the operand itself comes back."""
    return None if call["train"] else Canonical(kind="movement", tensors=call.tensors)


def _copy(call: Call) -> Canonical:
    """``target.copy_(source)``: the old contents are not read."""
    return Canonical(kind="movement", tensors=(call["src"],), attributes={"operation": "clone"})


def _fill(call: Call) -> Canonical | None:
    """``fill_`` and ``zero_``: the old contents are not read. Out of place they only borrow a shape."""
    value = call.arguments.get("value")
    tensors = (value,) if isinstance(value, Tensor) else ()
    return Canonical(kind="movement", tensors=tensors, attributes={"operation": "fill"})


RULES: dict[str, Rule] = {
    **dict.fromkeys(_PLAIN, _plain),
    **dict.fromkeys(("permute", "transpose", "t", "adjoint"), _permute),
    **dict.fromkeys(
        ("split", "split_with_sizes", "chunk", "unbind", "unsafe_split", "unsafe_chunk", "tensor_split"),
        _split,
    ),
    **dict.fromkeys(("cat", "stack"), _concat),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **dict.fromkeys(("roll", "flip"), _roll),
    **dict.fromkeys(("fill", "zero"), _fill),
    **dict.fromkeys(("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"), _dropout),
    "slice": _slice,
    "select": _select,
    "copy": _copy,
}

SHAPE_ONLY = frozenset(
    (
        "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full",
        "new_empty", "new_empty_strided",
    )
)  # fmt: skip
"""Read the shape of their operand alone: the result is a constant."""
