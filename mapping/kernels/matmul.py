"""Matrix products on the MAC array, with everything that is done to the result before it leaves the chip.

An operator is a loop nest over tiles of ``rows x columns`` results. One operand's super-tile stays in the scratchpad while the
other streams past it; the choice is the one that moves fewer bytes. All buffers are double, so that load, MAC
array, vector unit and store work on different tiles at the same time. The convolution is the same product:
the DMA's descriptors gather each output pixel's patch (implicit im2col), ``kernel height`` runs a pixel.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.epilogue import Step, emit_steps, format_bits, store_outputs
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.sim.engine import run
from lanewise.sim.program import Instruction, Node, Program, Rotate, flatten_once, repeat


@dataclass(frozen=True, kw_only=True)
class MatmulWork:
    """``batch`` independent products (m, k) x (k, n) -> (m, n), dequantised, biased, passed through ``steps``, and stored."""

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


@dataclass(frozen=True, kw_only=True)
class _Epilogue:
    """Vector code for a tile of accumulators: one pass, or dequantisation and then the steps in a pass of their own."""

    first: VectorKernel
    second: VectorKernel | None


@lru_cache(maxsize=4096)
def _best_epilogue(
    config: MachineConfig, weights: bool, steps: tuple[Step, ...], outputs: tuple[str, ...]
) -> _Epilogue:
    """The faster of both; neither depends on the product's size. A long software activation wants registers of its own."""

    def nest_of(steps: tuple[Step, ...], outputs: tuple[str, ...]) -> _Nest:
        return _Nest(MatmulWork(m=1, k=1, n=1, weights=weights, steps=steps, outputs=outputs), config)

    def kernel_of(nest: _Nest) -> VectorKernel:
        return best_kernel(
            config,
            nest.tile,
            nest.epilogue,
            prepare=nest.column_registers,
            multiple=nest.columns,
            widest_bits=32,
        )

    nest = nest_of(steps, outputs)
    fused = _Epilogue(first=kernel_of(nest), second=None)
    if not steps or nest.channel_steps:
        return fused
    split = _Epilogue(
        first=kernel_of(nest_of((), ("middle",))), second=best_kernel(config, nest.tile, nest.second_pass)
    )
    rounds = [
        run(_free(repeat(8, *nest.columns_code(choice), *nest.vector_code(choice, nest.tile))), config).cycles
        for choice in (fused, split)
    ]
    return fused if rounds[0] <= rounds[1] else split


def _free(nodes: tuple[Node, ...]) -> Program:
    """A Program whose buffers are of no particular size."""
    names = {n for i in flatten_once(nodes) for n in (*i.reads, *i.writes) if n.startswith("@")}
    return Program(body=nodes, buffers_bytes=dict.fromkeys(names, 1))


class _Nest:
    def __init__(self, work: MatmulWork, config: MachineConfig) -> None:
        self.work, self.config = work, config
        self.rows, self.columns = config.matrix.rows, config.matrix.columns
        self.bits = config.matrix.operand_bits
        self.tensor_steps = [i for i, s in enumerate(work.steps) if s.operand == "tensor"]
        self.channel_steps = [i for i, s in enumerate(work.steps) if s.operand == "channel"]

    @cached_property
    def fixed_bytes(self) -> dict[str, int]:
        """Buffers that do not depend on the tiling: accumulators, results, second operands of the epilogue."""
        tile = self.rows * self.columns
        sizes = {"@acc.0": 4 * tile, "@acc.1": 4 * tile}
        for form in self.work.outputs:
            size = max(1, tile * format_bits(form, self.bits) // 8)
            sizes |= {f"@{form}.0": size, f"@{form}.1": size}
        if self.vector.second is not None:
            sizes |= {"@middle.0": 2 * tile}
        for index in self.tensor_steps:
            sizes |= {f"@operand{index}.0": 2 * tile, f"@operand{index}.1": 2 * tile}
        return sizes

    def constants_bytes(self) -> int:
        """Scale, bias and further column constants of a tile of columns, as the vector registers want them."""
        if not self.work.weights:
            return 2 * self.columns * len(self.channel_steps)
        return self.columns * (4 + 4 + 2 * len(self.channel_steps))

    def operand_bytes(self, lines: int, k: int) -> int:
        return ceil(lines * k * self.bits / 8)

    def free_bytes(self) -> int:
        bank = self.config.scratchpad.bank_bytes
        return self.config.scratchpad.bytes - sum(
            ceil(size / bank) * bank for size in self.fixed_bytes.values()
        )

    def program(self) -> Program:
        work, free, bank = self.work, self.free_bytes(), self.config.scratchpad.bank_bytes

        def fits(left: int, right: int, k: int) -> bool:
            sizes = self.operand_bytes(left, k), self.operand_bytes(right, k) + self.constants_bytes()
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
        left_bytes, right_bytes = work.m * work.k, work.n * work.k
        if left_bytes + right_bytes * ceil(work.m / tall) <= right_bytes + left_bytes * ceil(work.n / wide):
            return self.assemble(self.left_stationary(tall), tall, self.columns, work.k)
        return self.assemble(self.right_stationary(wide), self.rows, wide, work.k)

    @staticmethod
    def largest(fits: "object", limit: int) -> int:
        low, high = 1, limit
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)  # type: ignore[operator]
        return low

    def assemble(self, nest: tuple[Node, ...], left: int, right: int, k: int) -> Program:
        sizes = dict(self.fixed_bytes)
        for copy in "01":
            sizes[f"@left.{copy}"] = self.operand_bytes(left, k)
            sizes[f"@right.{copy}"] = self.operand_bytes(right, k) + self.constants_bytes()
        return Program(body=(*self.setup, *repeat(self.work.batch, *nest)), buffers_bytes=sizes)

    # Loads

    def load_left(self, lines: int, k: int) -> Instruction:
        work = self.work
        if work.left_transposed:
            return load("@left.0", k, ceil(lines * self.bits / 8))
        if work.left_runs == 0 and k == work.k:
            return load("@left.0", 1, self.operand_bytes(lines, k))
        runs = max(1, ceil(max(1, work.left_runs) * k / work.k))
        return load("@left.0", lines * runs, ceil(k * self.bits / 8 / runs))

    def load_right(self, lines: int, k: int) -> list[Instruction]:
        if self.work.right_transposed:
            loads = [load("@right.0", k, ceil(lines * self.bits / 8))]
        elif k == self.work.k:
            loads = [load("@right.0", 1, self.operand_bytes(lines, k))]
        else:
            loads = [load("@right.0", lines, ceil(k * self.bits / 8))]
        constants = ceil(self.constants_bytes() * lines / self.columns)
        return [*loads, load("@right.0", 1, constants)] if constants else loads

    # The block: one tile of results

    @cached_property
    def tile(self) -> int:
        return self.rows * self.columns

    @cached_property
    def vector(self) -> _Epilogue:
        """Vector code for a tile of accumulators."""
        return _best_epilogue(self.config, self.work.weights, self.work.steps, self.work.outputs)

    @property
    def setup(self) -> tuple[Instruction, ...]:
        return () if self.vector.second is not None else tuple(self.vector.first.setup)

    def columns_code(self, choice: _Epilogue) -> list[Instruction]:
        """Loads of the column constants, into the registers that the first pass has for them."""
        probe = VectorKernel(config=self.config, vl=choice.first.vl)
        widths = [32, 32] if self.work.weights else []
        for bits in (*widths, *[16] * len(self.channel_steps)):
            probe.load("@right.0", sew_bits=bits)
        return probe.code

    def load_columns(self) -> list[Instruction]:
        """What is loaded once a tile of columns; a second pass takes the registers, so then each tile of results loads its own."""
        return [] if self.vector.second is not None else self.columns_code(self.vector)

    def vector_code(self, choice: _Epilogue, elements: int) -> tuple[Node, ...]:
        """All passes over the accumulators of a tile."""
        first, second = choice.first, choice.second
        if second is None:
            return repeat(first.strips(elements), *first.code)
        return (
            *first.setup, *self.columns_code(choice), *repeat(first.strips(elements), *first.code),
            *second.setup, *repeat(second.strips(elements), *second.code),
        )  # fmt: skip

    def second_pass(self, kernel: VectorKernel, _: object) -> None:
        value = kernel.load("@middle.0")
        self.finish(kernel, value, {i: f"@operand{i}.0" for i in self.tensor_steps})

    def epilogue(self, kernel: VectorKernel, constants: list[Register]) -> None:
        value = kernel.load("@acc.0", sew_bits=32)
        kernel.emit("vfcvt.f.x.v", value, into=value, sew_bits=32)
        if self.work.weights:
            kernel.emit("vfmadd.vv", constants[0], constants[1], into=value, sew_bits=32)
        else:
            kernel.emit("vfmul.vf", value, into=value, sew_bits=32, constant=1.0)
        half = kernel.emit("vfncvt.f.f.w", value, sew_bits=32, result_bits=16)
        kernel.release(value)
        operands: dict[int, Register | str] = {i: f"@operand{i}.0" for i in self.tensor_steps}
        operands |= dict(zip(self.channel_steps, constants[2 if self.work.weights else 0 :]))
        self.finish(kernel, half, operands)

    def finish(self, kernel: VectorKernel, value: Register, operands: dict[int, Register | str]) -> None:
        result = emit_steps(kernel, value, self.work.steps, operands)
        store_outputs(kernel, result, self.work.outputs, {form: f"@{form}.0" for form in self.work.outputs})
        kernel.release(result)

    def column_registers(self, kernel: VectorKernel) -> list[Register]:
        """Scale, bias and column constants, in registers that the strips do not write."""
        widths = [32, 32] if self.work.weights else []
        return [kernel.allocate(bits) for bits in (*widths, *[16] * len(self.channel_steps))]

    def block(self, valid_rows: int, valid_columns: int, left: str, right: str, k: int) -> tuple[Node, ...]:
        """One tile of results, of which these are the last ``k`` steps."""
        body: list[Node] = [Instruction(opcode="mm.tile", reads=(left, right), writes=("@acc.0",), steps=k)]
        body += [load(f"@operand{index}.0", valid_rows, 2 * valid_columns) for index in self.tensor_steps]
        body += self.vector_code(self.vector, valid_rows * self.columns)
        for form in self.work.outputs:
            body.append(
                store(f"@{form}.0", valid_rows, ceil(valid_columns * format_bits(form, self.bits) / 8))
            )
        body.append(Rotate(names=("@acc.0", "@acc.1")))
        body += [Rotate(names=(f"@{form}.0", f"@{form}.1")) for form in self.work.outputs]
        body += [Rotate(names=(f"@operand{i}.0", f"@operand{i}.1")) for i in self.tensor_steps]
        return tuple(body)

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
                for r_count, rows in self.split(lines, self.rows):
                    tile += repeat(r_count, *self.block(rows, columns, "@left.0", "@right.0", self.work.k))
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
                    block = (
                        *self.load_columns(),
                        *self.block(rows, columns, "@left.0", "@right.0", self.work.k),
                    )
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
                    opcode="mm.accumulate", reads=("@left.0", "@right.0"), writes=(), steps=steps
                )
                chunks = repeat(
                    whole, self.load_left(rows, steps), *self.load_right(columns, steps), chunk, *rotate
                )
                last = (self.load_left(rows, rest), *self.load_right(columns, rest), *self.load_columns())
                tile = (*chunks, *last, *self.block(rows, columns, "@left.0", "@right.0", rest), *rotate)
                nest += repeat(n_count * m_count, *tile)
        return tuple(nest)
