"""What an operator is written as: operators, views and constants, as an expression."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from math import cos, pi, prod, sin

from lanewise.mapping.graph import Attribute, Operator, Value

EXACT = 2048
"""Whole numbers up to this one are FP16 numbers."""


class Parts:
    """The operators that one operator becomes, written as an expression.

    Args:
        values: Of the graph; new ones come behind.
        read: Ids of the values that somebody reads.
    """

    def __init__(self, operator: Operator, values: list[Value], read: Collection[int] = ()) -> None:
        self.operator, self.values, self.read = operator, values, read
        self.made: list[Operator] = []
        self._names: Counter[str] = Counter()
        self._constants: dict[tuple[str, tuple[int, ...]], int] = {}

    def shape(self, value: int) -> tuple[int, ...]:
        """Shape of a value."""
        return self.values[value].shape

    def computed(self, value: int) -> bool:
        """Whether the value depends on the network's inputs."""
        return self.values[value].origin in ("input", "operator")

    def wants(self, place: int) -> bool:
        """Whether anybody reads a result of the operator."""
        return self.operator.outputs[place] in self.read

    def of(self, function: str, *inputs: int, kind: str = "elementwise", shape: tuple[int, ...] | None = None, **attributes: Attribute) -> int:  # fmt: skip
        """One operator; returns its result."""
        if shape is None:
            sides = [self.shape(i) for i in inputs]
            rank = max(map(len, sides))
            shape = tuple(
                max(
                    (side[axis - rank + len(side)] for side in sides if axis >= rank - len(side)),
                    key=lambda size: size != 1,
                )
                for axis in range(rank)
            )
        name = f"{self.operator.name}.{function or kind}"
        count = self._names[name]
        self._names[name] += 1
        name += f"#{count}" if count else ""
        value = Value(id=len(self.values), shape=shape, dtype=self.values[inputs[0]].dtype, producer=0, origin="operator")  # fmt: skip
        self.values.append(value)
        self.made.append(
            Operator(
                index=0, name=name, kind=kind, function=function, inputs=inputs, outputs=(value.id,), attributes=attributes
            )
        )  # fmt: skip
        return value.id

    def times(self, value: int, factor: float) -> int:
        """A product with a number."""
        return value if factor == 1 else self.of("multiply", value, scalar=factor)

    # Views and movements

    def view(self, value: int, shape: Sequence[int]) -> int:
        """Another shape."""
        if tuple(shape) == self.shape(value):
            return value
        return self.of("view", value, kind="movement", shape=tuple(shape), operation="reshape")

    def permuted(self, value: int, *permutation: int) -> int:
        """Axes in another order."""
        shape = tuple(self.shape(value)[axis] for axis in permutation)
        return self.of("view", value, kind="movement", shape=shape, operation="permute", permutation=permutation)  # fmt: skip

    def sliced(self, value: int, axis: int, start: int, stop: int, step: int = 1) -> int:
        """Some places of an axis."""
        shape = list(self.shape(value))
        axis %= len(shape)
        if (start, stop, step) == (0, shape[axis], 1):
            return value
        shape[axis] = len(range(start, stop, step))
        return self.of(
            "view", value, kind="movement", shape=tuple(shape), operation="slice", axis=axis, start=start, stop=stop, step=step
        )  # fmt: skip

    def flipped(self, value: int, axis: int) -> int:
        """An axis backwards."""
        return self.of("", value, kind="movement", shape=self.shape(value), operation="roll", axes=(axis,))

    def padded(self, value: int, axis: int, before: int, after: int, fill: float = 0.0) -> int:
        """An axis with places before and behind it."""
        if not before and not after:
            return value
        shape = list(self.shape(value))
        axis %= len(shape)
        shape[axis] += before + after
        padding = (0, 0) * (len(shape) - 1 - axis) + (before, after)
        return self.of(
            "", value, kind="movement", shape=tuple(shape), operation="pad", padding=padding, mode="constant", value=fill
        )  # fmt: skip

    def concatenated(self, values: Sequence[int], axis: int) -> int:
        """One after the other along an axis."""
        if len(values) == 1:
            return values[0]
        shape = list(self.shape(values[0]))
        axis %= len(shape)
        shape[axis] = sum(self.shape(value)[axis] for value in values)
        return self.of("", *values, kind="movement", shape=tuple(shape), operation="concat", axis=axis)

    def looked_up(self, table: int, rows: int) -> int:
        """Rows of a table of two axes, by their numbers."""
        count, width = self.shape(table)
        shape = (*self.shape(rows), width)
        return self.of("", table, rows, kind="embedding", shape=shape, rows=count, width=width)

    # Rows

    def along(self, function: str, value: int, axis: int, *, keep: bool = True) -> int:
        """A reduction along one axis."""
        shape = list(self.shape(value))
        axis %= len(shape)
        shape[axis : axis + 1] = [1] if keep else []
        return self.of(function, value, kind="reduce", shape=tuple(shape), axes=(axis,), keep=keep)

    def summed(self, value: int, axis: int) -> int:
        """All sums up to each place of an axis."""
        axis %= len(self.shape(value))
        return self.of("cumsum", value, kind="reduce", shape=self.shape(value), axes=(axis,))

    def product(self, left: int, right: int) -> int:
        """``left @ right``, of as many matrices as ``left`` has; a constant on the right is one of two axes."""
        *batch, m, k = self.shape(left)
        n, weight = self.shape(right)[-1], not self.computed(right)
        return self.of(
            "", left, right, kind="matmul", shape=(*batch, m, n), batch=1 if weight else prod(batch),
            m=m * prod(batch) if weight else m, k=k, n=n, bias=False, transposed_a=False, transposed_b=False, weight=weight,
        )  # fmt: skip

    def reduced(self, function: str, value: int, *, keep: bool | None = None) -> int:
        """A reduction along the operator's axes."""
        axes, shape = self.axes, self.shape(self.operator.inputs[0])
        keep = bool(self.operator.attributes.get("keep")) if keep is None else keep
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        left = tuple(size for axis, size in enumerate(shape) if axis not in axes)
        return self.of(function, value, kind="reduce", shape=kept if keep else left, axes=axes, keep=keep)

    @property
    def axes(self) -> tuple[int, ...]:
        """Of a reduction, or of what works along one axis."""
        found = self.operator.attributes.get("axes")
        if found is None:
            found = self.operator.attributes.get("axis")
        return tuple(int(a) for a in found) if isinstance(found, tuple) else (int(found),)  # type: ignore[arg-type]

    @property
    def length(self) -> int:
        """Elements that a reduction is over."""
        return prod(self.shape(self.operator.inputs[0])[axis] for axis in self.axes)

    def sizes(self, name: str) -> tuple[int, ...]:
        """An attribute that is whole numbers."""
        found = self.operator.attributes[name]
        return tuple(int(each) for each in found) if isinstance(found, tuple) else (int(found),)

    def number(self, name: str, default: float = 0.0) -> float:
        """An attribute that is a number."""
        found = self.operator.attributes.get(name, default)
        return float(found) if isinstance(found, int | float) else default

    # Constants

    def constant(self, rule: str, shape: Sequence[int]) -> int:
        """A constant whose elements :func:`constant_elements` tells from ``rule``; the same for the same rule and shape."""
        key = (rule, tuple(shape))
        if key not in self._constants:
            self._constants[key] = len(self.values)
            self.values.append(
                Value(id=len(self.values), shape=tuple(shape), dtype="float32", origin="constant", name=f"={rule}")
            )  # fmt: skip
        return self._constants[key]

    def along_axis(self, rule: str, count: int, axis: int, rank: int) -> int:
        """A constant of :func:`constant_elements` along one of ``rank`` axes."""
        shape = [1] * rank
        shape[axis] = count
        return self.constant(rule, shape)

    def numbers(self, count: int, axis: int, rank: int, first: float = 0.0, step: float = 1.0) -> int:
        """``first``, ``first + step``, ... along one of ``rank`` axes."""
        return self.along_axis(f"range {first!r} {step!r}", count, axis, rank)


Rule = Callable[[Parts], "int | Sequence[int | None] | None"]
"""Writes the parts; returns the result, or all of them (``None``: nobody reads it), or ``None`` if the operator has a kernel, or
nothing that it could be made of."""


def constant_elements(value: Value) -> list[float] | None:
    """The elements of a constant that an expansion made, in the order of its shape; ``None`` of any other value.

    * ``range FIRST STEP``: equal steps.
    * ``digits D N``: each place divided by D, modulo N; ``backwards D N``: N less that.
    * ``signs N``: N times 1, N times -1, and so on.
    * ``dft N SIGN``: the matrix by which a row of n complex numbers, parts side by side, is multiplied for its discrete Fourier transform.
    * ``real N``: the same back to n real numbers, from half the transform.

    >>> constant_elements(Value(id=0, shape=(1, 3), dtype="float32", origin="constant", name="=range -1.0 0.5"))
    [-1.0, -0.5, 0.0]
    """
    if value.origin != "constant" or not (found := re.fullmatch(r"=(\w+) (.+)", value.name)):
        return None
    numbers = [float(number) for number in found[2].split()]
    match found[1]:
        case "range":
            return [numbers[0] + place * numbers[1] for place in range(value.size)]
        case "digits":
            return [place // int(numbers[0]) % numbers[1] for place in range(value.size)]
        case "backwards":
            return [numbers[1] - place // int(numbers[0]) % numbers[1] for place in range(value.size)]
        case "signs":
            return [(-1.0) ** (place // int(numbers[0])) for place in range(value.size)]
        case "dft":
            return _fourier(int(numbers[0]), numbers[1])
        case "real":
            return _real_fourier(int(numbers[0]))
    raise ValueError(
        f"rule of a constant must be range, digits, backwards, signs, dft or real, not {value.name!r}"
    )


def _fourier(n: int, sign: float) -> list[float]:
    """``(a + bi) (c + si)`` for each pair of rows and columns."""
    elements: list[float] = []
    for row in range(2 * n):
        for column in range(n):
            angle = sign * 2 * pi * ((row // 2) * column % n) / n
            c, s = cos(angle), sin(angle)
            elements += [-s, c] if row % 2 else [c, s]
    return elements


def _real_fourier(n: int) -> list[float]:
    elements: list[float] = []
    for row in range(2 * (n // 2 + 1)):
        twice = 1.0 if row // 2 in (0, n / 2) else 2.0
        for column in range(n):
            angle = 2 * pi * ((row // 2) * column % n) / n
            elements.append(-twice * sin(angle) if row % 2 else twice * cos(angle))
    return elements
