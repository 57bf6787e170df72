"""Convolutions, matrix products and recurrent layers: whatever multiplies and accumulates."""

from math import prod

from torch import Tensor

from lanewise.mapping.canonical import Call, Canonical, Rule
from lanewise.mapping.graph import Attribute


def _per_axis(value: int | list[int], rank: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * rank if len(values) == 1 else values


def _convolution(call: Call) -> Canonical | None:
    if call.overload == "padding":
        return None  # 'same' or 'valid' as words: PyTorch turns them into numbers
    arguments = call.arguments
    x: Tensor = arguments["input"]
    weight: Tensor = arguments["weight"]
    rank = weight.dim() - 2
    if x.dim() != weight.dim():
        return None  # without a batch axis: PyTorch adds one
    bias = arguments["bias"]
    return Canonical(
        kind="convolution",
        tensors=(x, weight) if bias is None else (x, weight, bias),
        attributes={
            "stride": _per_axis(arguments["stride"], rank),
            "padding": _per_axis(arguments["padding"], rank),
            "dilation": _per_axis(arguments["dilation"], rank),
            "output_padding": _per_axis(arguments.get("output_padding", 0), rank),
            "groups": arguments["groups"],
            "transposed": bool(arguments.get("transposed", call.name.startswith("conv_transpose"))),
            "bias": bias is not None,
        },
    )


def _innermost(tensor: Tensor, axis: int) -> bool:
    """Whether ``axis`` (-2, not -1) lies innermost in memory."""
    return tensor.dim() >= 2 and tensor.shape[-1] > 1 and tensor.stride(-1) != 1 and tensor.stride(axis) == 1


def _product(
    left: Tensor, right: Tensor, bias: Tensor | None = None, *, transposed_weight: bool = False
) -> Canonical:
    """``left @ right``; a right operand without batch axes sees all rows of the left as one matrix."""
    m = left.shape[-2] if left.dim() > 1 else 1
    k = left.shape[-1]
    right_batch: tuple[int, ...] = () if transposed_weight else tuple(right.shape[:-2])
    columns = right.shape[0] if transposed_weight else right.shape[-1]
    n = columns if right.dim() > 1 else 1
    left_batch = tuple(left.shape[:-2])
    batch = 1
    if prod(right_batch) == 1:
        m *= prod(left_batch)
    else:
        rank = max(len(left_batch), len(right_batch))
        sides = zip(
            (1,) * (rank - len(left_batch)) + left_batch, (1,) * (rank - len(right_batch)) + right_batch
        )
        batch = prod(max(a, b) for a, b in sides)
    attributes: dict[str, Attribute] = {
        "batch": batch, "m": m, "k": k, "n": n, "bias": bias is not None,
        "transposed_a": _innermost(left, -2), "transposed_b": transposed_weight or _innermost(right, -2),
    }  # fmt: skip
    tensors = (left, right) if bias is None else (left, right, bias)
    return Canonical(
        kind="matmul", tensors=tensors, attributes=attributes, transposed_weight=transposed_weight
    )


def _linear(call: Call) -> Canonical | None:
    if call["weight"].dim() != 2:
        return None
    return _product(call["input"], call["weight"], call["bias"], transposed_weight=True)


def _matmul(call: Call) -> Canonical:
    left, right = call.tensors
    return _product(left, right)


def _add_product(call: Call) -> Canonical | None:
    """``beta * self + alpha * a @ b``, when it is a product with a bias a column."""
    bias: Tensor = call["self"]
    left, right = call.tensors[1:]
    if call["alpha"] != 1 or call["beta"] not in (0, 1):
        return None
    if call["beta"] == 0:
        return _product(left, right)
    if prod(bias.shape[:-1]) != 1 or bias.dim() == 0 or bias.shape[-1] != right.shape[-1]:
        return None
    return _product(left, right, bias)


def _recurrent(call: Call) -> Canonical | None:
    if call.overload != "input":
        return None  # packed sequences
    x: Tensor = call["input"]
    weights: list[Tensor] = call["params"]
    states = call["hx"] if isinstance(call["hx"], list | tuple) else [call["hx"]]
    positions = x.shape[0] * x.shape[1]
    return Canonical(
        kind="recurrent",
        function=call.name,
        tensors=(x, *states, *weights),
        attributes={
            "macs": positions * sum(weight.numel() for weight in weights if weight.dim() == 2),
            "hidden": int(states[0].shape[-1]),
            "layers": int(call["num_layers"]),
            "bidirectional": bool(call["bidirectional"]),
            "steps": int(x.shape[1] if call["batch_first"] else x.shape[0]),
        },
    )


_CONVOLUTIONS = (
    "convolution", "_convolution", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d",
)  # fmt: skip

RULES: dict[str, Rule] = {
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), _matmul),
    **dict.fromkeys(("addmm", "baddbmm"), _add_product),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    "linear": _linear,
}
