"""The machine: one frozen description that the RTL, the golden models and the simulator all read.

Every default is documented beside its field; ``lanewise`` reads TOML with the same tables and keys.
Every latency and rate of a unit is a property here, so that the RTL and the timing engine cannot disagree.
"""

import dataclasses
import enum
import hashlib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lanewise.errors import UserError
from lanewise.formats import FORMATS, NumberFormat
from lanewise.isa.operations import Latency


def multiply_add_latency_clk(formats: Iterable[NumberFormat]) -> int:
    """Pipeline stages of a multiply-add of these formats: multiply; align and add; normalise; round.

    With a format of 32 bits two more: the operands are taken apart before, and the addend is aligned before it is added.

    >>> multiply_add_latency_clk([FORMATS["fp16"]]), multiply_add_latency_clk(FORMATS.values())
    (4, 6)
    """
    return 6 if any(form.bits == 32 for form in formats) else 4


FP32_ADDER_LATENCY_CLK = 2
"""Swap, align and add; normalise and round."""


def reduction_levels(lanes: int, vlen_bits: int) -> tuple[int, int]:
    """Levels of a reduction's additions: over the lanes of a beat; over the most beats, the start value included.

    The most beats have the 16-bit floating-point numbers of eight registers.

    >>> reduction_levels(8, 1024)
    (3, 7)
    """
    beats = 8 * vlen_bits // 16 // lanes
    return lanes.bit_length() - 1, beats.bit_length()


def reduction_stages_clk(lanes: int, vlen_bits: int) -> int:
    """Clocks from a reduction's last beat to its result: one to unpack the elements, then the additions.

    >>> reduction_stages_clk(8, 1024), reduction_stages_clk(1, 128)
    (21, 15)
    """
    return 1 + FP32_ADDER_LATENCY_CLK * sum(reduction_levels(lanes, vlen_bits))


COEFFICIENT_TABLE_LATENCY_CLK = 1
"""Registered read of a segment's coefficients."""

SPLIT_BITS = 4
"""Bits of the parts into which a 4-bit array takes INT8 operands."""

REQUANTISER_BITS = {"int4": 4, "int8": 8, "fp16": 16, "bf16": 16}
"""What the matrix unit's output path makes of its sums, and how wide a result is then."""
REQUANTISER_FORMATS = tuple(REQUANTISER_BITS)
"""The place is the code that selects the format."""
SCALE_BYTES = 4
"""Of a row of results that has a scale of its own: the multiplier in 16 bits, the shift in the next 6."""
CONSTANT_BYTES = 6
"""Of a column of results: INT32 bias, 16-bit multiplier."""

REQUANTISER_LATENCY_CLK = 7
"""Select; add the bias; multiply; add the products; normalise; place; round."""

HADAMARD_BLOCKS = (1, 8, 16, 32, 64)
"""Blocks of the Walsh-Hadamard unit; the index of each is what selects it at run time. 1: no transform."""
FIXED_POINT_EXPONENTS = (-16, 31)
"""The least and the largest exponent of the conversion to fixed point."""
FIXED_POINT_BITS = 16
"""Width of a fixed-point element; each level of the transform adds a bit."""
FIXED_POINT_LATENCY_CLK = 2
"""Shift; round."""
INT4_QUANTISER_LATENCY_CLK = 4
"""Multiply; shift; add the random bits; saturate or split."""
ROW_SAMPLER_LATENCY_CLK = 1
"""Registered number of a kept row."""
ROW_NORMS_LATENCY_CLK = 2
"""Square and reduce a beat; add it to the row's sum."""
ROW_NORM_BITS = 24
"""Width of a row's sum of squares, which wraps beyond it: not before 2**18 numbers, for a square is at most 64."""

DMA_PIPELINE_CLK = 4
"""DMA's own clocks of its latency: request register; beat register, rotation, scratchpad (load). The rest is external memory's."""


class Rounding(enum.IntEnum):
    """What the quantiser does; the number is what selects it at run time."""

    NEAREST = 0
    """To nearest, ties to even."""
    STOCHASTIC = 1
    """Up with the probability that the fraction says."""
    SPLIT = 2
    """Two INT4 numbers, 14 * hi + lo, lo stochastic: gradients."""


SEGMENT_COUNTS = (4, 8, 16, 32, 64)
DEGREES = (1, 2)

_STRICT = ConfigDict(extra="forbid", strict=True)


def _require(holds: bool, name: str, expected: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{name} must be {expected}, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class FlexSfuConfig:
    """Flex-SFU: breakpoint tree, coefficient table and multiply-add.

    Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546).
    """

    __pydantic_config__ = _STRICT

    enabled: bool = True
    """Whether the machine has the unit at all; the baseline is the same machine with ``enabled = false``."""
    segments: int = 32
    """Segments of the piecewise function, tails included: 4, 8, 16, 32 or 64. The paper's is 32."""
    degree: int = 1
    """Degree of a segment's polynomial: 1, or 2 with a second multiply-add behind the first."""
    lanes: int = 8
    """32-bit lanes, each 4 x 8, 2 x 16 or 1 x 32 bits a clock. Default in a TOML file: ``vector.lanes``."""
    formats: tuple[str, ...] = ("fp16",)
    """Number formats, selected at run time: any of ``int8``, ``int16``, ``int32``, ``fp8e4m3``, ``fp8e5m2``, ``fp16``, ``bf16``, ``fp32``."""
    double_buffered: bool = False
    """Whether there are two tables, so that one is loaded while the other is in use."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "formats", tuple(self.formats))
        _require(self.segments in SEGMENT_COUNTS, "segments", "4, 8, 16, 32 or 64", self.segments)
        _require(self.degree in DEGREES, "degree", "1 or 2", self.degree)
        _require(1 <= self.lanes <= 64, "lanes", "1 to 64", self.lanes)
        _require(
            0 < len(self.formats) == len(set(self.formats)) and set(self.formats) <= set(FORMATS),
            "formats", f"different ones of {', '.join(FORMATS)}, at least one", list(self.formats),
        )  # fmt: skip

    @property
    def number_formats(self) -> tuple[NumberFormat, ...]:
        """The formats; the index of each is what selects it at run time."""
        return tuple(FORMATS[name] for name in self.formats)

    @property
    def slot_bits(self) -> int:
        """Width of the narrowest element."""
        return min(form.bits for form in self.number_formats)

    @property
    def word_bits(self) -> int:
        """Width of the widest element, and of the table's words: a narrower one is repeated in them."""
        return max(form.bits for form in self.number_formats)

    def elements_per_clk(self, bits: int = 16) -> int:
        """Elements of ``bits`` bits that the lanes take each clock.

        >>> [FlexSfuConfig(lanes=8).elements_per_clk(bits) for bits in (8, 16, 32)]
        [32, 16, 8]
        """
        return self.lanes * 32 // bits

    def serves(self, form: str) -> bool:
        """Whether there is a unit, and it has the number format.

        >>> FlexSfuConfig(formats=("int8",)).serves("fp16")
        False
        """
        return self.enabled and form in self.formats

    @property
    def banks(self) -> int:
        """Tables: 1, or 2 if double-buffered."""
        return 1 + self.double_buffered

    @property
    def integers(self) -> bool:
        """Whether one of the formats is an integer."""
        return not all(form.floating for form in self.number_formats)

    @property
    def levels(self) -> int:
        """Levels of the breakpoint tree, log2(segments); each is one pipeline stage."""
        return self.segments.bit_length() - 1

    @property
    def breakpoints(self) -> int:
        """Breakpoints in the tree: one fewer than the segments."""
        return self.segments - 1

    @property
    def coefficient_words(self) -> int:
        """Words of 32 bits that ``sfu.coefficients`` loads: of each segment its coefficients, and a shift where there are integers.

        >>> FlexSfuConfig(segments=32, degree=2).coefficient_words
        96
        """
        return self.segments * (self.degree + 1 + self.integers)

    @property
    def latency_clk(self) -> int:
        """Clocks from an accepted element to its result: log2(segments) + 5, and 4 more for degree 2.

        With a format of 32 bits each multiply-add takes two clocks more.

        >>> FlexSfuConfig(segments=64).latency_clk
        11
        """
        multiply_adds = self.degree * multiply_add_latency_clk(self.number_formats)
        return self.levels + COEFFICIENT_TABLE_LATENCY_CLK + multiply_adds


@dataclass(frozen=True, kw_only=True)
class MatrixConfig:
    """The output-stationary multiply-accumulate array."""

    __pydantic_config__ = _STRICT

    rows: int = 32
    """Rows of the array (the M dimension of a tile): 1 to 64."""
    columns: int = 32
    """Columns of the array (the N dimension of a tile): 1 to 64."""
    operand_bits: int = 4
    """Width of the operands: 4 (INT4, and INT8 in passes), or 8 (INT8) or 16 (FP16, sums in FP32) for the comparison machine."""
    accumulator_bits: int = 32
    """Width of the accumulators: 32, signed. A sum wraps beyond it, which INT4 reaches after 2**25 products; of FP16 operands it is FP32."""
    output_lanes: int = 8
    """Columns of a row that the output path scales and rounds each clock, if there are so many: 1 to 64."""

    def __post_init__(self) -> None:
        _require(1 <= self.rows <= 64, "rows", "1 to 64", self.rows)
        _require(1 <= self.columns <= 64, "columns", "1 to 64", self.columns)
        _require(self.operand_bits in (4, 8, 16), "operand_bits", "4, 8 or 16", self.operand_bits)
        _require(self.accumulator_bits == 32, "accumulator_bits", "32", self.accumulator_bits)
        _require(1 <= self.output_lanes <= 64, "output_lanes", "1 to 64", self.output_lanes)

    @property
    def macs_per_clk(self) -> int:
        """Multiply-accumulates per clock at full utilisation."""
        return self.rows * self.columns

    @property
    def latency_clk(self) -> int:
        """Clocks from the last accepted step of a tile to its first row of results at the output.

        Operands, sums, drain registers; of FP16 operands the products and the rounded rows are registered, too.

        >>> MatrixConfig().latency_clk, MatrixConfig(operand_bits=16).latency_clk
        (3, 5)
        """
        return 3 if self.integers else 5

    @property
    def integers(self) -> bool:
        """Whether the operands are integers; if not, they are FP16."""
        return self.operand_bits < 16

    @property
    def result_latency_clk(self) -> int:
        """Clocks from the last accepted step of a tile to its first results behind the output path, which an FP16 array has not.

        >>> MatrixConfig().result_latency_clk, MatrixConfig(operand_bits=16).result_latency_clk
        (10, 5)
        """
        return self.latency_clk + REQUANTISER_LATENCY_CLK * self.integers

    @property
    def requantiser_lanes(self) -> int:
        """Lanes of the output path: no more than there are columns."""
        return min(self.output_lanes, self.columns)

    @property
    def row_beats(self) -> int:
        """Clocks in which the output path takes a row; the last beat of a row may be padded.

        1 for FP16 operands: that array has a rounder for each column in place of the output path, and a whole row
        leaves it each clock, which favours it.

        >>> [MatrixConfig(columns=columns).row_beats for columns in (5, 8, 12, 64)]
        [1, 1, 2, 8]
        """
        if not self.integers:
            return 1
        return -(-self.columns // self.requantiser_lanes)

    @property
    def constants_bytes(self) -> int:
        """Biases and multipliers of a tile of columns, in whole beats of the output path; :data:`CONSTANT_BYTES` each.

        >>> MatrixConfig().constants_bytes, MatrixConfig(columns=5, output_lanes=2).constants_bytes
        (192, 36)
        """
        return CONSTANT_BYTES * self.row_beats * self.requantiser_lanes

    @property
    def block_steps(self) -> int:
        """Steps of a block of operands: lines of k elements become steps a block at a time, in a square that has room for
        the array's longer edge; even, so that each block of an INT4 line begins with a byte.

        >>> MatrixConfig().block_steps, MatrixConfig(rows=3, columns=5).block_steps
        (32, 6)
        """
        edge = max(self.rows, self.columns)
        return edge + edge % 2

    def leave_clk(self, *, reload: bool = False) -> int:
        """Clocks in which a tile leaves through the output path; ``reload``: new constants of the columns come before it.

        >>> MatrixConfig().leave_clk(), MatrixConfig().leave_clk(reload=True)
        (128, 132)
        """
        return (self.rows + reload) * self.row_beats

    @property
    def splits(self) -> bool:
        """Whether operands wider than the array's are multiplied in passes."""
        return self.operand_bits == SPLIT_BITS

    def passes(self, a_bits: int, w_bits: int) -> int:
        """Steps that one k takes with operands of these widths: one for each pair of their parts.

        Raises:
            ValueError: The array has no passes for such operands.

        >>> [MatrixConfig().passes(*bits) for bits in ((4, 4), (8, 4), (8, 8))]
        [1, 2, 4]
        >>> MatrixConfig(operand_bits=16).passes(16, 16)
        1
        """
        widths = (SPLIT_BITS, 2 * SPLIT_BITS) if self.splits else (self.operand_bits,)
        for name, bits in (("a_bits", a_bits), ("w_bits", w_bits)):
            _require(bits in widths, name, " or ".join(map(str, widths)), bits)
        return a_bits * w_bits // self.operand_bits**2

    def tile_clk(self, k: int) -> int:
        """Clocks between the starts of two successive tiles of ``k`` steps: the drain takes ``rows`` clocks.

        >>> MatrixConfig(rows=32).tile_clk(16)
        32
        """
        return max(k, self.rows)


@dataclass(frozen=True, kw_only=True)
class OperandPathConfig:
    """From floating-point operands to the array's INT4: block Walsh-Hadamard transform, quantiser, row sampler."""

    __pydantic_config__ = _STRICT

    lanes: int = 16
    """Elements a clock: 8, 16, 32 or 64. 16 is the rate of DMA and vector unit."""
    largest_block: int = 64
    """The largest block of the transform: 8, 16, 32 or 64; smaller ones and none (1) are selected at run time."""
    formats: tuple[str, ...] = ("fp16",)
    """Number formats of the input, selected at run time: ``fp16``, ``bf16`` or both."""
    row_bits: int = 16
    """Width of a row's number in the row sampler, whose lists have up to 2**``row_bits`` rows: 8 to 24."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "formats", tuple(self.formats))
        _require(self.lanes in (8, 16, 32, 64), "lanes", "8, 16, 32 or 64", self.lanes)
        _require(
            self.largest_block in HADAMARD_BLOCKS[1:], "largest_block", "8, 16, 32 or 64", self.largest_block
        )
        _require(
            0 < len(self.formats) == len(set(self.formats)) and set(self.formats) <= {"fp16", "bf16"},
            "formats", "fp16, bf16 or both", list(self.formats),
        )  # fmt: skip
        _require(8 <= self.row_bits <= 24, "row_bits", "8 to 24", self.row_bits)

    @property
    def number_formats(self) -> tuple[NumberFormat, ...]:
        """The formats; the index of each is what selects it at run time."""
        return tuple(FORMATS[name] for name in self.formats)

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that can be selected, by index."""
        return tuple(block for block in HADAMARD_BLOCKS if block <= self.largest_block)

    @property
    def levels(self) -> int:
        """Levels of additions in the largest block."""
        return self.largest_block.bit_length() - 1

    @property
    def beat_levels(self) -> int:
        """Levels that add elements of one beat; the others add elements of two beats."""
        return min(self.lanes, self.largest_block).bit_length() - 1

    @property
    def transformed_bits(self) -> int:
        """Width of a transformed element."""
        return FIXED_POINT_BITS + self.levels

    def block_beats(self, block: int) -> int:
        """Beats of a block; the beats of a block follow each other.

        >>> [OperandPathConfig(lanes=16).block_beats(block) for block in (1, 8, 32, 64)]
        [1, 1, 2, 4]
        """
        return max(1, block // self.lanes)

    def transform_latency_clk(self, block: int) -> int:
        """Clocks from an accepted beat to the transformed one, where a block's beats are offered without a gap.

        A stage for each level between beats, one for each two levels in a beat; and a beat waits for the last
        of its block.

        >>> [OperandPathConfig(lanes=8).transform_latency_clk(block) for block in (1, 8, 16, 64)]
        [7, 7, 8, 14]
        """
        stages = self.levels - self.beat_levels + (self.beat_levels + 1) // 2
        return FIXED_POINT_LATENCY_CLK + stages + self.block_beats(block) - 1

    def latency_clk(self, block: int) -> int:
        """Clocks from an accepted beat to its INT4, likewise."""
        return self.transform_latency_clk(block) + INT4_QUANTISER_LATENCY_CLK


@dataclass(frozen=True, kw_only=True)
class VectorConfig:
    """The vector unit: RVV 1.0 is the contract, ``lanes`` x 32 bits a clock, in-order issue, chaining."""

    __pydantic_config__ = _STRICT

    lanes: int = 8
    """32-bit lanes, each two FP16 or one FP32 element per clock: 1 to 64, a power of two."""
    vlen_bits: int = 1024
    """Bits of each of the 32 vector registers: 128 to 65536, a power of two, at least 32 x ``lanes``."""

    def __post_init__(self) -> None:
        _require(
            1 <= self.lanes <= 64 and self.lanes.bit_count() == 1,
            "lanes",
            "a power of two, 1 to 64",
            self.lanes,
        )
        _require(
            128 <= self.vlen_bits <= 65536 and self.vlen_bits.bit_count() == 1 and self.vlen_bits >= 32 * self.lanes,
            "vlen_bits", f"a power of two, 128 to 65536, and at least 32 x lanes = {32 * self.lanes}", self.vlen_bits,
        )  # fmt: skip

    @property
    def bits_per_clk(self) -> int:
        """Bits of a source operand that the lanes consume each clock."""
        return 32 * self.lanes

    # Latencies: from the start of an instruction to that of a reader of its first beat (docs/core.md).

    @property
    def alu_latency_clk(self) -> int:
        """Integer and logic, compares, moves, merges, slides, 7-bit estimates: operand registers, result register, register file."""
        return 3

    @property
    def gather_latency_clk(self) -> int:
        """``vrgather.vv``: an index is read one clock before its element."""
        return self.alu_latency_clk + 1

    @property
    def fma_latency_clk(self) -> int:
        """Floating-point add and multiply, conversions, integer multiply: as many stages as FP32 wants.

        >>> VectorConfig().fma_latency_clk
        8
        """
        return 2 + multiply_add_latency_clk(FORMATS[name] for name in ("fp16", "bf16", "fp32"))

    @property
    def register_beats(self) -> int:
        """Words of ``bits_per_clk`` in a register.

        >>> VectorConfig(lanes=8, vlen_bits=1024).register_beats
        4
        """
        return self.vlen_bits // self.bits_per_clk

    @property
    def reduction_latency_clk(self) -> int:
        """A reduction, after its last beat.

        >>> VectorConfig(lanes=8, vlen_bits=1024).reduction_latency_clk
        23
        """
        return 2 + reduction_stages_clk(self.lanes, self.vlen_bits)

    @property
    def load_latency_clk(self) -> int:
        """Address registers, SRAM, rotation, register file."""
        return 4

    @property
    def store_latency_clk(self) -> int:
        """Until the buffer's count of writes has gone up, after the last beat."""
        return 4

    @property
    def table_latency_clk(self) -> int:
        """Flex-SFU's table, after the last entry."""
        return 3


@dataclass(frozen=True, kw_only=True)
class ScratchpadConfig:
    """On-chip buffers for tiles, banked so that matrix unit, vector unit and DMA work side by side.

    A bank has one port for each of the three; a buffer occupies whole banks, and the mapping gives no
    bank to two buffers of an operator, so that no access is ever delayed by another.
    """

    __pydantic_config__ = _STRICT

    size_kib: int = 512
    """Capacity in KiB: 16 to 65536."""
    banks: int = 64
    """Banks of equal size: 16 to 1024."""

    def __post_init__(self) -> None:
        _require(16 <= self.size_kib <= 65536, "size_kib", "16 to 65536", self.size_kib)
        _require(16 <= self.banks <= 1024, "banks", "16 to 1024", self.banks)
        _require(
            self.bytes % self.banks == 0,
            "size_kib",
            f"a multiple of banks = {self.banks} bytes",
            self.size_kib,
        )

    @property
    def bytes(self) -> int:
        """Capacity in bytes."""
        return 1024 * self.size_kib

    @property
    def bank_bytes(self) -> int:
        """Capacity of a bank in bytes."""
        return self.bytes // self.banks


@dataclass(frozen=True, kw_only=True)
class DmaConfig:
    """DMA between external memory and scratchpad; AXI4's read and write channels work side by side, each in order."""

    __pydantic_config__ = _STRICT

    bytes_per_clk: int = 32
    """Bytes per clock and channel, a 256-bit AXI4 port: a power of two, 4 to 512. 16 GB/s at 500 MHz."""
    latency_clk: int = 64
    """From request to the first byte, external memory included (128 ns at 500 MHz): 5 to 4096, of which four are the engine's own."""
    descriptor_clk: int = 4
    """Clocks to fetch and decode one descriptor, during which nothing moves: 1 to 256."""

    def __post_init__(self) -> None:
        _require(
            4 <= self.bytes_per_clk <= 512 and self.bytes_per_clk.bit_count() == 1,
            "bytes_per_clk", "a power of two, 4 to 512", self.bytes_per_clk,
        )  # fmt: skip
        least = DMA_PIPELINE_CLK + 1
        _require(least <= self.latency_clk <= 4096, "latency_clk", f"{least} to 4096", self.latency_clk)
        _require(1 <= self.descriptor_clk <= 256, "descriptor_clk", "1 to 256", self.descriptor_clk)


@dataclass(frozen=True, kw_only=True)
class WeightGeneratorConfig:
    """Makes INT4 weights from a seed and writes them to the scratchpad: random filters that are never in external memory.

    What for: Gavrikov and Keuper, arXiv 2301.11360, whose spatial filters are random and frozen.
    """

    __pydantic_config__ = _STRICT

    enabled: bool = False
    """Whether the machine has the unit."""
    bytes_per_clk: int = 32
    """Bytes that it writes each clock, two weights each: a power of two, 4 to 64. DMA's default rate, but beside it."""

    def __post_init__(self) -> None:
        _require(
            4 <= self.bytes_per_clk <= 64 and self.bytes_per_clk.bit_count() == 1,
            "bytes_per_clk", "a power of two, 4 to 64", self.bytes_per_clk,
        )  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Request register; word register, rotation, scratchpad. A reader can start so many clocks, and one for each further word, after the start."""
        return 4


@dataclass(frozen=True, kw_only=True)
class MachineConfig:
    """The whole machine.

    Raises:
        ValueError: A field is out of range, or two fields contradict each other; the message has both numbers.
    """

    __pydantic_config__ = _STRICT

    clock_ns: float = 2.0
    """Clock period in ns; 2.0 is 500 MHz, the Flex-SFU paper's clock. Turns cycles into time and constrains synthesis."""
    flex_sfu: FlexSfuConfig = field(default_factory=FlexSfuConfig)
    matrix: MatrixConfig = field(default_factory=MatrixConfig)
    operand_path: OperandPathConfig = field(default_factory=OperandPathConfig)
    vector: VectorConfig = field(default_factory=VectorConfig)
    scratchpad: ScratchpadConfig = field(default_factory=ScratchpadConfig)
    dma: DmaConfig = field(default_factory=DmaConfig)
    weight_generator: WeightGeneratorConfig = field(default_factory=WeightGeneratorConfig)

    def __post_init__(self) -> None:
        _require(0.1 <= self.clock_ns <= 1000, "clock_ns", "0.1 to 1000", self.clock_ns)
        _require(
            self.flex_sfu.lanes <= self.vector.lanes and self.vector.lanes % self.flex_sfu.lanes == 0,
            "flex_sfu.lanes", f"a divisor of vector.lanes = {self.vector.lanes}", self.flex_sfu.lanes,
        )  # fmt: skip

    def baseline(self) -> "MachineConfig":
        """The same machine without Flex-SFU: activations run in software on the vector unit."""
        return dataclasses.replace(self, flex_sfu=dataclasses.replace(self.flex_sfu, enabled=False))

    def vector_latency_clk(self, latency: Latency) -> int:
        """Clocks from a vector instruction's start to that of a reader of its first beat; of a reduction or a table load, of its last.

        The sequencer and the timing engine both ask here.

        >>> [MachineConfig().vector_latency_clk(latency) for latency in (Latency.ALU, Latency.FMA, Latency.FLEX_SFU)]
        [3, 8, 12]
        """
        vector = self.vector
        return {
            Latency.SET: 1,
            Latency.ALU: vector.alu_latency_clk,
            Latency.GATHER: vector.gather_latency_clk,
            Latency.REDUCE: vector.reduction_latency_clk,
            Latency.FMA: vector.fma_latency_clk,
            Latency.LOAD: vector.load_latency_clk,
            Latency.STORE: vector.store_latency_clk,
            Latency.FLEX_SFU: 2 + self.flex_sfu.latency_clk,
            Latency.TABLE: vector.table_latency_clk,
        }[latency]

    def as_dict(self) -> dict[str, Any]:
        """Tables and keys as in the TOML file."""
        values = dataclasses.asdict(self)
        values["flex_sfu"]["formats"] = list(self.flex_sfu.formats)
        values["operand_path"]["formats"] = list(self.operand_path.formats)
        return values

    @property
    def hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the canonical JSON: names the machine in every result.

        A weight generator that is not there is left out, so that machines keep the names that they had before there was one.
        """
        values = self.as_dict()
        if not self.weight_generator.enabled:
            del values["weight_generator"]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def toml(self) -> str:
        """The machine as a TOML file that :func:`load_config` reads back."""
        tables = self.as_dict()
        lines = [f"clock_ns = {tables.pop('clock_ns')}"]
        for name, table in tables.items():
            lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        return "\n".join(lines) + "\n"


def load_config(path: Path | None) -> MachineConfig:
    """Read a machine from a TOML file; ``None`` is the default machine. Absent keys take their documented defaults.

    Raises:
        UserError: The file is missing or no TOML, or a key is unknown, of the wrong type or out of range.
    """
    if path is None:
        return MachineConfig()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; expected a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not TOML: {error}") from None
    return parse_config(data, source=str(path))


def parse_config(data: dict[str, Any], source: str) -> MachineConfig:
    """Make a machine from TOML's tables; ``source`` names them in errors.

    Raises:
        UserError: As :func:`load_config`.
    """
    sfu, vector = data.get("flex_sfu", {}), data.get("vector", {})
    lanes = vector.get("lanes") if isinstance(vector, dict) else None
    if isinstance(sfu, dict) and type(lanes) is int and 1 <= lanes <= 64:
        data = data | {"flex_sfu": {"lanes": lanes} | sfu}
    try:
        config = TypeAdapter(MachineConfig).validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise UserError(f"{source}: {_first_problem(error)}") from None
    try:
        _check_core(config)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    return config


def _check_core(config: MachineConfig) -> None:
    """What the core asks for beyond its units, each of which stands for itself as well.

    Raises:
        ValueError: It has no such core.
    """
    matrix, lanes = config.matrix, config.vector.lanes
    _require(
        config.flex_sfu.lanes == lanes, "flex_sfu.lanes", f"vector.lanes = {lanes}", config.flex_sfu.lanes
    )
    _require(
        matrix.operand_bits != SPLIT_BITS or matrix.row_beats == 1 or matrix.output_lanes % 2 == 0,
        "matrix.output_lanes", f"even, or at least matrix.columns = {matrix.columns}", matrix.output_lanes,
    )  # fmt: skip


def _first_problem(error: ValidationError) -> str:
    """One line for the first thing that is wrong, with its key."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}: unknown key; expected one of {_known_keys(problem['loc'][:-1])}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}.{message}" if key else message
    return f"{key}: {message[0].lower()}{message[1:]}, not {problem['input']!r}"


def _known_keys(table: tuple[int | str, ...]) -> str:
    kind: Any = MachineConfig
    for part in table:
        kind = {item.name: item.type for item in dataclasses.fields(kind)}[str(part)]
    return ", ".join(item.name for item in dataclasses.fields(kind))
