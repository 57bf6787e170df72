"""Fourier transforms of the columns of an array, rows as vectors: bits and order of operations.

Decimation in frequency (Van Loan, "Computational frameworks for the fast Fourier transform", 1992), radix 8, 4 and 2. All columns have the same
twiddles, which therefore are constants of the instructions; a stage's butterfly reads and writes whole rows, so nothing is permuted. Rows that
are known to be zero are never added, rows that nobody wants are never computed. The transform is the forward one without a factor.

Two real columns are one complex: ``split`` takes the transform of x + i y apart into the first ``length / 2 + 1`` rows of each, times 2;
``join`` makes the rows of X + i Y of such halves of Hermitian X and Y, so that the result's parts are the real transforms of each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import cos, pi, sin, sqrt

import numpy as np

from lanewise.models.recipe import KINDS, Float, Place, Recipe, evaluate

Pair = tuple[int | None, int | None]
PARTS = ("real", "imaginary")
LENGTHS = {8: (8,), 16: (4, 4), 32: (8, 4), 64: (8, 8), 128: (8, 4, 4), 256: (8, 8, 4)}
"""Radices, by length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """A transform of ``length`` rows.

    Raises:
        ValueError: The length is none of :data:`LENGTHS`, or rows are not there.
    """

    length: int
    bits: int = 32
    """16 or 32: format of all numbers."""
    filled: int = 0
    """Rows of the input, the first ones, the others being zero; 0: all."""
    kept: int = 0
    """Rows of the result, the first ones; 0: all."""
    join: bool = False
    """The input is the halves of two Hermitian transforms."""
    split: bool = False
    """The result is the halves of two real columns' transforms."""

    def __post_init__(self) -> None:
        if self.length not in LENGTHS:
            raise ValueError(f"length must be one of {', '.join(map(str, LENGTHS))}, not {self.length}")
        if self.bits not in (16, 32):
            raise ValueError(f"bits must be 16 or 32, not {self.bits}")
        if not 0 <= self.filled <= self.length or not 0 <= self.kept <= self.length:
            raise ValueError(f"filled and kept must be 0 to {self.length}, not {self.filled} and {self.kept}")
        if (self.join and self.filled) or (self.split and self.kept):
            raise ValueError("filled must be 0 with join, kept with split")

    @property
    def half(self) -> int:
        """Rows of half a Hermitian transform."""
        return self.length // 2 + 1

    @property
    def sources(self) -> tuple[tuple[str, int], ...]:
        """Buffers of the input and their rows, real and imaginary in turn."""
        if self.join:
            return tuple((f"in{k} {part}", self.half) for k in "01" for part in PARTS)
        return tuple((f"in {part}", self.filled or self.length) for part in PARTS)

    @property
    def results(self) -> tuple[tuple[str, int], ...]:
        """Likewise of the result."""
        if self.split:
            return tuple((f"out{k} {part}", self.half) for k in "01" for part in PARTS)
        return tuple((f"out {part}", self.kept or self.length) for part in PARTS)


@lru_cache(maxsize=64)
def stages(columns: Columns) -> tuple[tuple[Recipe, ...], ...]:
    """Recipes of the butterflies, stage by stage; their places are buffers and rows."""
    made: list[tuple[Recipe, ...]] = []
    radices = LENGTHS[columns.length]
    done, rest = 1, columns.length
    for number, radix in enumerate(radices):
        source = "in" if number == 0 else "ab"[(number - 1) % 2]
        last = number == len(radices) - 1
        target = "out" if last and not columns.split else "ab"[number % 2]
        rest //= radix
        stage = [
            _butterfly_at(columns, source, target, radix, (q, done), (j, rest), last=last)
            for q in range(done)
            for j in range(rest)
        ]
        made.append(tuple(recipe for recipe in stage if recipe.steps))
        done *= radix
    if columns.split:
        made.append(tuple(_parted(columns, "ab"[(len(radices) - 1) % 2], row) for row in range(columns.half)))
    return tuple(made)


def operations(columns: Columns) -> int:
    """Instructions of the multiply-add unit for a vector of columns."""
    free = ("load", "store", "constant", "estimate")
    every = (step for stage in stages(columns) for recipe in stage for step in recipe.steps)
    return sum(step.name not in free for step in every)


def transform(columns: Columns, memory: Mapping[str, Float]) -> dict[str, Float]:
    """The transform of arrays.

    Args:
        memory: Each of ``columns.sources``, shape ``(rows, columns)``, of the format of ``columns.bits``.

    Returns:
        Each of ``columns.results``, likewise.
    """
    kind = KINDS[columns.bits]
    width = next(iter(memory.values())).shape[1]
    made = {f"{name} {part}": np.zeros((columns.length, width), kind) for name in "ab" for part in PARTS}
    made |= {name: np.zeros((rows, width), kind) for name, rows in columns.results}
    every: dict[str, Float] = {**made, **memory}

    def store(place: Place, value: Float) -> None:
        every[place.buffer][place.row] = value

    for stage in stages(columns):
        for recipe in stage:
            evaluate(recipe, lambda place: every[place.buffer][place.row], store)
    return {name: every[name] for name, _ in columns.results}


def _butterfly_at(
    columns: Columns, source: str, target: str, radix: int, outer: tuple[int, int], inner: tuple[int, int], *, last: bool,
) -> Recipe:  # fmt: skip
    """Rows ``q L + j + m t`` of the source to ``(q + Q r) m + j`` of the target, L = radix m, times W_L**(j r)."""
    (q, done), (j, rest) = outer, inner
    recipe = Recipe(columns.bits)
    values = [_row(columns, recipe, source, q * radix * rest + j + rest * t) for t in range(radix)]
    made = butterfly(recipe, values)
    for r in range(radix):
        row = (q + done * r) * rest + j
        if last and not columns.split and row >= (columns.kept or columns.length):
            continue
        pair = _turned(recipe, made[r], j * r, radix * rest)
        for part, value in zip(PARTS, pair, strict=True):
            recipe.store(recipe.constant(0.0) if value is None else value, f"{target} {part}", row)
    return recipe.pruned()


def _row(columns: Columns, recipe: Recipe, source: str, row: int) -> Pair:
    if source != "in":
        return recipe.load(f"{source} real", row), recipe.load(f"{source} imaginary", row)
    if not columns.join:
        if row >= (columns.filled or columns.length):
            return None, None
        return recipe.load("in real", row), recipe.load("in imaginary", row)
    mirrored = row >= columns.half
    place = columns.length - row if mirrored else row
    (a, b), (c, d) = (
        (recipe.load(f"in{k} real", place), recipe.load(f"in{k} imaginary", place)) for k in "01"
    )
    if mirrored:  # conj(X) + i conj(Y)
        return recipe.add(a, d), recipe.subtract(c, b)
    return recipe.subtract(a, d), recipe.add(b, c)


def _parted(columns: Columns, source: str, row: int) -> Recipe:
    """Z of a row and of the mirrored one: Z + conj(Z') and (Z - conj(Z')) / i."""
    recipe = Recipe(columns.bits)
    mirror = -row % columns.length
    x, y = (recipe.load(f"{source} {part}", row) for part in PARTS)
    u, v = (x, y) if mirror == row else (recipe.load(f"{source} {part}", mirror) for part in PARTS)
    parts = (recipe.add(x, u), recipe.subtract(y, v), recipe.add(y, v), recipe.subtract(u, x))
    for (name, _), value in zip(columns.results, parts, strict=True):
        assert value is not None
        recipe.store(value, name, row)
    return recipe.pruned()


def _turned(recipe: Recipe, value: Pair, power: int, length: int) -> Pair:
    """Times exp(-2 pi i power / length)."""
    x, y = value
    power %= length
    if power == 0 or x is None or y is None:
        return value
    if 4 * power == length:
        return y, recipe.times(-1.0, x)
    angle = -2 * pi * power / length
    c, s = cos(angle), sin(angle)
    real = recipe.times_subtract(c, x, _there(recipe.times(s, y)))
    return real, recipe.add_times(recipe.times(s, x), c, y)


def _there(value: int | None) -> int:
    assert value is not None
    return value


def butterfly(recipe: Recipe, x: list[Pair]) -> list[Pair]:
    """The transform of 2, 4 or 8 complex values."""
    if len(x) == 2:
        return [_sum(recipe, x[0], x[1]), _difference(recipe, x[0], x[1])]
    if len(x) == 4:
        sums = [_sum(recipe, x[k], x[k + 2]) for k in (0, 1)]
        (p, q), (u, v) = (_difference(recipe, x[k], x[k + 2]) for k in (0, 1))
        return [
            _sum(recipe, *sums), (recipe.add(p, v), recipe.subtract(q, u)), _difference(recipe, *sums),
            (recipe.subtract(p, v), recipe.add(q, u)),
        ]  # fmt: skip
    return list(_eight(recipe, x))


def _eight(recipe: Recipe, x: list[Pair]) -> Iterator[Pair]:
    sums = [_sum(recipe, x[k], x[k + 4]) for k in range(4)]
    d = [_difference(recipe, x[k], x[k + 4]) for k in range(4)]
    even = butterfly(recipe, sums)
    (p, q), (u, v) = d[0], d[2]
    first, second = (recipe.add(p, v), recipe.subtract(q, u)), (recipe.subtract(p, v), recipe.add(q, u))
    one = recipe.add(*d[1]), recipe.subtract(d[1][1], d[1][0])  # W8 d1, less the root
    three = recipe.subtract(*d[3]), recipe.add(*d[3])  # minus W8**3 d3, less the root
    f, g = _difference(recipe, one, three), _sum(recipe, one, three)
    c = sqrt(0.5)
    yield even[0]
    yield recipe.add_times(first[0], c, f[0]), recipe.add_times(first[1], c, f[1])
    yield even[1]
    yield recipe.add_times(second[0], c, g[1]), recipe.add_times(second[1], -c, g[0])
    yield even[2]
    yield recipe.add_times(first[0], -c, f[0]), recipe.add_times(first[1], -c, f[1])
    yield even[3]
    yield recipe.add_times(second[0], -c, g[1]), recipe.add_times(second[1], c, g[0])


def _sum(recipe: Recipe, x: Pair, y: Pair) -> Pair:
    return recipe.add(x[0], y[0]), recipe.add(x[1], y[1])


def _difference(recipe: Recipe, x: Pair, y: Pair) -> Pair:
    return recipe.subtract(x[0], y[0]), recipe.subtract(x[1], y[1])
