"""DMA commands that bring the patches of a convolution as lines of a product's left operand.

Where taps lie side by side in memory a kernel row is one run; a command brings the runs of all results of an output row, or of all kernel rows of one result.
What of a patch is beyond the tensor comes from ``zeros``, a tensor of zeros, by commands of its own, so that no tensor is ever copied for its borders.
"""

from collections.abc import Callable, Iterator
from math import lcm, prod
from typing import TypeAlias

from lanewise.mapping.kernels.patches import Patches
from lanewise.mapping.kernels.place import Place
from lanewise.mapping.kernels.strips import load
from lanewise.sim.program import Address, Instruction, Node, flatten_once, repeat

ZEROS = "zeros"
"""The tensor that borders come from; of :func:`zeros_bytes` bytes."""

Taps: TypeAlias = tuple[tuple[int, int], ...]
"""The first tap within the tensor and the one after the last, along each of some axes."""


def patch_loads(
    buffer: str | Address,
    patches: Patches,
    bits: int,
    first_line: int | Place,
    lines: int,
    line_stride_bytes: int,
    *,
    tensor: str = "left",
    group: int | Place = 0,
    part: tuple[int, int] | None = None,
) -> tuple[Node, ...]:
    """The commands that bring a group's patches of the results ``first_line`` to ``first_line + lines`` as lines of a buffer.

    Args:
        bits: Of an element: 4, 8 or 16.
        first_line: With steps as of :func:`patch_blocks`.
        line_stride_bytes: From line to line of the buffer.
        tensor: The input's name; ``zeros`` is the other one.
        part: First element and number of elements of k, both whole bytes; ``None``: all.

    Raises:
        ValueError: Groups do not begin with bytes, lines or elements are not there, or ``first_line`` moves neither
            within a row nor by whole rows of a plane nor by whole planes.
    """
    return _Loads(patches, bits, line_stride_bytes, part).loads(
        buffer, _place(first_line), lines, tensor, _place(group)
    )


def zeros_bytes(patches: Patches, bits: int) -> int:
    """Size of the tensor ``zeros`` that any :func:`patch_loads` of ``patches`` can do with."""
    loads = patch_loads("@lines", patches, bits, 0, patches.lines, patches.k(bits) * bits // 8 + 1)
    return max(
        (i.runs * i.run_bytes for i in flatten_once(loads) if i.external and i.external.base == ZEROS),
        default=0,
    )


def patch_blocks(
    patches: Patches, block: int, make: Callable[[Place, int], tuple[Node, ...]]
) -> tuple[Node, ...]:
    """All lines in blocks of ``block``, in loops as far as blocks differ by no more than their addresses.

    After as many lines as are a multiple of both, a block begins at the same place of a row (plane, image) again: so many are a repetition of a loop where
    the same taps are within the tensor.

    Args:
        make: The nodes of one block, given its first line and its lines, ``block`` but for the last; its loops' indices are not ``block.`` and a number.
    """
    axes = patches.axes
    inner = [prod(axis.out for axis in axes[place + 1 :]) for place in range(len(axes))]

    def span(steps: Place, first: int, stop: int, outermost: int) -> tuple[Node, ...]:
        nodes: list[Node] = []
        while first < stop:
            for place in range(outermost, len(axes)):
                axis, period = axes[place], lcm(block, inner[place])
                at = first // inner[place] % axis.out
                room = (axis.alike(at, axis.out) - at) * inner[place] - first % inner[place]
                count = min(stop - first, room) // period
                if count > 1:
                    index = f"block.{place}"
                    body = span(steps.along(index, period), first, first + period, place + 1)
                    nodes += repeat(count, *body, index=index)
                    first += count * period
                    break
            else:
                size = min(block, stop - first)
                nodes += make(steps + Place(first), size)
                first += size
        return tuple(nodes)

    return span(Place(), 0, patches.lines, 0)


def _place(number: int | Place) -> Place:
    return Place(number) if isinstance(number, int) else number


class _Loads:
    """The walk from images over rows to runs; addresses are those of the first line and tap that are at hand."""

    def __init__(self, patches: Patches, bits: int, stride: int, part: tuple[int, int] | None) -> None:
        self.patches, self.axes, self.stride = patches, patches.axes, stride
        self.lines = patches.lines
        if not patches.whole_bytes(bits):
            raise ValueError(
                f"channels of a group must be whole bytes, not {patches.channels} of {bits} bits"
            )
        self.group_bytes = patches.stored_channels(bits) * bits // 8
        self.line_bytes = patches.k(bits) * bits // 8
        pitch = patches.position_bytes(bits)
        self.pitches: list[int] = []
        for axis in reversed(self.axes):
            self.pitches.insert(0, pitch)
            pitch *= axis.size
        self.inner = [prod(axis.out for axis in self.axes[place + 1 :]) for place in range(len(self.axes))]
        self.tap_bytes = [
            self.group_bytes * prod(axis.kernel for axis in self.axes[place + 1 :])
            for place in range(len(self.axes))
        ]
        first, count = part or (0, patches.k(bits))
        if first * bits % 8 or count * bits % 8 or not 0 <= first < first + count <= patches.k(bits):
            raise ValueError(f"part must be whole bytes of {patches.k(bits)} elements, not {part}")
        self.part = first * bits // 8, (first + count) * bits // 8
        self.whole = self.part == (0, self.line_bytes)

    def loads(
        self, buffer: str | Address, first: Place, lines: int, tensor: str, group: Place
    ) -> tuple[Node, ...]:
        if not 0 <= first.first < first.first + lines <= self.lines:
            raise ValueError(f"lines must be of {self.lines}, not {lines} from {first.first} on")
        outside = group.times(self.group_bytes).address(tensor)
        for index, step in first.steps:
            outside = outside.along(index, self.step_bytes(step))
        inside = Address(buffer) if isinstance(buffer, str) else buffer
        return tuple(self.span(0, first.first, first.first + lines, outside, inside, ()))

    def step_bytes(self, lines: int) -> int:
        """How far a step of ``lines`` moves in memory."""
        for axis, inner, pitch in zip(self.axes, self.inner, self.pitches):
            if lines % inner == 0:
                if lines // inner < axis.out:
                    return lines // inner * axis.stride * pitch
                break
        raise ValueError(
            f"first_line must move within a row, by whole rows of a plane or by whole planes, not by {lines} lines"
        )

    def span(
        self, place: int, start: int, stop: int, outside: Address, inside: Address, taps: Taps
    ) -> list[Node]:
        """Lines ``start`` to ``stop`` of an axis and those within it; ``taps``: those within the tensor along the axes outside it."""
        if place == len(self.axes) - 1:
            return list(self.segment(start, stop, outside, inside, taps))
        axis, inner, pitch = self.axes[place], self.inner[place], self.pitches[place]
        nodes: list[Node] = []
        while start < stop:
            unit, within = divmod(start, inner)
            found = axis.taps(unit)
            at = outside.moved((unit * axis.stride - axis.padding + found[0] * axis.dilation) * pitch)
            count, end = 1, min(inner, stop - unit * inner)
            to, index = inside, f"patch.{place}"
            if not within and end == inner:
                count = axis.alike(unit, stop // inner) - unit
            if count > 1:
                at = at.along(index, axis.stride * pitch)
                to = inside.along(index, inner * self.stride)
            body = self.span(place + 1, within, end, at, to, (*taps, found))
            nodes += repeat(count, *body, index=index)
            inside = inside.moved(((count - 1) * inner + end - within) * self.stride)
            start += (count - 1) * inner + end - within
        return nodes

    def segment(
        self, start: int, stop: int, outside: Address, inside: Address, taps: Taps
    ) -> Iterator[Instruction]:
        """Results of one row."""

        def window(place: int, outside: Address, at: int) -> Iterator[Instruction]:
            """What the axes from ``place`` on have of the lines, ``at`` bytes after their beginning."""
            axis, size, (first, end) = self.axes[place], self.tap_bytes[place], taps[place]
            yield from self.grid(stop - start, 1, first * size, at, None, inside)
            if place == len(self.axes) - 2 and first < end:
                yield from self.row(start, stop, end - first, outside, inside, at + first * size)
            elif place < len(self.axes) - 2:
                for tap in range(first, end):
                    further = (tap - first) * axis.dilation * self.pitches[place]
                    yield from window(place + 1, outside.moved(further), at + tap * size)
            yield from self.grid(stop - start, 1, (axis.kernel - end) * size, at + end * size, None, inside)

        return window(0, outside, 0)

    def row(
        self, start: int, stop: int, rows: int, outside: Address, inside: Address, at: int
    ) -> Iterator[Instruction]:
        """``rows`` kernel rows within the tensor, of results of one row."""
        axis, pitch, size = self.axes[-1], self.pitches[-1], self.group_bytes
        for place, end, first, last, within in self.pieces(start, stop):
            further = (place * axis.stride - axis.padding + first * axis.dilation) * pitch
            source = outside.moved(further) if within else None
            to = inside.moved((place - start) * self.stride)
            yield from self.grid(end - place, rows, (last - first) * size, at + first * size, source, to)

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int, bool]]:
        """Runs of a kernel row: results from and to, taps from and to, whether they are within the tensor."""
        axis = self.axes[-1]
        if axis.dilation == 1 and self.group_bytes == self.pitches[-1]:
            while start < stop:
                end, (first, last) = axis.alike(start, stop), axis.taps(start)
                yield start, end, 0, first, False
                yield start, end, first, last, True
                yield start, end, last, axis.kernel, False
                start = end
            return
        for tap in range(axis.kernel):
            first, last = (min(max(place, start), stop) for place in axis.places(tap))
            yield start, first, tap, tap + 1, False
            yield first, last, tap, tap + 1, True
            yield last, stop, tap, tap + 1, False

    def grid(
        self, lines: int, rows: int, run: int, at: int, outside: Address | None, inside: Address
    ) -> Iterator[Instruction]:
        """A run for each of ``lines`` and each of ``rows`` kernel rows, ``at`` bytes after a line's beginning; ``None``: of zeros."""
        if lines < 1 or run < 1:
            return
        next_row, next_line = self.tap_bytes[-2], self.axes[-1].stride * self.pitches[-1]
        below = self.axes[-2].dilation * self.pitches[-2]
        first, end = self.part
        if rows > lines and self.whole:
            for line in range(lines):
                source = None if outside is None else outside.moved(line * next_line)
                yield self.command(rows, run, source, below, inside.moved(line * self.stride + at), next_row)
            return
        for row in range(rows):
            here = at + row * next_row
            begin, after = max(here, first), min(here + run, end)
            if begin < after:
                source = None if outside is None else outside.moved(row * below + begin - here)
                yield self.command(
                    lines, after - begin, source, next_line, inside.moved(begin - first), self.stride
                )

    def command(
        self, runs: int, run: int, outside: Address | None, distance: int, inside: Address, stride: int
    ) -> Instruction:
        if outside is None:
            outside, distance = Address(ZEROS), run
        if distance == stride == run:
            runs, run = 1, runs * run
        return load(inside, runs, run, external=outside, distance_bytes=distance, stride_bytes=stride)
