"""Matrix products on the MAC array, with everything that is done to the result before it leaves the chip.

An operator is a loop nest over tiles of ``rows x columns`` results. One operand's super-tile stays in the scratchpad while the
other streams past it; the choice is the one that moves fewer bytes. All buffers are double, so that load, MAC
array, vector unit and store work on different tiles at the same time. The convolution is the same product:
the DMA's descriptors gather each output pixel's patch (implicit im2col), ``kernel height`` runs a pixel.

The matrix unit's output path scales the sums, adds the bias and rounds: to FP16, or to the next operator's operands where nothing
else is done to them. What is more than that the vector unit does to the FP16 tile in the scratchpad. A column's constants are
reloaded where the columns change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.epilogue import Step, emit_steps, format_bits, store_outputs
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.mapping.kernels.turn_back import BUFFERS, TURN_BACK
from lanewise.sim.program import Instruction, Node, Program, Rotate, repeat

CONSTANT_BYTES = 6
"""Of a column: INT32 bias and 16-bit multiplier."""
SCALE_BYTES = 4
"""Of a row that has a scale of its own: 16-bit multiplier, shift, format."""


@dataclass(frozen=True, kw_only=True)
class MatmulWork:
    """``batch`` independent products (m, k) x (k, n) -> (m, n), scaled, biased, passed through ``steps``, and stored."""

    m: int
    k: int
    n: int
    batch: int = 1
    left_runs: int = 0
    """Contiguous runs of external memory that make up one row of the left operand; 0: all rows are one run."""
    left_transposed: bool = False
    """The left operand is stored with m, not k, contiguous."""
    right_transposed: bool = False
    """The right operand is stored with n, not k, contiguous."""
    weights: bool = True
    """The right operand is a parameter: a scale and a bias for each column; otherwise one scale for all."""
    row_scales: bool = False
    """Each row of results has a scale of its own, read from memory."""
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
        return _Nest(self, config).program()


@lru_cache(maxsize=4096)
def _tile_kernel(config: MachineConfig, steps: tuple[Step, ...], outputs: tuple[str, ...]) -> VectorKernel:
    """The vector code for an FP16 tile; it does not depend on the product's size."""
    nest = _Nest(MatmulWork(m=1, k=1, n=1, steps=steps, outputs=outputs), config)
    return best_kernel(
        config,
        nest.tile,
        nest.vector_strip,
        prepare=nest.column_registers,
        multiple=nest.columns if nest.channel_steps or nest.beside else 1,
    )


class _Nest:
    def __init__(self, work: MatmulWork, config: MachineConfig) -> None:
        self.work, self.config = work, config
        matrix = config.matrix
        self.rows, self.columns, self.bits = matrix.rows, matrix.columns, matrix.operand_bits
        self.tensor_steps = [i for i, s in enumerate(work.steps) if s.operand == "tensor"]
        self.channel_steps = [i for i, s in enumerate(work.steps) if s.operand == "channel"]
        self.beside = BUFFERS if any(s.function == TURN_BACK for s in work.steps) else {}
        self.left_bits, self.right_bits = (
            (bits or self.bits) if matrix.splits else self.bits for bits in (work.left_bits, work.right_bits)
        )
        self.passes = matrix.passes(self.left_bits, self.right_bits)
        self.outputs = work.outputs
        self.direct = not work.steps and len(self.outputs) == 1
        """Whether what leaves the output path is what is stored."""

    @cached_property
    def fixed_bytes(self) -> dict[str, int]:
        """Buffers that do not depend on the tiling: results, and second operands of the steps."""
        tile = self.tile
        sizes = {} if self.direct else {"@middle.0": 2 * tile, "@middle.1": 2 * tile}
        for form in self.outputs:
            size = max(1, tile * format_bits(form, self.bits) // 8)
            sizes |= {f"@{form}.0": size, f"@{form}.1": size}
        for index in self.tensor_steps:
            sizes |= {f"@operand{index}.0": 2 * tile, f"@operand{index}.1": 2 * tile}
        for name, element in self.beside.items():
            sizes |= {f"@{name}.{copy}": ceil(element * tile) for copy in "01"}
        if self.work.row_scales:
            sizes |= {f"@scales.{copy}": SCALE_BYTES * self.rows for copy in "01"}
        return sizes

    def constants_bytes(self) -> int:
        """Scale, bias and further constants of a tile of columns."""
        return self.columns * (CONSTANT_BYTES * self.work.weights + 2 * len(self.channel_steps))

    def left_bytes(self, lines: int, k: int) -> int:
        return ceil(lines * k * self.left_bits / 8)

    def right_bytes(self, lines: int, k: int) -> int:
        return ceil(lines * k * self.right_bits / 8)

    def free_bytes(self) -> int:
        bank = self.config.scratchpad.bank_bytes
        return self.config.scratchpad.bytes - sum(
            ceil(size / bank) * bank for size in self.fixed_bytes.values()
        )

    def program(self) -> Program:
        work, free, bank = self.work, self.free_bytes(), self.config.scratchpad.bank_bytes

        def fits(left: int, right: int, k: int) -> bool:
            sizes = self.left_bytes(left, k), self.right_bytes(right, k) + self.constants_bytes()
            return 2 * sum(ceil(size / bank) * bank for size in sizes) <= free

        if not fits(self.rows, self.columns, work.k):
            steps = work.k
            while steps > 1 and not fits(self.rows, self.columns, steps):
                steps = ceil(steps / 2)
            if not fits(self.rows, self.columns, steps):
                raise ValueError(
                    f"scratchpad.size_kib must hold two tiles of each operand, not {self.config.scratchpad.size_kib}"
                )
            return self.assemble(self.chunked(steps), self.rows, self.columns, steps)
        tall = (
            self.largest(
                lambda blocks: fits(blocks * self.rows, self.columns, work.k), ceil(work.m / self.rows)
            )
            * self.rows
        )
        wide = (
            self.largest(
                lambda blocks: fits(self.rows, blocks * self.columns, work.k), ceil(work.n / self.columns)
            )
            * self.columns
        )
        left_bytes, right_bytes = self.left_bytes(work.m, work.k), self.right_bytes(work.n, work.k)
        if left_bytes + right_bytes * ceil(work.m / tall) <= right_bytes + left_bytes * ceil(work.n / wide):
            return self.assemble(self.left_stationary(tall), tall, self.columns, work.k)
        return self.assemble(self.right_stationary(wide), self.rows, wide, work.k)

    @staticmethod
    def largest(fits: Callable[[int], bool], limit: int) -> int:
        low, high = 1, limit
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)
        return low

    def assemble(self, nest: tuple[Node, ...], left: int, right: int, k: int) -> Program:
        sizes = dict(self.fixed_bytes)
        for copy in "01":
            sizes[f"@left.{copy}"] = self.left_bytes(left, k)
            sizes[f"@right.{copy}"] = self.right_bytes(right, k) + self.constants_bytes()
        return Program(body=(*self.setup, *repeat(self.work.batch, *nest)), buffers_bytes=sizes)

    # Loads

    def load_left(self, lines: int, k: int) -> Instruction:
        work, bits = self.work, self.left_bits
        if work.left_transposed:
            return load("@left.0", k, ceil(lines * bits / 8))
        if work.left_runs == 0 and k == work.k:
            return load("@left.0", 1, self.left_bytes(lines, k))
        runs = max(1, ceil(max(1, work.left_runs) * k / work.k))
        return load("@left.0", lines * runs, ceil(k * bits / 8 / runs))

    def load_right(self, lines: int, k: int) -> list[Instruction]:
        bits = self.right_bits
        if self.work.right_transposed:
            loads = [load("@right.0", k, ceil(lines * bits / 8))]
        elif k == self.work.k:
            loads = [load("@right.0", 1, self.right_bytes(lines, k))]
        else:
            loads = [load("@right.0", lines, ceil(k * bits / 8))]
        constants = ceil(self.constants_bytes() * lines / self.columns)
        return [*loads, load("@right.0", 1, constants)] if constants else loads

    # The block: one tile of results

    @cached_property
    def tile(self) -> int:
        return self.rows * self.columns

    @cached_property
    def vector(self) -> VectorKernel | None:
        """Vector code for a tile, where there is something to do."""
        return None if self.direct else _tile_kernel(self.config, self.work.steps, self.outputs)

    @property
    def setup(self) -> tuple[Instruction, ...]:
        return () if self.vector is None else tuple(self.vector.setup)

    def load_columns(self) -> list[Instruction]:
        """Loads of the channel steps' constants, once a tile of columns, into the registers that the code has for them."""
        if self.vector is None or not self.channel_steps:
            return []
        probe = VectorKernel(config=self.config, vl=self.vector.vl)
        for _ in self.channel_steps:
            probe.load("@right.0")
        return probe.code

    def vector_strip(self, kernel: VectorKernel, constants: list[Register]) -> None:
        value = kernel.load("@middle.0")
        operands: dict[int, Register | str] = {i: f"@operand{i}.0" for i in self.tensor_steps}
        operands |= dict(zip(self.channel_steps, constants))
        result = emit_steps(kernel, value, self.work.steps, operands)
        store_outputs(kernel, result, self.outputs, {form: f"@{form}.0" for form in self.outputs})
        kernel.release(result)

    def column_registers(self, kernel: VectorKernel) -> list[Register]:
        """Column constants of the steps, in registers that the strips do not write."""
        return [kernel.allocate() for _ in self.channel_steps]

    def block(self, rows: int, columns: int, k: int, *, reload: bool) -> tuple[Node, ...]:
        """One tile of ``rows`` x ``columns`` results, of which these are the last ``k`` steps.

        Args:
            reload: The tile before had other columns.
        """
        target = f"@{self.outputs[0]}" if self.direct else "@middle"
        reads: tuple[str, ...] = ("@left.0", "@right.0")
        body: list[Node] = []
        if self.work.row_scales:
            body.append(load("@scales.0", 1, SCALE_BYTES * rows))
            reads = (*reads, "@scales.0")
        body.append(
            Instruction(
                opcode="mm.tile", reads=reads, writes=(f"{target}.0",), steps=self.steps(k, last=True),
                reload=reload and self.bits != 16 and self.work.weights,
            )
        )  # fmt: skip
        body += [load(f"@operand{index}.0", rows, 2 * columns) for index in self.tensor_steps]
        body += [load(f"@{name}.0", rows, ceil(element * columns)) for name, element in self.beside.items()]
        if self.vector is not None:
            body += repeat(self.vector.strips(rows * self.columns), *self.vector.code)
        for form in self.outputs:
            body.append(store(f"@{form}.0", rows, ceil(columns * format_bits(form, self.bits) / 8)))
        names = [*self.outputs, *(f"operand{i}" for i in self.tensor_steps)]
        names += [] if self.direct else ["middle"]
        names += ["scales"] if self.work.row_scales else []
        names += self.beside
        return (*body, *(Rotate(names=(f"@{name}.0", f"@{name}.1")) for name in names))

    def steps(self, k: int, *, last: bool) -> int:
        """Steps of ``k`` elements in all passes; an FP16 array adds the bias as a product with 1."""
        return k * self.passes + (self.bits == 16 and self.work.weights and last)

    def blocks(self, count: int, rows: int, columns: int) -> tuple[Node, ...]:
        """``count`` tiles one below the other, the first of their columns at first."""
        k = self.work.k
        first = self.block(rows, columns, k, reload=True)
        return (*first, *repeat(count - 1, *self.block(rows, columns, k, reload=False)))

    # Nests: whole tiles in loops, the remainders after them

    @staticmethod
    def split(size: int, tile: int) -> list[tuple[int, int]]:
        """(count, size) of the whole tiles and of the remainder."""
        return [
            (count, length) for count, length in ((size // tile, tile), (1, size % tile)) if count and length
        ]

    def left_stationary(self, tall: int) -> tuple[Node, ...]:
        nest: list[Node] = []
        for count, lines in self.split(self.work.m, tall):
            inner: list[Node] = [self.load_left(lines, self.work.k)]
            for n_count, columns in self.split(self.work.n, self.columns):
                tile: list[Node] = [*self.load_right(columns, self.work.k), *self.load_columns()]
                for place, (r_count, rows) in enumerate(self.split(lines, self.rows)):
                    if place == 0:
                        tile += self.blocks(r_count, rows, columns)
                    else:
                        tile += repeat(r_count, *self.block(rows, columns, self.work.k, reload=False))
                inner += repeat(n_count, *tile, Rotate(names=("@right.0", "@right.1")))
            nest += repeat(count, *inner, Rotate(names=("@left.0", "@left.1")))
        return tuple(nest)

    def right_stationary(self, wide: int) -> tuple[Node, ...]:
        nest: list[Node] = []
        for count, lines in self.split(self.work.n, wide):
            inner: list[Node] = [*self.load_right(lines, self.work.k)]
            for m_count, rows in self.split(self.work.m, self.rows):
                tile: list[Node] = [self.load_left(rows, self.work.k)]
                for c_count, columns in self.split(lines, self.columns):
                    block = (*self.load_columns(), *self.block(rows, columns, self.work.k, reload=True))
                    tile += repeat(c_count, *block)
                inner += repeat(m_count, *tile, Rotate(names=("@left.0", "@left.1")))
            nest += repeat(count, *inner, Rotate(names=("@right.0", "@right.1")))
        return tuple(nest)

    def chunked(self, steps: int) -> tuple[Node, ...]:
        """Both operands stream in chunks of k; the accumulators stay in the array."""
        rotate = (Rotate(names=("@left.0", "@left.1")), Rotate(names=("@right.0", "@right.1")))
        whole, rest = divmod(self.work.k, steps)
        if rest == 0:
            whole, rest = whole - 1, steps
        nest: list[Node] = []
        for n_count, columns in self.split(self.work.n, self.columns):
            for m_count, rows in self.split(self.work.m, self.rows):
                chunk = Instruction(
                    opcode="mm.accumulate", reads=("@left.0", "@right.0"), writes=(),
                    steps=self.steps(steps, last=False),
                )  # fmt: skip
                chunks = repeat(
                    whole, self.load_left(rows, steps), *self.load_right(columns, steps), chunk, *rotate
                )
                last = (self.load_left(rows, rest), *self.load_right(columns, rest), *self.load_columns())
                tile = (*chunks, *last, *self.block(rows, columns, rest, reload=True), *rotate)
                nest += repeat(n_count * m_count, *tile)
        return tuple(nest)
