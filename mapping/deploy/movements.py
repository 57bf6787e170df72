"""What movements read and write: tensors of values in their own order and in others, parts that are parameters, fills, numbers of rows."""

from typing import TYPE_CHECKING

import numpy as np

from lanewise.mapping.graph import Operator
from lanewise.mapping.kernels.copies import FILL
from lanewise.mapping.kernels.movement import LookUpWork, MovementWork
from lanewise.mapping.kernels.scan import ScanWork
from lanewise.mapping.lower import Task
from lanewise.mapping.lower_movement import copies_of, whole_lines
from lanewise.sim.program import flatten_once

if TYPE_CHECKING:
    from lanewise.mapping.deploy.bindings import Bindings, BoundTask


LINES = "fp16 in lines of whole bytes"
"""The form of what is quantised line by line."""


def rearrangement(bindings: "Bindings", task: Task, work: MovementWork, value: int) -> "BoundTask":
    """A value in another order."""
    tensors, form = bindings.tensors, work.form
    assert task.order is not None
    line = task.shape[task.order[-1]] if task.order else 1
    size = int(np.prod(task.shape))
    (copy,) = work.copies
    if 1 + sum((level.repeats - 1) * level.target for level in copy.levels) > size:
        form, size = LINES, whole_lines(task.shape, task.order)
    name = tensors.moved(value, task.shape, task.order, form)
    form = work.form
    source = bindings.present(tensors.name(value, form), form)
    tensors.room_for(name, size, line, form)
    if form == "quantised":
        tensors.scales[name] = tensors.scales[source]
    return bindings.made(task, work, {"in": source, "out": name}, value, size)


def movement(
    bindings: "Bindings", task: Task, work: MovementWork, operator: Operator, out: int
) -> "BoundTask":
    """A result put together from operands.

    Raises:
        ValueError: The graph does not say from what.
    """
    layouts, tensors, form = bindings.layouts, bindings.tensors, work.form
    if copies_of(layouts, operator, out) != work.copies:
        raise ValueError(f"{operator.attributes.get('operation')} has no deployment")
    names: dict[str, str] = {}
    for k, source in enumerate(operator.inputs):
        if not any(copy.source == f"in{k}" for copy in work.copies):
            continue
        if layouts.computed(source):
            names[f"in{k}"] = bindings.present(tensors.name(source, form), form)
        else:
            real = bindings.parameters[source]
            if real.ndim < len(layouts.shape(out)):
                real = np.expand_dims(real, operator.number("axis"))
            names[f"in{k}"] = bindings.host(task, f"in{k}", real.transpose(layouts.order(out)))
    program = work.program(bindings.config)
    fills = [
        i.run_bytes for i in flatten_once(program.body) if i.external is not None and i.external.base == FILL
    ]
    if fills:
        value = float(operator.attributes.get("value", 0.0))  # type: ignore[arg-type]
        fill = np.full(-(-fills[0] // 2), value, np.float16).view(np.uint8)[: fills[0]]
        names[FILL] = bindings.laid(task, FILL, fill)
    names["out"] = tensors.room(out, form)
    if form == "quantised":
        tensors.scales[names["out"]] = tensors.scales[names["in0"]]
    return bindings.made(task, work, names, out)


def look_up(bindings: "Bindings", task: Task, work: LookUpWork, operator: Operator) -> "BoundTask":
    """Rows of a table that is a parameter, by numbers that the host gives.

    Raises:
        ValueError: The numbers are computed.
    """
    table, numbers = operator.inputs[:2]
    layouts, out = bindings.layouts, operator.outputs[0]
    if not layouts.computed(numbers):
        rows = bindings.parameters[numbers]
    elif layouts.given(numbers):
        places = layouts.places(numbers)
        assert places is not None
        given = np.ascontiguousarray(bindings.given[layouts.of(numbers)]).reshape(-1).astype(np.uint32)
        rows = np.lib.stride_tricks.as_strided(
            given[places.first :], layouts.shape(numbers), [4 * step for step in places.steps]
        )
    else:
        raise ValueError("numbers of rows must be given, not computed")
    names = {
        "in": bindings.host(task, "table", bindings.parameters[table]),
        "indices": bindings.laid(task, "indices", rows.astype(np.uint32)), "out": bindings.tensors.room(out, "fp16"),
    }  # fmt: skip
    return bindings.made(task, work, names, out)


def scan(bindings: "Bindings", task: Task, work: ScanWork, operator: Operator) -> "BoundTask":
    """Sums of all that comes before."""
    (x, *_), out = operator.inputs, operator.outputs[0]
    layouts = bindings.layouts
    source = bindings.fp16(x, layouts.shape(out), layouts.order(out))
    return bindings.made(task, work, {"in": source, "out": bindings.tensors.room(out, "fp16")}, out)
