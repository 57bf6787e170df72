"""Bits of the matrix commands: tiles of products from operands in the scratchpad to results in the scratchpad."""

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.config import SCALE_BYTES, SPLIT_BITS, MatrixConfig
from lanewise.models.lfsr import States
from lanewise.models.mac_array import steps
from lanewise.models.matrix_layout import packed_lines
from lanewise.models.matrix_unit import tile_random
from lanewise.models.requantiser import requantise

Int: TypeAlias = npt.NDArray[np.int64]
Bytes: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operand:
    """An operand in the scratchpad; all distances in bytes.

    A line has its elements of k side by side, INT4 two a byte, the first in the low bits, and begins with a byte. Of a ``turned`` operand the
    elements of all lines lie side by side, in the same way, for each k.
    """

    address: int
    stride: int
    """From line to line; of a ``turned`` operand, from step to step."""
    lines: int
    bits: int = 4
    """4 or 8."""
    turned: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Products:
    """What a command adds to the sums of ``left.lines`` rows and ``right.lines`` columns."""

    left: Operand
    right: Operand
    k: int
    """Steps of a pass."""
    first: int = 0
    """Number of the first pass, as :func:`lanewise.models.mac_array.steps` counts them."""
    passes: int = 1
    shift: bool = False
    """Whether the sums move left by 4 before the first step; the passes behind the first see to it themselves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What becomes of a tile's sums; all addresses are the scratchpad's."""

    address: int
    """Of the first row of results."""
    stride: int
    """Bytes from row to row."""
    form: str
    """One of :data:`lanewise.config.REQUANTISER_FORMATS`."""
    stochastic: bool = False
    multiplier: int = 1
    """Of all rows, 16 bits, and"""
    shift_bits: int = 0
    """how far to the right, of 6 bits, if ``scales`` is ``None``."""
    scales: int | None = None
    """Of the rows' own, :data:`~lanewise.config.SCALE_BYTES` each."""
    constants: int | None = None
    """Of new constants of the columns: for each beat of a row as many INT32 biases as the output path has lanes, then as many 16-bit multipliers."""


class MatrixCommands:
    """The matrix stream's state - sums, the columns' constants, random states - and what each command does to it and to the scratchpad.

    A command reads all that it reads before it writes. Addresses are modulo the scratchpad's size.

    Args:
        config: The array, of INT4 operands.
        memory: The scratchpad; results are written in place.

    Raises:
        ValueError: The array has no passes.

    >>> memory = bytearray([0x21, 0x43, 0x11, 0x11]) + bytes(12)
    >>> memory[8:14] = (5).to_bytes(4, "little") + (2).to_bytes(2, "little")
    >>> stream = MatrixCommands(MatrixConfig(rows=1, columns=1), memory)
    >>> left, right = (Operand(address=address, stride=2, lines=1) for address in (0, 2))
    >>> stream.tile(Products(left=left, right=right, k=4), Output(address=15, stride=1, form="int8", constants=8))
    >>> memory[15]  # ((1 + 2 + 3 + 4) * 1 + 5) * 2
    30
    """

    def __init__(self, config: MatrixConfig, memory: bytearray) -> None:
        if not config.splits:
            raise ValueError(f"operand_bits must be {SPLIT_BITS}, not {config.operand_bits!r}")
        self.config = config
        self._memory: Bytes = np.frombuffer(memory, np.uint8)
        self._sums: npt.NDArray[np.int32] = np.zeros((config.rows, config.columns), np.int32)
        self._columns: tuple[Int, Int] | None = None
        """Biases and multipliers, shape ``(columns,)`` each."""
        self._states: States | None = None

    @property
    def sums(self) -> npt.NDArray[np.int32]:
        """A copy of the sums of the tile that has begun, shape ``(rows, columns)``."""
        return self._sums.copy()

    def seed(self, states: States) -> None:
        """Load the random states, shape ``(lanes,)``, none 0.

        Raises:
            ValueError: There is not one state for each lane.
        """
        if states.shape != (self.config.requantiser_lanes,):
            raise ValueError(f"states must have shape {(self.config.requantiser_lanes,)}, not {states.shape}")
        self._states = states.copy()

    def accumulate(self, products: Products) -> None:
        """``mm.accumulate``: add products to the sums.

        Raises:
            ValueError: An operand has too many lines or another width, there is no step, or there are no such passes.
        """
        config, k = self.config, products.k
        left = self._operand("left", products.left, k, config.rows)
        right = self._operand("right", products.right, k, config.columns)
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        most = config.passes(products.left.bits, products.right.bits)
        if products.first < 0 or products.passes < 1 or products.first + products.passes > most:
            raise ValueError(
                f"passes must be among the {most} of such operands, not {products.passes} from {products.first} on"
            )
        made = steps(left, right.T, products.left.bits, products.right.bits)
        part = slice(products.first * k, (products.first + products.passes) * k)
        shift = made.shift[part].copy()
        shift[0] = products.shift
        added = replace(
            made, a=made.a[:, part], w=made.w[part], a_signed=made.a_signed[part], w_signed=made.w_signed[part], shift=shift
        ).sums  # fmt: skip
        sums = self._sums << (SPLIT_BITS * int(shift.sum()))
        sums[: len(left), : len(right)] += added  # modulo 2**32
        self._sums = sums

    def tile(self, products: Products, output: Output) -> None:
        """``mm.tile``: add the last products; scale and round the sums, write the results, and begin anew.

        Every tile takes the random bits of all rows of the array, whatever its size, format and rounding.

        Raises:
            ValueError: As :meth:`accumulate`, or what the output path needs has not been loaded, or is out of range.
        """
        self.accumulate(products)
        rows, columns = products.left.lines, products.right.lines
        if output.constants is not None:
            self._columns = self._constants(output.constants)
        if self._columns is None:
            raise ValueError("constants must have been loaded before the first tile leaves")
        bias, column_multiplier = (values[:columns] for values in self._columns)
        multiplier: npt.NDArray[Any] = np.full(rows, output.multiplier)
        places: npt.NDArray[Any] = np.full(rows, output.shift_bits)
        if output.scales is not None:
            words = self._read(output.scales, SCALE_BYTES * rows).view("<u4")
            multiplier, places = words & 0xFFFF, words >> 16 & 63
        results = requantise(
            self._sums[:rows, :columns], bias=bias, column_multiplier=column_multiplier, row_multiplier=multiplier,
            shift=places, form=output.form, random=self._random(rows, columns, output.stochastic),
        )  # fmt: skip
        for row, values in enumerate(packed_rows(results, output.form)):
            self._write(output.address + row * output.stride, values)
        self._sums = np.zeros_like(self._sums)

    def _random(self, rows: int, columns: int, stochastic: bool) -> npt.NDArray[np.uint16] | None:
        if self._states is not None:
            bits, self._states = tile_random(self._states, 1, self.config)
            return bits[0, :rows, :columns] if stochastic else None
        if stochastic:
            raise ValueError("states must have been loaded before results are rounded stochastically")
        return None

    def _constants(self, address: int) -> tuple[Int, Int]:
        config = self.config
        lanes = config.requantiser_lanes
        words = self._read(address, config.constants_bytes).reshape(config.row_beats, -1)
        bias = words[:, : 4 * lanes].reshape(-1).view("<i4")
        multiplier = words[:, 4 * lanes :].reshape(-1).view("<u2")
        return bias.astype(np.int64), multiplier.astype(np.int64)

    def _operand(self, name: str, operand: Operand, k: int, most: int) -> Int:
        """Elements, shape ``(lines, k)``."""
        if not 0 <= operand.lines <= most:
            raise ValueError(f"{name} must have at most {most} lines, not {operand.lines}")
        if operand.bits not in (SPLIT_BITS, 2 * SPLIT_BITS):
            raise ValueError(f"{name} must have 4 or 8 bits, not {operand.bits}")
        outer, inner = (k, operand.lines) if operand.turned else (operand.lines, k)
        place = np.arange(inner)
        offsets = place * operand.bits // 8
        addresses = operand.address + operand.stride * np.arange(outer)[:, None] + offsets
        found = self._memory[addresses % self._memory.size].astype(np.int64)
        if operand.bits == SPLIT_BITS:
            found = found >> SPLIT_BITS * (place % 2) & 15
        half = 1 << (operand.bits - 1)
        values: Int = (found ^ half) - half
        return values.T if operand.turned else values

    def _read(self, address: int, count: int) -> Bytes:
        found: Bytes = self._memory[(address + np.arange(count)) % self._memory.size]
        return found

    def _write(self, address: int, values: Bytes) -> None:
        self._memory[(address + np.arange(values.size)) % self._memory.size] = values


def packed_rows(results: npt.NDArray[Any], form: str) -> Bytes:
    """Rows of results as bytes, little-endian; INT4 two a byte, the first in the low bits, zero above an odd number of them.

    Args:
        results: What :func:`~lanewise.models.requantiser.requantise` returns, shape ``(rows, columns)``.
        form: Its format.

    >>> packed_rows(np.array([[1, -1, 2]], np.int8), "int4").tolist()
    [[241, 2]]
    """
    if form == "int4":
        return packed_lines(results, SPLIT_BITS)
    little = np.ascontiguousarray(results, results.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(len(results), results.shape[1] * results.itemsize)
