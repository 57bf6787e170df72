"""One tile of a matrix product: its loads, its steps on the array, what the vector unit does to it, its stores."""

from dataclasses import replace
from functools import cached_property, lru_cache
from math import ceil
from typing import TYPE_CHECKING

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.epilogue import emit_steps, format_bits, store_outputs
from lanewise.mapping.kernels.patch_loads import patch_loads
from lanewise.mapping.kernels.place import Place
from lanewise.mapping.kernels.strips import best_kernel, load, store, table_bytes
from lanewise.mapping.kernels.turn_back import BUFFERS, TURN_BACK
from lanewise.sim.program import Instruction, Node, Rotate, repeat

if TYPE_CHECKING:
    from lanewise.mapping.kernels.matmul import MatmulWork

BATCH = "batch"
"""Index of the loop over products."""
CONSTANT_BYTES = 6
"""Of a column: INT32 bias and 16-bit multiplier."""
SCALE_BYTES = 4
"""Of a row that has a scale of its own: 16-bit multiplier, shift, format."""


@lru_cache(maxsize=4096)
def _tile_kernel(work: "MatmulWork", config: MachineConfig) -> VectorKernel:
    """The vector code for an FP16 tile of a product of size 1: it does not depend on the size."""
    tile = Tile(work, config)
    return best_kernel(
        config,
        tile.elements,
        tile.vector_strip,
        prepare=tile.column_registers,
        multiple=tile.columns if tile.channel_steps or tile.beside else 1,
    )


class Tile:
    """``rows x columns`` results of ``work`` on ``config``'s array."""

    def __init__(self, work: "MatmulWork", config: MachineConfig) -> None:
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
        self.column_bytes = CONSTANT_BYTES * work.weights + 2 * len(self.channel_steps)
        self.first_k = 0
        """Where the product's part of k begins in the lines."""
        self.outputs = work.outputs
        self.direct = not work.steps and len(self.outputs) == 1
        """Whether what leaves the output path is what is stored."""

    @cached_property
    def fixed_bytes(self) -> dict[str, int]:
        """Buffers that do not depend on the tiling: results, and second operands of the steps."""
        tile = self.elements
        sizes = {} if self.direct else {"@middle.0": 2 * tile, "@middle.1": 2 * tile}
        for form in self.outputs:
            size = max(1, tile * format_bits(form, self.bits) // 8)
            sizes |= {f"@{form}.0": size, f"@{form}.1": size}
        for index in self.tensor_steps:
            sizes |= {f"@operand{index}.0": 2 * tile, f"@operand{index}.1": 2 * tile}
        for name, element in self.beside.items():
            sizes |= {f"@{name}.{copy}": ceil(element * tile) for copy in "01"}
        if self.beside:
            sizes["@sums"] = 4
        if self.work.row_scales:
            sizes |= {f"@scales.{copy}": SCALE_BYTES * self.rows for copy in "01"}
        return sizes | table_bytes(self.setup)

    def constants_bytes(self) -> int:
        """Scale, bias and further constants of a tile of columns."""
        return self.columns * self.column_bytes

    def left_bytes(self, lines: int, k: int) -> int:
        return ceil(lines * k * self.left_bits / 8)

    def right_bytes(self, lines: int, k: int) -> int:
        return ceil(lines * k * self.right_bits / 8)

    def free_bytes(self) -> int:
        bank = self.config.scratchpad.bank_bytes
        return self.config.scratchpad.bytes - sum(
            ceil(size / bank) * bank for size in self.fixed_bytes.values()
        )

    # Loads

    def load_left(self, first: Place, lines: int, at: int, k: int) -> list[Node]:
        """``lines`` lines from the line ``first`` on, of each ``k`` elements from the element ``at`` on."""
        work, bits = self.work, self.left_bits
        if work.patches is not None:
            group = Place().along(BATCH, 1 if work.batch > 1 else 0)
            part = self.first_k + at, k
            stride = ceil(k * bits / 8)
            return list(
                patch_loads("@left.0", work.patches, bits, first, lines, stride, group=group, part=part)
            )
        if work.left_transposed:
            return [load("@left.0", k, ceil(lines * bits / 8))]
        if work.left_runs == 0 and k == work.k:
            return [load("@left.0", 1, self.left_bytes(lines, k))]
        runs = max(1, ceil(max(1, work.left_runs) * k / work.k))
        return [load("@left.0", lines * runs, ceil(k * bits / 8 / runs))]

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

    @property
    def elements(self) -> int:
        """Results in a tile."""
        return self.rows * self.columns

    @cached_property
    def vector(self) -> VectorKernel | None:
        """Vector code for a tile, where there is something to do."""
        if self.direct:
            return None
        return _tile_kernel(replace(self.work, m=1, k=1, n=1, batch=1, patches=None), self.config)

    @property
    def setup(self) -> tuple[Instruction, ...]:
        return () if self.vector is None else tuple(self.vector.setup)

    @property
    def end(self) -> tuple[Instruction, ...]:
        """Reductions of what all tiles have added up, and their stores."""
        if self.vector is None:
            return ()
        if not self.vector.sums:
            return ()
        code = [Instruction(opcode="vmv.s.x", writes=("v0",), vl=1, sew_bits=32, constant=0)]
        for register in self.vector.sums.values():
            code.append(
                Instruction(
                    opcode="vfwredusum.vs",
                    reads=(*register.names, "v0"),
                    writes=register.names[:1],
                    vl=self.vector.vl,
                    operands=(register.names[0], "v0"),
                )
            )
            code.append(
                Instruction(opcode="vse32.v", reads=register.names[:1], writes=("@sums",), vl=1, sew_bits=32)
            )
        return tuple(code)

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
                opcode="mm.tile", reads=reads, writes=(f"{target}.0",), steps=self.steps(k, last=True), passes=self.passes,
                reload=reload and self.bits != 16 and self.work.weights,
            )
        )  # fmt: skip
        apart = self.work.row_scales  # the rows of results lie where their numbers say
        body += [load(f"@operand{index}.0", rows, 2 * columns, indexed=apart) for index in self.tensor_steps]
        body += [
            load(f"@{name}.0", rows, ceil(element * columns), indexed=apart)
            for name, element in self.beside.items()
        ]
        if self.vector is not None:
            body += repeat(self.vector.strips(rows * self.columns), *self.vector.code)
        for form in self.outputs:
            body.append(
                store(f"@{form}.0", rows, ceil(columns * format_bits(form, self.bits) / 8), indexed=apart)
            )
        names = [*self.outputs, *(f"operand{i}" for i in self.tensor_steps)]
        names += [] if self.direct else ["middle"]
        names += ["scales"] if self.work.row_scales else []
        names += self.beside
        return (*body, *(Rotate(names=(f"@{name}.0", f"@{name}.1")) for name in names))

    def steps(self, k: int, *, last: bool) -> int:
        """Steps of ``k`` elements in a pass; an FP16 array adds the bias as a product with 1."""
        return k + (self.bits == 16 and self.work.weights and last)
