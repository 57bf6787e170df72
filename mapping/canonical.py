"""From PyTorch's ATen operators to lanewise's kinds: one table, so that two writings of a network become one graph.

Attributes: ``convolution`` stride, padding, dilation, groups, transposed, bias; ``matmul`` batch, m, k, n, weight, bias;
``softmax`` and ``normalise`` length, affine, log; ``pool`` kernel, stride; ``elementwise`` scalar; ``reduce`` axes; ``movement`` permutation.
A ``movement`` with function ``view`` moves nothing. What the table does not have becomes ``other``, with its ATen name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

VIEWS = frozenset(
    "view _unsafe_view reshape _reshape_alias expand expand_as squeeze unsqueeze permute transpose t alias detach slice select split "
    "split_with_sizes unsafe_split chunk unbind narrow as_strided lift_fresh unfold diagonal view_as_real view_as_complex flatten numpy_T".split()
)
CREATIONS = frozenset(
    "arange zeros ones full empty empty_strided new_zeros new_ones new_full new_empty new_empty_strided zeros_like ones_like full_like "
    "empty_like scalar_tensor rand randn rand_like randn_like eye linspace tril_indices triu_indices randperm".split()
)
_UNARY = {
    "relu": "relu", "gelu": "gelu", "silu": "silu", "sigmoid": "sigmoid", "tanh": "tanh", "mish": "mish", "softplus": "softplus",
    "hardswish": "hardswish", "hardsigmoid": "hardsigmoid", "exp": "exp", "log": "log", "sqrt": "sqrt", "rsqrt": "rsqrt",
    "reciprocal": "reciprocal", "erf": "erf", "sin": "sin", "cos": "cos", "neg": "negate", "abs": "abs", "elu": "elu",
    "leaky_relu": "leaky_relu", "hardtanh": "clamp", "clamp": "clamp", "clamp_min": "clamp", "clamp_max": "clamp", "relu6": "relu6",
    "logical_not": "select", "bitwise_not": "select", "floor": "cast", "ceil": "cast", "round": "cast", "trunc": "cast", "sign": "select",
    "isnan": "compare", "isinf": "compare", "tril": "select", "triu": "select", "log1p": "log1p", "expm1": "expm1", "selu": "elu",
    "log_sigmoid_forward": "log_sigmoid", "nan_to_num": "select", "celu": "elu",
}  # fmt: skip
_BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "maximum": "maximum", "minimum": "minimum",
    "pow": "pow", "eq": "compare", "ne": "compare", "lt": "compare", "le": "compare", "gt": "compare", "ge": "compare",
    "logical_and": "select", "logical_or": "select", "bitwise_and": "select", "bitwise_or": "select", "where": "select",
    "masked_fill": "select", "rsub": "reverse_subtract", "__and__": "select", "__or__": "select", "fmod": "other", "remainder": "other",
    "floor_divide": "other", "logical_xor": "select", "xlogy": "other", "atan2": "other", "_prelu_kernel": "prelu", "bitwise_xor": "select",
}  # fmt: skip
_MOVES = {
    "clone": "copy", "contiguous": "copy", "copy": "copy", "cat": "concat", "stack": "concat", "constant_pad_nd": "pad", "roll": "roll",
    "index": "gather", "index_select": "gather", "gather": "gather", "upsample_nearest2d": "upsample", "pixel_shuffle": "shuffle",
    "repeat": "copy", "flip": "copy", "im2col": "gather", "pixel_unshuffle": "shuffle", "channel_shuffle": "shuffle", "reflection_pad2d": "pad",
    "replication_pad2d": "pad", "repeat_interleave": "copy", "index_put": "gather", "slice_scatter": "copy", "select_scatter": "copy",
    "upsample_nearest1d": "upsample", "reflection_pad1d": "pad", "scatter": "gather", "masked_scatter": "gather", "native_channel_shuffle": "shuffle",
    "_upsample_nearest_exact2d": "upsample", "split_copy": "copy", "permute_copy": "copy",
}  # fmt: skip
_REDUCTIONS = {
    "mean": "mean", "sum": "sum", "amax": "max", "amin": "min", "max": "max", "min": "min", "argmax": "argmax", "argmin": "argmin",
    "prod": "prod", "var": "variance", "var_mean": "variance", "std": "variance", "any": "max", "all": "min", "cumsum": "scan",
    "linalg_vector_norm": "norm", "norm": "norm", "topk": "sort", "sort": "sort",
}  # fmt: skip
_MATMULS = {"mm": (0, 1, None), "bmm": (0, 1, None), "addmm": (1, 2, 0), "baddbmm": (1, 2, 0), "mv": (0, 1, None), "dot": (0, 1, None)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Canonical:
    """Kind, function and attributes, and which of the tensor arguments are operands."""

    kind: str
    function: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    operands: tuple[int, ...] | None = None
    """Positions among the tensor arguments; all if ``None``."""
    results: int | None = None
    """How many of the results are kept; all if ``None``."""


def canonical(name: str, arguments: Sequence[Any], options: Mapping[str, Any], shapes: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> Canonical:
    """Canonical form of one ATen call.

    Args:
        name: ATen name without overload and without the underscore of in-place variants.
        arguments: Positional arguments, each tensor replaced by its position among the tensors as ``("tensor", i)``.
        options: Keyword arguments.
        shapes: Shapes of the tensor arguments, in order.
        output: Shape of the first result.
    """
    if name in VIEWS:
        return Canonical(kind="movement", function="view", attributes=_permutation(name, arguments, shapes), operands=(0,))
    if name in _MATMULS:
        return _matmul(name, shapes)
    if name in ("convolution", "_convolution"):
        _, _, bias, stride, padding, dilation, transposed, output_padding, groups = arguments[:9]
        attributes = {
            "stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation), "transposed": bool(transposed),
            "output_padding": tuple(output_padding), "groups": int(groups), "bias": bias is not None,
        }  # fmt: skip
        return Canonical(kind="convolution", attributes=attributes)
    if name in ("_softmax", "_log_softmax", "_safe_softmax", "softmax", "log_softmax"):
        axis = int(arguments[1])
        return Canonical(kind="softmax", attributes={"length": shapes[0][axis], "log": "log" in name, "last": axis in (-1, len(shapes[0]) - 1)})
    if name in ("native_layer_norm", "native_group_norm", "_fused_rms_norm", "rms_norm"):
        return _norm(name, arguments, shapes)
    if "batch_norm" in name:
        return Canonical(kind="normalise", function="batch_norm", attributes={"affine": True}, operands=(0,), results=1)
    if "max_pool" in name or "avg_pool" in name:
        return _pool(name, arguments)
    if name in ("embedding", "_embedding_bag", "embedding_bag"):
        return Canonical(kind="embedding", attributes={"rows": shapes[0][0]}, results=1)
    if name == "_to_copy":
        return Canonical(kind="elementwise", function="cast")
    if name in _REDUCTIONS and not (name in ("max", "min") and len(shapes) == 2):
        axes = arguments[1] if len(arguments) > 1 else options.get("dim")
        if isinstance(axes, int):
            axes = (axes,)
        usable = isinstance(axes, list | tuple) and all(isinstance(a, int) for a in axes) and len(axes) > 0
        attributes = {"axes": tuple(axes) if usable and axes is not None else tuple(range(len(shapes[0])))}
        return Canonical(kind="reduce", function=_REDUCTIONS[name], attributes=attributes, results=1)
    if name in _UNARY:
        function = _UNARY[name]
        if name == "gelu" and (options.get("approximate") == "tanh" or "tanh" in arguments[1:]):
            function = "gelu_tanh"
        return Canonical(kind="elementwise", function=function, attributes=_unary_scalar(name, arguments), results=1)
    if name in ("max", "min"):
        return Canonical(kind="elementwise", function={"max": "maximum", "min": "minimum"}[name])
    if name in _BINARY:
        return _binary(name, arguments, options)
    if name in _MOVES:
        return Canonical(kind="movement", function=_MOVES[name], operands=None if name in ("cat", "stack") else (0,), results=1)
    if name in ("lstm", "gru", "rnn_tanh", "rnn_relu", "_thnn_fused_lstm_cell", "mkldnn_rnn_layer"):
        return Canonical(kind="recurrent", function=name)
    return Canonical(kind="other", function=name, attributes={"elements": prod(output)})


def _permutation(name: str, arguments: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    rank = len(shapes[0])
    order = list(range(rank))
    if name == "permute":
        order = [int(axis) % rank for axis in arguments[1]]
    elif name in ("t", "numpy_T"):
        order.reverse()
    elif name == "transpose" and rank:
        first, second = int(arguments[1]) % rank, int(arguments[2]) % rank
        order[first], order[second] = order[second], order[first]
    return {"permutation": tuple(order)} if order != list(range(rank)) else {}


def _matmul(name: str, shapes: Sequence[tuple[int, ...]]) -> Canonical:
    left, right, bias = _MATMULS[name]
    a, b = shapes[left], shapes[right]
    if name in ("mv", "dot"):
        a, b = (1, *a)[-2:], (*b, 1)
    batch = a[0] if len(a) == 3 else 1
    attributes = {"batch": batch, "m": a[-2], "k": a[-1], "n": b[-1], "bias": bias is not None}
    return Canonical(kind="matmul", attributes=attributes, operands=(left, right))


def _norm(name: str, arguments: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> Canonical:
    if name == "native_group_norm":
        channels, positions, groups = int(arguments[4]), int(arguments[5]), int(arguments[6])
        attributes = {"length": channels // groups * positions, "affine": len(shapes) > 1, "groups": groups}
        return Canonical(kind="normalise", function="group_norm", attributes=attributes, operands=(0,), results=1)
    length = prod(int(size) for size in arguments[1])
    function = "layer_norm" if "layer" in name else "rms_norm"
    return Canonical(kind="normalise", function=function, attributes={"length": length, "affine": len(shapes) > 1}, operands=(0,), results=1)


def _pool(name: str, arguments: Sequence[Any]) -> Canonical:
    function = "max" if "max" in name else "average"
    if "adaptive" in name:
        return Canonical(kind="pool", function=f"adaptive_{function}", results=1)
    kernel = tuple(arguments[1]) if isinstance(arguments[1], list | tuple) else (int(arguments[1]),)
    stride = tuple(arguments[2]) if len(arguments) > 2 and isinstance(arguments[2], list | tuple) else ()
    return Canonical(kind="pool", function=function, attributes={"kernel": kernel, "stride": stride or kernel}, results=1)


def _unary_scalar(name: str, arguments: Sequence[Any]) -> dict[str, Any]:
    numbers = [a for a in arguments[1:] if isinstance(a, int | float) and not isinstance(a, bool)]
    if name == "hardtanh" and numbers == [0, 6]:
        return {"low": 0.0, "high": 6.0}
    return {"parameter": float(numbers[0])} if numbers else {}


def _binary(name: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Canonical:
    function = _BINARY[name]
    numbers = [a for a in arguments if isinstance(a, int | float) and not isinstance(a, bool)]
    attributes: dict[str, Any] = {"scalar": float(numbers[0])} if numbers else {}
    alpha = options.get("alpha", 1)
    if alpha != 1:
        attributes["alpha"] = float(alpha)
    if function == "other":
        return Canonical(kind="other", function=name)
    if name == "pow" and not numbers:
        return Canonical(kind="other", function="pow")
    if name == "pow" and isinstance(arguments[0], int | float):
        return Canonical(kind="other", function="pow")
    if function == "select":
        attributes.pop("scalar", None)
    return Canonical(kind="elementwise", function=function, attributes=attributes)
