"""Windows of positions through the scratchpad: tiles of channels, bands of results, each band's part of the input brought by DMA."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from math import ceil
from typing import TYPE_CHECKING

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP, VectorKernel
from lanewise.mapping.kernels.epilogue import format_bits
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.mapping.kernels.window_axes import Axis, Band, Group, bands
from lanewise.mapping.kernels.window_strip import (
    COLUMN,
    ROW,
    Layout,
    Shape,
    WindowStrip,
    fills_table,
    steps_and_stores,
)
from lanewise.sim.program import Address, Instruction, Loop, Node, Program, Rotate, flatten_once, repeat

if TYPE_CHECKING:
    from lanewise.mapping.kernels.windows import WindowsWork

BUDGET_SHARE = 6
"""A band of the input may take this part of the scratchpad."""
NARROW = 64
"""Channels of which a tile is not split for the budget's sake."""
MOST_READS = 65535
"""How often a buffer may be read between two writes: the core's counts are of 16 bits."""
UNROLLED_TAPS = 32
"""The rows of larger windows' taps are a loop."""

IMAGE, PLANE, BAND, TILE = "image", "plane", "band", "tile"


class WindowBands:
    """Emits the Program of a work that has windows.

    Args:
        after: The work whose steps and stores follow in a pass of their own over each band, of which ``work`` leaves ``middle``.
    """

    def __init__(self, work: "WindowsWork", config: MachineConfig, after: "WindowsWork | None" = None) -> None:
        self.work, self.config, self.after = work, config, after
        self.last = after or work
        depth, rows, columns = work.volume
        self.upright = rows.count > 1 or columns.count == 1
        """Whether a band is some rows of results; else it is a part of the only row."""
        self.along: Axis = rows if self.upright else columns
        self.planes = max(max(1, span.stop - span.first) for span in map(depth.span, range(depth.count)))
        self.tensors = [f"@operand{i}" for i, s in enumerate(self.last.steps) if s.operand == "tensor"]
        self.constants = ["@weights"] if work.function == "depthwise" else []
        """What all results of a tile share."""
        self.constants += [f"@operand{i}" for i, s in enumerate(self.last.steps) if s.operand == "channel"]
        self.outputs = [f"@{form}" for form in self.last.outputs]
        self.tables: dict[Instruction, None] = {}
        self.shapes: dict[tuple[Layout, int], WindowStrip] = {}
        self.room = 0
        """Elements that the pass over a band touches."""

    # Sizes

    def _bytes(self, name: str, elements: int) -> int:
        return ceil(elements * format_bits(name.removeprefix("@"), self.config.matrix.operand_bits) / 8)

    def _layout(self, tile: int, size: int) -> Layout:
        """A band of ``size`` results along its axis, in tiles of so many channels."""
        _, rows, columns = self.work.volume
        most = self.along.most(size)
        if self.upright:
            return Layout(channels=tile, row=columns.size, plane=most * columns.size, result_row=columns.count)
        return Layout(channels=tile, row=most, plane=rows.size * most, result_row=size)

    def _sizes(self, layout: Layout, size: int) -> dict[str, int]:
        """Bytes of every buffer."""
        results = size * (layout.result_row if self.upright else 1)
        sizes = {f"@in.{copy}": 2 * self.planes * layout.plane * layout.channels for copy in "01"}
        for name in (*self.tensors, *self.outputs):
            sizes |= {f"{name}.{copy}": results * self._bytes(name, layout.channels) for copy in "01"}
        if self.after is not None:
            sizes["@middle.0"] = 2 * results * layout.channels
        for name in self.constants:
            rows = self.work.taps + 1 if name == "@weights" else 1
            sizes |= {f"{name}.{copy}": 2 * rows * layout.channels for copy in "01"}
        return sizes

    def _fits(self, sizes: dict[str, int]) -> bool:
        bank, sfu = self.config.scratchpad.bank_bytes, self.config.flex_sfu
        banks = sum(ceil(size / bank) for size in sizes.values())
        if self.last.steps and sfu.enabled:
            banks += sfu.banks * ceil(4 * (sfu.breakpoints + sfu.coefficient_words) / bank)
        if self.after is not None:  # the last strips of its pass go beyond the band
            banks += 2 * len((*self.tensors, *self.outputs)) + 1
        return banks <= self.config.scratchpad.banks

    def _chosen(self) -> tuple[int, int]:
        """Channels of a tile, and results of a band along its axis.

        Raises:
            ValueError: The scratchpad does not hold a single one.
        """
        budget = self.config.scratchpad.bytes // BUDGET_SHARE
        tile = self.work.channels

        def room(size: int) -> tuple[int, bool]:
            sizes = self._sizes(self._layout(tile, size), size)
            return sizes["@in.0"], self._fits(sizes)

        while True:
            needed, fits = room(1)
            if fits and (needed <= budget or tile <= NARROW):
                break
            if tile <= 2:  # INT4 lies two to a byte
                raise ValueError(
                    f"scratchpad.size_kib must hold two bands of the input of {needed} bytes, not {self.config.scratchpad.size_kib}"
                )
            tile = _up(ceil(tile / 2), 2)
        low, high = 1, self.along.count
        while low < high:
            middle = (low + high + 1) // 2
            needed, fits = room(middle)
            low, high = (middle, high) if fits and needed <= budget else (low, middle - 1)
        return tile, ceil(self.along.count / ceil(self.along.count / low))

    # Program

    def program(self) -> Program:
        """Everything."""
        tile, size = self._chosen()
        while True:
            body, reads, sizes = self._body(tile, size, reload=False)
            if reads > MOST_READS and size > 1:
                size = ceil(size / 2)
                continue
            break
        if self._constant_reads(body) > MOST_READS:
            body, _, sizes = self._body(tile, size, reload=True)
        tables = {i.writes[0]: i.run_bytes for i in self.tables if i.opcode == "dma.load"}
        return Program(body=(*self.tables, *body), buffers_bytes=sizes | tables)

    def _constant_reads(self, body: tuple[Node, ...]) -> int:
        """How often a constant is read between two loads, at most."""
        inner = [node for tile in body for node in (tile.body if isinstance(tile, Loop) and tile.index == TILE else (tile,))]
        return max((sum(reads(node, f"{name}.0") for node in inner) for name in self.constants), default=0)

    def _body(self, tile: int, size: int, *, reload: bool) -> tuple[tuple[Node, ...], int, dict[str, int]]:
        """The nodes, the reads of a band's input, and the buffers."""
        self.room = 0
        work, nodes, most = self.work, list[Node](), 0
        whole, rest = divmod(work.channels, tile)
        for count, channels, first in ((whole, tile, 0), (1, rest, whole * tile)):
            if count and channels:
                layout = self._layout(channels, size)
                one = _Tile(self, layout, first, tile, size, reload)
                nodes += repeat(count, *one.nodes(), index=TILE)
                most = max(most, one.reads)
        sizes = self._sizes(self._layout(tile, size), size)
        if not reload:
            sizes = {name: size for name, size in sizes.items() if name not in {f"{name}.1" for name in self.constants}}
        if self.after is not None:
            sizes["@middle.0"] = max(sizes["@middle.0"], 2 * self.room)
            for name in (*self.tensors, *self.outputs):
                sizes |= {f"{name}.{copy}": max(sizes[f"{name}.{copy}"], self._bytes(name, self.room)) for copy in "01"}
        return tuple(nodes), most, sizes

    def strip(self, layout: Layout, channels: int) -> WindowStrip:
        """The fastest way to compute strips of a tile of so many channels.

        Raises:
            ValueError: The registers do not hold what it needs with any length.
        """
        key = (layout, channels)
        if key in self.shapes:
            return self.shapes[key]
        vector, work, longest = self.config.vector, self.work, self.config.vector.vlen_bits // 16
        rolled = work.taps > UNROLLED_TAPS and work.volume[1].taps > 1
        few = vector.vlen_bits <= 2 * vector.bits_per_clk
        best: tuple[int, WindowStrip] | None = None
        for lengths, together in (
            ((2 * longest, longest, *((4 * longest,) * few)), (8, 4, *((2,) * rolled))), ((longest // 2,), (2, 1)),
        ):  # fmt: skip
            if best is not None:
                break
            for length, ways in product(lengths, together):
                shape = self._shape(layout, channels, length, ways, rolled)
                strip = WindowStrip(work, self.config, layout, shape)
                with suppress(ValueError):
                    clocks = self._clocks(strip) * ceil(channels / shape.vl)
                    if best is None or clocks < best[0]:
                        best = clocks, strip
        if best is None:
            raise ValueError(f"vector.vlen_bits must be so large that the registers hold the steps, not {vector.vlen_bits}")
        self.shapes[key] = best[1]
        return best[1]

    def _shape(self, layout: Layout, channels: int, length: int, ways: int, rolled: bool) -> Shape:
        """Strips of at most ``length`` and groups of at most ``ways``, as even as they can be."""
        even = _up(ceil(channels / ceil(channels / length)), self.config.vector.bits_per_clk // 16)
        width = self.work.volume[2].count if self.upright else layout.result_row
        return Shape(vl=min(channels, length, even), ways=ceil(width / ceil(width / ways)), rolled=rolled)

    def _clocks(self, strip: WindowStrip) -> int:
        """Clocks that four rows of results in the middle take.

        Raises:
            ValueError: The registers do not hold what it needs.
        """
        depth, rows, columns = self.work.volume
        middle = depth.span(depth.count // 2), rows.span(rows.count // 2)
        row: list[Node] = []
        width = columns.count if self.upright else strip.layout.result_row
        first = (columns.count - width) // 2
        for group in columns.groups(range(first, first + width), strip.shape.ways):
            row += repeat(group.count, *strip.group(*middle, group))
        names = {n for i in flatten_once(row) for n in (*i.reads, *i.writes) if n.startswith("@")}
        return price(
            Program(body=repeat(4, *row), buffers_bytes=dict.fromkeys(names, 1)), self.config
        ).cycles  # some, for the last one's end is nobody's beginning

    def after_kernel(self, elements: int) -> VectorKernel | None:
        """The pass with the steps over a band of so many elements."""
        if self.after is None:
            return None
        work = self.after

        def body(kernel: VectorKernel, _: object) -> None:
            steps_and_stores(kernel, kernel.load("@middle.0"), work)

        return best_kernel(self.config, elements, body)


class _Tile:
    """Emits the bands of one tile of channels."""

    def __init__(self, bands: WindowBands, layout: Layout, first: int, tile: int, size: int, reload: bool) -> None:
        self.bands, self.work, self.layout, self.size, self.reload = bands, bands.work, layout, size, reload
        self.first, self.tile = first, tile
        self.channels = layout.channels
        self.reads = 0
        self.strips: list[tuple[int, WindowStrip, int]] = []
        """How many, how they are computed, and the first one's first channel."""
        done = 0
        while left := layout.channels - done:
            strip = bands.strip(layout, left)
            self.strips.append((left // strip.shape.vl, strip, done))
            done += left // strip.shape.vl * strip.shape.vl
        self.second = bands.after_kernel(size * (layout.result_row if bands.upright else 1) * layout.channels)

    def nodes(self) -> list[Node]:
        work, bands_ = self.work, self.bands
        depth = work.volume[0]
        planes: list[Node] = []
        for group in depth.groups(range(depth.count)):
            inner: list[Node] = []
            for band in bands(bands_.along, self.size):
                inner += repeat(band.count, *self._band(group, band), index=BAND)
            planes += repeat(group.count, *inner, index=PLANE)
        made = [] if self.reload else self._constants()
        return [*made, *repeat(work.images, *planes, index=IMAGE)]

    def _constants(self) -> list[Node]:
        """Loads of the tile's part of what all results share."""
        made: list[Node] = []
        for name in self.bands.constants:
            place = Address(name[1:], 2 * self.first).along(TILE, 2 * self.tile)
            rows = self.work.taps + 1 if name == "@weights" else 1
            count, size = self._runs(rows, self.channels, self.work.channels)
            apart = 2 * self.work.channels if count > 1 else 0
            made.append(load(f"{name}.0", count, 2 * size, external=place, distance_bytes=apart))
        return made

    def _band(self, depth: Group, band: Band) -> list[Node]:
        made = self._constants() if self.reload else []
        made += self._loads(depth, band)
        results = len(band.results) * (self.layout.result_row if self.bands.upright else 1)
        made += [self._transfer(load, name, depth, band, results) for name in self.bands.tensors]
        before = len(made)
        for strips, strip, first in self.strips:
            rows = self._rows(depth, band, strip, first, strips)
            made += repeat(strips, *strip.prologue(first, strips), *rows, index=STRIP)
            self.bands.tables |= dict.fromkeys(strip.tables())
        self.reads = max(self.reads, sum(reads(node, "@in.0") for node in made[before:]))
        if self.second is not None:
            kernel, elements = self.second, results * self.channels
            made += [i for i in kernel.setup if not fills_table(i)]
            made += repeat(kernel.strips(elements), *kernel.code, index=STRIP)
            self.bands.tables |= dict.fromkeys(i for i in kernel.setup if fills_table(i))
            self.bands.room = max(self.bands.room, kernel.strips(elements) * kernel.ways * kernel.vl)
        made += [self._transfer(store, name, depth, band, results) for name in self.bands.outputs]
        names = ["@in", *self.bands.tensors, *self.bands.outputs, *(self.bands.constants if self.reload else [])]
        return [*made, *(Rotate(names=(f"{name}.0", f"{name}.1")) for name in names)]

    def _rows(self, depth: Group, band: Band, strip: WindowStrip, first: int, strips: int) -> list[Node]:
        _, rows, columns = self.work.volume
        ways, made = strip.shape.ways, list[Node]()
        if self.bands.upright:
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
                loops = {COLUMN: (group.step, len(group.spans)), ROW: (row.step * self.layout.row, self.layout.result_row)}
                placed = strip.placed(code, inside=inside, result=result, first=first, strips=strips, loops=loops)
                inner += repeat(group.count, *placed, index=COLUMN)
            made += repeat(row.count, *inner, index=ROW)
        return made

    def _loads(self, depth: Group, band: Band) -> Iterator[Instruction]:
        """The band's part of the input: of every plane that its windows touch, rows, or a part of each row."""
        planes, rows, columns = self.work.volume
        channels, layout, span = self.work.channels, self.layout, depth.spans[0]
        upright = self.bands.upright
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
                yield load(inside, count, 2 * size, external=place, distance_bytes=2 * channels if count > 1 else 0)

    def _runs(self, positions: int, part: int, whole: int) -> tuple[int, int]:
        """Runs, and units of each: all positions at once, or a part of each."""
        return (1, positions * whole) if part == whole else (positions, part)

    def _transfer(self, move, name: str, depth: Group, band: Band, results: int) -> Instruction:  # type: ignore[no-untyped-def]
        """DMA of a band of results, or of a tensor that is as large."""
        _, rows, columns = self.work.volume
        whole, part = (self.bands._bytes(name, elements) for elements in (self.work.channels, self.channels))
        plane = rows.count * columns.count * whole
        length = (columns.count if self.bands.upright else 1) * whole
        place = Address(name[1:], depth.result * plane + band.results.start * length + self.bands._bytes(name, self.first))
        place = place.along(IMAGE, self.work.volume[0].count * plane).along(PLANE, plane)
        place = place.along(BAND, len(band.results) * length).along(TILE, self.bands._bytes(name, self.tile))
        count, size = self._runs(results, part, whole)
        return move(f"{name}.0", count, size, external=place, distance_bytes=whole if count > 1 else 0)


def reads(node: Node, buffer: str) -> int:
    """Vector loads of a buffer."""
    if isinstance(node, Loop):
        return node.count * sum(reads(inner, buffer) for inner in node.body)
    return int(isinstance(node, Instruction) and buffer in node.reads)


def _up(number: int, multiple: int) -> int:
    return ceil(number / multiple) * multiple
