"""Operators along a row: softmax, layer, RMS and group normalisation, sums, means and maxima of the last axis.

A row that fits the registers is loaded once and stays there; several rows are interleaved to hide the reductions' latency. A longer
one is passed over in strips: for softmax its maximum, then exp and the sum, then the product with 1/sum. What softmax and the
norms compute, bit by bit, is :mod:`lanewise.models.rows`.
"""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.epilogue import Step, format_bits
from lanewise.mapping.kernels.long_row import LongRow
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.row import RowKernel, nonpositive_exponential
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import best_kernel, load, store, strip_program, table_bytes
from lanewise.sim.program import Instruction, Node, Program, Rotate, flatten_once, repeat

FUNCTIONS = ("softmax", "layer_norm", "rms_norm", "sum", "mean", "max")
EXPONENTIALS = ("reduced", "direct")
CHUNK_BYTES = 16384
"""Bytes of whole rows that one DMA transfer brings, or one row if that is longer."""


@dataclass(frozen=True, kw_only=True)
class RowsWork:
    """``function`` of each of ``rows`` rows of ``length`` FP16 elements, then ``steps``, then the results to memory."""

    function: str
    rows: int
    length: int
    affine: bool = False
    """Whether a scale (and for layer norm an offset) of ``length`` elements follows."""
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ("fp16",)
    exponential: str = "direct"
    """Softmax's exp on Flex-SFU: ``reduced``, two look-ups and accurate relative to each weight, or ``direct``, one look-up
    and accurate relative to the largest; a unit of less than 16 segments has the direct one alone."""

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"function must be one of {', '.join(FUNCTIONS)}, not {self.function!r}")
        if self.exponential not in EXPONENTIALS:
            raise ValueError(
                f"exponential must be one of {', '.join(EXPONENTIALS)}, not {self.exponential!r}"
            )

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    @property
    def weights(self) -> tuple[str, ...]:
        """Buffers of the numbers that all rows are scaled by and shifted by."""
        return ("@weight", "@bias")[: 2 if self.function == "layer_norm" else 1] if self.affine else ()

    @property
    def result_length(self) -> int:
        """Elements of a row's result."""
        return 1 if self.function in ("sum", "mean", "max") else self.length

    def program(self, config: MachineConfig) -> Program:
        """Chunks of rows through double buffers.

        Raises:
            ValueError: A row does not fit a quarter of the scratchpad.
        """
        if 2 * self.length > config.scratchpad.bytes // 6:
            raise ValueError(
                f"scratchpad.size_kib must hold six rows of {self.length} elements, not {config.scratchpad.size_kib}"
            )
        chunks = ceil(self.rows / max(1, CHUNK_BYTES // (2 * self.length)))
        rows = ceil(self.rows / chunks)
        names = ["@in", *(f"@{form}" for form in self.outputs)]
        body: list[Node] = [load(name, 1, 2 * self.length) for name in self.weights]
        for count, lines in ((self.rows // rows, rows), (1, self.rows % rows)):
            if not count or not lines:
                continue
            setup, code, ways = _best(self, config, lines)
            body += setup
            inner: list[Node] = [
                load("@in.0", 1, 2 * lines * self.length),
                *repeat(ceil(lines / ways), *code),
            ]
            for form in self.outputs:
                bits = lines * self.result_length * format_bits(form, config.matrix.operand_bits)
                inner.append(store(f"@{form}.0", 1, ceil(bits / 8)))
            inner += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in names]
            body += repeat(count, *inner)
        sizes = {f"{name}.{copy}": 2 * rows * self.length for name in names for copy in "01"}
        return Program(
            body=tuple(body),
            buffers_bytes=sizes
            | dict.fromkeys(("@shifted", "@powers"), 2 * rows * self.length)
            | dict.fromkeys((*self.weights, "@scratch"), 2 * self.length)
            | table_bytes(body),
        )


def _best(
    work: RowsWork, config: MachineConfig, rows: int
) -> tuple[list[Instruction], tuple[Node, ...], int]:
    """Setup, code and rows at a time of the fastest way: rows in registers, one to eight interleaved, or strips."""
    best: tuple[float, list[Instruction], tuple[Node, ...], int] | None = None
    for ways in (1, 2, 4, 8):
        for resident in (True, False):
            if ways > rows or work.length * 16 > 8 * config.vector.vlen_bits:
                break
            kernel = VectorKernel(config=config, vl=work.length, ways=ways)
            try:
                affine = [kernel.load(name) for name in work.weights] if resident else []
                kernel.setup += kernel.code
                code: list[Instruction] = []
                for _ in range(ways):
                    kernel.code = []
                    RowKernel(work, kernel, affine).emit()
                    code += kernel.code
                    kernel.used |= kernel.written
            except ValueError:
                continue
            kernel.code = schedule(code, config)
            clocks = price(strip_program(kernel, ceil(rows / ways)), config).cycles
            if best is None or clocks < best[0]:
                best = (clocks, kernel.setup, tuple(kernel.code), ways)
    if (
        work.function == "softmax"
        and (split := _split(work, config, rows)) is not None
        and (best is None or split[0] < best[0])
    ):
        best = split
    if best is None:
        long_row = LongRow(work, config)
        nodes = long_row.emit()
        return long_row.kernel.setup, nodes, 1
    return best[1:]


def _split(
    work: RowsWork, config: MachineConfig, rows: int
) -> tuple[float, list[Instruction], tuple[Node, ...], int] | None:
    """Softmax in three passes over the chunk, each with the strip length that suits it: a long software exp wants short strips."""
    passes: list[VectorKernel] = []
    for part in ("shift", "scale_by_sum"):
        best: tuple[int, VectorKernel] | None = None
        for ways in (1, 2, 4, 8):
            kernel = VectorKernel(config=config, vl=work.length, ways=ways)
            code: list[Instruction] = []
            try:
                for _ in range(min(ways, rows)):
                    kernel.code = []
                    getattr(RowKernel(work, kernel, ()), part)()
                    code += kernel.code
                    kernel.used |= kernel.written
            except ValueError:
                break
            kernel.code = schedule(code, config)
            clocks = price(strip_program(kernel, ceil(rows / ways)), config).cycles
            if best is None or clocks < best[0]:
                best = (clocks, kernel)
        if best is None:
            return None
        passes.append(best[1])
    middle = best_kernel(config, rows * work.length, lambda kernel, _: _exp_strip(kernel, work))
    filling = ("dma.load", "sfu.breakpoints", "sfu.coefficients")
    tables = [instruction for instruction in middle.setup if instruction.opcode in filling]
    constants = [instruction for instruction in middle.setup if instruction.opcode not in filling]
    nodes: list[Node] = [
        *passes[0].setup,
        *repeat(ceil(rows / passes[0].ways), *passes[0].code),
        *constants,
    ]
    nodes += repeat(middle.strips(rows * work.length), *middle.code)
    nodes += [*passes[1].setup, *repeat(ceil(rows / passes[1].ways), *passes[1].code)]
    body = (*tables, *nodes)
    names = {n for i in flatten_once(body) for n in (*i.reads, *i.writes) if n.startswith("@")}
    clocks = price(Program(body=body, buffers_bytes=dict.fromkeys(names, 1)), config).cycles
    return clocks, tables, tuple(nodes), rows


def _exp_strip(kernel: VectorKernel, work: RowsWork) -> None:
    value = nonpositive_exponential(kernel, kernel.load("@shifted"), work)
    kernel.store("@powers", value)
    kernel.release(value)
