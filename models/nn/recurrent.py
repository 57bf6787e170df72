"""LSTM, GRU and tanh RNN step by step, so that their activations can be replaced.

Gates as PyTorch orders them: LSTM input, forget, cell, output; GRU reset, update, new.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

Gate: TypeAlias = Callable[[str, torch.Tensor], torch.Tensor]
"""Name and operand to result: ``sigmoid`` or ``tanh``."""
Weights: TypeAlias = Sequence[torch.Tensor]
"""Of a layer and direction: input, hidden, and the biases of both if there are any."""


def _lstm_cell(
    gate: Gate, x: torch.Tensor, state: Any, *weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    hidden, cell = state
    sums = _linear(x, weights, 0) + _linear(hidden, weights, 1)
    keep, forget, new, out = sums.chunk(4, -1)
    cell = gate("sigmoid", forget) * cell + gate("sigmoid", keep) * gate("tanh", new)
    return gate("sigmoid", out) * gate("tanh", cell), cell


def _gru_cell(gate: Gate, x: torch.Tensor, state: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    reset, update, new = _linear(x, weights, 0).chunk(3, -1)
    old_reset, old_update, old_new = _linear(state, weights, 1).chunk(3, -1)
    new = gate("tanh", new + gate("sigmoid", reset + old_reset) * old_new)
    return new + gate("sigmoid", update + old_update) * (state - new)


def _rnn_cell(gate: Gate, x: torch.Tensor, state: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    return gate("tanh", _linear(x, weights, 0) + _linear(state, weights, 1))


def _linear(x: torch.Tensor, weights: Weights, place: int) -> torch.Tensor:
    return F.linear(x, weights[place], weights[place + 2] if len(weights) == 4 else None)


CELLS: dict[str, Callable[..., Any]] = {"lstm": _lstm_cell, "gru": _gru_cell, "rnn_tanh": _rnn_cell}
"""One step: gate, operand, state (of LSTM hidden and cell), weights; gives the new state."""


def recurrent(kind: str, gate: Gate, data: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
    """All layers over all steps.

    Args:
        kind: One of :data:`CELLS`.
        gate: What computes sigmoid and tanh.
        data: Operands, ``(steps, batch, width)``, or packed ``(elements, width)``.
        rest: As PyTorch's function of that name takes them: state, weights, biases, layers, dropout, training, bidirectional
            and batch_first; or, packed, batch sizes, state, weights, biases, layers, dropout, training and bidirectional.

    Returns:
        Results of the last layer and the last states, as PyTorch's function.
    """
    packed = not isinstance(rest[2], bool)
    if packed:
        sizes, state, flat, biases, layers, dropout, training, bidirectional = rest
        steps = list(torch.split(data, sizes.tolist()))
    else:
        state, flat, biases, layers, dropout, training, bidirectional, batch_first = rest
        steps = list(data.unbind(1 if batch_first else 0))
    states = [tuple(part.unbind(0)) for part in (state if kind == "lstm" else (state,))]
    directions = 1 + bool(bidirectional)
    count = len(flat) // (layers * directions)
    last: list[tuple[torch.Tensor, ...]] = []
    for layer in range(layers):
        if layer and dropout and training:
            steps = [F.dropout(step, dropout) for step in steps]
        results = []
        for direction in range(directions):
            index = layer * directions + direction
            weights = flat[index * count : (index + 1) * count]
            start = tuple(part[index] for part in states)
            outputs, final = one_layer(
                kind, gate, steps[:: 1 - 2 * direction], start, weights, 4 if biases else 2
            )
            results.append(outputs[:: 1 - 2 * direction])
            last.append(final)
        steps = [torch.cat(parts, -1) for parts in zip(*results, strict=True)]
    output = torch.cat(steps) if packed else torch.stack(steps, 1 if batch_first else 0)
    return output, *(torch.stack(parts) for parts in zip(*last, strict=True))


def one_layer(
    kind: str,
    gate: Gate,
    steps: Sequence[torch.Tensor],
    state: tuple[torch.Tensor, ...],
    weights: Weights,
    used: int,
) -> tuple[list[torch.Tensor], tuple[torch.Tensor, ...]]:
    """One layer in one direction; a step may have fewer rows than the state, whose others then stay as they are."""
    outputs = []
    for x in steps:
        now = tuple(part[: len(x)] for part in state)
        made = CELLS[kind](gate, x, now if kind == "lstm" else now[0], *weights[:used])
        new = made if kind == "lstm" else (made,)
        if len(weights) > used:  # a projection of the hidden state
            new = (F.linear(new[0], weights[used]), *new[1:])
        outputs.append(new[0])
        state = tuple(torch.cat([part, old[len(x) :]]) for part, old in zip(new, state, strict=True))
    return outputs, state
