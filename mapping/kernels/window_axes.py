"""Where windows of positions lie: along an axis, and axis by axis what of each is inside the input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import ceil

KEPT = 1024
"""Axes, and parts of them, whose windows are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A window along one axis: its taps lie ``dilation`` positions apart from ``start`` on, and those from ``first`` to before ``stop`` inside."""

    start: int
    """Position of tap 0, of the padding if it is negative."""
    first: int
    stop: int
    counted: int
    """Positions that an average divides by."""

    def after(self, position: int) -> "Span":
        """The same as it lies relative to a position."""
        return Span(start=self.start - position, first=self.first, stop=self.stop, counted=self.counted)


@dataclass(frozen=True, kw_only=True)
class Group:
    """``count`` times the same windows, each time ``step`` positions further."""

    result: int
    """Number of the first result."""
    count: int
    step: int
    spans: tuple[Span, ...]
    """Of the first time."""

    @cached_property
    def shape(self) -> tuple[Span, ...]:
        """The windows as they lie relative to the first one's tap 0: groups of one shape have one code."""
        start = self.spans[0].start
        return tuple([span.after(start) for span in self.spans])


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of ``size`` positions and the windows on it, as PyTorch's pools and convolutions say.

    Raises:
        ValueError: A number is out of range, or no window fits.

    >>> Axis(size=7, kernel=3, stride=2, padding=1).count
    4
    """

    size: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    """Positions before the first, and as many after the last."""
    results: int = 0
    """How many; 0: as many windows as fit. One more, of which a part is beyond the padding, is ``ceil_mode``'s."""
    adaptive: bool = False
    """The windows are as even as ``results`` of them on the axis can be, and no other number counts."""
    counts_padding: bool = True
    """Whether an average divides by the padding's positions as well."""

    def __post_init__(self) -> None:
        for name, least in (
            ("size", 1), ("kernel", 1), ("stride", 1), ("dilation", 1), ("padding", 0), ("results", int(self.adaptive)),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.count < 1:
            raise ValueError(
                f"kernel must fit the padded axis, not {self.kernel} x {self.dilation} on {self.size}"
            )

    @cached_property
    def count(self) -> int:
        """Results along the axis."""
        beyond = self.dilation * (self.kernel - 1) + 1
        return self.results or (self.size + 2 * self.padding - beyond) // self.stride + 1

    @property
    def apart(self) -> int:
        """Positions from tap to tap."""
        return 1 if self.adaptive else self.dilation

    @cached_property
    def taps(self) -> int:
        """Taps of the largest window."""
        return max(span.stop for span in self._spans) if self.adaptive else self.kernel

    def span(self, result: int) -> Span:
        """The window of a result."""
        return self._spans[result]

    @cached_property
    def _spans(self) -> tuple[Span, ...]:
        return tuple([self._span(result) for result in range(self.count)])

    def _span(self, result: int) -> Span:
        if self.adaptive:
            start = result * self.size // self.results
            taps = ceil((result + 1) * self.size / self.results) - start
            return Span(start=start, first=0, stop=taps, counted=taps)
        start = result * self.stride - self.padding
        first = min(self.kernel, max(0, ceil(-start / self.dilation)))
        stop = max(first, min(self.kernel, ceil((self.size - start) / self.dilation)))
        whole = min(self.kernel, self.size + self.padding - start)
        return Span(
            start=start, first=first, stop=stop, counted=whole if self.counts_padding else stop - first
        )

    def groups(self, results: range, together: int = 1) -> tuple[Group, ...]:
        """The windows of ``results``, so many at a time, equal ones that follow at equal distances in one group.

        >>> [(g.result, g.count, len(g.spans)) for g in Axis(size=9, kernel=3, padding=1).groups(range(9), 2)]
        [(0, 1, 2), (2, 3, 2), (8, 1, 1)]
        """
        return _groups(self, results, together)

    def inside(self, results: range) -> range:
        """From the first position that the windows of ``results`` touch to the last; one position if they touch none."""
        touched = list(self._touched(results)) or [0]
        return range(min(touched), max(touched) + 1)

    def most(self, results: int) -> int:
        """Positions that so many results one after the other touch, at most."""
        if self.adaptive:
            starts = range(self.count - results + 1)
            return max(len(self.inside(range(start, start + results))) for start in starts)
        return min(self.size, self.stride * (results - 1) + self.dilation * (self.kernel - 1) + 1)

    def _touched(self, results: Sequence[int]) -> Iterator[int]:
        for span in (self.span(result) for result in results):
            if span.first < span.stop:
                yield span.start + span.first * self.apart
                yield span.start + (span.stop - 1) * self.apart


@lru_cache(maxsize=KEPT)
def _groups(axis: Axis, results: range, together: int) -> tuple[Group, ...]:
    made: list[Group] = []
    for first in range(results.start, results.stop, together):
        spans = tuple([axis.span(result) for result in range(first, min(results.stop, first + together))])
        group = Group(result=first, count=1, step=0, spans=spans)
        if made and made[-1].shape == group.shape:
            last = made[-1]
            step = spans[0].start - last.spans[0].start - last.step * (last.count - 1)
            if last.count == 1 or step == last.step:
                made[-1] = replace(last, count=last.count + 1, step=step)
                continue
        made.append(group)
    return tuple(made)


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Results along an axis that are computed together, ``count`` times, each time ``step`` positions further."""

    results: range
    inside: range
    """Positions that they touch."""
    groups: tuple[Group, ...]
    count: int
    step: int


@lru_cache(maxsize=KEPT)
def bands(axis: Axis, size: int, together: int = 1) -> tuple[Band, ...]:
    """All results of an axis in bands of ``size``, their windows in groups of ``together``; equal bands in one.

    >>> [(b.results, b.inside, b.count) for b in bands(Axis(size=20, kernel=3, padding=1), 4)]
    [(range(0, 4), range(0, 5), 1), (range(4, 8), range(3, 9), 3), (range(16, 20), range(15, 20), 1)]
    """
    made: list[Band] = []
    before: tuple[object, ...] = ()
    for first in range(0, axis.count, size):
        results = range(first, min(axis.count, first + size))
        inside, groups = axis.inside(results), axis.groups(results, together)
        looks = (
            len(results),
            len(inside),
            tuple(
                (
                    group.result - first,
                    group.count,
                    group.step,
                    group.shape,
                    group.spans[0].start - inside.start,
                )
                for group in groups
            ),
        )
        if looks == before:
            last = made[-1]
            step = inside.start - last.inside.start - last.step * (last.count - 1)
            if last.count == 1 or step == last.step:
                made[-1] = replace(last, count=last.count + 1, step=step)
                continue
        made.append(Band(results=results, inside=inside, groups=groups, count=1, step=0))
        before = looks
    return tuple(made)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A band in the scratchpad: positions of ``channels`` elements each."""

    channels: int
    row: int
    """Positions from row to row of the input."""
    plane: int
    """Likewise from plane to plane."""
    result_row: int
    """Results from row to row."""
