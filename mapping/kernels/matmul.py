"""Matrix products on the MAC array, with everything that is done to the result before it leaves the chip.

An operator is a loop nest over tiles of ``rows x columns`` results. One operand's super-tile stays in the scratchpad while the
other streams past it; the choice is the one that moves fewer bytes. All buffers are double, so that load, MAC
array, vector unit and store work on different tiles at the same time. The convolution is the same product: DMA commands gather each
result's patch (:mod:`lanewise.mapping.kernels.patch_loads`).

The matrix unit's output path scales the sums, adds the bias and rounds: to FP16, or to the next operator's operands where nothing
else is done to them. What is more than that the vector unit does to the FP16 tile in the scratchpad. A column's constants are
reloaded where the columns change.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul_tile import BATCH, Tile
from lanewise.mapping.kernels.patch_loads import patch_blocks
from lanewise.mapping.kernels.patches import Patches
from lanewise.mapping.kernels.place import Place
from lanewise.mapping.kernels.price import price
from lanewise.sim.program import Instruction, Node, Program, Rotate, repeat

STREAMED_TILES = (1, 2, 4)
"""Tiles that are loaded at once of the operand that streams, where an operand is transposed: a line is a short run for each k."""
K_PARTS = (2, 4, 8, 16)
"""Parts of k in which an FP16 array's product may be taken: shorter ones leave room for more lines."""


@dataclass(frozen=True, kw_only=True)
class MatmulWork:
    """``batch`` independent products (m, k) x (k, n) -> (m, n), scaled, biased, passed through ``steps``, and stored."""

    m: int
    k: int
    n: int
    batch: int = 1
    left_runs: int = 0
    """Contiguous runs of external memory that make up one row of the left operand; 0: all rows are one run."""
    patches: Patches | None = None
    """Of a convolution: lines of the left operand, a group a product. ``m`` are their lines, ``k`` the taps times the channels that are not padding."""
    left_transposed: bool = False
    """The left operand is stored with m, not k, contiguous."""
    right_transposed: bool = False
    """The right operand is stored with n, not k, contiguous."""
    weights: bool = True
    """The right operand is a parameter: a scale and a bias for each column; otherwise one scale for all."""
    row_scales: bool = False
    """Rows of results lie where a list of numbers says, and each has a scale of its own, read from memory: kept rows of a sample."""
    left_bits: int = 0
    """Width of the left operand on an array that takes several, 4 or 8; 0: the array's own."""
    right_bits: int = 0
    """Width of the right operand, likewise."""
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ("fp16",)

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the operator needs."""
        return self.batch * self.m * self.k * self.n

    def program(self, config: MachineConfig) -> Program:
        """The loop nest on ``config``'s machine.

        Raises:
            ValueError: The scratchpad does not hold two tiles of each operand.
        """
        return _Nest(self.on(config), config).program()

    def on(self, config: MachineConfig) -> "MatmulWork":
        """The products that ``config``'s machine computes: a convolution's with the channels that are padding, and as many groups together as its array has
        columns for.

        Groups together are one product, in which a group's weights are zero for the others' channels: as many steps of the array as one after the other, of
        which each used so many columns less, and runs of memory that are so much longer.
        """
        if self.patches is None:
            return self
        bits, columns = Tile(self, config).left_bits, config.matrix.columns
        together = max(
            d for d in range(1, self.batch + 1) if self.batch % d == 0 and (d == 1 or d * self.n <= columns)
        )
        patches = self.patches.joined(together, bits)
        return replace(
            self, batch=self.batch // together, n=together * self.n, k=patches.k(bits), patches=patches
        )


class _Nest(Tile):
    """Loop nests over the tiles."""

    def program(self) -> Program:
        """The fastest of the nests that are worth trying."""
        return self.fastest([*(self.whole() or [self.chunked()]), *self.in_parts()])

    def whole(self) -> list[Program]:
        """With all of k at once, where that fits."""
        return [self.assemble(*nest) for nest in self.whole_k()]

    def fastest(self, programs: list[Program]) -> Program:
        if len(programs) == 1:
            return programs[0]
        return min(programs, key=lambda program: price(program, self.config).cycles)

    def fits(self, left: int, right: int, k: int) -> bool:
        """Whether the scratchpad holds two tiles of so many lines of each operand."""
        bank = self.config.scratchpad.bank_bytes
        sizes = self.left_bytes(left, k), self.right_bytes(right, k) + self.constants_bytes()
        return 2 * sum(ceil(size / bank) * bank for size in sizes) <= self.free_bytes()

    def whole_k(self) -> Iterable[tuple[tuple[Node, ...], int, int]]:
        """Nests in which a tile has all of k at once, with the lines of both operands; the operand that stays is chosen by the bytes."""
        work, k = self.work, self.work.k
        for tiles in self.streams():
            columns, rows = tiles * self.columns, tiles * self.rows
            if not self.fits(self.rows, columns, k) or not self.fits(rows, self.columns, k):
                return
            tall = self.rows * self.largest(ceil(work.m / self.rows), self.rows, columns, self.fits)
            wide = self.columns * self.largest(
                ceil(work.n / self.columns),
                self.columns,
                rows,
                lambda right, left, k: self.fits(left, right, k),
            )
            left, right = self.left_bytes(work.m, k), self.right_bytes(work.n, k)
            if left + right * ceil(work.m / tall) <= right + left * ceil(work.n / wide):
                yield self.left_stationary(tall, columns), tall, columns
            else:
                yield self.right_stationary(wide, rows), rows, wide

    def streams(self) -> tuple[int, ...]:
        """How many tiles to load at once: more than one can be faster where lines are short runs of memory."""
        short = self.work.left_transposed or self.work.right_transposed
        return STREAMED_TILES if short else (1,)

    def largest(self, limit: int, tile: int, other: int, fits: Callable[[int, int, int], bool]) -> int:
        """The most tiles, up to ``limit``, that fit beside ``other`` lines of the other operand."""
        low, high = 1, limit
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle * tile, other, self.work.k) else (low, middle - 1)
        return low

    def assemble(self, nest: tuple[Node, ...], left: int, right: int, k: int = 0) -> Program:
        k = k or self.work.k
        sizes = dict(self.fixed_bytes)
        for copy in "01":
            sizes[f"@left.{copy}"] = self.left_bytes(left, k)
            sizes[f"@right.{copy}"] = self.right_bytes(right, k) + self.constants_bytes()
        return Program(
            body=(*self.setup, *repeat(self.work.batch, *nest, index=BATCH), *self.end), buffers_bytes=sizes
        )

    # Nests: whole tiles in loops, the remainders after them

    def over_lines(self, block: int, make: Callable[[Place, int], tuple[Node, ...]]) -> tuple[Node, ...]:
        """``make`` for all lines of the left operand in blocks, given a block's first line and its lines."""
        if self.work.patches is not None:
            return patch_blocks(self.work.patches, block, make)
        return tuple(
            n for count, lines in self.split(self.work.m, block) for n in repeat(count, *make(Place(), lines))
        )

    @staticmethod
    def split(size: int, tile: int) -> list[tuple[int, int]]:
        """(count, size) of the whole tiles and of the remainder."""
        return [
            (count, length) for count, length in ((size // tile, tile), (1, size % tile)) if count and length
        ]

    def left_stationary(self, tall: int, streamed: int) -> tuple[Node, ...]:

        def over(first: Place, lines: int) -> tuple[Node, ...]:
            inner = self.load_left(first, lines, 0, self.work.k)
            for s_count, width in self.split(self.work.n, streamed):
                stream: list[Node] = [*self.load_right(width, self.work.k)]
                for n_count, columns in self.split(width, self.columns):
                    tile: list[Node] = [*self.load_columns()]
                    for place, (r_count, rows) in enumerate(self.split(lines, self.rows)):
                        tile += self.blocks(r_count, rows, columns, reload=place == 0)
                    stream += repeat(n_count, *tile)
                inner += repeat(s_count, *stream, Rotate(names=("@right.0", "@right.1")))
            return *inner, Rotate(names=("@left.0", "@left.1"))

        return self.over_lines(tall, over)

    def right_stationary(self, wide: int, streamed: int) -> tuple[Node, ...]:
        nest: list[Node] = []
        for count, lines in self.split(self.work.n, wide):

            def over(first: Place, height: int, wide: int = lines) -> tuple[Node, ...]:
                stream = self.load_left(first, height, 0, self.work.k)
                for m_count, rows in self.split(height, self.rows):
                    tile: list[Node] = []
                    for c_count, columns in self.split(wide, self.columns):
                        block = (*self.load_columns(), *self.block(rows, columns, self.work.k, reload=True))
                        tile += repeat(c_count, *block)
                    stream += repeat(m_count, *tile)
                return *stream, Rotate(names=("@left.0", "@left.1"))

            inner = [*self.load_right(lines, self.work.k), *self.over_lines(streamed, over)]
            nest += repeat(count, *inner, Rotate(names=("@right.0", "@right.1")))
        return tuple(nest)

    def blocks(self, count: int, rows: int, columns: int, *, reload: bool) -> tuple[Node, ...]:
        """``count`` tiles one below the other; ``reload``: the first is the first of their columns."""
        rest = self.block(rows, columns, self.work.k, reload=False)
        if not reload:
            return repeat(count, *rest)
        return (*self.block(rows, columns, self.work.k, reload=True), *repeat(count - 1, *rest))

    def chunked(self) -> Program:
        """Both operands stream in chunks of k; the accumulators stay in the array.

        Raises:
            ValueError: The scratchpad does not hold two tiles of a single step.
        """
        steps = self.work.k
        while steps > 1 and not self.fits(self.rows, self.columns, steps):
            steps = ceil(steps / 2)
        if not self.fits(self.rows, self.columns, steps):
            raise ValueError(
                f"scratchpad.size_kib must hold two tiles of each operand, not {self.config.scratchpad.size_kib}"
            )
        if self.work.patches is not None and steps > 1:
            steps -= steps % 2  # INT4: whole bytes
        rotate = (Rotate(names=("@left.0", "@left.1")), Rotate(names=("@right.0", "@right.1")))
        whole, rest = divmod(self.work.k, steps)
        if rest == 0:
            whole, rest = whole - 1, steps
        nest: list[Node] = []
        for n_count, columns in self.split(self.work.n, self.columns):

            def over(first: Place, rows: int, columns: int = columns) -> tuple[Node, ...]:
                chunk = Instruction(
                    opcode="mm.accumulate", reads=("@left.0", "@right.0"), writes=(),
                    steps=self.steps(steps, last=False), passes=self.passes,
                )  # fmt: skip

                def part(at: int) -> tuple[Node, ...]:
                    return (
                        *self.load_left(first, rows, at, steps),
                        *self.load_right(columns, steps),
                        chunk,
                        *rotate,
                    )

                chunks = repeat(whole, *part(0))
                if self.work.patches is not None:
                    chunks = tuple(node for number in range(whole) for node in part(number * steps))
                last = self.load_left(first, rows, whole * steps, rest)
                last += [*self.load_right(columns, rest), *self.load_columns()]
                return (*chunks, *last, *self.block(rows, columns, rest, reload=True), *rotate)

            nest += repeat(n_count, *self.over_lines(self.rows, over))
        return self.assemble(tuple(nest), self.rows, self.columns, steps)

    def in_parts(self) -> list[Program]:
        """Of an FP16 array: products of parts of k, each added to the FP16 results of those before in memory.

        The partial sums are rounded to FP16, which favours this array: integers' sums are exact and so stay in the array.
        """
        if self.bits != 16:
            return []
        programs = []
        add = (Step(function="add", operand="tensor"),)
        for parts in K_PARTS:
            k = ceil(self.work.k / parts)
            if k < self.rows or not self.fits(self.rows, self.columns, k):
                continue
            last_k = self.work.k - (parts - 1) * k
            nests = [_Nest(replace(self.work, k=k, steps=(), outputs=("fp16",)), self.config)]
            middle = _Nest(replace(self.work, k=k, steps=add, weights=False, outputs=("fp16",)), self.config)
            last = replace(self.work, k=last_k, steps=(*add, *self.work.steps), weights=False)
            nests += [*[middle] * (parts - 2), _Nest(last, self.config)]
            for number, nest in (
                (1, middle),
                (parts - 1, nests[-1]),
            ):  # those between are priced as the second
                nest.first_k = number * k
            fixed = {name: size for nest in nests for name, size in nest.fixed_bytes.items()}
            for nest in nests:  # all of them have room for the buffers of each
                nest.fixed_bytes, nest.column_bytes = fixed, max(nest.column_bytes, self.column_bytes)
            pieces = [nest.fastest(nest.whole()) for nest in nests]
            sizes: dict[str, int] = {}
            for piece in pieces:
                for name, size in piece.buffers_bytes.items():
                    sizes[name] = max(size, sizes.get(name, 0))
            bank, banks = self.config.scratchpad.bank_bytes, self.config.scratchpad.banks
            if sum(ceil(size / bank) for size in sizes.values()) > banks:
                continue
            body = tuple(node for piece in pieces for node in piece.body)
            programs.append(Program(body=body, buffers_bytes=sizes))
        return programs
