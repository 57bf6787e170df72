"""What the vector unit does to a tile of FP16 results: strips over its elements, rows side by side."""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP, Register, VectorKernel
from lanewise.mapping.kernels.epilogue import Operand, Step, emit_steps, format_bits, store_outputs
from lanewise.mapping.kernels.place import Place
from lanewise.mapping.kernels.strips import best_kernel, load
from lanewise.mapping.kernels.turn_back import BUFFERS, TURN_BACK
from lanewise.sim.program import Address, Instruction, Node, repeat

COPY = "copy"
"""Index of the loop over copies of a channel's constants."""
ALIGNMENT_BYTES = 32
"""Constants in a buffer begin with a multiple of this."""


@lru_cache(maxsize=4096)
def kernel_of(code: "TileCode", config: MachineConfig) -> VectorKernel:
    return best_kernel(
        config, code.elements, code.strip, prepare=code.registers, multiple=code.width if code.whole_rows else 1
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TileCode:
    """``steps`` on a tile of ``rows x columns`` FP16 results in ``@middle``, stored as ``outputs``."""

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    inverse_step: float
    """Of the quantised output: what a value is multiplied by before it is rounded."""
    rows: int
    columns: int
    packs: bool
    """Whether quantised results lie two a byte: then the rows of a tile are as long as an even number of columns."""

    @cached_property
    def tensors(self) -> list[int]:
        """Steps whose operand is a tensor."""
        return [i for i, step in enumerate(self.steps) if step.operand == "tensor"]

    @cached_property
    def channels(self) -> list[int]:
        """Steps whose operand is a value for each column."""
        return [i for i, step in enumerate(self.steps) if step.operand == "channel"]

    @cached_property
    def beside(self) -> dict[str, float]:
        """What training reads beside a gradient, and its bytes an element."""
        return BUFFERS if any(step.function == TURN_BACK for step in self.steps) else {}

    @property
    def whole_rows(self) -> bool:
        """Whether a strip must be whole rows of a tile."""
        return bool(self.channels or self.beside)

    @property
    def width(self) -> int:
        """Elements from row to row of a whole tile in the scratchpad."""
        return self.row_elements(self.columns)

    def row_elements(self, columns: int) -> int:
        """Elements from row to row of a tile of so many columns: as long as a whole tile's where each strip takes the columns' values as they are."""
        columns = self.columns if self.channels else columns
        return columns + (columns % 2 if self.packs and "quantised" in self.outputs else 0)

    @property
    def elements(self) -> int:
        """Of a whole tile."""
        return self.rows * self.width

    def kernel(self, config: MachineConfig) -> VectorKernel:
        """The fastest code on ``config``'s machine."""
        return kernel_of(self, config)

    def run(self, config: MachineConfig, rows: int, columns: int) -> tuple[Node, ...]:
        """Its strips over a tile of ``rows x columns`` results."""
        kernel = self.kernel(config)
        elements = rows * (columns if self.beside else self.row_elements(columns))
        return repeat(kernel.strips(elements), *kernel.code, index=STRIP)

    def touched(self, config: MachineConfig) -> int:
        """Elements of a buffer that the strips over a tile touch: the last may reach beyond it."""
        kernel = self.kernel(config)
        return kernel.strips(self.elements) * kernel.ways * kernel.vl

    def strip(self, kernel: VectorKernel, constants: list[Register]) -> None:
        """Emit a strip's code."""
        value = kernel.load("@middle.0")
        operands: dict[int, Operand] = {i: f"@operand{i}.0" for i in self.tensors}
        operands |= dict(zip(self.channels, constants))
        result = emit_steps(kernel, value, self.steps, operands)
        places = {form: f"@{form}.0" for form in self.outputs}
        store_outputs(kernel, result, self.outputs, places, self.inverse_step)
        kernel.release(result)

    def registers(self, kernel: VectorKernel) -> list[Register]:
        """Column constants of the steps, in registers that the strips do not write."""
        return [kernel.allocate() for _ in self.channels]

    # The channels' constants: in the scratchpad as often side by side as a strip has rows

    def copies(self, config: MachineConfig) -> int:
        """Rows of a strip."""
        return ceil(self.kernel(config).vl / self.width)

    def channel_bytes(self, config: MachineConfig) -> int:
        """Of a channel's constants for a tile of columns, in the scratchpad."""
        return 2 * self.copies(config) * self.width

    def load_channels(
        self, config: MachineConfig, at: int, first: Place, columns: int, step_bytes: Place
    ) -> list[Node]:
        """DMA of the constants of ``columns`` columns from the column ``first`` on, to the byte ``at`` of the right operand's buffer."""
        loads: list[Node] = []
        whole, rest = divmod(columns, self.columns)
        size = self.channel_bytes(config)
        for number, channel in enumerate(self.channels):
            begin = at + number * ceil(columns / self.columns) * size
            for tiles, length, before in ((whole, self.columns, 0), (1, rest, whole)):
                if not tiles or not length:
                    continue
                place = (first + Place(before * self.columns)).times(2) + step_bytes
                inside = Address("@right.0", begin + before * size).along(COPY, 2 * self.width)
                one = load(
                    inside, tiles, 2 * length, external=place.address(f"channel{channel}"),
                    distance_bytes=2 * self.columns, stride_bytes=size,
                )  # fmt: skip
                loads += repeat(self.copies(config), one, index=COPY)
        return loads

    def read_channels(self, config: MachineConfig, at: int, tile: Place, tiles: int) -> list[Instruction]:
        """Loads of a tile's constants, the ``tile``-th of ``tiles``, into the registers that the code has for them; priced alone where a strip is
        less than a row."""
        kernel = self.kernel(config)
        probe = VectorKernel(config=config, vl=kernel.vl)
        for number in range(len(self.channels)):
            place = Place(at + number * tiles * self.channel_bytes(config)) + tile.times(
                self.channel_bytes(config)
            )
            probe.load(place.address("@right.0"))
        if kernel.vl % self.width:
            return [replace(instruction, vd=None) for instruction in probe.code]
        return probe.code

    def bytes_of(self, form: str, elements: int, operand_bits: int) -> int:
        """Of so many elements of a result."""
        return max(1, ceil(elements * format_bits(form, operand_bits) / 8))


def reductions(kernel: VectorKernel) -> tuple[Instruction, ...]:
    """Of what all tiles have added up, and their stores."""
    if not kernel.sums:
        return ()
    code = [Instruction(opcode="vmv.s.x", writes=("v0",), vl=1, sew_bits=32, constant=0)]
    for register in kernel.sums.values():
        code.append(
            Instruction(
                opcode="vfwredusum.vs", reads=(*register.names, "v0"), writes=register.names[:1], vl=kernel.vl,
                operands=(register.names[0], "v0"),
            )
        )  # fmt: skip
        code.append(
            Instruction(opcode="vse32.v", reads=register.names[:1], writes=("@sums",), vl=1, sew_bits=32)
        )
    return tuple(code)


def aligned(size: int) -> int:
    """The next place where constants may begin."""
    return ceil(size / ALIGNMENT_BYTES) * ALIGNMENT_BYTES
