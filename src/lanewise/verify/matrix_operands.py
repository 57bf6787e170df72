"""Operands of tiles in a scratchpad's image, for the benches of operand feed and matrix stream."""

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig, MatrixConfig, ScratchpadConfig
from lanewise.verify.bench import Case
from lanewise.verify.words import to_words

_SHAPES = ((4, 4, 2), (3, 5, 4))
_SHAPES_FULL = (*_SHAPES, (2, 2, 2), (1, 2, 2), (2, 7, 2), (8, 8, 8), (16, 12, 4), (32, 32, 8))
_SIZE_KIB, _ODD_SIZE_KIB, _LARGE_SIZE_KIB = 16, 17, 64
_LARGE = 16
"""Edges of arrays that have the large scratchpad."""
_LAYOUTS = ((False,), (True,), (False, True))
"""Of an operand, turned or not; one that has both changes from command to command."""


def matrix_cases(machine: MachineConfig, full: bool) -> list[Case]:
    """Machines with arrays of these shapes, in the wider set the machine's own, and a scratchpad whose size is a power of two, or not."""
    shapes = [
        MatrixConfig(rows=r, columns=c, output_lanes=n) for r, c, n in (_SHAPES_FULL if full else _SHAPES)
    ]
    own = [machine.matrix] if full and machine.matrix.splits else []
    cases = []
    for number, matrix in enumerate(dict.fromkeys([*shapes, *own])):
        size = _LARGE_SIZE_KIB if matrix.block_steps >= _LARGE else _ODD_SIZE_KIB if number % 2 else _SIZE_KIB
        config = replace(MachineConfig(), matrix=matrix, scratchpad=ScratchpadConfig(size_kib=size, banks=16))
        label = f"{matrix.rows}x{matrix.columns}by{matrix.requantiser_lanes}"
        cases.append(Case(label=label, config=config))
    return cases


@dataclass(kw_only=True)
class Image:
    """A scratchpad's bytes, and up to where they are given away; what nobody asked for is noise."""

    bytes: npt.NDArray[np.uint8]
    end: int = 0
    """Addresses go around the scratchpad's end."""
    used: int = 0

    def take(self, count: int) -> int:
        """The address of so many bytes that nobody else has."""
        address, self.end = self.end, (self.end + count) % len(self.bytes)
        self.used += count
        if self.used > len(self.bytes):
            raise ValueError(f"the image must hold {self.used} bytes, not {len(self.bytes)}")
        return address

    def put(self, address: int, values: npt.NDArray[np.uint8]) -> None:
        self.bytes[(address + np.arange(len(values))) % len(self.bytes)] = values


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How an operand lies in the scratchpad."""

    turned: bool
    """A step a row, not a line a row."""
    address: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An operand in the scratchpad: a line a row."""

    values: npt.NDArray[np.int64]
    bits: int
    layouts: tuple[Layout, ...]
    """Where it is; a command takes any of them."""


def place(
    rng: np.random.Generator, image: Image, values: npt.NDArray[np.int64], bits: int, *, turned: bool
) -> Layout:
    """Put an operand into the image, its lines, or if ``turned`` its steps, side by side or some bytes apart."""
    rows = values.T if turned else values
    count, length = rows.shape
    width = ceil(length * bits / 8)
    stride = width + int(rng.choice([0, 0, 1, 5]))
    address = image.take(count * stride)
    padded = np.zeros((count, length + length % 2), np.int64)
    padded[:, :length] = rows & ((1 << bits) - 1)
    if length % 2:
        padded[:, length] = rng.integers(0, 1 << bits, count)
    packed = padded if bits == 8 else padded[:, ::2] | padded[:, 1::2] << 4
    for number, row in enumerate(packed.astype(np.uint8)):
        image.put(address + number * stride, row[:width])
    return Layout(turned=turned, address=address, stride=stride)


def most_operand_bytes(lines: int, k: int) -> int:
    """What :func:`random_operand` takes of an image, at most: both layouts of INT8."""
    return lines * (k + 5) + k * (lines + 5)


def operand_fields(
    rng: np.random.Generator, a: Placed, w: Placed, start: int, config: MachineConfig
) -> list[tuple[int, int]]:
    """Both sides' part of a command, from step ``start`` on, of each side from a random one of its layouts."""
    size, matrix = config.scratchpad.bytes, config.matrix
    address_bits, lines_bits = (size - 1).bit_length(), max(matrix.rows, matrix.columns).bit_length()
    fields = []
    for side in (a, w):
        layout = side.layouts[int(rng.integers(len(side.layouts)))]
        distance = start * layout.stride if layout.turned else start * side.bits // 8
        fields += [
            ((layout.address + distance) % size, address_bits), (layout.stride, address_bits),
            (len(side.values), lines_bits), (int(side.bits == 8), 1), (int(layout.turned), 1),
        ]  # fmt: skip
    return fields


def chunks_of(
    rng: np.random.Generator, k: int, passes: int, *, whole: bool
) -> list[tuple[int, int, int, int, bool]]:
    """The commands of a tile: one, or one for each pass of each chunk of k, or for two of equal weight, one after the other; of each the
    first element, how many, the first and the final pass, and whether it ends the tile."""
    if whole or k < 3 or rng.random() < 0.6:
        return [(0, k, 0, passes - 1, True)]
    cut = 2 * int(rng.integers(1, (k + 1) // 2))
    together = passes == 4 and rng.random() < 0.5
    groups = [(0, 0), (1, 2), (3, 3)] if together else [(number, number) for number in range(passes)]
    parts = [(*part, *group) for group in groups for part in ((0, cut), (cut, k - cut))]
    return [(*part, place == len(parts) - 1) for place, part in enumerate(parts)]


def random_operand(rng: np.random.Generator, image: Image, most: int, k: int) -> Placed:
    """Up to ``most`` lines of INT4 or INT8, mostly all of them, in one layout or in both."""
    bits = int(rng.choice([4, 8]))
    lines = most if rng.random() < 0.5 else int(rng.integers(1, most + 1))
    half = 1 << (bits - 1)
    values = rng.integers(-half, half, (lines, k))
    layouts = _LAYOUTS[int(rng.integers(len(_LAYOUTS)))]
    placed = tuple(place(rng, image, values, bits, turned=turned) for turned in layouts)
    return Placed(values=values, bits=bits, layouts=placed)


def packed(fields: list[tuple[int, int]]) -> int:
    """Values and their widths as one payload, the first in the low bits.

    >>> hex(packed([(1, 4), (0xAB, 8)]))
    '0xab1'
    """
    word, at = 0, 0
    for value, bits in fields:
        if not 0 <= value < 1 << bits:
            raise ValueError(f"a field of {bits} bits must hold {value}")
        word |= value << at
        at += bits
    return word


def step_payloads(
    a: npt.NDArray[Any], w: npt.NDArray[Any], flags: npt.NDArray[np.int64], config: MatrixConfig
) -> list[int]:
    """Steps as the array takes them, shapes ``(lines, steps)``; lines that are not there are zeros; ``flags``: four bits a step."""
    words = [0] * a.shape[1]
    at = 0
    for lines, count in ((a, config.rows), (w, config.columns)):
        full = np.zeros((lines.shape[1], count), np.uint32)
        full[:, : len(lines)] = lines.T & 15
        words = [low | high << at for low, high in zip(words, to_words(full, 4), strict=True)]
        at += 4 * count
    return [low | int(high) << at for low, high in zip(words, flags, strict=True)]
