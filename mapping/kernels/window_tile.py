"""The bands of one tile of channels: DMA, strips of channels, rows of results, in the order of the Program."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lanewise.mapping.kernels.builder import STRIP
from lanewise.mapping.kernels.strips import load, store
from lanewise.mapping.kernels.window_axes import Band, Group, Layout, bands
from lanewise.mapping.kernels.window_code import INPUT
from lanewise.mapping.kernels.window_kinds import fills_table, reads
from lanewise.mapping.kernels.window_strip import COLUMN, ROW, WindowStrip
from lanewise.sim.program import Address, Instruction, Node, Rotate, repeat

if TYPE_CHECKING:
    from lanewise.mapping.kernels.window_bands import WindowBands

IMAGE, PLANE, BAND, TILE = "image", "plane", "band", "tile"
"""Indices of the loops over images, planes of results, bands, and tiles of channels."""


class Tile:
    """Emits the bands of one tile of channels.

    Args:
        first: The tile's first channel.
        tile: Channels from tile to tile.
        size: Results of a band along its axis.
        reload: Whether every band loads the constants again.
    """

    def __init__(
        self, windows: "WindowBands", layout: Layout, first: int, tile: int, size: int, reload: bool
    ) -> None:
        self.windows, self.work, self.layout, self.size, self.reload = (
            windows,
            windows.work,
            layout,
            size,
            reload,
        )
        self.first, self.tile = first, tile
        self.channels = layout.channels
        self.accesses = 0
        """Reads of a band's input, or twice the stores of its results: at most."""
        self.reads = Counter[str]()
        """Of every buffer, in all bands of all images."""
        self.strips = list(windows.strips(layout))
        self.second = windows.after_kernel(
            size * (layout.result_row if windows.upright else 1) * layout.channels
        )

    def nodes(self) -> list[Node]:
        """All of them, for all images."""
        depth = self.work.volume[0]
        planes: list[Node] = []
        for group in depth.groups(range(depth.count)):
            inner: list[Node] = []
            for band in bands(self.windows.along, self.size):
                nodes, read = self._band(group, band)
                inner += repeat(band.count, *nodes, index=BAND)
                for name, times in read.items():
                    self.reads[name] += self.work.images * group.count * band.count * times
            planes += repeat(group.count, *inner, index=PLANE)
        made = [] if self.reload else self._constants()
        return [*made, *repeat(self.work.images, *planes, index=IMAGE)]

    def _constants(self) -> list[Node]:
        """Loads of the tile's part of what all results share."""
        made: list[Node] = []
        for name in self.windows.constants:
            place = Address(name[1:], 2 * self.first).along(TILE, 2 * self.tile)
            rows = self.work.taps + 1 if name == "@weights" else 1
            count, size = self._runs(rows, self.channels, self.work.channels)
            apart = 2 * self.work.channels if count > 1 else 0
            made.append(load(f"{name}.0", count, 2 * size, external=place, distance_bytes=apart))
        return made

    def _band(self, depth: Group, band: Band) -> tuple[list[Node], Counter[str]]:
        """The nodes of a band, and its vector loads of each buffer."""
        made = self._constants() if self.reload else []
        made += self._loads(depth, band)
        results = len(band.results) * (self.layout.result_row if self.windows.upright else 1)
        made += [self._transfer(load, name, depth, band, results) for name in self.windows.tensors]
        read = Counter[str]()
        for strips, strip, first in self.strips:
            rows, of_one = self._rows(depth, band, strip, first, strips)
            prologue = strip.prologue(first, strips, places=self.windows.places)
            made += repeat(strips, *prologue, *rows, index=STRIP)
            of_one.update(reads(prologue))
            for name, times in of_one.items():
                read[name] += strips * times
            self.windows.tables |= dict.fromkeys(strip.tables())
        stores = results * sum(strips for strips, _, _ in self.strips)
        self.accesses = max(self.accesses, 2 * stores, read[INPUT])
        if self.second is not None:
            kernel, elements = self.second, results * self.channels
            made += [i for i in kernel.setup if not fills_table(i)]
            made += repeat(kernel.strips(elements), *kernel.code, index=STRIP)
            self.windows.tables |= dict.fromkeys(i for i in kernel.setup if fills_table(i))
            self.windows.room = max(self.windows.room, kernel.strips(elements) * kernel.ways * kernel.vl)
        made += [self._transfer(store, name, depth, band, results) for name in self.windows.outputs]
        names = [
            "@in",
            *self.windows.tensors,
            *self.windows.outputs,
            *(self.windows.constants if self.reload else []),
        ]
        return [*made, *(Rotate(names=(f"{name}.0", f"{name}.1")) for name in names)], read

    def _rows(
        self, depth: Group, band: Band, strip: WindowStrip, first: int, strips: int
    ) -> tuple[list[Node], Counter[str]]:
        """The groups of a strip's rows, and their vector loads of each buffer."""
        _, rows, columns = self.work.volume
        ways, made, read = strip.shape.ways, list[Node](), Counter[str]()
        if self.windows.upright:
            down, across = band.groups, columns.groups(range(columns.count), ways)
            top, left, above, before = band.inside.start, 0, band.results.start, 0
        else:
            down, across = rows.groups(range(1)), columns.groups(band.results, ways)
            top, left, above, before = 0, band.inside.start, 0, band.results.start
        for row in down:
            inner: list[Node] = []
            for group in across:
                code = strip.group(depth.spans[0], row.spans[0], group)
                inside = (row.spans[0].start - top) * self.layout.row + group.spans[0].start - left
                result = (row.result - above) * self.layout.result_row + group.result - before
                moves = (
                    (COLUMN, group.step, len(group.spans)),
                    (ROW, row.step * self.layout.row, self.layout.result_row),
                )
                placed = (
                    strip.placed(
                        code.nodes, inside=inside, result=result, first=first, strips=strips, moves=moves
                    )
                    if self.windows.places
                    else strip.unplaced(code.nodes)
                )
                inner += repeat(group.count, *placed, index=COLUMN)
                for name, times in code.reads:
                    read[name] += row.count * group.count * times
            made += repeat(row.count, *inner, index=ROW)
        return made, read

    def _loads(self, depth: Group, band: Band) -> Iterator[Instruction]:
        """The band's part of the input: of every plane that its windows touch, rows, or a part of each row."""
        planes, rows, columns = self.work.volume
        channels, layout, span = self.work.channels, self.layout, depth.spans[0]
        upright = self.windows.upright
        height, width = (len(band.inside), columns.size) if upright else (rows.size, len(band.inside))
        top, left = (band.inside.start, 0) if upright else (0, band.inside.start)
        step = band.step * (columns.size if upright else 1)
        for plane in range(max(0, span.stop - span.first)):
            at = ((span.start + (span.first + plane) * planes.apart) * rows.size + top) * columns.size + left
            together = height if width == columns.size and width == layout.row else 1
            for row in range(0, height, together):
                place = Address("in", 2 * ((at + row * columns.size) * channels + self.first))
                place = place.along(IMAGE, 2 * planes.size * rows.size * columns.size * channels)
                place = place.along(PLANE, 2 * depth.step * rows.size * columns.size * channels)
                place = place.along(BAND, 2 * step * channels).along(TILE, 2 * self.tile)
                inside = Address("@in.0", 2 * (plane * layout.plane + row * layout.row) * self.channels)
                count, size = self._runs(together * width, self.channels, channels)
                yield load(
                    inside, count, 2 * size, external=place, distance_bytes=2 * channels if count > 1 else 0
                )

    def _runs(self, positions: int, part: int, whole: int) -> tuple[int, int]:
        """Runs, and units of each: all positions at once, or a part of each."""
        return (1, positions * whole) if part == whole else (positions, part)

    def _transfer(
        self, move: Callable[..., Instruction], name: str, depth: Group, band: Band, results: int
    ) -> Instruction:
        """DMA of a band of results, or of a tensor that is as large."""
        _, rows, columns = self.work.volume
        whole, part = (
            self.windows.bytes_of(name, elements) for elements in (self.work.channels, self.channels)
        )
        plane = rows.count * columns.count * whole
        length = (columns.count if self.windows.upright else 1) * whole
        place = Address(
            name[1:],
            depth.result * plane + band.results.start * length + self.windows.bytes_of(name, self.first),
        )
        place = place.along(IMAGE, self.work.volume[0].count * plane).along(PLANE, plane)
        place = place.along(BAND, len(band.results) * length).along(
            TILE, self.windows.bytes_of(name, self.tile)
        )
        count, size = self._runs(results, part, whole)
        return move(f"{name}.0", count, size, external=place, distance_bytes=whole if count > 1 else 0)
