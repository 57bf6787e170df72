"""Copies as DMA commands: in from external memory, out to external memory, through a ring of buffers.

A :class:`Copy` is a nest of levels around a run of elements that are contiguous on both sides. Levels that continue each other are one; a chunk is as much
of the inner ones as a buffer holds, and its commands take the level of the most runs each. How a chunk lies in the scratchpad is free: in the target's
order the loads gather, in the source's the stores scatter. Both engines move a word of the bus a clock, so that where neither order has long runs, as of a
transposed matrix, chunks take turns: one is gathered while another is scattered, two elements a clock.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, gcd, isqrt, prod
from typing import NamedTuple

from lanewise.config import DmaConfig
from lanewise.mapping.kernels.place import Place, split
from lanewise.mapping.kernels.strips import load, store
from lanewise.sim.alignment import unrolled
from lanewise.sim.program import Node, Rotate, repeat

CHUNK_BYTES = 8192
RING = tuple(f"@in.{place}" for place in range(4))
"""Buffers that chunks go round in: a gathered and a scattered one on their way in, and two on their way out."""
FILL, FILL_BUFFER = "fill", "@fill"
"""The source of copies that fill, a tensor of one value over and over, as long as it is loaded; and the buffer that it is loaded to, once."""
_LEAST_CHUNK_BYTES = 1024
_CHUNKS, _LINE_BYTES = 4, 64
"""A copy has so many chunks at least, as long as they are not smaller than that, of a multiple of so many bytes if they are parts of a run."""


class Level(NamedTuple):
    """``repeats`` repetitions of what is within, so many elements apart on both sides; less than 0: backwards, 0: the same again."""

    repeats: int
    source: int
    target: int


@dataclass(frozen=True, kw_only=True)
class Copy:
    """``run`` contiguous elements, repeated along ``levels``, which may be in any order; no element of the target is written twice.

    Raises:
        ValueError: A count or the run is less than 1, or copies would lie on each other.
    """

    levels: tuple[Level, ...] = ()
    run: int = 1
    source: str = "in"
    """Tensor; :data:`FILL`: no place of it matters."""
    first: int = 0
    """Element of the source."""
    target: int = 0
    """Element of the target, the tensor ``out``."""

    def __post_init__(self) -> None:
        for name, count in (("run", self.run), *(("repeats", level.repeats) for level in self.levels)):
            if count < 1:
                raise ValueError(f"{name} must be at least 1, not {count}")
        if any(level.target == 0 and level.repeats > 1 for level in self.levels):
            raise ValueError(
                f"levels must have distances in the target, not {self.levels}"
            )  # stores are in no order

    @property
    def elements(self) -> int:
        """Elements that are written."""
        return self.run * prod(level.repeats for level in self.levels)

    def whole(self, divisor: int) -> bool:
        """Whether runs and distances are multiples of so many elements."""
        places = (self.run, self.first, self.target, *(d for level in self.levels for d in level[1:]))
        return all(place % divisor == 0 for place in places)

    def merged(self) -> "Copy":
        """The same with the fewest levels, the farthest in the target first.

        >>> Copy(levels=(Level(4, 2, 2), Level(3, 8, 100)), run=2).merged()
        Copy(levels=(Level(repeats=3, source=8, target=100),), run=8, source='in', first=0, target=0)
        """
        levels: list[Level] = []
        for level in sorted((lv for lv in self.levels if lv.repeats > 1), key=lambda lv: -abs(lv.target)):
            while levels and _continues(levels[-1], level):
                level = Level(levels.pop().repeats * level.repeats, *level[1:])
            levels.append(level)
        run = self.run
        while levels and levels[-1].target == run and (levels[-1].source == run or self.source == FILL):
            run *= levels.pop().repeats
        return replace(self, levels=tuple(levels), run=run)

    def scaled(self, bits: int) -> "Copy":
        """In bytes.

        Raises:
            ValueError: Runs are no whole bytes.
        """
        if bits < 8 and not self.whole(8 // bits):
            raise ValueError(f"runs must be whole bytes of {bits} bits, not {self}")
        levels = tuple(
            Level(level.repeats, level.source * bits // 8, level.target * bits // 8) for level in self.levels
        )
        return replace(
            self, levels=levels, run=self.run * bits // 8, first=self.first * bits // 8, target=self.target * bits // 8
        )  # fmt: skip

    def pieces(self, most: int) -> Iterator["Copy"]:
        """The same with runs of at most so many."""
        for count, run, place in split(self.run, most, "piece"):
            first = 0 if self.source == FILL else place.first
            levels = (*self.levels, Level(count, run, run)) if count > 1 else self.levels
            yield replace(
                self, levels=levels, run=run, first=self.first + first, target=self.target + place.first
            )


def _continues(outer: Level, inner: Level) -> bool:
    return outer[1:] == (inner.repeats * inner.source, inner.repeats * inner.target)


class _Axis(NamedTuple):
    """A level of a chunk: where its repetitions are in external memory on one side, and in the scratchpad."""

    repeats: int
    outside: int
    inside: int


def chunk_bytes(total: int) -> int:
    """Of a copy of so many bytes: what a buffer holds, or less, so that loads and stores run side by side.

    >>> chunk_bytes(100_000), chunk_bytes(5000), chunk_bytes(500)
    (8192, 1280, 1024)
    """
    part = ceil(total / (_CHUNKS * _LINE_BYTES)) * _LINE_BYTES
    return min(CHUNK_BYTES, max(_LEAST_CHUNK_BYTES, part))


class Chunks:
    """The commands of a copy in bytes, merged, with runs that a chunk of ``size`` holds."""

    def __init__(self, copy: Copy, size: int, dma: DmaConfig) -> None:
        self.copy, self.dma = copy, dma
        self.fills = copy.source == FILL
        levels = copy.levels
        by_source = tuple(sorted(levels, key=lambda level: -abs(level.source)))
        choices: list[tuple[tuple[int, ...], tuple[bool, ...]]] = [
            (_parts(levels, levels, copy.run, size), (True,))
        ]
        if not self.fills and levels and all(level.source for level in levels):
            choices.append((_parts(levels, by_source, copy.run, size), (False,)))
            choices.append((_square(levels, by_source, copy.run, size), (True, False)))
        self.parts, self.gathers = min(choices, key=lambda choice: self._clocks(*choice))
        self.largest_bytes = copy.run * prod(self.parts)
        """Of a chunk."""

    def nodes(self) -> Iterator[Node]:
        """All commands: chunks of whole parts, then those of the remainders along each level, loop within loop."""
        levels = self.copy.levels
        axes = [
            list(split(level.repeats, part, f"at{k}"))
            for k, (level, part) in enumerate(zip(levels, self.parts))
        ]
        for combination in product(*axes):
            counts = tuple(size for _, size, _ in combination)
            loops = [(f"at{k}", count) for k, (count, _, _) in enumerate(combination) if count > 1]
            source = sum(
                (p.times(v.source) for (_, _, p), v in zip(combination, levels)), Place(self.copy.first)
            )
            target = sum(
                (p.times(v.target) for (_, _, p), v in zip(combination, levels)), Place(self.copy.target)
            )

            def chunk(gathers: bool, counts: tuple[int, ...] = counts, source: Place = source, target: Place = target) -> tuple[Node, ...]:  # fmt: skip
                loads = () if self.fills else self._commands(counts, source, gathers, loads=True)
                return (*loads, *self._commands(counts, target, gathers, loads=False), *self._rotation())

            yield from self._looped(loops, counts, source, target, chunk)

    def _looped(
        self, loops: Sequence[tuple[str, int]], counts: tuple[int, ...], source: Place, target: Place,
        chunk: Callable[[bool], tuple[Node, ...]],
    ) -> tuple[Node, ...]:  # fmt: skip
        looped = {index for index, _ in loops}
        if (
            loops and not self.fills and not any(index in looped for index, _ in source.steps)
        ):  # the same again and again
            stores: tuple[Node, ...] = self._commands(counts, target, True, loads=False)
            for index, count in reversed(loops):
                stores = repeat(count, *stores, index=index)
            return (*self._commands(counts, source, True, loads=True), *stores, *self._rotation())
        body = chunk(self.gathers[0])
        for index, count in reversed(loops):
            if len(self.gathers) == 2 and index == loops[-1][0]:
                pair = (*unrolled(body, index, 2, 0), *unrolled(chunk(self.gathers[1]), index, 2, 1))
                last = unrolled(body, index, 0, count - 1) if count % 2 else ()
                body = (*repeat(count // 2, *pair, index=index), *last)
            else:
                body = repeat(count, *body, index=index)
        return body

    def _rotation(self) -> tuple[Node, ...]:
        return () if self.fills else (Rotate(names=RING),)

    def _axes(self, counts: Sequence[int], gathers: bool, *, loads: bool) -> tuple[int, list[_Axis]]:
        """The run and the levels of one side's commands for a chunk, contiguous ones joined."""
        run = inside = self.copy.run
        joined: list[_Axis] = []
        side = 2 if gathers else 1
        order = sorted(zip(self.copy.levels, counts), key=lambda each: abs(each[0][side]))
        for level, count in order:
            outside = level.source if loads else level.target
            if count > 1:
                if joined and joined[-1].repeats * joined[-1].outside == outside:
                    joined[-1] = joined[-1]._replace(repeats=joined[-1].repeats * count)
                elif not joined and outside == run:
                    run *= count
                else:
                    joined.append(_Axis(count, outside, inside))
            inside *= count
        return run, joined

    def _commands(
        self, counts: Sequence[int], place: Place, gathers: bool, *, loads: bool
    ) -> tuple[Node, ...]:
        run, axes = self._axes(counts, gathers, loads=loads)
        base = FILL_BUFFER if self.fills else RING[0]
        runs = max((axis for axis in axes if axis.outside > 0), default=_Axis(1, 0, 0))
        inside = Place()
        rest = [(f"{'in' if loads else 'out'}{k}", axis) for k, axis in enumerate(axes) if axis is not runs]
        for index, axis in rest:
            place, inside = place.along(index, axis.outside), inside.along(index, axis.inside)
        make, tensor = (load, self.copy.source) if loads else (store, "out")
        body: tuple[Node, ...] = (
            make(
                inside.address(base), runs.repeats, run, external=place.address(tensor), distance_bytes=runs.outside,
                stride_bytes=runs.inside,
            ),
        )  # fmt: skip
        for index, axis in rest:
            body = repeat(axis.repeats, *body, index=index)
        return body

    def _clocks(self, parts: tuple[int, ...], gathers: tuple[bool, ...]) -> float:
        """What the busier engine takes, roughly."""
        chunks = prod(level.repeats / part for level, part in zip(self.copy.levels, parts))
        sides = [sum(self._beats(parts, each, loads=loads) for each in gathers) for loads in (True, False)]
        if self.fills:
            sides = sides[1:]
        return chunks * max(sides) / len(gathers) + min(sides)

    def _beats(self, counts: Sequence[int], gathers: bool, *, loads: bool) -> float:
        """Clocks of a chunk's commands on one side: of runs of any alignment that their size and distances allow."""
        run, axes = self._axes(counts, gathers, loads=loads)
        width = self.dma.bytes_per_clk
        aligned = gcd(width, run, *(axis.outside for axis in axes))
        runs = prod(axis.repeats for axis in axes)
        most = max((axis.repeats for axis in axes if axis.outside > 0), default=1)
        return runs * ((run - aligned) / width + 1) + runs / most * self.dma.descriptor_clk


def _parts(levels: Sequence[Level], order: Sequence[Level], run: int, size: int) -> tuple[int, ...]:
    """How much of each level a chunk of ``size`` has, the innermost of ``order`` first."""
    room = max(1, size // run)
    parts: dict[Level, int] = {}
    for level in reversed(order):
        parts[level] = min(level.repeats, room)
        room //= parts[level]
    return tuple(parts[level] for level in levels)


def _square(levels: Sequence[Level], by_source: Sequence[Level], run: int, size: int) -> tuple[int, ...]:
    """Likewise, with runs of like length on both sides."""
    side = max(1, isqrt(max(1, size // run)))
    inner = {levels[-1], by_source[-1]}
    first = {level: min(level.repeats, side) for level in inner}
    rest = max(1, size // (run * prod(first.values())))
    parts: dict[Level, int] = {}
    for level in reversed(levels):
        if level in first:
            continue
        parts[level] = min(level.repeats, rest)
        rest //= parts[level]
    for level in first:
        first[level] = min(level.repeats, first[level] * max(1, rest))
        rest = max(1, size // (run * prod(first.values()) * prod(parts.values())))
    parts |= first
    return tuple(parts[level] for level in levels)
