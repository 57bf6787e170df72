"""Draws commands of the core's matrix stream: tiles of any size, width and format, in one command or several."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from lanewise.config import REQUANTISER_BITS, REQUANTISER_FORMATS, SCALE_BYTES, MatrixConfig
from lanewise.models.matrix_commands import Bytes, Operand, Output, Products
from lanewise.verify.core_entries import MatrixCommand
from lanewise.verify.core_writer import (
    MATRIX_TABLES,
    REGION_BYTES,
    REGIONS,
    TABLE_BYTES,
    TABLES_OF_A_KIND,
    ProgramWriter,
)
from lanewise.verify.matrix_operands import chunks_of


@dataclass
class TileWriter:
    """Draws one matrix command after the other: of the tile that has begun, or of a new one."""

    writer: ProgramWriter
    pending: list[tuple[Products, dict[str, int]]] = field(default_factory=list)
    """Commands of the tile that are still to come, and their operands' buffers by number."""
    loaded: bool = False
    """Whether columns' constants have been."""

    def draw(self) -> None:
        """A command; before it, perhaps, loads of what it reads."""
        if not self.pending:
            self.pending = self._tile()
        products, regions = self.pending.pop(0)
        output = None
        if not self.pending:
            output, more = self._output(products, regions)
            regions |= more
        writer = self.writer
        tags = {role: writer.tags[region] for role, region in regions.items()}
        noise = int(writer.rng.integers(1 << 30))
        writer.entries.append(MatrixCommand.counted(writer.counts, products, output, tags, noise))

    def _tile(self) -> list[tuple[Products, dict[str, int]]]:
        """Its products: all of k, or chunks of it; behind or between them, now and then, others that do not go with them."""
        rng, matrix = self.writer.rng, self.writer.config.matrix
        size = matrix.block_steps
        k = int(rng.choice([1, 2, 3, size - 1, size, size + 1, 2 * size, 3 * size - 1]))
        (left, from_left), (right, from_right) = (
            self._operand(lines, k) for lines in (matrix.rows, matrix.columns)
        )
        regions = {"left": from_left, "right": from_right}
        passes = matrix.passes(left.bits, right.bits)
        parts: list[tuple[Products, dict[str, int]]] = []
        for start, count, first, final, _ in chunks_of(rng, k, passes, whole=False):
            a, w = (_moved(side, start) for side in (left, right))
            products = Products(
                left=a, right=w, k=count, first=first, passes=final - first + 1, shift=start == 0 and first % 2 == 1
            )  # fmt: skip
            parts.append((products, dict(regions)))
        while rng.random() < 0.15:
            parts.insert(int(rng.integers(len(parts) + 1)), self._other())
        return parts

    def _other(self) -> tuple[Products, dict[str, int]]:
        """Products of some passes of operands of their own."""
        rng, matrix = self.writer.rng, self.writer.config.matrix
        k = int(rng.integers(1, 2 * matrix.block_steps))
        (left, from_left), (right, from_right) = (
            self._operand(lines, k) for lines in (matrix.rows, matrix.columns)
        )
        most = matrix.passes(left.bits, right.bits)
        first = int(rng.integers(most))
        passes, shift = int(rng.integers(1, most - first + 1)), bool(rng.random() < 0.3)
        products = Products(left=left, right=right, k=k, first=first, passes=passes, shift=shift)
        return products, {"left": from_left, "right": from_right}

    def _operand(self, most: int, k: int) -> tuple[Operand, int]:
        """Lines, or steps, in a buffer, apart, on top of each other or the last first; as many lines as there can be, or fewer."""
        rng = self.writer.rng
        bits = int(rng.choice([4, 8]))
        lines = most if rng.random() < 0.6 else int(rng.integers(1, most + 1))
        region, turned = int(rng.integers(REGIONS)), bool(rng.random() < 0.3)
        rows, length = (k, lines) if turned else (lines, k)
        address, stride = self._rows(region, rows, ceil(length * bits / 8))
        return Operand(address=address, stride=stride, lines=lines, bits=bits, turned=turned), region

    def _rows(self, region: int, rows: int, width: int) -> tuple[int, int]:
        """Address and stride of rows of so many bytes within a buffer."""
        rng = self.writer.rng
        most = (REGION_BYTES - width) // max(1, rows - 1)
        least = min(width, most) if rng.random() < 0.7 else -most
        stride = int(rng.integers(least, most + 1))
        span = stride * (rows - 1)
        low, high = max(0, -span), REGION_BYTES - width - max(0, span)
        return self.writer.start_of(region) + int(rng.integers(low, high + 1)), stride

    def _output(self, products: Products, regions: dict[str, int]) -> tuple[Output, dict[str, int]]:
        """Where results go, and what they are made with; a command must not write where it reads."""
        writer = self.writer
        rng, matrix = writer.rng, writer.config.matrix
        more: dict[str, int] = {}
        free = [region for region in range(REGIONS) if region not in regions.values()]
        results = more["results"] = int(rng.choice(free))
        readable = [region for region in range(REGIONS) if region != results]
        constants = scales = None
        if not self.loaded or rng.random() < 0.5:
            more["constants"] = int(rng.choice(readable))
            constants, self.loaded = self._table(more["constants"], matrix.constants_bytes, 0), True
        if rng.random() < 0.4:
            more["scales"] = int(rng.choice(readable))
            scales = self._table(more["scales"], SCALE_BYTES * products.left.lines, 1)
        form = str(rng.choice(REQUANTISER_FORMATS))
        width = ceil(products.right.lines * REQUANTISER_BITS[form] / 8)
        address, stride = self._rows(results, products.left.lines, width)
        multiplier, shift = _scale(rng)
        output = Output(
            address=address, stride=stride, form=form, stochastic=bool(rng.random() < 0.5), multiplier=multiplier, shift_bits=shift,
            scales=scales, constants=constants,
        )  # fmt: skip
        return output, more

    def _table(self, region: int, size: int, kind: int) -> int:
        """Address of constants or scales: what happens to be there, or one of external memory's tables, which is loaded just before."""
        writer = self.writer
        offset = int(writer.rng.integers(REGION_BYTES - size + 1))
        if writer.rng.random() < 0.7:
            number = kind * TABLES_OF_A_KIND + int(writer.rng.integers(TABLES_OF_A_KIND))
            writer.transfer("load", region, MATRIX_TABLES + number * TABLE_BYTES, size, offset)
        return writer.start_of(region) + offset


def _moved(operand: Operand, start: int) -> Operand:
    """From a later step on, of an even number."""
    distance = start * operand.stride if operand.turned else start * operand.bits // 8
    return replace(operand, address=operand.address + distance)


def _scale(rng: np.random.Generator) -> tuple[int, int]:
    """A row's multiplier and shift: anything, or such that its results show the sums."""
    if rng.random() < 0.2:
        return int(rng.integers(1 << 16)), int(rng.integers(1 << 6))
    return int(rng.integers(1 << 14, 1 << 16)), int(rng.integers(26, 46))


def matrix_tables(matrix: MatrixConfig, rng: np.random.Generator, count: int) -> Iterator[Bytes]:
    """So many tables of columns' constants as the output path takes them, then as many of rows' scales."""
    lanes, beats = matrix.requantiser_lanes, matrix.row_beats
    for _ in range(count):
        wide = rng.random((beats, lanes)) < 0.1
        bias = np.where(
            wide, rng.integers(-(1 << 31), 1 << 31, wide.shape), rng.integers(-500, 500, wide.shape)
        )
        any_16 = rng.integers(0, 1 << 16, wide.shape)
        multiplier = np.where(rng.random(wide.shape) < 0.2, any_16, any_16 | 1 << 15)
        words = [bias.astype("<i4").view(np.uint8), multiplier.astype("<u2").view(np.uint8)]
        yield np.hstack(words).reshape(-1)
    for _ in range(count):
        scales = np.array([_scale(rng) for _ in range(matrix.rows)])
        noise = rng.integers(0, 1 << 10, matrix.rows) << 22
        yield (scales[:, 0] | scales[:, 1] << 16 | noise).astype("<u4").view(np.uint8)
