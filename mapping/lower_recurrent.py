"""Lowering of recurrent layers: one product for the inputs of all steps, then step by step a product of the state and the gates.

An LSTM's step is five tasks: the product, to which the step's inputs are added; three gates' sigmoid; the candidate's tanh times the input gate; the cell;
and the cell's tanh times the output gate, which is stored as FP16 and as the next product's operands. Equal works are priced once, whatever the steps.
"""

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from lanewise.errors import UnmappedError
from lanewise.mapping.graph import Operator
from lanewise.mapping.kernels.copies import Copy, Level
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import MovementWork
from lanewise.mapping.task import Task, Work

if TYPE_CHECKING:
    from lanewise.mapping.lower import Lowering

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
"""Columns of a layer's matrices, in widths of its state."""

_BOTH = ("fp16", "quantised")
_ADD, _TIMES, _MINUS = (Step(function=name, operand="tensor") for name in ("add", "multiply", "subtract"))
_SIGMOID, _TANH = Step(function="sigmoid"), Step(function="tanh")

Piece = tuple[Work, tuple[str, ...]]
"""A work and its activation functions."""


def lower_recurrent(lowering: "Lowering", operator: Operator) -> None:
    """Layers in order, of each its directions.

    Raises:
        UnmappedError: Its matrices are not parameters.
    """
    x, attributes = operator.inputs[0], operator.attributes
    directions = 2 if attributes.get("bidirectional") else 1
    layers, steps = operator.number("layers"), operator.number("steps")
    matrices = [
        lowering.shape(value)
        for value in operator.inputs[1:]
        if not lowering.computed(value)
        and len(lowering.shape(value)) == 2
        and lowering.layouts.values[value].origin == "parameter"
    ]
    parts = layers * directions
    if (
        operator.function not in GATES
        or not parts
        or len(matrices) % parts
        or len(matrices) // parts not in (2, 3)
    ):
        raise UnmappedError
    shape = lowering.shape(x)
    lowering.rearrange(operator, x, shape, tuple(range(len(shape))), "quantised")
    batch = prod(shape[:-1]) // steps
    each = len(matrices) // parts
    for layer in range(layers):
        for direction in range(directions):
            own = matrices[(layer * directions + direction) * each :][:each]
            _emit(lowering, operator, _layer(operator.function, own, batch, steps))
        if directions == 2:
            last = layer == layers - 1
            width = own[2][0] if each == 3 else own[1][1]
            forms = lowering.outputs(operator.outputs[0]) if last else ("quantised",)
            work = [MovementWork(copies=_side_by_side(batch * steps, width), form=form) for form in forms]
            _emit(lowering, operator, [(each_form, ()) for each_form in work])


def _emit(lowering: "Lowering", operator: Operator, pieces: "Iterator[Piece] | list[Piece]") -> None:
    lowering.tasks += [
        Task(name=operator.name, kind=operator.kind, members=(operator.name,), functions=functions, work=work)
        for work, functions in pieces
    ]


def _layer(function: str, matrices: list[tuple[int, ...]], batch: int, steps: int) -> Iterator[Piece]:
    """One direction of one layer."""
    (columns, inputs), (_, state) = matrices[:2]
    width = columns // GATES[function]
    yield MatmulWork(m=batch * steps, k=inputs, n=columns), ()
    step = list(_step(function, batch, width, state, len(matrices) == 3))
    for _ in range(steps):
        yield from step


def _step(function: str, batch: int, width: int, state: int, projected: bool) -> Iterator[Piece]:
    """One step: what the state is multiplied by, the gates, and the new state."""
    size, columns = batch * width, GATES[function] * width

    def product(*steps: Step, outputs: tuple[str, ...] = ("fp16",)) -> MatmulWork:
        return MatmulWork(m=batch, k=state, n=columns, steps=steps, outputs=outputs)

    def pointwise(gates: int, *steps: Step, outputs: tuple[str, ...] = ("fp16",)) -> ElementwiseWork:
        return ElementwiseWork(elements=gates * size, steps=steps, outputs=outputs)

    if function.startswith("rnn"):
        name = function.removeprefix("rnn_")
        yield product(_ADD, Step(function=name), outputs=_BOTH), (name,)
        return
    if function == "gru":
        yield product(), ()
        yield pointwise(2, _ADD, _SIGMOID), ("sigmoid",)  # reset and update
        yield (
            pointwise(1, _TIMES, _ADD, _TANH),
            ("tanh",),
        )  # of the state's part, times reset, and the inputs'
        yield pointwise(1, _MINUS, _TIMES, _ADD, outputs=_BOTH), ()  # n + z (h - n)
        return
    yield product(_ADD), ()
    yield pointwise(3, _SIGMOID), ("sigmoid",)
    yield pointwise(1, _TANH, _TIMES), ("tanh",)
    yield pointwise(1, _TIMES, _ADD), ()
    yield pointwise(1, _TANH, _TIMES, outputs=("quantised",) if projected else _BOTH), ("tanh",)
    if projected:
        yield MatmulWork(m=batch, k=width, n=state, outputs=_BOTH), ()


def _side_by_side(rows: int, width: int) -> tuple[Copy, ...]:
    """Both directions' results, one beside the other."""
    levels = (Level(repeats=rows, source=width, target=2 * width),)
    return tuple(
        Copy(levels=levels, run=width, source=f"in{direction}", first=0, target=direction * width)
        for direction in range(2)
    )
