"""Operators along a row: softmax, layer, RMS and group normalisation, sums, means and maxima of the last axis.

A row that fits the registers is loaded once and stays there; several rows are interleaved to hide the reductions' latency. A longer
one is passed over in strips: for softmax its maximum, then exp and the sum, then the product with 1/sum. What softmax and the
norms compute, bit by bit, is :mod:`lanewise.models.rows`.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, inf

import numpy as np

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP, Register, VectorKernel
from lanewise.mapping.kernels.candidate import Candidate, Choice, Family, Shared, family, quickest
from lanewise.mapping.kernels.epilogue import Step, format_bits
from lanewise.mapping.kernels.long_row import ROW, LongRow
from lanewise.mapping.kernels.price import banks, price
from lanewise.mapping.kernels.row import RowKernel, nonpositive_exponential
from lanewise.mapping.kernels.streamed_row import StreamedRow
from lanewise.mapping.kernels.strips import best_kernel, load, store, table_bytes
from lanewise.sim.program import Address, Instruction, Node, Program, Rotate, flatten_once, repeat

FUNCTIONS = ("softmax", "layer_norm", "rms_norm", "sum", "mean", "max")
EXPONENTIALS = ("reduced", "direct")
CHUNK_BYTES = 16384
"""Bytes of whole rows that one DMA transfer brings, but no more than"""
BUDGET_SHARE = 10
"""this part of the scratchpad, or one row if that is longer."""
ROWS_HELD = 6
"""Rows that the scratchpad holds where one of them is loaded whole."""


@dataclass(frozen=True, kw_only=True)
class RowsWork:
    """``function`` of each of ``rows`` rows of ``length`` FP16 elements, then ``steps``, then the results to memory.

    Tensors: ``in``, ``weight`` and ``bias``, ``operand0`` for step 0 and so on, and a result for each of ``outputs``, of its name, in which every row
    begins at a byte. Weights of ``channels`` are as long as :meth:`weight_elements` says, for each group.
    """

    function: str
    rows: int
    length: int
    affine: bool = False
    """Whether a scale (and for layer norm an offset) of ``length`` elements follows."""
    groups: int = 1
    """Of a group norm: a row's number modulo this is its group, which has weights of its own. Rows that are at least this many lie one after the other, or"""
    channels: int = 0
    """if not 0, as positions of so many channels, those of a row side by side; its weights are the channels' over and over."""
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ("fp16",)
    inverse_step: float = 1.0
    """Of the quantised output: what a value is multiplied by before it is rounded."""
    exponential: str = "direct"
    """Softmax's exp on Flex-SFU: ``reduced``, two look-ups and accurate relative to each weight, or ``direct``, one look-up
    and accurate relative to the largest; a unit of less than 16 segments has the direct one alone."""
    epsilon: float = 1e-5
    """What a norm adds to the mean of the squares, an FP32 number."""

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"function must be one of {', '.join(FUNCTIONS)}, not {self.function!r}")
        if self.exponential not in EXPONENTIALS:
            raise ValueError(
                f"exponential must be one of {', '.join(EXPONENTIALS)}, not {self.exponential!r}"
            )
        if not 0 <= self.epsilon < inf:
            raise ValueError(f"epsilon must be a number of at least 0, not {self.epsilon}")
        object.__setattr__(
            self, "epsilon", float(np.float32(self.epsilon))
        )  # as the machine has it, however it was written
        for name, size in (("rows", self.rows), ("channels", self.channels)):
            if size % self.groups:
                raise ValueError(f"{name} must be a multiple of {self.groups} groups, not {size}")
        if self.channels and self.length * self.groups % self.channels:
            raise ValueError(
                f"length must be whole positions of {self.channels // self.groups} channels, not {self.length}"
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

    def streamed(self, config: MachineConfig) -> bool:
        """Whether a row must go through the scratchpad in chunks: it is too long for that, or has weights or places of its own."""
        too_long = 2 * self.length > config.scratchpad.bytes // ROWS_HELD
        return too_long or self.groups > 1 or (self.channels > 0 and self.affine)

    def weight_elements(self, config: MachineConfig) -> int:
        """Elements of ``weight`` and ``bias`` for each group, the channels' over and over where there are ``channels``."""
        if not self.streamed(config):
            return self.length
        row = StreamedRow(self, config)
        return row.chunk if row.periodic else self.length

    def program(self, config: MachineConfig) -> Program:
        """Chunks of rows through double buffers, or chunks of a row where rows do not fit so, or are longer than a chunk and faster so.

        Raises:
            ValueError: The scratchpad does not hold two chunks of a row.
        """
        if self.streamed(config):
            return StreamedRow(self, config).program()
        whole = self.of_whole_rows(config)
        if 2 * self.length <= CHUNK_BYTES:
            return whole
        fits = banks(whole, config) <= config.scratchpad.banks
        try:
            parts = StreamedRow(self, config).program()
        except ValueError:
            if fits:
                return whole
            raise
        if not fits:
            return parts
        return min(whole, parts, key=lambda program: price(program, config).cycles)

    def of_whole_rows(self, config: MachineConfig) -> Program:
        """Chunks of rows."""
        most = min(CHUNK_BYTES, config.scratchpad.bytes // BUDGET_SHARE)
        chunks = ceil(self.rows / max(1, most // (2 * self.length)))
        rows = ceil(self.rows / chunks)
        operands = [f"@operand{i}" for i, step in enumerate(self.steps) if step.operand == "tensor"]
        sources = ["@in", *operands]
        row_bytes = dict.fromkeys(sources, 2 * self.length)
        for form in self.outputs:
            bits = self.result_length * format_bits(form, config.matrix.operand_bits)
            row_bytes[f"@{form}"] = ceil(bits / 8)
        body: list[Node] = [
            load(name, 1, 2 * self.length, external=Address(name.removeprefix("@"))) for name in self.weights
        ]
        whole, room, elements = self.rows // rows, rows, rows * self.length
        for count, lines, before in ((whole, rows, 0), (1, self.rows % rows, whole * rows)):
            if not count or not lines:
                continue
            best = way_of(replace(self, rows=1), config, lines)
            room = max(room, ceil(lines / best.ways) * best.ways, best.rows)
            elements = max(elements, room * self.length, best.elements)
            body += best.setup

            def outside(name: str, before: int = before) -> Address:
                step = row_bytes[name]
                return Address(name.removeprefix("@"), before * step).along("chunk", rows * step)

            inner: list[Node] = [
                load(f"{name}.0", 1, lines * row_bytes[name], external=outside(name)) for name in sources
            ]
            inner += repeat(ceil(lines / best.ways), *best.code, index=best.index)
            for name in row_bytes:
                if name not in sources:
                    inner.append(store(f"{name}.0", 1, lines * row_bytes[name], external=outside(name)))
            inner += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in row_bytes]
            body += repeat(count, *inner, index="chunk")
        sizes = {f"{name}.{copy}": room * size for name, size in row_bytes.items() for copy in "01"}
        used = {n for i in flatten_once(tuple(body)) for n in (*i.reads, *i.writes)}
        others = dict.fromkeys(("@shifted", "@powers"), 2 * elements)
        others |= dict.fromkeys((*self.weights, "@scratch"), 2 * self.length)
        sizes |= {name: size for name, size in others.items() if name in used}
        return Program(body=tuple(body), buffers_bytes=sizes | table_bytes(body))


@dataclass(frozen=True, kw_only=True)
class _Way:
    """One way to compute rows: ``code`` on ``ways`` rows at a time, in a loop of this index."""

    clocks: float
    setup: list[Instruction]
    code: tuple[Node, ...]
    ways: int
    index: str = STRIP
    elements: int = 0
    """Elements that it touches of a buffer between passes."""
    rows: int = 0
    """Rows that it touches of all others, if more than a multiple of ``ways``."""


@dataclass(frozen=True, kw_only=True)
class _Row(Shared):
    """A row in registers, or a pass over it."""

    work: RowsWork
    emits: str = "emit"
    """Which of :class:`RowKernel`'s methods."""
    resident: bool = False
    """Whether the weights stay in registers."""

    def prepare(self, kernel: VectorKernel, /) -> list[Register]:
        """Load the weights."""
        weights = [kernel.load(Address(name)) for name in self.work.weights] if self.resident else []
        kernel.setup, kernel.code = [*kernel.setup, *kernel.code], []
        return weights

    def __call__(self, kernel: VectorKernel, registers: list[Register], /) -> None:
        """Emit it."""
        getattr(RowKernel(self.work, kernel, registers), self.emits)()


@dataclass(frozen=True, kw_only=True)
class _Exponential(Shared):
    """Softmax's middle pass."""

    work: RowsWork

    def __call__(self, kernel: VectorKernel, _: list[Register], /) -> None:
        """Emit a strip of it."""
        value = nonpositive_exponential(kernel, kernel.load("@shifted"), self.work)
        kernel.store("@powers", value)
        kernel.release(value)


@lru_cache(maxsize=512)
def way_of(work: RowsWork, config: MachineConfig, rows: int) -> _Way:
    """The fastest way: rows in registers, one to eight interleaved, or strips; ``work`` is that of one row."""
    best: _Way | None = None
    if work.length * 16 <= 8 * config.vector.vlen_bits:
        rooms = (True, False) if work.weights else (False,)
        found = _quickest(config, rows, [_Row(work=work, resident=resident) for resident in rooms])
        if found is not None:
            kernel = found[1].kernel
            best = _Way(clocks=found[0], setup=kernel.setup, code=tuple(kernel.code), ways=kernel.ways)
    if (
        work.function == "softmax"
        and (split := _split(work, config, rows)) is not None
        and (best is None or split.clocks < best.clocks)
    ):
        best = split
    return long_way_of(work, config) if best is None else best


@lru_cache(maxsize=128)
def long_way_of(work: RowsWork, config: MachineConfig) -> _Way:
    row = LongRow(work, config)
    nodes = row.emit()
    return _Way(clocks=0, setup=row.kernel.setup, code=nodes, ways=1, index=ROW)


def _quickest(config: MachineConfig, rows: int, bodies: Sequence[_Row]) -> tuple[int, Candidate] | None:
    """The fewest clocks for so many rows, one to eight interleaved, by one of the bodies."""
    families: list[Family] = []
    for body in bodies:
        with suppress(ValueError):  # the registers do not hold it
            families.append(family(config, body.work.length, body, body.prepare))
    return quickest(
        [
            Choice(kernels, ways, ceil(rows / ways))
            for ways in (1, 2, 4, 8)
            if ways <= rows
            for kernels in families
        ]
    )


def _split(work: RowsWork, config: MachineConfig, rows: int) -> _Way | None:
    """Softmax in three passes over the chunk, each with the strip length that suits it: a long software exp wants short strips."""
    passes: list[VectorKernel] = []
    for part in ("shift", "scale_by_sum"):
        found = _quickest(config, rows, [_Row(work=work, emits=part)])
        if found is None:
            return None
        passes.append(found[1].kernel)
    middle = best_kernel(config, rows * work.length, _Exponential(work=work))
    filling = ("dma.load", "sfu.breakpoints", "sfu.coefficients")
    tables = [instruction for instruction in middle.setup if instruction.opcode in filling]
    constants = [instruction for instruction in middle.setup if instruction.opcode not in filling]
    shift, scale = passes
    strips = middle.strips(rows * work.length)
    nodes: list[Node] = [
        *shift.setup, *repeat(ceil(rows / shift.ways), *shift.code, index=STRIP),
        *constants, *repeat(strips, *middle.code, index=STRIP),
        *scale.setup, *repeat(ceil(rows / scale.ways), *scale.code, index=STRIP),
    ]  # fmt: skip
    body = (*tables, *nodes)
    names = {n for i in flatten_once(body) for n in (*i.reads, *i.writes) if n.startswith("@")}
    clocks = price(Program(body=body, buffers_bytes=dict.fromkeys(names, 1)), config).cycles
    lines = max(ceil(rows / part.ways) * part.ways for part in passes)
    elements = max(lines * work.length, strips * middle.vl * middle.ways)
    return _Way(clocks=clocks, setup=tables, code=tuple(nodes), ways=rows, elements=elements, rows=lines)
