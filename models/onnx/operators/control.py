"""Branches, loops and sequences, as far as they are decided before the network runs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from lanewise.models.onnx.call import Call, Operator


def _stacked(c: Call, rows: list[Tensor], axis: int = 0) -> Tensor:
    """The results of every turn in one tensor; it is known if all of them are."""
    if any(row.is_meta for row in rows):
        return torch.stack([row.to(c.device) for row in rows], axis)
    if c.device.type != "meta":
        return torch.stack(rows, axis)
    with _disable_current_modes():
        return torch.stack(rows, axis)


def _loop(c: Call) -> Any:
    """Unrolled; how often must be known. What is known stays so from turn to turn."""
    assert c.run is not None
    limit = int(c.value(0).item()) if c.has(0) else None
    goes_on = bool(c.value(1)) if c.has(1) else True
    carried: list[Any] = [c.early(place) for place in range(2, len(c))]
    body = c.attribute("body")
    scanned: list[list[Any]] = [[] for _ in range(len(body.outputs) - 1 - len(carried))]
    turn = 0
    while goes_on and (limit is None or turn < limit):
        goes, *results = c.run(body, (torch.tensor(turn), torch.tensor(True), *carried))
        if goes.is_meta:
            raise ValueError("how often it runs must be known, but depends on an input's values")
        goes_on, turn = bool(goes), turn + 1
        carried = results[: len(carried)]
        for rows, result in zip(scanned, results[len(carried) :]):
            rows.append(result)
    if any(not rows for rows in scanned):
        raise ValueError("runs not once: the shape of its results is not known")
    return (*carried, *(_stacked(c, rows) for rows in scanned))


def _scan(c: Call) -> Any:
    """Unrolled (set 9 and newer)."""
    assert c.run is not None
    body, count = c.attribute("body"), c.attribute("num_scan_inputs")
    if c.opset < 9:
        raise ValueError("of a set before 9 is not known")
    states: list[Any] = [c.early(place) for place in range(len(c) - count)]
    inputs = list(c.operands[len(c) - count :])
    axes = c.ints("scan_input_axes") or [0] * count
    turns = c.ints("scan_input_directions") or [0] * count
    results = len(body.outputs) - len(states)
    out_axes = c.ints("scan_output_axes") or [0] * results
    out_turns = c.ints("scan_output_directions") or [0] * results
    rows: list[list[Any]] = [[] for _ in range(results)]
    length = inputs[0].shape[axes[0]]
    for step in range(length):
        slices = [
            x.select(axis, length - 1 - step if turn else step) for x, axis, turn in zip(inputs, axes, turns)
        ]
        produced = c.run(body, (*states, *slices))
        states = list(produced[: len(states)])
        for kept, result in zip(rows, produced[len(states) :]):
            kept.append(result)
    stacked = [
        _stacked(c, kept[::-1] if turn else kept, axis) for kept, axis, turn in zip(rows, out_axes, out_turns)
    ]
    return (*states, *stacked)


def _to_sequence(c: Call) -> list[Tensor]:
    x: Tensor = c[0]
    axis = c.attribute("axis", 0)
    if not c.has(1):
        parts = list(x.split(1, axis))  # type: ignore[no-untyped-call]
        return parts if c.attribute("keepdims", 1) else [part.squeeze(axis) for part in parts]
    sizes = c.value(1)
    return list(x.split(int(sizes) if sizes.dim() == 0 else sizes.tolist(), axis))  # type: ignore[no-untyped-call]


def _from_sequence(c: Call) -> Tensor:
    axis = c.attribute("axis")
    return torch.stack(c[0], axis) if c.attribute("new_axis", 0) else torch.cat(c[0], axis)


def _insert(c: Call) -> list[Any]:
    place = int(c.value(2)) if c.has(2) else len(c[0])
    return [*c[0][:place], c[1], *c[0][place:]] if place >= 0 else _insert_from_end(c, place)


def _insert_from_end(c: Call, place: int) -> list[Any]:
    parts = list(c[0])
    parts.insert(place, c[1])
    return parts


def _erase(c: Call) -> list[Any]:
    parts = list(c[0])
    del parts[int(c.value(1)) if c.has(1) else -1]
    return parts


CONTROL: Mapping[str, Operator] = {
    "ConcatFromSequence": _from_sequence,
    "Loop": _loop,
    "Scan": _scan,
    "SequenceAt": lambda c: c[0][int(c.value(1))],
    "SequenceConstruct": lambda c: list(c.operands),
    "SequenceEmpty": lambda _: [],
    "SequenceErase": _erase,
    "SequenceInsert": _insert,
    "SequenceLength": lambda c: torch.tensor(len(c[0])),
    "SplitToSequence": _to_sequence,
}
"""By ONNX's name."""
