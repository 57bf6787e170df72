"""How a matrix product reads its operands: where they lie, at distances, or from a copy in the order of their axes."""

from collections.abc import Sequence
from dataclasses import dataclass

from lanewise.mapping.graph import Operator
from lanewise.mapping.layout import Layouts, Order, Places, joined

_PAIR = 2
"""INT4 elements in a byte."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """An operand as :class:`lanewise.mapping.kernels.matmul.MatmulWork` is told of it, in elements."""

    wanted: tuple[tuple[int, ...], Order]
    """The shape that it is expanded to, and the order that its axes have in the copy that is read, if it is not read directly."""
    direct: bool = True
    turned: bool = False
    """Whether k is not contiguous, but the lines' number is."""
    first: int = 0
    pitch: int = 0
    """From line to line, or from k to k; 0: side by side."""
    step: int = 0
    """From product to product; 0: one behind the other."""


def matrix_of(layouts: Layouts, operator: Operator, place: int) -> Matrix:
    """Operand ``place``, 0 or 1, of a matrix product."""
    value = operator.inputs[place]
    shape, places = layouts.shape(value), layouts.places(value)
    batch, k = (int(operator.attributes[name]) for name in ("batch", "k"))  # type: ignore[arg-type]
    lines_axis, k_axis = (len(shape) - 2, len(shape) - 1) if place == 0 else (len(shape) - 1, len(shape) - 2)
    if len(shape) < 2 or not layouts.computed(value):
        return Matrix(wanted=(shape, tuple(range(len(shape)))))
    if batch > 1:
        other = layouts.shape(operator.inputs[1 - place])
        shape = (*_batch(shape[:-2], other[:-2]), *shape[-2:])
        lines_axis, k_axis = (axis + len(shape) - len(layouts.shape(value)) for axis in (lines_axis, k_axis))
        places = layouts.spread(value, shape)
    straight = tuple(range(len(shape)))
    copied = Matrix(wanted=(shape, straight), direct=False, turned=place == 1)
    if places is None:
        return Matrix(wanted=copied.wanted, turned=place == 1)
    found = _direct(shape, places, lines_axis, k_axis, batch)
    if found is None:
        lies = place == 1 and places.steps[k_axis] == 1  # as near to the memory's order as the unit reads
        return (
            copied
            if not lies
            else Matrix(
                wanted=(shape, (*straight[:-2], straight[-1], straight[-2])), direct=False, turned=False
            )
        )
    turned, pitch, step = found
    count = _lines(shape, lines_axis, batch)
    inner, outer = (count, k) if turned else (k, count)
    pitch = 0 if pitch == inner else pitch
    if step == outer * (pitch or inner):
        step = 0
    even = layouts.line(value) % _PAIR == 0 and not any(
        number % _PAIR for number in (pitch, step, places.first)
    )
    if (pitch or step or places.first) and not even:
        return copied
    return Matrix(wanted=copied.wanted, turned=turned, first=places.first, pitch=pitch, step=step)


def _lines(shape: Sequence[int], lines_axis: int, batch: int) -> int:
    """Lines of a product: those of all leading axes, unless these are products of their own."""
    size = shape[lines_axis]
    if batch == 1:
        for axis in range(len(shape) - 2):
            size *= shape[axis]
    return size


def _batch(own: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    rank = max(len(own), len(other))
    sides = ((1,) * (rank - len(each)) + tuple(each) for each in (own, other))
    return tuple(max(a, b) for a, b in zip(*sides))


def _direct(
    shape: Sequence[int], places: Places, lines_axis: int, k_axis: int, batch: int
) -> tuple[bool, int, int] | None:  # fmt: skip
    """Whether it lies turned, pitch and step; ``None``: it is not read where it lies."""
    axes = list(zip(shape, places.steps))
    outer, line, k = axes[:-2], axes[lines_axis], axes[k_axis]
    if batch == 1:
        lines, products = joined([*outer, line]), []
    else:
        lines, products = joined([line]), joined(outer)
    inner = joined([k])
    if max(len(lines), len(products), len(inner)) > 1 or any(
        step < 0 for _, step in (*lines, *products, *inner)
    ):
        return None
    if (products and products[0][1] == 0) or (lines and lines[0][1] == 0) or (inner and inner[0][1] == 0):
        return None
    step = products[0][1] if products else 0
    if not inner or inner[0][1] == 1:
        return False, lines[0][1] if lines else k[0], step
    if not lines or lines[0][1] == 1:
        return True, inner[0][1], step
    return None
