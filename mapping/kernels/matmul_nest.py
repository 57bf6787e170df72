"""Loop nests over the tiles of a matrix product: which operand stays, how much of each is loaded at once, chunks of k."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from math import ceil
from typing import TypeAlias

from lanewise.mapping.kernels.bounds import least_clocks
from lanewise.mapping.kernels.matmul_operand import BATCH
from lanewise.mapping.kernels.matmul_tile import Block, Tile
from lanewise.mapping.kernels.patch_loads import patch_blocks
from lanewise.mapping.kernels.place import Place, split
from lanewise.mapping.kernels.price import MOST_ACCESSES, price
from lanewise.sim.alignment import unrolled
from lanewise.sim.engine import Run
from lanewise.sim.matrix_stream import matrix_stream_result_clk, matrix_stream_tile_clk
from lanewise.sim.program import Address, Instruction, Loop, Node, Program, Rotate, flatten_once, repeat

STREAMED_TILES = (1, 2, 4)
"""Tiles that are loaded at once of the operand that streams, where an operand is transposed: a line is a short run for each k."""
PASSES = {1: ((0, 1),), 2: ((0, 1), (1, 1)), 4: ((0, 1), (1, 2), (3, 1))}
"""By the number of passes, those of a chunk between which the sums do not move: the first of them, and how many."""
Copies: TypeAlias = tuple[int, int]
"""Buffers of the left and of the right operand."""
LEFT, RIGHT = Rotate(names=("@left.0", "@left.1")), Rotate(names=("@right.0", "@right.1"))


class Nest(Tile):
    """Loop nests over the tiles. Their indices: ``left`` and ``right`` over what is loaded at once, ``row`` and ``column`` over the tiles
    in it, ``chunk`` over parts of k; of patches ``block.`` and a number over what is loaded at once."""

    @cached_property
    def alike(self) -> Sequence["Nest"]:
        """Nests that share the buffers."""
        return (self,)

    def program(self) -> tuple[Program, Run | None]:
        """The fastest of the nests that are worth trying, and its run if more than one was."""
        programs = self.whole()
        if programs and self.waits:
            programs += Nest(self.work, self.config, ring=self.ring + 1).whole()
        return self.fastest(programs or [*self.whole(staying=1), self.chunked()])

    @property
    def waits(self) -> bool:
        """Whether a short tile would wait for the buffer of its results, all of which are still on their way out: more of them than two hide that."""
        matrix, dma = self.config.matrix, self.config.dma
        if not matrix.splits:
            return False
        size = (self.work.k, self.passes, matrix)
        row_bytes = self.result_bytes(self.produced, self.columns) if self.direct else 2 * self.columns
        out = dma.descriptor_clk + self.rows * ceil(
            row_bytes / dma.bytes_per_clk
        )  # or, as fast, by the vector unit
        return self.ring * max(matrix_stream_tile_clk(*size), out) < matrix_stream_result_clk(*size) + out

    def whole(self, staying: int = 2) -> list[Program]:
        """With all of k at once, where that fits with so many buffers for the operand that stays."""
        return [self.assemble(*nest) for nest in self.whole_k(staying)]

    def fastest(self, programs: list[Program]) -> tuple[Program, Run | None]:
        """The one of the fewest clocks, of equals the first; and its run, if there was a choice."""
        if len(programs) == 1:
            return programs[0], None
        best: tuple[int, int, Run] | None = None
        for least, index in sorted(
            (least_clocks(program, self.config), i) for i, program in enumerate(programs)
        ):
            if best is not None and (least, index) > best[:2]:
                continue
            run = price(programs[index], self.config)
            if best is None or (run.cycles, index) < best[:2]:
                best = run.cycles, index, run
        if best is None:
            raise ValueError("programs must be one at least")
        return programs[best[1]], best[2]

    def room(self, lines: int, k: int) -> int:
        """Bytes of the right operand's buffers."""
        return max(nest.right_bytes(lines, k) for nest in self.alike)

    def fits(self, left: int, right: int, k: int, copies: Copies = (2, 2)) -> bool:
        """Whether the scratchpad holds so many lines of each operand, so many times."""
        bank = self.config.scratchpad.bank_bytes
        sizes = self.left_bytes(left, k), self.room(right, k)
        used = sum(count * ceil(size / bank) * bank for count, size in zip(copies, sizes))
        return used <= self.free_bytes

    def whole_k(self, staying: int) -> Iterable[tuple[tuple[Node, ...], int, int, int, Copies]]:
        """Nests in which a tile has all of k at once, with lines and buffers of both operands; the operand that stays is chosen by the bytes."""
        work, k = self.work, self.work.k
        for tiles in self.streams():
            columns, rows = tiles * self.columns, tiles * self.rows
            stay: tuple[Copies, Copies] = (staying, 2), (2, staying)
            if not self.fits(self.rows, columns, k, stay[0]) or not self.fits(rows, self.columns, k, stay[1]):
                return
            tall = self.rows * min(self.most(self.rows, columns, k, stay[0], rows=True), self.readable[0])
            wide = self.columns * min(self.most(rows, self.columns, k, stay[1], rows=False), self.readable[1])
            left, right = self.left_bytes(work.m, k), self.right_bytes(work.n, k)
            fewer = (
                left + right * ceil(work.m / tall) <= right + left * ceil(work.n / wide)
                if tall and wide
                else bool(tall)
            )
            both = work.generated is not None  # which costs no bytes: the clocks decide
            if tall and (fewer or both):
                yield self.left_stationary(tall, columns, staying), tall, columns, k, stay[0]
            if wide and (not fewer or both):
                yield self.right_stationary(wide, rows, staying), rows, wide, k, stay[1]

    @property
    def readable(self) -> tuple[int, int]:
        """Tiles of the left operand, and of the right one, that may stay while all of the other pass: the core counts how often they are read."""
        constants = self.work.weights and self.config.matrix.integers
        reads = 1 + constants + len(self.code.channels)  # of a tile of the right operand
        below, beside = ceil(self.work.m / self.rows), ceil(self.work.n / self.columns)
        tall = MOST_ACCESSES // max(beside, STREAMED_TILES[-1]) - reads
        return max(0, tall), MOST_ACCESSES // (below * reads)

    def streams(self) -> tuple[int, ...]:
        """How many tiles to load at once: more than one can be faster where lines are short runs of memory."""
        short = self.work.left_transposed or self.work.right_transposed
        return STREAMED_TILES if short else (1,)

    def most(self, left: int, right: int, k: int, copies: Copies, *, rows: bool) -> int:
        """How many times so many lines of one operand, the left one's with ``rows``, fit beside those of the other; once they do."""
        low, high = 1, ceil(self.work.m / left) if rows else ceil(self.work.n / right)
        while low < high:
            middle = (low + high + 1) // 2
            lines = (middle * left, right) if rows else (left, middle * right)
            low, high = (middle, high) if self.fits(*lines, k, copies) else (low, middle - 1)
        return low

    def assemble(
        self, nest: tuple[Node, ...], left: int, right: int, k: int, copies: Copies = (2, 2)
    ) -> Program:
        """A Program of a nest for one product; ``k`` elements of so many lines of both operands are loaded at once, each into so many buffers in turn."""
        sizes = dict(self.fixed_bytes)
        for name, count, size in zip(
            ("left", "right"), copies, (self.left_bytes(left, k), self.room(right, k))
        ):
            sizes |= {f"@{name}.{copy}": size for copy in range(count)}
        body = repeat(self.work.batch, *nest, index=BATCH)
        if self.shared_constants:
            body = tuple(_first_tile_reloads(body))
        return Program(body=(*self.setup, *body, *self.end), buffers_bytes=sizes)

    # Nests: whole tiles in loops, the remainders after them

    def over_left(self, block: int, make: Callable[[Place, int], tuple[Node, ...]]) -> tuple[Node, ...]:
        """``make`` for all lines of the left operand in blocks, given a block's first line and its lines."""
        if self.work.patches is not None:
            return patch_blocks(self.work.patches, block, make)
        blocks = split(self.work.m, block, "left")
        return tuple(
            node for count, lines, m in blocks for node in repeat(count, *make(m, lines), index="left")
        )

    def left_stationary(self, tall: int, streamed: int, copies: int = 2) -> tuple[Node, ...]:
        """``tall`` lines of the left operand stay, in one of so many buffers, while ``streamed`` ones of the right operand at a time pass them."""
        k, start = self.work.k, Place()

        def over(m: Place, lines: int) -> tuple[Node, ...]:
            inner: list[Node] = [*self.load_left(m, lines, start, k)]
            for s_count, width, n in split(self.work.n, streamed, "right"):
                stream: list[Node] = [*self.load_right(n, width, start, k)]
                for n_count, columns, column in split(width, self.columns, "column"):
                    tile = self.load_columns(width, k, column.times(1, self.columns))
                    for place, (r_count, rows, row) in enumerate(split(lines, self.rows, "row")):
                        block = Block(
                            rows=rows, columns=columns, first_row=m, row=row, loaded_rows=lines, first_column=n, column=column,
                            loaded_columns=width, k=k,
                        )  # fmt: skip
                        tile += self.blocks(r_count, block, reload=place == 0)
                    stream += repeat(n_count, *tile, index="column")
                inner += repeat(s_count, *stream, RIGHT, index="right")
            return *inner, *[LEFT] * (copies - 1)

        return self.over_left(tall, over)

    def right_stationary(self, wide: int, streamed: int, copies: int = 2) -> tuple[Node, ...]:
        """``wide`` lines of the right operand stay, in one of so many buffers, while ``streamed`` ones of the left operand at a time pass them."""
        nest: list[Node] = []
        k, start = self.work.k, Place()
        for count, lines, n in split(self.work.n, wide, "right"):

            def over(m: Place, height: int, n: Place = n, lines: int = lines) -> tuple[Node, ...]:
                stream: list[Node] = [*self.load_left(m, height, start, k)]
                for m_count, rows, row in split(height, self.rows, "row"):
                    tile: list[Node] = []
                    for c_count, columns, column in split(lines, self.columns, "column"):
                        block = Block(
                            rows=rows, columns=columns, first_row=m, row=row, loaded_rows=height, first_column=n, column=column,
                            loaded_columns=lines, k=k,
                        )  # fmt: skip
                        constants = self.load_columns(lines, k, column.times(1, self.columns))
                        tile += repeat(c_count, *constants, *self.block(block, reload=True), index="column")
                    stream += repeat(m_count, *tile, index="row")
                return *stream, LEFT

            inner = (*self.load_right(n, lines, start, k), *self.over_left(streamed, over))
            nest += repeat(count, *inner, *[RIGHT] * (copies - 1), index="right")
        return tuple(nest)

    def blocks(self, count: int, block: Block, *, reload: bool) -> tuple[Node, ...]:
        """``count`` tiles one below the other; ``reload``: the first is the first of their columns."""
        if not reload:
            return repeat(count, *self.block(block, reload=False), index="row")
        first = self.block(replace(block, row=Place(block.row.first)), reload=True)
        if count == 1:
            return first
        rest = replace(block, row=block.row + Place(block.rows))
        return (*first, *repeat(count - 1, *self.block(rest, reload=False), index="row"))

    def chunked(self) -> Program:
        """Both operands stream in chunks of k; the accumulators stay in the array. Of INT8 all chunks go through a pass, or two of the same
        weight, before the next one.

        Raises:
            ValueError: The scratchpad does not hold two tiles of a single step.
        """
        whole_bytes = 2 if min(self.left_bits, self.right_bits) == 4 else 1  # a chunk begins with a byte
        steps = self.work.k
        while steps > whole_bytes and not self.fits(self.rows, self.columns, steps):
            half = ceil(steps / 2)
            unit = self.config.matrix.block_steps
            unit = unit if half > unit else whole_bytes
            steps = ceil(half / unit) * unit
        if not self.fits(self.rows, self.columns, steps):
            raise ValueError(
                f"scratchpad.size_kib must hold two tiles of each operand, not {self.config.scratchpad.size_kib}"
            )
        nest: list[Node] = []
        for n_count, columns, n in split(self.work.n, self.columns, "column"):

            def over(m: Place, rows: int, n: Place = n, columns: int = columns) -> tuple[Node, ...]:
                block = Block(
                    rows=rows, columns=columns, first_row=m, row=Place(), loaded_rows=rows, first_column=n, column=Place(),
                    loaded_columns=columns, k=steps,
                )  # fmt: skip
                return tuple(
                    node for first, count in PASSES[self.passes] for node in self.through(block, first, count)
                )

            nest += repeat(n_count, *self.over_left(self.rows, over), index="column")
        return self.assemble(tuple(nest), self.rows, self.columns, steps)

    def through(self, block: Block, first: int, count: int) -> Iterator[Node]:
        """All chunks of a tile, ``block.k`` steps of each pass at a time, through the ``count`` passes from ``first`` on; behind the last pass the
        tile's end."""
        shift, last = first % 2 == 1, first + count == self.passes
        chunks = ceil(self.work.k / block.k)

        def chunk(at: Place, k: int, *, shift: bool, ends: bool) -> tuple[Node, ...]:
            part = replace(block, k=k)
            rows = self.load_left(part.first_row, part.rows, at, k)
            columns = self.load_right(part.first_column, part.columns, at, k, constants=ends)
            if not ends:
                return (*rows, *columns, self.accumulate(part, first, count, shift=shift), LEFT, RIGHT)
            registers = self.load_columns(part.columns, k, Place())
            tile = self.block(part, reload=True, first=first, passes=count, shift=shift)
            return (*rows, *columns, *registers, *tile, LEFT, RIGHT)

        alone = int(shift or chunks == 1)  # the first chunk of a pass in which the sums move
        if shift and chunks > 1:
            yield from chunk(Place(), block.k, shift=True, ends=False)
        middle = Place(alone * block.k).along("chunk", block.k)
        if self.work.patches is not None:  # a chunk's taps are its own
            for place in range(alone, chunks - 1):
                yield from chunk(Place(place * block.k), block.k, shift=False, ends=False)
        elif chunks > 1:
            yield from repeat(
                chunks - 1 - alone, *chunk(middle, block.k, shift=False, ends=False), index="chunk"
            )
        before = (chunks - 1) * block.k
        yield from chunk(Place(before), self.work.k - before, shift=shift and chunks == 1, ends=last)


def _first_tile_reloads(body: Sequence[Node]) -> Iterator[Node]:
    """The same nodes, but the first tile takes the constants of ``@constants`` along; the loops around it begin one repetition later."""
    for place, node in enumerate(body):
        if isinstance(node, Instruction) and node.opcode == "mm.tile":
            tile = node.tile and replace(node.tile, constants=Address("@constants"))
            yield replace(node, reload=True, reads=(*node.reads, "@constants"), tile=tile)
        elif isinstance(node, Loop) and any(i.opcode == "mm.tile" for i in flatten_once(node.body)):
            yield from _first_tile_reloads(node.body)
            yield from repeat(node.count - 1, *unrolled(node.body, node.index, 1, 1), index=node.index)
        else:
            yield node
            continue
        yield from body[place + 1 :]
        return
