"""One tile of a matrix product: its loads, its steps on the array, what the vector unit does to it, its stores."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING

from lanewise.config import CONSTANT_BYTES, SCALE_BYTES, MachineConfig
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.epilogue import format_bits
from lanewise.mapping.kernels.matmul_operand import BATCH, MatrixOperand, contiguous, packed_bytes
from lanewise.mapping.kernels.matmul_vector import TileCode, aligned, reductions
from lanewise.mapping.kernels.patch_loads import patch_loads
from lanewise.mapping.kernels.place import Place
from lanewise.mapping.kernels.strips import load, store, table_bytes
from lanewise.sim.program import Address, Instruction, Node, Rotate
from lanewise.sim.program import Tile as Products

if TYPE_CHECKING:
    from lanewise.mapping.kernels.matmul import MatmulWork


@dataclass(frozen=True, kw_only=True)
class Block:
    """Where a tile of ``rows`` x ``columns`` results is."""

    rows: int
    columns: int
    first_row: Place
    """Of the left operand's lines in the buffer, in the product; and"""
    row: Place
    """which of them is the tile's first."""
    loaded_rows: int
    """Lines in the buffer."""
    first_column: Place
    """Likewise of the right operand's lines."""
    column: Place
    loaded_columns: int
    k: int
    """Elements of each line in the buffers."""


class Tile:
    """``rows x columns`` results of ``work`` on ``config``'s array; what leaves it goes into one of ``ring`` buffers in turn."""

    def __init__(self, work: "MatmulWork", config: MachineConfig, *, ring: int = 2) -> None:
        self.work, self.config, self.ring = work, config, ring
        matrix = config.matrix
        self.bits = matrix.operand_bits
        self.left_bits, self.right_bits = (
            (bits or self.bits) if matrix.splits else self.bits for bits in (work.left_bits, work.right_bits)
        )
        self.rows, self.columns = work.tile_shape(config)
        self.passes = matrix.passes(self.left_bits, self.right_bits)
        self.left = MatrixOperand(
            name="left", lines=work.m, k=work.k, bits=self.left_bits, turned=work.left_transposed, pitch=work.left_pitch,
            step=work.left_step, batch=work.batch, before=work.left_first,
        )  # fmt: skip
        self.right = MatrixOperand(
            name="right", lines=work.n, k=work.k, bits=self.right_bits, turned=work.right_transposed, pitch=work.right_pitch,
            step=work.right_step, batch=work.batch, before=work.right_first,
        )  # fmt: skip
        if work.generated is not None:
            work.generated.check(
                self.right,
                self.columns if work.n > self.columns else 0,
                weights=work.weights and matrix.splits,
            )
        self.first_k = 0
        """Where the product's part of k begins in the lines."""
        self.code = TileCode(
            steps=work.steps, outputs=work.outputs, inverse_step=work.inverse_step, rows=self.rows, columns=self.columns,
            packs=self.bits == 4,
        )  # fmt: skip
        self.outputs = work.outputs
        self.direct = not work.steps and len(self.outputs) == 1
        """Whether what leaves the output path is what is stored."""

    @cached_property
    def fixed_bytes(self) -> dict[str, int]:
        """Buffers that do not depend on the tiling: results, second operands of the steps, the constants of a product of activations."""
        elements = self.rows * self.columns if self.direct else self.code.touched(self.config)
        sizes = {} if self.direct else dict.fromkeys(self.turned("middle"), 2 * elements)
        for form in self.outputs:
            rows = self.rows * self.result_bytes(form, self.columns)
            size = max(rows, self.code.bytes_of(form, elements, self.bits))
            sizes |= dict.fromkeys(self.turned(form), size)
        for index in self.code.tensors:
            sizes |= {f"@operand{index}.0": 2 * elements, f"@operand{index}.1": 2 * elements}
        for name, element in self.code.beside.items():
            sizes |= {f"@{name}.{copy}": ceil(element * elements) for copy in "01"}
        if self.code.beside:
            sizes["@sums"] = 4
        if self.work.row_scales:
            sizes |= {f"@scales.{copy}": SCALE_BYTES * self.rows for copy in "01"}
        if self.shared_constants:
            sizes["@constants"] = self.constants_bytes
        return sizes | table_bytes(self.setup)

    @property
    def produced(self) -> str:
        """What the output path writes: results, or what the vector unit makes them of."""
        return self.outputs[0] if self.direct else "middle"

    def turned(self, name: str) -> tuple[str, ...]:
        """Buffers that take turns."""
        return tuple(f"@{name}.{copy}" for copy in range(self.ring if name == self.produced else 2))

    @property
    def shared_constants(self) -> bool:
        """Whether the columns' constants are the same in all tiles, and so are loaded once."""
        return not self.work.weights and self.config.matrix.integers

    @property
    def constants_bytes(self) -> int:
        """Bias and multiplier of a tile of columns, in whole beats of the output path."""
        matrix = self.config.matrix
        return matrix.constants_bytes if matrix.integers else CONSTANT_BYTES * self.columns

    def result_bytes(self, form: str, columns: int) -> int:
        """From row to row of a tile's results in the scratchpad, as they are stored."""
        elements = columns if self.direct else self.code.row_elements(columns)
        return packed_bytes(elements, format_bits(form, self.bits))

    def left_bytes(self, lines: int, k: int) -> int:
        """Of so many lines of the left operand in the scratchpad."""
        return self.left.bytes(lines, k)

    def right_bytes(self, lines: int, k: int) -> int:
        """Likewise of the right operand, with the columns' constants."""
        channels = len(self.code.channels)
        size = channels * self.code.channel_bytes(self.config) if channels else 0
        return self._channels_at(lines, k) + ceil(lines / self.columns) * size

    def _constants_at(self, lines: int, k: int) -> int:
        return aligned(self.right.bytes(lines, k)) if self.work.weights else self.right.bytes(lines, k)

    def _channels_at(self, lines: int, k: int) -> int:
        at = self._constants_at(lines, k)
        at += ceil(lines / self.columns) * self.constants_bytes * self.work.weights
        return aligned(at) if self.code.channels else at

    @cached_property
    def free_bytes(self) -> int:
        """What the fixed buffers leave of the scratchpad."""
        bank = self.config.scratchpad.bank_bytes
        banks = sum(ceil(size / bank) for size in self.fixed_bytes.values())
        return self.config.scratchpad.bytes - banks * bank

    # Loads

    def load_left(self, first: Place, lines: int, at: Place, k: int) -> list[Node]:
        """``lines`` lines of the left operand from the line ``first`` on, of each ``k`` elements from the element ``at`` on: into the buffer side by
        side, each from a byte on."""
        work = self.work
        if work.patches is not None:
            group = Place().along(BATCH, 1 if work.batch > 1 else 0)
            stride, part = packed_bytes(k, self.left_bits), (at.first + self.first_k, k)
            loads = patch_loads(
                "@left.0", work.patches, self.left_bits, first, lines, stride, group=group, part=part
            )
            return list(loads)
        if work.left_runs and not work.left_transposed:
            runs = max(1, ceil(work.left_runs * k / work.k))
            return [load("@left.0", lines * runs, ceil(k * self.left_bits / 8 / runs))]
        return [self.left.load(first, lines, at + Place(self.first_k), k)]

    def load_right(
        self, first: Place, lines: int, at: Place, k: int, *, constants: bool = True
    ) -> list[Node]:
        """Likewise of the right operand; with the columns' constants, or without."""
        if self.work.generated is not None:
            before = self._batch(self.work.generated.blocks(self.work.n))
            fill = self.work.generated.fill(self.right, first, lines, k, before)
            return [
                *self._load_constants(first, lines, k),
                *fill,
            ]  # the generator waits for the constants, DMA goes on
        loads: list[Node] = [self.right.load(first, lines, at + Place(self.first_k), k)]
        return [*loads, *self._load_constants(first, lines, k)] if constants else loads

    def _load_constants(self, first: Place, lines: int, k: int) -> list[Node]:
        """What each column of the right operand has beside it."""
        loads: list[Node] = []
        tiles = ceil(lines / self.columns)
        if self.work.weights:
            size, total = self.constants_bytes, ceil(self.work.n / self.columns)
            place = first.times(1, self.columns).times(size) + self._batch(total * size)
            inside = Address("@right.0", self._constants_at(lines, k))
            loads.append(load(inside, 1, tiles * size, external=place.address("constants")))
        if self.code.channels:
            batch = self._batch(2 * self.work.n)
            loads += self.code.load_channels(self.config, self._channels_at(lines, k), first, lines, batch)
        return loads

    def _batch(self, step_bytes: int) -> Place:
        return Place().along(BATCH, step_bytes if self.work.batch > 1 else 0)

    def load_columns(self, lines: int, k: int, tile: Place) -> list[Node]:
        """Channels' constants of the ``tile``-th tile of columns of the right operand's buffer to registers."""
        if self.direct or not self.code.channels:
            return []
        at = self._channels_at(lines, k)
        return [*self.code.read_channels(self.config, at, tile, ceil(lines / self.columns))]

    # The block: one tile of results

    @cached_property
    def vector(self) -> VectorKernel | None:
        """Vector code for a tile, where there is something to do."""
        return None if self.direct else self.code.kernel(self.config)

    @property
    def setup(self) -> tuple[Instruction, ...]:
        """What runs once: the vector code's constants and tables, the constants of a product of activations."""
        vector = () if self.vector is None else tuple(self.vector.setup)
        if not self.shared_constants:
            return vector
        return (*vector, load("@constants", 1, self.constants_bytes, external=Address("constants")))

    @property
    def end(self) -> tuple[Instruction, ...]:
        """Reductions of what all tiles have added up, and their stores."""
        return () if self.vector is None else reductions(self.vector)

    def accumulate(self, block: Block, first: int, passes: int, *, shift: bool) -> Instruction:
        """So many passes of a tile's chunk of k, from ``first`` on."""
        return Instruction(
            opcode="mm.accumulate", reads=("@left.0", "@right.0"), steps=self.steps(block.k, last=False), passes=passes,
            tile=self._products(block, first, shift=shift),
        )  # fmt: skip

    def _products(self, block: Block, first: int, *, shift: bool) -> Products | None:
        if not self.config.matrix.splits:
            return None
        return Products(
            left=self.left.part(block.row, block.rows, block.loaded_rows, block.k),
            right=self.right.part(block.column, block.columns, block.loaded_columns, block.k),
            first=first, shift=shift,
        )  # fmt: skip

    def tile(self, block: Block, first: int, passes: int, *, shift: bool, reload: bool) -> Instruction:
        """The command that ends a tile."""
        form = self.produced
        reload = reload and self.config.matrix.integers and self.work.weights
        reads = ("@left.0", "@right.0", *(("@scales.0",) if self.work.row_scales else ()))
        made = Instruction(
            opcode="mm.tile", reads=reads, writes=(f"@{form}.0",), steps=self.steps(block.k, last=True), passes=passes, reload=reload
        )  # fmt: skip
        products = self._products(block, first, shift=shift)
        if products is None:
            return made
        constants = None
        if reload:
            place = block.column.times(1, self.columns).times(self.constants_bytes)
            place += Place(self._constants_at(block.loaded_columns, block.k))
            constants = place.address("@right.0")
        products = replace(
            products, results=Address(f"@{form}.0"), results_stride_bytes=self.result_bytes(form, block.columns),
            form=f"int{self.bits}" if form == "quantised" else "fp16", multiplier=self.work.multiplier, shift_bits=self.work.shift,
            scales=Address("@scales.0") if self.work.row_scales else None, constants=constants,
        )  # fmt: skip
        return replace(made, tile=products)

    def block(
        self, block: Block, *, reload: bool, first: int = 0, passes: int = 0, shift: bool = False
    ) -> tuple[Node, ...]:
        """One tile of results, of which the buffers hold the last ``block.k`` steps.

        Args:
            reload: The tile before had other columns.
            first: The first pass that is to be done; ``passes``: how many are, 0: all.
            shift: Whether the sums move before them.
        """
        work, rows, columns = self.work, block.rows, block.columns
        row, column = block.first_row + block.row, block.first_column + block.column
        body: list[Node] = []
        if work.row_scales:
            place = row.times(SCALE_BYTES) + self._batch(SCALE_BYTES * work.m)
            body.append(load("@scales.0", 1, SCALE_BYTES * rows, external=place.address("scales")))
        body.append(self.tile(block, first, passes or self.passes, shift=shift, reload=reload))
        body += [self._move(f"operand{i}", "fp16", row, column, rows, columns) for i in self.code.tensors]
        body += [
            load(f"@{name}.0", rows, ceil(element * columns), indexed=work.row_scales)
            for name, element in self.code.beside.items()
        ]
        if not self.direct:
            body += self.code.run(self.config, rows, columns)
        body += [self._move(form, form, row, column, rows, columns, out=True) for form in self.outputs]
        names = [*self.outputs, *(f"operand{i}" for i in self.code.tensors)]
        names += [] if self.direct else ["middle"]
        names += ["scales"] if work.row_scales else []
        names += self.code.beside
        return (*body, *(Rotate(names=self.turned(name)) for name in names))

    def _move(
        self, name: str, form: str, row: Place, column: Place, rows: int, columns: int, *, out: bool = False
    ) -> Instruction:
        """A tile of results, or of what lies as they do, from or to external memory; its rows where numbers say, if they are a sample's."""
        work, bits = self.work, format_bits(form, self.bits)
        size, stride = packed_bytes(columns, bits), self.result_bytes(form, columns)
        distance = packed_bytes(work.result_pitch or work.n, bits)
        step = (
            self._batch(work.result_step).times(bits, 8)
            if work.result_step
            else self._batch(work.m * distance)
        )
        place = column.times(bits, 8) + step
        indices = None
        runs = (rows, size)
        if work.row_scales:
            indices = (row.times(4) + self._batch(4 * work.m)).address("rows")
        else:
            place += row.times(distance)
            runs = contiguous(rows, size, distance, stride)
        stride = 0 if stride == size or runs[0] == 1 else stride
        return (store if out else load)(
            f"@{name}.0", *runs, external=place.address(name), distance_bytes=distance, stride_bytes=stride, indices=indices
        )  # fmt: skip

    def steps(self, k: int, *, last: bool) -> int:
        """Steps of ``k`` elements in a pass; an FP16 array adds the bias as a product with 1."""
        return k + (self.bits == 16 and self.work.weights and last)
