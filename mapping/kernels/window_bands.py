"""Windows of positions through the scratchpad: tiles of channels, bands of results, each band's part of the input brought by DMA."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import ceil, prod
from typing import TYPE_CHECKING

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.candidate import strip_program
from lanewise.mapping.kernels.epilogue import format_bits
from lanewise.mapping.kernels.price import MOST_ACCESSES, price
from lanewise.mapping.kernels.strips import best_kernel
from lanewise.mapping.kernels.window_axes import Axis, Layout
from lanewise.mapping.kernels.window_code import ROWS
from lanewise.mapping.kernels.window_kinds import Ending, Machine
from lanewise.mapping.kernels.window_strip import Shape, WindowStrip
from lanewise.mapping.kernels.window_tile import TILE, Tile
from lanewise.sim.program import Instruction, Node, Program, repeat

if TYPE_CHECKING:
    from lanewise.mapping.kernels.windows import WindowsWork

BUDGET_SHARE = 6
"""A band of the input may take this part of the scratchpad."""
NARROW = 64
"""Channels of which a tile is not split for the budget's sake."""
UNROLLED_TAPS = 32
"""The rows of larger windows' taps are a loop."""
LONG_PASS = 4096
"""Elements after which a pass's beginning and end do not count."""


class WindowBands:
    """Emits the Program of a work that has windows.

    Args:
        after: The work whose steps and stores follow in a pass of their own over each band, of which ``work`` leaves ``middle``.
    """

    def __init__(
        self, work: "WindowsWork", config: MachineConfig, after: "WindowsWork | None" = None
    ) -> None:
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
        self.shapes: dict[tuple[Layout, int], tuple[int, WindowStrip]] = {}
        """By layout and channels left, the clocks of four rows of a strip, and how it is computed."""
        self.places = True
        self.room = 0
        """Elements that the pass over a band touches."""

    # Sizes

    def bytes_of(self, name: str, elements: int) -> int:
        """Bytes of so many elements of a buffer."""
        return ceil(elements * format_bits(name.removeprefix("@"), self.config.matrix.operand_bits) / 8)

    def _layout(self, tile: int, size: int) -> Layout:
        """A band of ``size`` results along its axis, in tiles of so many channels."""
        _, rows, columns = self.work.volume
        most = self.along.most(size)
        if self.upright:
            return Layout(
                channels=tile, row=columns.size, plane=most * columns.size, result_row=columns.count
            )
        return Layout(channels=tile, row=most, plane=rows.size * most, result_row=size)

    def _sizes(self, layout: Layout, size: int) -> dict[str, int]:
        """Bytes of every buffer."""
        results = size * (layout.result_row if self.upright else 1)
        sizes = {f"@in.{copy}": 2 * self.planes * layout.plane * layout.channels for copy in "01"}
        for name in (*self.tensors, *self.outputs):
            sizes |= {f"{name}.{copy}": results * self.bytes_of(name, layout.channels) for copy in "01"}
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

    @cached_property
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

    def estimate(self) -> float:
        """Clocks of the vector unit, about: what rows in the middle take, for all rows, and the pass over all elements.

        Raises:
            ValueError: As of :meth:`program`.
        """
        tile, size = self._chosen
        depth, rows, _ = self.work.volume
        times = self.work.images * depth.count
        bands = ceil(self.along.count / size)
        clocks = 0.0
        for tiles, channels, _ in self.tiles(tile):
            layout = self._layout(channels, size)
            clocks += tiles * sum(
                count * self._strip(layout, channels - first)[0] for count, _, first in self.strips(layout)
            )
        clocks *= times * (rows.count if self.upright else bands) / ROWS
        if self.after is not None:
            clocks += (
                self.work.positions
                * self.work.channels
                * pass_clocks(self.after.ending, Machine.of(self.config, self.after.steps))
            )
        return clocks

    def least_clk(self) -> int:
        """Clocks that the Program takes at least: multiply-adds and other combinations, or stores of results; then the accesses of the pass.

        A pass begins when the results of its band have landed, and the next band after it. Only of a pass's last access the beats do not count.
        """
        work, per_clk = self.work, self.config.vector.bits_per_clk // 16
        beats = ceil(work.channels / per_clk)
        taps = work.images * prod(
            sum(span.stop - span.first for span in map(axis.span, range(axis.count))) for axis in work.axes
        )
        results = work.positions
        least = beats * (taps if work.function == "depthwise" else taps - results)
        if {"fp16", "middle"} & {*work.outputs}:
            least = max(least, beats * results)
        if self.after is None:
            return least
        accesses = 1 + len(self.tensors) + self.last.outputs.count("fp16")
        tile, size = self._chosen
        bands = (
            ceil(self.along.count / size) * work.images * work.volume[0].count * ceil(work.channels / tile)
        )
        return (
            least
            + accesses * (results * work.channels // per_clk)
            - bands * (8 * self.config.vector.register_beats)
        )

    # Program

    def program(self, *, places: bool) -> Program:
        """Everything.

        Args:
            places: Whether vector code gets its places in the scratchpad; clocks do not depend on them.

        Raises:
            ValueError: Neither the scratchpad nor the registers hold what the narrowest tile needs.
        """
        self.places = places
        tile, size = self._chosen
        body = self._body(tile, size, reload=False)
        while body.accesses > MOST_ACCESSES and size > 1:
            size = ceil(size / 2)
            body = self._body(tile, size, reload=False)
        if body.constant_reads > MOST_ACCESSES:
            body = self._body(tile, size, reload=True)
        tables = {i.writes[0]: i.run_bytes for i in self.tables if i.opcode == "dma.load"}
        return Program(body=(*self.tables, *body.nodes), buffers_bytes=body.sizes | tables)

    def _body(self, tile: int, size: int, *, reload: bool) -> "_Body":
        self.room = 0
        nodes, most, read = list[Node](), 0, Counter[str]()
        for count, channels, first in self.tiles(tile):
            one = Tile(self, self._layout(channels, size), first, tile, size, reload)
            nodes += repeat(count, *one.nodes(), index=TILE)
            most = max(most, one.accesses)
            read += one.reads
        sizes = self._sizes(self._layout(tile, size), size)
        if not reload:
            sizes = {
                name: size
                for name, size in sizes.items()
                if name not in {f"{name}.1" for name in self.constants}
            }
        if self.after is not None:
            sizes["@middle.0"] = max(sizes["@middle.0"], 2 * self.room)
            for name in (*self.tensors, *self.outputs):
                sizes |= {
                    f"{name}.{copy}": max(sizes[f"{name}.{copy}"], self.bytes_of(name, self.room))
                    for copy in "01"
                }
        constant = max((read[f"{name}.0"] for name in self.constants), default=0)
        return _Body(nodes=tuple(nodes), accesses=most, constant_reads=constant, sizes=sizes)

    def tiles(self, tile: int) -> tuple[tuple[int, int, int], ...]:
        """How many tiles, of how many channels, and the first one's first: all of ``tile``, and one of the channels that are left."""
        whole, rest = divmod(self.work.channels, tile)
        return tuple(each for each in ((whole, tile, 0), (1, rest, whole * tile)) if each[0] and each[1])

    def strips(self, layout: Layout) -> Iterator[tuple[int, WindowStrip, int]]:
        """The strips of a tile: how many, how they are computed, and the first one's first channel.

        Raises:
            ValueError: The registers do not hold what a strip needs with any length.
        """
        done = 0
        while left := layout.channels - done:
            _, strip = self._strip(layout, left)
            yield left // strip.shape.vl, strip, done
            done += left // strip.shape.vl * strip.shape.vl

    def _strip(self, layout: Layout, channels: int) -> tuple[int, WindowStrip]:
        """The fastest way to compute strips of a tile of so many channels, and its clocks."""
        key = (layout, channels)
        if key in self.shapes:
            return self.shapes[key]
        vector, work, longest = self.config.vector, self.work, self.config.vector.vlen_bits // 16
        rolled = work.taps > UNROLLED_TAPS and work.volume[1].taps > 1
        few = vector.vlen_bits <= 2 * vector.bits_per_clk
        best: tuple[int, int, WindowStrip] | None = None
        for lengths, together in (
            ((2 * longest, longest, *((4 * longest,) * few)), (8, 4, *((2,) * rolled))), ((longest // 2,), (2, 1)),
        ):  # fmt: skip
            if best is not None:
                break
            shapes = (self._shape(layout, channels, *each, rolled) for each in product(lengths, together))
            for shape in dict.fromkeys(shapes):
                strip = WindowStrip(work, self.config, layout, shape)
                with suppress(ValueError):
                    clocks = self._clocks(strip)
                    total = clocks * ceil(channels / shape.vl)
                    if best is None or total < best[0]:
                        best = total, clocks, strip
        if best is None:
            raise ValueError(
                f"vector.vlen_bits must be so large that the registers hold the steps, not {vector.vlen_bits}"
            )
        self.shapes[key] = best[1:]
        return self.shapes[key]

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
        width = columns.count if self.upright else strip.layout.result_row
        first = (columns.count - width) // 2
        groups = columns.groups(range(first, first + width), strip.shape.ways)
        return strip.code.clocks([(group.count, strip.group(*middle, group)) for group in groups])

    def after_kernel(self, elements: int) -> VectorKernel | None:
        """The pass with the steps over a band of so many elements."""
        if self.after is None:
            return None
        return _pass(self.after.ending, self.config, elements)


@dataclass(frozen=True, kw_only=True)
class _Body:
    """All of a Program but the tables."""

    nodes: tuple[Node, ...]
    accesses: int
    """Of a band's buffers between two transfers, at most."""
    constant_reads: int
    """How often a constant is read, at most, if it is loaded once."""
    sizes: dict[str, int]
    """Of the buffers."""


def _pass(ending: Ending, config: MachineConfig, elements: int) -> VectorKernel:
    def body(kernel: VectorKernel, _: object) -> None:
        ending.emit(kernel, kernel.load("@middle.0"))

    return best_kernel(config, elements, body)


@lru_cache(maxsize=256)
def pass_clocks(ending: Ending, machine: Machine) -> float:
    """Clocks for an element of a long pass."""
    kernel = _pass(ending, machine.config, LONG_PASS)
    return price(strip_program(kernel, kernel.strips(LONG_PASS)), machine.config).cycles / LONG_PASS


def _up(number: int, multiple: int) -> int:
    return ceil(number / multiple) * multiple
