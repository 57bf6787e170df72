"""Tables and elements that Flex-SFU's benches share."""

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.config import SEGMENT_COUNTS, FlexSfuConfig, MachineConfig
from lanewise.models.address_decoder import fp16_key
from lanewise.models.flex_sfu import SfuTable
from lanewise.verify.bench import Case

Bits: TypeAlias = npt.NDArray[np.uint16]

_EDGES = np.array([
    0xFC00, 0xFBFF, 0x8400, 0x83FF, 0x8001, 0x8000, 0x0000, 0x0001, 0x03FF, 0x0400, 0x7BFF, 0x7C00,
])  # fmt: skip


def sfu_cases(machine: MachineConfig, full: bool) -> list[Case]:
    """The machine's unit, the smallest and the largest tree; in the full set every tree, in odd lanes."""
    own = dataclasses.replace(machine.flex_sfu, enabled=True)
    others = [FlexSfuConfig(segments=4, lanes=8), FlexSfuConfig(segments=64, lanes=4)]
    if full:
        pairs = zip(SEGMENT_COUNTS, (1, 3, 5, 7, 32), strict=True)
        others += [FlexSfuConfig(segments=segments, lanes=lanes) for segments, lanes in pairs]
    return [Case(label=f"{c.segments}x{c.lanes}", config=c) for c in dict.fromkeys([own, *others])]


def every_element(rng: np.random.Generator, lanes: int) -> Bits:
    """All 65,536 bit patterns in random order, repeated to fill whole beats, shape ``(beats, lanes)``."""
    return np.resize(rng.permutation(1 << 16), (-(-(1 << 16) // lanes), lanes)).astype(np.uint16)


def breakpoint_tables(rng: np.random.Generator, count: int) -> dict[str, Bits]:
    """Sorted breakpoints of several kinds, each of shape ``(count,)``."""
    numbers = np.arange(1 << 16, dtype=np.uint16)
    numbers = numbers[(numbers & 0x7FFF) <= 0x7C00]
    around_zero = rng.integers(0, 0x400, size=count) | rng.integers(0, 2, size=count) << 15
    around_zero[:2] = 0x8000, 0x0000
    tables = {
        "random": rng.choice(numbers, size=count, replace=False),
        "duplicates": rng.choice(rng.choice(numbers, size=max(2, count // 4)), size=count),
        "edges": np.resize(_EDGES, count),
        "subnormals and both zeros": around_zero,
        "neighbours": 0x3C00 + np.arange(count),
        "all equal": np.full(count, 0x8000),
        "left of everything": np.full(count, 0xFC00),
    }
    return {name: sort(bits.astype(np.uint16)) for name, bits in tables.items()}


def sort(bits: Bits) -> Bits:
    """In the tree's order."""
    return bits[np.argsort(fp16_key(bits), kind="stable")]


def random_table(rng: np.random.Generator, breakpoints: Bits) -> SfuTable:
    """Any numbers, infinities included, as coefficients."""
    numbers = np.arange(1 << 16, dtype=np.uint16)
    numbers = numbers[(numbers & 0x7FFF) <= 0x7C00]
    slopes, offsets = rng.choice(numbers, size=(2, breakpoints.size + 1))
    return SfuTable(breakpoints=breakpoints, slopes=slopes, offsets=offsets)


def breakpoint_loads(breakpoints: Bits, config: FlexSfuConfig) -> list[int]:
    """Payloads that load the breakpoints, one each."""
    return _addressed([breakpoints], config)


def coefficient_loads(slopes: Bits, offsets: Bits, config: FlexSfuConfig) -> list[int]:
    """Payloads that load the coefficients, one a segment."""
    return _addressed([slopes, offsets], config)


def _addressed(columns: Sequence[Bits], config: FlexSfuConfig) -> list[int]:
    words = []
    for address, values in enumerate(zip(*columns, strict=True)):
        fields = sum(int(value) << (16 * k) for k, value in enumerate(values))
        words.append(address | fields << config.levels)
    return words
