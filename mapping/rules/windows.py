"""Pooling: one result for each window of positions."""

from torch import Tensor

from lanewise.mapping.canonical import Call, Canonical, Rule


def _sizes(value: int | list[int], rank: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * rank if len(values) == 1 else values


def _rank(call: Call) -> int:
    """Number of spatial axes: the digit in the name."""
    return next(int(character) for character in call.name if character.isdigit())


def _pool(call: Call) -> Canonical:
    rank = _rank(call)
    kernel = _sizes(call["kernel_size"], rank)
    stride = _sizes(call["stride"], rank) if call["stride"] else kernel
    x: Tensor = call["self"]
    average = {
        "counts_padding": bool(call.arguments.get("count_include_pad", True)),
        "divisor": call.arguments.get("divisor_override") or 0,
    }
    return Canonical(
        kind="pool",
        function="max" if call.name.startswith("max") else "average",
        tensors=(x,),
        attributes={
            "kernel": kernel,
            "stride": stride,
            "padding": _sizes(call["padding"], rank),
            "dilation": _sizes(call.arguments.get("dilation", 1), rank),
            "global": False,
            **({} if call.name.startswith("max") else average),
        },
    )


def _adaptive(call: Call) -> Canonical:
    """One result a channel is a mean or maximum over all positions: a reduction."""
    rank = _rank(call)
    x: Tensor = call["self"]
    target = call["output_size"]
    target = (target,) if isinstance(target, int) else tuple(target)
    output = tuple(size or x.shape[axis - rank] for axis, size in enumerate(_sizes(list(target), rank)))
    largest = "max" in call.name
    if all(size == 1 for size in output):
        axes = tuple(range(x.dim() - rank, x.dim()))
        return Canonical(
            kind="reduce",
            function="max" if largest else "mean",
            tensors=(x,),
            attributes={"axes": axes, "keep": True},
        )
    kernel = tuple(-(-x.shape[axis - rank] // size) for axis, size in enumerate(output))
    stride = tuple(max(1, x.shape[axis - rank] // size) for axis, size in enumerate(output))
    return Canonical(
        kind="pool",
        function="adaptive_max" if largest else "adaptive_average",
        tensors=(x,),
        attributes={
            "kernel": kernel,
            "stride": stride,
            "padding": (0,) * rank,
            "output": output,
            "global": False,
        },
    )


_FIXED = (
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d_with_indices",
)  # fmt: skip
_ADAPTIVE = (
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
)  # fmt: skip

RULES: dict[str, Rule] = {**dict.fromkeys(_FIXED, _pool), **dict.fromkeys(_ADAPTIVE, _adaptive)}
