"""The timing table: unit, beats and latency of every instruction, from the table of instructions and the machine's config.

Clocks are counted from the clock in which an instruction starts. It holds its unit for ``beats`` clocks; its first beat lands
``lands_clk`` later and its last ``last_clk`` later, each the first clock in which a reader of that beat alone may start. What the engine
makes of them is docs/core.md's "When an instruction starts".
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from operator import attrgetter
from typing import Any, TypeAlias

from lanewise.config import ROW_SAMPLER_LATENCY_CLK, MachineConfig, OperandPathConfig
from lanewise.isa.operations import OPERATIONS, Latency, Operation, Rate, Unit, Width
from lanewise.sim.dma import Transfer, data_beats
from lanewise.sim.matrix_stream import Command, matrix_stream_beats_clk, matrix_stream_result_clk
from lanewise.sim.program import Instruction
from lanewise.sim.weight_generator import weight_generator_beats

STREAMS = ("load", "store", "matrix", "vector", "operand", "generate")
"""In-order instruction streams; at most one start a clock in each."""

UNITS = (
    "dma_load",
    "dma_store",
    "matrix",
    "operand_path",
    "vector_fma",
    "vector_alu",
    "vector_memory",
    "flex_sfu",
    "row_sampler",
    "vector_set",
    "weight_generator",
)
"""What an instruction can occupy. DMA has AXI4's independent read and write channels. ``vector_set`` is the sequencer's
slot itself, which nothing waits for."""

_UNIT_OF_OTHERS = {
    "mm.tile": "matrix",
    "mm.accumulate": "matrix",
    "op.settings": "operand_path",
    "op.quantise": "operand_path",
    "op.sample": "row_sampler",
    "dma.load": "dma_load",
    "dma.store": "dma_store",
    "dma.generate": "weight_generator",
}
_STREAM_OF_UNIT = {
    "dma_load": "load",
    "dma_store": "store",
    "matrix": "matrix",
    "operand_path": "operand",
    "row_sampler": "operand",
    "weight_generator": "generate",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Static timing of one instruction on one machine."""

    unit: str
    stream: str
    beats: int
    """Clocks that the unit is held."""
    lands_clk: int
    """From the start to the first beat of the result."""
    last_clk: int
    """From the start to the last."""
    words: int = 1
    """Of a vector result: words as wide as the lanes that it takes in the register file."""
    chained: bool = False
    """Whether a reader may start before the last beat."""
    whole: bool = False
    """Whether the first source must have landed whole."""
    drain_clk: int = 0
    """Clocks that the drain of the MAC array is held after the last beat; 0 for everything else."""
    command: Command | None = None
    """Of the matrix stream, where the array has one: what stands above holds of a command that is alone, and
    :class:`~lanewise.sim.matrix_stream.MatrixStream` says the rest."""

    @property
    def ready_clk(self) -> int:
        """From the start to that of a reader that takes a word of the result each clock, the fastest there is: it must not pass the writer.

        Where a word takes one clock to land that is the first beat; where it takes longer (narrowing, masks, strided loads), later.
        """
        return self.last_clk - (self.words - 1) if self.chained else self.last_clk


_NO_ADDRESS = -1, -1
_timed = attrgetter(
    "opcode", "vl", "sew_bits", "steps", "passes", "reload", "block", "runs", "indexed", "run_bytes"
)
_Key: TypeAlias = tuple[Any, ...]


class TimingTable:
    """Every instruction's timing on one machine; what was asked for is kept."""

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self._known: dict[_Key, Timing] = {}
        self._latency = {latency: config.vector_latency_clk(latency) for latency in Latency}

    def __getitem__(self, instruction: Instruction) -> Timing:
        """Timing of ``instruction``.

        Raises:
            ValueError: The table has no such opcode, the machine no such unit, or the instruction does not exist for the width.
        """
        key = self.key(instruction)
        known = self._known.get(key)
        if known is None:
            operation = OPERATIONS.get(instruction.opcode)
            known = self._known[key] = (
                self._other(instruction) if operation is None else self._vector(instruction, operation)
            )
        return known

    def key(self, instruction: Instruction) -> _Key:
        """What its timing depends on."""
        if instruction.external is None:
            return _timed(instruction)
        return (*_timed(instruction), *_alignment(instruction, self.config.dma.bytes_per_clk))

    def _other(self, instruction: Instruction) -> Timing:
        config, opcode = self.config, instruction.opcode
        if opcode not in _UNIT_OF_OTHERS:
            raise ValueError(f"opcode must be one that the timing table has, not {opcode!r}")
        unit = _UNIT_OF_OTHERS[opcode]
        if unit == "matrix" and config.matrix.splits:
            return self._command(instruction)
        stream, drain = _STREAM_OF_UNIT[unit], 0
        if stream in ("load", "store"):
            descriptors = max(1, instruction.runs) if instruction.indexed else 1
            beats = descriptors * config.dma.descriptor_clk + _words(instruction, config.dma.bytes_per_clk)
            latency = config.dma.latency_clk
        elif unit == "matrix":
            beats, latency = instruction.steps * instruction.passes, config.matrix.result_latency_clk
            if opcode == "mm.tile":  # a tile's result lands row by row after the last step
                drain = config.matrix.leave_clk(reload=instruction.reload)
        elif unit == "weight_generator":
            beats, latency = _generator_clk(instruction, config), config.weight_generator.latency_clk
        else:
            beats, latency = _operand_clk(opcode, instruction, config.operand_path)
        last = latency + beats + drain - 1
        return Timing(
            unit=unit, stream=stream, beats=beats, lands_clk=last, last_clk=last, drain_clk=drain
        )  # fmt: skip

    def _command(self, instruction: Instruction) -> Timing:
        """Of the matrix stream, with nothing before it."""
        k, passes, reload, config = (
            instruction.steps,
            instruction.passes,
            instruction.reload,
            self.config.matrix,
        )
        command = Command(k=k, passes=passes, last=instruction.opcode == "mm.tile", reload=reload)
        beats = last = matrix_stream_beats_clk(k, passes, config)
        if command.last:
            last = matrix_stream_result_clk(k, passes, config, reload=reload)
        return Timing(
            unit="matrix", stream="matrix", beats=beats, lands_clk=last, last_clk=last, command=command
        )

    def _vector(self, instruction: Instruction, operation: Operation) -> Timing:
        config, lanes_bits = self.config, self.config.vector.bits_per_clk
        sew, opcode = sew_bits(instruction, operation), instruction.opcode
        if operation.unit is Unit.FLEX_SFU and not config.flex_sfu.enabled:
            raise ValueError(f"{opcode} needs a machine with flex_sfu.enabled = true")
        if operation.latency is Latency.TABLE and not config.flex_sfu.enabled:
            raise ValueError(f"{opcode} needs a machine with flex_sfu.enabled = true")
        if operation.unit is not Unit.SET and not operation.eew_bits and sew not in operation.sews:
            raise ValueError(f"SEW of {opcode} must be one of {operation.sews}, not {sew}")
        operands = (operation.vd, operation.vs2, operation.vs1)
        widths = [width.bits(sew, operation.eew_bits) for width in operands if width is not None]
        per_clk = {
            Rate.WIDEST: lanes_bits // max(widths, default=lanes_bits),
            Rate.LANES: config.vector.lanes,
            Rate.ONE: 1,
            Rate.MASK: lanes_bits,
            Rate.SINGLE: max(1, instruction.vl),
        }[operation.rate]
        if operation.unit is Unit.FLEX_SFU:
            per_clk = config.flex_sfu.elements_per_clk(sew)
        beats = max(1, ceil(instruction.vl / per_clk))
        latency = self._latency[operation.latency]
        last = latency + beats - 1
        words = 1
        if operation.vd is not None and operation.vd not in (Width.FIRST, Width.FIRST_DOUBLE):
            words = max(1, ceil(instruction.vl * operation.vd.bits(sew, operation.eew_bits) / lanes_bits))
        return Timing(
            unit=str(operation.unit), stream="vector", beats=beats + (operation.latency is Latency.GATHER),
            lands_clk=last if operation.latency is Latency.REDUCE else latency, last_clk=last, words=words,
            chained=operation.chained, whole=operation.whole,
        )  # fmt: skip


@lru_cache(maxsize=64)
def timing_table(config: MachineConfig) -> TimingTable:
    """The table of ``config``'s machine."""
    return TimingTable(config)


def timing(instruction: Instruction, config: MachineConfig) -> Timing:
    """Unit, beats and latency of ``instruction`` on ``config``'s machine.

    Raises:
        ValueError: As :meth:`TimingTable.__getitem__`.
    """
    return timing_table(config)[instruction]


def sew_bits(instruction: Instruction, operation: Operation) -> int:
    """``vtype``'s SEW: the narrow side's where an operand is twice as wide.

    >>> sew_bits(Instruction(opcode="vfncvt.f.f.w", sew_bits=32), OPERATIONS["vfncvt.f.f.w"])
    16
    """
    return narrow_bits(instruction.sew_bits, operation)


def narrow_bits(widest_bits: int, operation: Operation) -> int:
    """Likewise, of an instruction whose widest operand has elements of so many bits."""
    return widest_bits >> 1 if Width.DOUBLE in (operation.vd, operation.vs2) else widest_bits


def _words(instruction: Instruction, bytes_per_clk: int) -> int:
    """Words of the external bus that a transfer's runs touch; of one without an address they begin with a word.

    A tensor begins with a word; what loops add to the address are whole words (:mod:`lanewise.sim.alignment`).
    """
    if instruction.external is None or not instruction.runs or not instruction.run_bytes:
        return instruction.runs * ceil(instruction.run_bytes / bytes_per_clk)
    first, distance = _alignment(instruction, bytes_per_clk)
    transfer = Transfer(
        external=first, runs=instruction.runs, run_bytes=instruction.run_bytes, external_stride=distance
    )
    return data_beats(transfer, bytes_per_clk)


def _alignment(instruction: Instruction, bytes_per_clk: int) -> tuple[int, int]:
    """Places in a word of the external bus: of the first run, and from run to run; (-1, -1) without an address."""
    if instruction.external is None:
        return _NO_ADDRESS
    distance = instruction.distance_bytes or instruction.run_bytes
    return instruction.external.offset_bytes % bytes_per_clk, distance % bytes_per_clk


def _generator_clk(instruction: Instruction, config: MachineConfig) -> int:
    """Words that the weight generator writes, wherever they lie in the scratchpad."""
    if not config.weight_generator.enabled:
        raise ValueError(f"{instruction.opcode} needs a machine with weight_generator.enabled = true")
    return weight_generator_beats(instruction.run_bytes, config.weight_generator)


def _operand_clk(opcode: str, instruction: Instruction, config: OperandPathConfig) -> tuple[int, int]:
    """Beats and latency in the operand path or the row sampler."""
    if (
        opcode == "op.settings"
    ):  # taken the clock after the tensor before has left; its own beats from the next clock on
        return 1, 2
    if opcode == "op.sample":  # a row a clock; what is handed over is in its buffer the clock after
        return instruction.vl, ROW_SAMPLER_LATENCY_CLK + 1
    if instruction.block not in config.blocks:
        raise ValueError(f"block must be one of {config.blocks}, not {instruction.block!r}")
    return ceil(instruction.vl / config.lanes), config.latency_clk(instruction.block)
