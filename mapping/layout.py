"""How values lie in memory: which are views of which, and where a view's elements are.

The machine keeps channels innermost in what convolutions and pools make; everything else lies as its shape says, or as what it is made of lies. A view
changes the shape, the order of axes or which elements are seen, never the memory; copies that change no more than that are views, too, and a reshape that
cannot be seen in the memory's order is none (:meth:`Layouts.still`).
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from lanewise.mapping.graph import Graph, Operator

Order = tuple[int, ...]
"""A value's axes from the outermost in memory to the innermost."""


class Places(NamedTuple):
    """Where the elements of a value are in the value that is in memory, in elements."""

    first: int
    steps: tuple[int, ...]
    """From one to the next along each axis; 0: the same again."""


def is_view(operator: Operator) -> bool:
    """Whether PyTorch moves nothing; casts between floating-point formats among it: the machine has FP16 alone."""
    if operator.kind == "elementwise" and operator.function == "cast":
        return all("float" in str(operator.attributes.get(name, "")) for name in ("from", "to"))
    return operator.kind == "movement" and operator.function == "view" and len(operator.inputs) > 0


def channels_innermost(rank: int) -> Order:
    """Order of a picture's axes (batch, channels, ...): (0, 2, 3, 1) for four."""
    return (0, *range(2, rank), 1) if rank >= 3 else tuple(range(rank))


def dense(shape: Sequence[int], order: Order) -> tuple[int, ...]:
    """Steps along each axis of what lies in ``order`` without gaps.

    >>> dense((2, 3, 4), (0, 2, 1))
    (12, 1, 3)
    """
    steps, step = [0] * len(shape), 1
    for axis in reversed(order):
        steps[axis] = step
        step *= shape[axis]
    return tuple(steps)


def joined(axes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sizes and steps of axes, from the outermost to the innermost, of which those that continue each other are one and those of one element none.

    >>> joined([(2, 12), (1, 7), (3, 4), (4, 1), (5, 0), (2, 0)])
    [(24, 1), (10, 0)]
    """
    found: list[tuple[int, int]] = []
    for size, step in axes:
        if size == 1:
            continue
        if found and found[-1][1] == size * step:
            found[-1] = (found[-1][0] * size, step)
        else:
            found.append((size, step))
    return found


def reshaped(shape: Sequence[int], steps: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...] | None:
    """Steps of the same elements in another shape; ``None`` if no steps reach them.

    >>> reshaped((2, 6), (6, 1), (2, 2, 3)), reshaped((2, 6), (1, 2), (12,))
    ((6, 3, 1), None)
    """
    groups = joined(tuple(zip(shape, steps)))
    found: list[int] = []
    for size in reversed(wanted):
        if size == 1:
            found.append(groups[-1][1] if groups else 1)
            continue
        if not groups or groups[-1][0] % size:
            return None
        left, step = groups.pop()
        found.append(step)
        if left > size:
            groups.append((left // size, step * size))
    return None if groups else tuple(reversed(found))


class Layouts:
    """Roots, places, sizes and orders of all values of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.values = {value.id: value for value in graph.values}
        self.root: dict[int, int] = {}
        self.orders: dict[int, Order] = {}
        self._places: dict[int, Places | None] = {}
        self._still: set[int] = set()
        self._readers: dict[int, list[Operator]] = {}
        for operator in graph.operators:
            for source in operator.inputs:
                self._readers.setdefault(source, []).append(operator)
        for value in graph.values:
            if value.origin == "input" and any(
                reader.kind in ("convolution", "pool") for reader in self._readers.get(value.id, ())
            ):
                self.orders[value.id] = channels_innermost(len(value.shape))  # the host lays it out
        for operator in graph.operators:
            for place, out in enumerate(operator.outputs):
                found = self._seen(operator, place)
                reshapes = _reshapes(operator) and self.size(operator.inputs[0]) == self.size(out)
                if found is not None or (is_view(operator) and not reshapes):
                    self._still.add(operator.index)
                    self.root[out], self._places[out] = self.of(operator.inputs[0]), found
                else:
                    self.orders[out] = self._of_result(operator, out)

    def of(self, value_id: int) -> int:
        """The value in memory that this one is a view of."""
        return self.root.get(value_id, value_id)

    def still(self, operator: Operator) -> bool:
        """Whether nothing is computed and nothing moves."""
        return operator.index in self._still

    def shape(self, value_id: int) -> tuple[int, ...]:
        """Shape of a value."""
        return tuple(self.values[value_id].shape)

    def size(self, value_id: int) -> int:
        """Elements of a value, at least 1."""
        return max(1, prod(self.shape(value_id)))

    def line(self, value_id: int) -> int:
        """Elements of the innermost axis of what is in memory."""
        root = self.of(value_id)
        order = self.order(root)
        return self.shape(root)[order[-1]] if order else 1

    def computed(self, value_id: int) -> bool:
        """Whether the value comes from an input or an operator, not from a parameter or a constant."""
        return self.values[self.of(value_id)].origin in ("input", "operator")

    def given(self, value_id: int) -> bool:
        """Whether it is an input of the network: the host lays it out as it is wanted."""
        return self.values[self.of(value_id)].origin == "input"

    def places(self, value_id: int) -> Places | None:
        """Where its elements are in what it is a view of; ``None``: not told by steps."""
        if value_id in self.root:
            return self._places[value_id]
        return Places(0, dense(self.shape(value_id), self.order(value_id)))

    def order(self, value_id: int) -> Order:
        """Axes from the outermost in memory to the innermost."""
        straight = tuple(range(len(self.shape(value_id))))
        if value_id not in self.root:
            return self.orders.get(value_id, straight)
        places = self._places[value_id]
        if places is None:
            return straight
        return _by_step(self.shape(value_id), places.steps)

    def innermost(self, value_id: int) -> int:
        """The axis that lies innermost, of those longer than 1; -1 if there is none."""
        shape = self.shape(value_id)
        return next((axis for axis in reversed(self.order(value_id)) if shape[axis] != 1), -1)

    def spread(self, value_id: int, shape: Sequence[int]) -> Places | None:
        """Places of the value as if it had ``shape``, as operands of element-wise operators are expanded; ``None``: it cannot."""
        places, own = self.places(value_id), self.shape(value_id)
        if places is None:
            return None
        if len(own) > len(shape):
            if prod(own[: len(own) - len(shape)]) != 1:
                return None
            own, places = own[-len(shape) :], Places(places.first, places.steps[-len(shape) :])
        new = len(shape) - len(own)
        steps = [0] * new
        for size, step, wanted in zip(own, places.steps, shape[new:]):
            if size not in (1, wanted):
                return None
            steps.append(step if size == wanted else 0)
        return Places(places.first, tuple(steps))

    def lies(self, value_id: int, shape: Sequence[int], order: Order) -> bool:
        """Whether the value, expanded to ``shape``, is in memory in ``order``, from the first element of its tensor to the last; also where nothing is
        known of its places."""
        places = self.spread(value_id, shape)
        if places is None:
            return self.places(value_id) is None
        wanted = dense(shape, order)
        alike = all(size == 1 or step == own for size, step, own in zip(shape, places.steps, wanted))
        return places.first == 0 and alike

    # What operators make of them

    def _of_result(self, operator: Operator, out: int) -> Order:
        shape = self.shape(out)
        rank = len(shape)
        straight = tuple(range(rank))
        source = next((i for i in operator.inputs if self.computed(i) and len(self.shape(i)) == rank), None)
        match operator.kind:
            case "convolution" | "pool":
                return channels_innermost(rank)
            case "elementwise":
                same = [i for i in operator.inputs if self.computed(i) and self.shape(i) == shape]
                whole = [i for i in same if (places := self.places(i)) and all(places.steps)]
                return self.order((whole or same)[0]) if same else straight
            case "normalise" if operator.function == "batch_norm":
                return channels_innermost(rank)
            case "normalise" if operator.function in ("group_norm", "instance_norm"):
                innermost = channels_innermost(rank)
                return innermost if source is not None and self.order(source) == innermost else straight
            case "normalise" | "softmax":
                axis = int(operator.attributes.get("axis", rank - 1)) % max(1, rank)  # type: ignore[arg-type]
                return self.rows(operator.inputs[0], axis)
            case "reduce" if operator.function == "cumsum":
                return self.scanned(operator)
            case "reduce":
                return self._of_reduction(operator, out)
            case "matmul":
                return self._of_product(operator, out)
            case "movement" if _reshapes(operator):
                return self._of_reshape(operator, out)
            case "movement" if source is not None:
                return self.order(source)
        return straight

    def rows(self, value_id: int, axis: int) -> Order:
        """The order in which the rows along ``axis`` are read: as they lie, if the axis is innermost."""
        rank = len(self.shape(value_id))
        order = self.order(value_id)
        if order and order[-1] == axis and self.lies(value_id, self.shape(value_id), order):
            return order
        return (*(a for a in range(rank) if a != axis), axis)

    def scanned(self, operator: Operator) -> Order:
        """The order in which a scan reads and stores: as it lies, if its axis is outermost or innermost."""
        (value, *_), axes = operator.inputs, operator.attributes["axes"]
        axis = int(axes[0] if isinstance(axes, tuple) else axes)
        order, shape = self.order(value), self.shape(value)
        outermost = next((each for each in order if shape[each] != 1), axis)
        return (
            order
            if outermost == axis and order[-1] != axis and self.lies(value, shape, order)
            else self.rows(value, axis)
        )

    def _of_reduction(self, operator: Operator, out: int) -> Order:
        shape, order = self.shape(operator.inputs[0]), self.order(operator.inputs[0])
        given = operator.attributes.get("axes", tuple(range(len(shape))))
        axes = {int(a) % max(1, len(shape)) for a in (given if isinstance(given, tuple) else (given,))}
        rank = len(self.shape(out))
        if rank == len(shape):
            return order
        left = [axis for axis in range(len(shape)) if axis not in axes]
        return (
            tuple(left.index(axis) for axis in order if axis not in axes)
            if rank == len(left)
            else tuple(range(rank))
        )

    def _of_product(self, operator: Operator, out: int) -> Order:
        """Products of several heads are stored as the reshape that reads them puts them side by side."""
        rank = len(self.shape(out))
        straight = tuple(range(rank))
        if int(operator.attributes.get("batch", 1)) == 1:  # type: ignore[arg-type]
            return straight
        order, value = straight, out
        while len(readers := self._readers.get(value, [])) == 1:
            permutation = readers[0].attributes.get("permutation")
            if isinstance(permutation, tuple):
                order = tuple(order[int(axis)] for axis in permutation)
            elif self.shape(readers[0].outputs[0]) != self.shape(value) or readers[0].kind != "movement":
                break
            value = readers[0].outputs[0]
        if order == straight or order[-1] != rank - 1 or len(readers) != 1 or not _reshapes(readers[0]):
            return straight
        steps, shape = dense(self.shape(out), order), self.shape(out)
        batch = joined(tuple(zip(shape[:-2], steps[:-2])))
        return order if len(batch) == 1 else straight

    def _of_reshape(self, operator: Operator, out: int) -> Order:
        """As near to the memory's order as the new axes allow."""
        refined = self.refined(operator.inputs[0], out) or []
        straight = tuple(range(len(self.shape(out))))
        least = {axis: min(abs(step) for a, _, step in refined if a == axis) for axis, _, _ in refined}
        if not all(least.get(axis) or self.shape(out)[axis] == 1 for axis in straight):
            return straight
        return _by_step(self.shape(out), [least.get(axis, 0) for axis in straight])

    def refined(self, source: int, out: int) -> list[tuple[int, int, int]] | None:
        """``out``'s axes in parts along each of which ``source`` has one step: the axis, the part's size, and the step; ``None``: there are none."""
        places = self.places(source)
        if places is None:
            return None
        groups = joined(tuple(zip(self.shape(source), places.steps)))
        found: list[tuple[int, int, int]] = []
        for axis in reversed(range(len(self.shape(out)))):
            left = self.shape(out)[axis]
            while left > 1:
                if not groups:
                    return None
                size, step = groups.pop()
                part = min(size, left)
                if not part or size % part or left % part:
                    return None
                found.append((axis, part, step))
                left //= part
                if size > part:
                    groups.append((size // part, step * part))
        return found[::-1]

    def _seen(self, operator: Operator, place: int) -> Places | None:
        """Places of a result that is a view of the first operand; ``None``: it is none, or not told by steps."""
        if not operator.inputs or (operator.kind != "movement" and not is_view(operator)):
            return None
        source, out = operator.inputs[0], operator.outputs[place]
        before, after = self.shape(source), self.shape(out)
        places, attributes = self.places(source), operator.attributes
        operation = attributes.get("operation")
        if places is None or not self.computed(source) or 0 in before:
            return None
        first, steps = places
        view = is_view(operator)
        permutation = attributes.get("permutation")
        if isinstance(permutation, tuple):
            return (
                Places(first, tuple(steps[int(axis)] for axis in permutation))
                if view or len(operator.inputs) == 1
                else None
            )
        if _reshapes(operator):
            new = reshaped(before, steps, after)
            return None if new is None else Places(first, new)
        if not view:
            padding = attributes.get("padding", (1,))
            alike = operation == "clone" or (
                operation == "pad" and isinstance(padding, tuple) and not any(padding)
            )
            return places if alike and before == after and len(operator.inputs) == 1 else None
        axis = attributes.get("axis")
        if operation in ("slice", "select", "split") and isinstance(axis, int):
            start, step = attributes.get("start", 0), attributes.get("step", 1)
            if operation == "split":
                sizes = [
                    self.shape(each)[axis] if len(after) == len(before) else 1 for each in operator.outputs
                ]
                start = sum(sizes[:place])
            assert isinstance(start, int)
            assert isinstance(step, int)
            kept = list(steps)
            kept[axis] *= step
            if len(after) < len(before):
                del kept[axis]
            return Places(first + start * steps[axis], tuple(kept))
        if operation == "expand":
            return self.spread(source, after)
        if before == after and operation not in ("stride", "reinterpret"):
            return places
        return None


def _by_step(shape: Sequence[int], steps: Sequence[int]) -> Order:
    """Axes by their steps, the longest first; those of one element are outermost."""
    return tuple(sorted(range(len(shape)), key=lambda axis: (shape[axis] != 1, -abs(steps[axis]))))


_RESHAPES = ("reshape", "alias")


def _reshapes(operator: Operator) -> bool:
    """Whether it changes the shape alone."""
    operation = operator.attributes.get("operation")
    return operator.kind == "movement" and len(operator.inputs) == 1 and operation in _RESHAPES
