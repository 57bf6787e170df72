"""How values lie in memory: which are views of which, and in what order their axes are.

The machine keeps channels innermost in what convolutions and pools make; everything else lies as its shape says. A view changes the
shape or the order in which axes are seen, never the memory.
"""

from math import prod

from lanewise.mapping.graph import Graph, Operator

Order = tuple[int, ...]
"""A value's axes from the outermost in memory to the innermost."""


def is_view(operator: Operator) -> bool:
    """Whether nothing is computed and nothing moves; casts between floating-point formats among it: the machine has FP16 alone."""
    if operator.kind == "elementwise" and operator.function == "cast":
        return all("float" in str(operator.attributes.get(name, "")) for name in ("from", "to"))
    return operator.kind == "movement" and operator.function == "view" and len(operator.inputs) > 0


def channels_innermost(rank: int) -> Order:
    """Order of a picture's axes (batch, channels, ...): (0, 2, 3, 1) for four."""
    return (0, *range(2, rank), 1) if rank >= 3 else tuple(range(rank))


class Layouts:
    """Roots, sizes and orders of all values of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.values = {value.id: value for value in graph.values}
        self.root: dict[int, int] = {}
        self.orders: dict[int, Order] = {}
        for operator in graph.operators:
            view = is_view(operator)
            for out in operator.outputs:
                if view:
                    self.root[out] = self.of(operator.inputs[0])
                self.orders[out] = self._of_view(operator, out) if view else self._of_result(operator, out)

    def of(self, value_id: int) -> int:
        """The value in memory that this one is a view of."""
        return self.root.get(value_id, value_id)

    def shape(self, value_id: int) -> tuple[int, ...]:
        """Shape of a value."""
        return tuple(self.values[value_id].shape)

    def size(self, value_id: int) -> int:
        """Elements of a value, at least 1."""
        return max(1, prod(self.shape(value_id)))

    def computed(self, value_id: int) -> bool:
        """Whether the value comes from an input or an operator, not from a parameter or a constant."""
        return self.values[self.of(value_id)].origin in ("input", "operator")

    def given(self, value_id: int) -> bool:
        """Whether it is an input of the network: the host lays it out as it is wanted."""
        return self.values[self.of(value_id)].origin == "input"

    def order(self, value_id: int) -> Order:
        """Axes from the outermost in memory to the innermost."""
        return self.orders.get(value_id, tuple(range(len(self.shape(value_id)))))

    def innermost(self, value_id: int) -> int:
        """The axis that lies innermost, of those longer than 1; -1 if there is none."""
        shape = self.shape(value_id)
        return next((axis for axis in reversed(self.order(value_id)) if shape[axis] != 1), -1)

    def run(self, value_id: int, wanted: Order) -> int:
        """Elements that stay together when the value is read in the order ``wanted``: all of them if it lies so, 1 if transposed."""
        order, shape = self.order(value_id), self.shape(value_id)
        if _without_ones(order, shape) == _without_ones(wanted, shape):
            return self.size(value_id)
        together = 1
        for own, other in zip(
            reversed(_without_ones(order, shape)), reversed(_without_ones(wanted, shape)), strict=True
        ):
            if own != other:
                break
            together *= shape[own]
        return together

    def strides(self, value_id: int) -> Order:
        """Elements from one place to the next along each axis."""
        shape, strides, size = self.shape(value_id), {}, 1
        for axis in reversed(self.order(value_id)):
            strides[axis], size = size, size * shape[axis]
        return tuple(strides[axis] for axis in range(len(shape)))

    def lines(self, value_id: int, batch: int, *, turned: bool = False) -> tuple[int, int] | None:
        """Elements from run to run and from product to product of a value (..., lines, k) that a product reads, 0 where they lie side by side.

        A run is a line, or, ``turned``, all lines' elements for a k. ``None`` where there is no such number, or INT4 products would not begin with
        a byte.
        """
        shape, strides = self.shape(value_id), self.strides(value_id)
        if len(shape) < 2:
            return (0, 0)
        last, outer = len(shape) - 1, list(range(len(shape) - 2))
        own = [
            *(outer if batch == 1 else []),
            last - 1,
        ]  # of a single product all axes but the last one are its lines
        runs, inner = ([last], own) if turned else (own, [last])
        products, rows, length = (
            _folded([(shape[a], strides[a]) for a in axes])
            for axes in (outer if batch > 1 else [], runs, inner)
        )
        if products is None or rows is None or length is None or products[0] != batch or length[1] > 1:
            return None
        (count, pitch), step = rows, products[1]
        pitch = 0 if count == 1 or pitch == length[0] else pitch
        step = 0 if batch == 1 or (not pitch and step == count * length[0]) else step
        return None if step % 2 else (pitch, step)

    def _of_result(self, operator: Operator, out: int) -> Order:
        rank = len(self.shape(out))
        if operator.kind in ("convolution", "pool"):
            return channels_innermost(rank)
        if operator.kind in ("elementwise", "normalise") or operator.attributes.get("operation") in (
            "concat",
            "pad",
            "update",
        ):
            for source in operator.inputs:
                if self.computed(source) and len(self.shape(source)) == rank:
                    return self.order(source)
        return tuple(range(rank))

    def _of_view(self, operator: Operator, out: int) -> Order:
        source = operator.inputs[0]
        order, before, after = self.order(source), self.shape(source), self.shape(out)
        permutation = operator.attributes.get("permutation")
        if isinstance(permutation, tuple):
            places = [int(axis) for axis in permutation]
            return tuple(places.index(axis) for axis in order)
        if len(before) == len(after):
            return order
        straight = tuple(range(len(after)))
        if _without_ones(order, before) == tuple(a for a in range(len(before)) if before[a] != 1):
            return straight
        axis = order[
            -1
        ]  # a picture flattened to tokens, or tokens unfolded to a picture: channels stay innermost
        if axis < len(after) and before[: axis + 1] == after[: axis + 1]:
            return (*(a for a in straight if a != axis), axis)
        return straight


def _without_ones(order: Order, shape: tuple[int, ...]) -> Order:
    return tuple(axis for axis in order if shape[axis] != 1)


def _folded(axes: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Axes, of a size and a stride each, the outermost first, as one; ``None`` if they are none.

    >>> _folded([(3, 20), (5, 4)]), _folded([(3, 30), (5, 4)])
    ((15, 4), None)
    """
    size, stride = 1, 0
    for length, step in reversed([axis for axis in axes if axis[0] != 1]):
        if size > 1 and step != size * stride:
            return None
        size, stride = size * length, stride or step
    return size, stride
