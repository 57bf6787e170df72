"""LSTM, GRU and RNN by PyTorch's own, whose weights stand in another order."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lanewise.models.onnx.call import Call, Operator

_GATES: Mapping[str, tuple[int, ...]] = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Where PyTorch's gates stand in ONNX's: i o f c to i f g o, z r h to r z n."""

_ACTIVATIONS: Mapping[str, Sequence[str]] = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)
}  # fmt: skip


def _recurrent(c: Call) -> Any:
    kind = c.node.operator
    x, weight, recurrence = c[0], c[1], c[2]
    _check(c, kind)
    hidden = c.attribute("hidden_size") or recurrence.shape[-1]
    directions = weight.shape[0]
    x = x.transpose(0, 1) if c.attribute("layout", 0) else x
    batch = x.shape[1]
    order = _GATES[kind]
    bias = c.maybe(3)
    parameters: list[Tensor] = []
    for direction in range(directions):
        parameters += [_ordered(part[direction], order, hidden) for part in (weight, recurrence)]
        if bias is not None:
            halves = bias[direction].chunk(2)
            parameters += [_ordered(half, order, hidden) for half in halves]
    states = []
    for place in (5, 6) if kind == "LSTM" else (5,):
        state = c.maybe(place)
        if state is None:
            state = torch.zeros(directions, batch, hidden, dtype=x.dtype, device=x.device)
        elif c.attribute("layout", 0):
            state = state.transpose(0, 1).contiguous()
        states.append(state)
    backwards = c.attribute("direction", "forward") == "reverse"
    x = x.flip(0) if backwards else x
    options = (bias is not None, 1, 0.0, False, directions == 2, False)
    if kind == "LSTM":
        y, *last = torch.lstm(x, states, parameters, *options)
    elif kind == "GRU" and not c.attribute("linear_before_reset", 0) and not x.is_meta:
        y, *last = _reset_first(x, states[0], parameters, directions)
    elif kind == "GRU":
        y, *last = torch.gru(x, states[0], parameters, *options)
    else:
        plain = torch.rnn_relu if _names(c, kind)[0] == "Relu" else torch.rnn_tanh
        y, *last = plain(x, states[0], parameters, *options)
    y = y.flip(0) if backwards else y
    y = y.reshape(*y.shape[:2], directions, hidden).transpose(1, 2)  # (steps, directions, batch, hidden)
    if c.attribute("layout", 0):
        return (y.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in last))
    return (y, *last)


def _reset_first(
    x: Tensor, states: Tensor, parameters: Sequence[Tensor], directions: int
) -> tuple[Tensor, Tensor]:
    """GRU whose reset gate comes before the product; of the same cost as PyTorch's, where it comes after."""
    each = len(parameters) // directions
    results, last = [], []
    for direction in range(directions):
        weight, recurrence, *biases = parameters[direction * each : (direction + 1) * each]
        first, second = biases or (weight.new_zeros(len(weight)), weight.new_zeros(len(weight)))
        hidden, rows = states[direction], []
        for step in x.flip(0) if direction else x:
            inputs = (step @ weight.mT + first).chunk(3, -1)
            parts, shifts = recurrence.chunk(3), second.chunk(3)
            reset, update = (torch.sigmoid(inputs[i] + hidden @ parts[i].mT + shifts[i]) for i in range(2))
            new = torch.tanh(inputs[2] + (reset * hidden) @ parts[2].mT + shifts[2])
            hidden = (1 - update) * new + update * hidden
            rows.append(hidden)
        results.append(torch.stack(rows[::-1] if direction else rows))
        last.append(hidden)
    return torch.cat(results, -1), torch.stack(last)


def _ordered(part: Tensor, order: Sequence[int], hidden: int) -> Tensor:
    gates = part.split(hidden)  # type: ignore[no-untyped-call]
    return torch.cat([gates[place] for place in order]) if len(order) > 1 else part


def _names(c: Call, kind: str) -> list[str]:
    return list(c.attribute("activations") or _ACTIVATIONS[kind])


def _check(c: Call, kind: str) -> None:
    """Refuse what PyTorch's have not.

    Raises:
        ValueError: It is something that they have not.
    """
    names = _names(c, kind)
    usual = list(_ACTIVATIONS[kind])
    per = len(usual)
    for place in range(0, len(names), per):
        mine = names[place : place + per]
        if mine != usual and not (kind == "RNN" and mine == ["Relu"]):
            raise ValueError(f"activations must be {', '.join(usual)}, not {', '.join(mine)}")
    if c.attribute("clip") is not None or c.attribute("input_forget", 0):
        raise ValueError("clip and input_forget are not known")
    if kind == "LSTM" and c.has(7):
        peepholes = c.known[7]
        if peepholes is None or bool(peepholes.any()):
            raise ValueError("peepholes are not known")
    if c.has(4):
        lengths, steps = c.known[4], c[0].shape[1 if c.attribute("layout", 0) else 0]
        if lengths is None or any(length != steps for length in lengths.tolist()):
            raise ValueError(f"sequence_lens must be {steps}, the length of all")


RECURRENT: Mapping[str, Operator] = {"GRU": _recurrent, "LSTM": _recurrent, "RNN": _recurrent}
"""By ONNX's name."""
