"""Lowering of what only moves data, from the graph's own geometry: concatenation, padding, rolls, repetitions, reshapes that no steps reach, look-ups.

Each result is put together from copies of nested runs (:class:`lanewise.mapping.kernels.copies.Copy`), FP16 as well as operands of the matrix unit, where
all their runs are whole bytes and one operand is all there is to move; otherwise the FP16 result is quantised.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from lanewise.errors import UnmappedError
from lanewise.mapping.graph import Operator
from lanewise.mapping.kernels.copies import FILL, Copy, Level
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.movement import LookUpWork, MovementWork
from lanewise.mapping.layout import Layouts, Order, Places, dense

if TYPE_CHECKING:
    from lanewise.mapping.lower import Lowering

PAIR = 2
"""INT4 elements in a byte, the least that is moved."""


class Piece(NamedTuple):
    """``size`` places of a result's axis from ``start`` on, and the operand's place of the first of them."""

    start: int
    size: int
    first: int = 0
    step: int = 1
    """Operand's places from one to the next; -1: backwards, 0: the same again."""
    filled: bool = False


def movement(lowering: "Lowering", operator: Operator) -> None:
    """Tasks of an operator that moves data: one for each of its results and, if need be, its quantisation."""
    for out in operator.outputs:
        copies = copies_of(lowering.layouts, operator, out)
        forms = lowering.outputs(out)
        moved = (
            ("fp16",)
            if "quantised" in forms and not moves_operands(lowering.layouts, operator, out)
            else forms
        )
        for form in moved:
            kept = tuple(copies) or _coarse(lowering.layouts, operator, out)
            lowering.add(operator, MovementWork(copies=kept, form=form), ())
        if moved != forms:
            work = ElementwiseWork(elements=lowering.size(out), outputs=("quantised",))
            lowering.alone(f"quantise {operator.name}", "quantise", work, out)


def embedding(lowering: "Lowering", operator: Operator) -> None:
    """Rows of a table."""
    width = lowering.shape(operator.outputs[0])[-1]
    rows = lowering.size(operator.outputs[0]) // width
    lowering.add(operator, LookUpWork(rows=rows, width=width), ())
    lowering.quantise(operator)


def moves_operands(layouts: Layouts, operator: Operator, out: int) -> bool:
    """Whether a movement may be done to the matrix unit's operands: there is one scale, and every run is whole bytes."""
    computed = [i for i in operator.inputs if layouts.computed(i)]
    copies = copies_of(layouts, operator, out)
    if (
        len(operator.inputs) != 1
        or not computed
        or operator.attributes.get("value", 0.0) != 0.0
        or not copies
    ):
        return False
    return whole_bytes(layouts, computed[0], copies) and layouts.line(out) % PAIR == 0


def whole_bytes(layouts: Layouts, value: int, copies: Sequence[Copy]) -> bool:
    """Whether copies of a value may be copies of its INT4 operands, two in a byte."""
    return layouts.line(value) % PAIR == 0 and all(
        copy.merged().whole(PAIR) for copy in copies if copy.source != FILL
    )


def rearrangement(
    layouts: Layouts, value: int, shape: Sequence[int], order: Order, *, whole: bool = False
) -> Copy | None:
    """The copy that puts a value, expanded to ``shape``, into ``order``, with ``whole`` each line as long as whole bytes of INT4 are; ``None`` if it lies
    so or its places are not known."""
    places = layouts.spread(value, shape)
    if places is None or not prod(shape) or layouts.lies(value, shape, order):
        return None
    room = list(shape)
    if whole and order:
        room[order[-1]] += room[order[-1]] % PAIR
    levels = tuple(map(Level, shape, places.steps, dense(room, order)))
    return Copy(levels=levels, first=places.first)


def whole_lines(shape: Sequence[int], order: Order) -> int:
    """Elements of a value in ``order`` whose lines are as long as whole bytes of INT4 are; a single line is as long as it is.

    >>> whole_lines((3, 5), (0, 1)), whole_lines((3, 5), (1, 0)), whole_lines((1, 5), (0, 1))
    (18, 20, 5)
    """
    size, line = max(1, prod(shape)), shape[order[-1]] if order else 1
    return size if line == size else size // line * (line + line % PAIR)


def copies_of(layouts: Layouts, operator: Operator, out: int) -> tuple[Copy, ...]:
    """What a result is made of, operand ``k`` being the tensor ``in{k}``; none if the graph does not say.

    Raises:
        UnmappedError: A copy fills with what is not told.
    """
    if 0 in layouts.shape(out):
        return ()
    operation = operator.attributes.get("operation")
    if operation == "concat":
        return tuple(_concatenated(layouts, operator, out))
    if operation == "update" or not operator.inputs:
        return ()
    source = operator.inputs[0]
    places = layouts.places(source)
    if places is None or len(operator.inputs) != 1 or not layouts.computed(source):
        return ()
    before, after = layouts.shape(source), layouts.shape(out)
    target = dense(after, layouts.order(out))
    if operation in ("reshape", "alias") and prod(before) == prod(after):
        return _reshaped(layouts, source, out)
    if operation in ("clone", "expand", "permute") or (before == after and operation == "copy"):
        spread = layouts.spread(source, after)
        return () if spread is None else (_copy(0, spread, after, target),)
    own = (1,) * (len(after) - len(before)) + before
    steps = (0,) * (len(after) - len(before)) + places.steps
    if operation in _REPEATED:
        if any(total % size for size, total in zip(own, after)):
            return ()
        return (_repeated(own, Places(places.first, steps), after, target, _REPEATED[str(operation)]),)
    if operation == "pixel_shuffle":
        return (_shuffled(own, Places(places.first, steps), after, target),)
    axes = _pieces(operator, own)
    return () if axes is None else tuple(_boxes(axes, Places(places.first, steps), target))


_REPEATED = {"repeat": True, "repeat_interleave": False, "upsample_nearest": False}
"""Whether the whole axis is repeated, or each of its places."""


def _repeated(
    own: Sequence[int], places: Places, shape: Sequence[int], target: Sequence[int], whole: bool
) -> Copy:
    levels: list[Level] = []
    for size, source, total, step in zip(own, places.steps, shape, target):
        inner, outer = (size * step, step) if whole else (step, total // size * step)
        levels += (Level(total // size, 0, inner), Level(size, source, outer))
    return Copy(source="in0", levels=tuple(levels), first=places.first)


def _copy(operand: int, places: Places, shape: Sequence[int], target: Sequence[int], first: int = 0) -> Copy:
    levels = tuple(map(Level, shape, places.steps, target))
    return Copy(source=f"in{operand}", levels=levels, first=places.first, target=first)


def _reshaped(layouts: Layouts, source: int, out: int) -> tuple[Copy, ...]:
    """Parts of axes that have one step on both sides; if there are none, the source's axes, into the straight order."""
    steps = list(dense(layouts.shape(out), layouts.order(out)))
    refined = layouts.refined(source, out)
    levels: list[Level] = []
    places = layouts.places(source)
    assert places is not None
    if refined is None:
        shape = layouts.shape(source)
        levels += map(Level, shape, places.steps, dense(shape, tuple(range(len(shape)))))
    else:
        for axis, size, step in reversed(refined):
            levels.append(Level(size, step, steps[axis]))
            steps[axis] *= size
    return (Copy(source="in0", levels=tuple(levels), first=places.first),)


def _concatenated(layouts: Layouts, operator: Operator, out: int) -> Iterator[Copy]:
    """Each part into its place; parts that are parameters lie as the result does."""
    shape = layouts.shape(out)
    axis, target = operator.number("axis"), dense(shape, layouts.order(out))
    at = 0
    for k, source in enumerate(operator.inputs):
        own = layouts.shape(source)
        if prod(own) == 0:
            continue
        if len(own) < len(shape):  # stacked
            own = (*own[:axis], 1, *own[axis:])
            places = layouts.places(source)
            if places is not None:
                places = Places(places.first, (*places.steps[:axis], 0, *places.steps[axis:]))
        else:
            places = layouts.places(source)
        if not layouts.computed(source):
            places = Places(0, dense(own, layouts.order(out)))
        if places is None:
            return
        yield _copy(k, places, own, target, at * target[axis])
        at += own[axis]


def _shuffled(own: Sequence[int], places: Places, shape: Sequence[int], target: Sequence[int]) -> Copy:
    """Channels to positions within a position, rows first, or back."""
    axis = len(own) - 3
    first, second = (own, shape) if shape[axis] < own[axis] else (shape, own)
    rows, columns = second[-2] // first[-2], second[-1] // first[-1]
    sides: list[list[int]] = []
    for steps, packed in ((places.steps, first is own), (target, first is shape)):
        channel, row, column = steps[axis:]
        apart = [rows * columns * channel, columns * channel, channel, row, column]
        inner = apart if packed else [channel, row, column, rows * row, columns * column]
        sides.append([*steps[:axis], *inner])
    sizes = [*first[:axis], second[axis], rows, columns, *first[-2:]]
    return Copy(source="in0", levels=tuple(map(Level, sizes, *sides)), first=places.first)


def _pieces(operator: Operator, own: Sequence[int]) -> list[list[Piece]] | None:
    """For each axis of the result which places of the operand it is made of; ``None``: not told."""
    attributes = operator.attributes
    axes = [[Piece(0, size)] for size in own]
    match attributes.get("operation"):
        case "pad":
            padding = attributes.get("padding")
            if not isinstance(padding, tuple):
                return None
            for k in range(len(padding) // 2):
                sides = int(padding[2 * k]), int(padding[2 * k + 1])
                axes[-1 - k] = list(_padded(own[-1 - k], *sides, str(attributes.get("mode", "constant"))))
        case "roll":
            shifts, given = attributes.get("shifts", ()), attributes.get("axes", ())
            if not isinstance(shifts, tuple) or not isinstance(given, tuple) or not given:
                return None
            for k, axis in enumerate(int(axis) for axis in given):
                size = own[axis]
                shift = int(shifts[k]) % size if shifts else 0
                parts = (Piece(0, shift, size - shift), Piece(shift, size - shift))
                axes[axis] = [p for p in parts if p.size] if shifts else [Piece(0, size, size - 1, -1)]
        case _:
            return None
    return axes


def _padded(size: int, before: int, after: int, mode: str) -> Iterator[Piece]:
    if before > 0:
        yield {
            "constant": Piece(0, before, filled=True), "reflect": Piece(0, before, before, -1),
            "replicate": Piece(0, before, 0, 0), "circular": Piece(0, before, size - before),
        }[mode]  # fmt: skip
    cut = max(0, -before)
    yield Piece(max(0, before), size - cut - max(0, -after), cut)
    if after > 0:
        at = before + size
        yield {
            "constant": Piece(at, after, filled=True), "reflect": Piece(at, after, size - 2, -1),
            "replicate": Piece(at, after, size - 1, 0), "circular": Piece(at, after, 0),
        }[mode]  # fmt: skip


def _boxes(axes: Sequence[Sequence[Piece]], places: Places, target: Sequence[int]) -> Iterator[Copy]:
    """A copy for each choice of a piece for each axis; what is filled along an axis is filled for all pieces of the axes after it."""
    axes = [[piece for piece in pieces if piece.size] for pieces in axes]
    for k, pieces in enumerate(axes):
        for piece in pieces:
            if piece.filled:
                before = [[p for p in each if not p.filled] for each in axes[:k]]
                behind = [
                    [Piece(0, max(p.start + p.size for p in each))]
                    if any(p.filled for p in each)
                    else list(each)
                    for each in axes[k + 1 :]
                ]
                for box in product(*before, [piece], *behind):
                    yield replace(_box(box, Places(0, (0,) * len(target)), target), source=FILL, first=0)
    for box in product(*[[p for p in each if not p.filled] for each in axes]):
        yield _box(box, places, target)


def _box(box: Sequence[Piece], places: Places, target: Sequence[int]) -> Copy:
    steps = tuple(piece.step * step for piece, step in zip(box, places.steps))
    first = places.first + sum(piece.first * step for piece, step in zip(box, places.steps))
    at = sum(piece.start * step for piece, step in zip(box, target))
    return _copy(0, Places(first, steps), [piece.size for piece in box], target, at)


def _coarse(layouts: Layouts, operator: Operator, out: int) -> tuple[Copy, ...]:
    """For what the graph does not tell the places of: runs of the shortest innermost axis, each of them apart from the next."""
    computed = [i for i in operator.inputs if layouts.computed(i)]
    size = layouts.size(out)
    run = min((layouts.shape(i)[-1] for i in (*computed, out) if layouts.shape(i)), default=1) or 1
    if not computed:
        raise UnmappedError
    runs = max(1, size // run)
    return (Copy(levels=(Level(runs, 2 * run, run),), run=run),)
