"""Tables, elements and payloads that Flex-SFU's benches share."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lanewise.config import SEGMENT_COUNTS, FlexSfuConfig, MachineConfig
from lanewise.formats import FORMATS, NumberFormat
from lanewise.models.flex_sfu import SfuTable
from lanewise.models.numbers import Bits, bits_dtype, decode, rank, unrank
from lanewise.verify.bench import Case
from lanewise.verify.operands import corner_elements, special_values
from lanewise.verify.words import concatenate, to_words

Bytes = npt.NDArray[np.uint8]

ALL_FORMATS = tuple(FORMATS)
WIDE_ELEMENTS = 1 << 14
"""Elements of a 32-bit format that stand for all."""


def sfu_cases(machine: MachineConfig, full: bool) -> list[Case]:
    """The machine's unit, the smallest tree, and one with everything; in the full set every tree, with and without
    second degree and second table, and other choices of formats."""
    own = dataclasses.replace(machine.flex_sfu, enabled=True)
    others = [
        FlexSfuConfig(segments=4, lanes=4),
        FlexSfuConfig(segments=64, lanes=2, degree=2, formats=ALL_FORMATS, double_buffered=True),
    ]
    if full:
        lanes = (1, 3, 5, 7, 16)
        others += [FlexSfuConfig(segments=s, lanes=n) for s, n in zip(SEGMENT_COUNTS, lanes, strict=True)]
        others += [
            FlexSfuConfig(segments=8, lanes=3, degree=2),
            FlexSfuConfig(segments=8, lanes=2, double_buffered=True),
            FlexSfuConfig(segments=16, lanes=2, formats=("fp16", "bf16"), double_buffered=True),
            FlexSfuConfig(segments=16, lanes=1, formats=("fp32",)),
            FlexSfuConfig(segments=16, lanes=2, formats=("int8",), degree=2),
            FlexSfuConfig(segments=8, lanes=2, formats=("fp8e4m3", "fp8e5m2", "int16")),
            FlexSfuConfig(segments=4, lanes=1, formats=("int32", "fp8e5m2"), double_buffered=True),
        ]
    return [Case(label=label(c), config=c) for c in dict.fromkeys([own, *others])]


def label(config: FlexSfuConfig) -> str:
    """A short name.

    >>> label(FlexSfuConfig(segments=8, lanes=2, degree=2, formats=ALL_FORMATS))
    '8x2-all-degree2'
    """
    parts = [f"{config.segments}x{config.lanes}"]
    if config.formats != ("fp16",):
        parts.append("all" if config.formats == ALL_FORMATS else "_".join(config.formats))
    parts += [f"degree{config.degree}"] * (config.degree > 1) + ["double"] * config.double_buffered
    return "-".join(parts)


def elements_of(rng: np.random.Generator, config: FlexSfuConfig, form: NumberFormat) -> Bits:
    """Every element (of a 32-bit format, :data:`WIDE_ELEMENTS`) in random order, repeated to fill whole beats; shape
    ``(beats, elements a beat)``."""
    every = corner_elements(rng, form, WIDE_ELEMENTS)
    width = config.elements_per_clk(form.bits)
    return np.resize(rng.permutation(every), (-(-every.size // width), width))


def random_elements(rng: np.random.Generator, config: FlexSfuConfig, form: NumberFormat, beats: int) -> Bits:
    """Shape ``(beats, elements a beat)``."""
    shape = (beats, config.elements_per_clk(form.bits))
    return rng.integers(0, 1 << form.bits, size=shape, dtype=bits_dtype(form))


def breakpoint_tables(rng: np.random.Generator, count: int, form: NumberFormat) -> dict[str, Bits]:
    """Sorted breakpoints of several kinds, each of shape ``(count,)``, none of them NaN."""
    kind = bits_dtype(form)
    special = special_values(form)
    special = special[~np.isnan(decode(special, form))]
    drawn = rng.integers(0, 1 << form.bits, size=4 * count + 64, dtype=kind)
    drawn = drawn[~np.isnan(decode(drawn, form))]
    around_zero = rng.integers(0, max(2, count // 2), size=count).astype(kind)
    if form.floating:
        around_zero |= (rng.integers(0, 2, size=count) << (form.bits - 1)).astype(kind)
    else:
        around_zero -= kind(count // 4)
    one = form.bias << form.fraction_bits if form.floating else 1
    tables = {
        "random": rng.choice(np.unique(drawn), size=count, replace=False),
        "duplicates": rng.choice(rng.choice(drawn, size=max(2, count // 4)), size=count),
        "edges": np.resize(special[np.argsort(rank(special, form))], count),
        "around zero": around_zero,
        "neighbours": np.minimum(one + np.arange(count), form.maximum_bits),
        "all equal": np.full(count, 1 << (form.bits - 1)),
        "left of everything": np.full(count, special[np.argmin(rank(special, form))]),
    }
    return {name: sort(bits.astype(kind), form) for name, bits in tables.items()}


def sort(bits: Bits, form: NumberFormat) -> Bits:
    """In the tree's order."""
    return unrank(np.sort(rank(bits, form)), form)


def random_table(
    rng: np.random.Generator, config: FlexSfuConfig, form: NumberFormat, kind: str = "random"
) -> SfuTable:
    """Any numbers, infinities included, as coefficients; zeros are not rare; any shifts."""
    breakpoints = breakpoint_tables(rng, config.breakpoints, form)[kind]
    shape = (config.segments, config.degree + 1)
    coefficients = rng.integers(0, 1 << form.bits, size=shape, dtype=bits_dtype(form))
    coefficients[np.isnan(decode(coefficients, form)) | (rng.integers(0, 8, size=shape) == 0)] = 0
    shifts: tuple[tuple[int, int], ...] = ()
    if not form.floating:
        pairs = rng.integers(0, (2 * form.bits, form.bits), size=(config.degree, 2))
        shifts = tuple((int(product), int(addend)) for product, addend in pairs)
    return SfuTable(format=form.name, breakpoints=breakpoints, coefficients=coefficients, shifts=shifts)


def selection_words(
    config: FlexSfuConfig, count: int, form: NumberFormat, bank: int
) -> list[tuple[list[int], int]]:
    """The fields ``format`` and ``bank`` of so many payloads, where the unit has them."""
    fields = []
    if len(config.formats) > 1:
        bits = (len(config.formats) - 1).bit_length()
        fields.append(([config.formats.index(form.name)] * count, bits))
    if config.double_buffered:
        fields.append(([bank] * count, 1))
    return fields


def beat_words(config: FlexSfuConfig, x: Bits, form: NumberFormat, bank: int = 0) -> list[int]:
    """Payloads of beats of elements, shape ``(beats, elements a beat)``."""
    words = (to_words(x, form.bits), 32 * config.lanes)
    return concatenate(words, *selection_words(config, len(x), form, bank))


def breakpoint_loads(
    config: FlexSfuConfig, breakpoints: Bits, form: NumberFormat, bank: int = 0
) -> list[int]:
    """Payloads that load the breakpoints, one each."""
    count = breakpoints.size
    return concatenate(
        (list(range(count)), config.levels),
        (breakpoints.tolist(), config.word_bits),
        *selection_words(config, count, form, bank),
    )


def coefficient_loads(config: FlexSfuConfig, table: SfuTable, bank: int = 0) -> list[int]:
    """Payloads that load the coefficients, one a segment."""
    count = table.segments
    shifts: Sequence[int] = [0] * config.degree
    if table.shifts:
        shifts = [product | addend << 6 for product, addend in table.shifts]
    fields: list[tuple[Sequence[int], int]] = [(list(range(count)), config.levels)]
    fields += [
        (table.coefficients[:, power].tolist(), config.word_bits) for power in range(config.degree + 1)
    ]
    if config.integers:
        fields += [([shift] * count, 11) for shift in shifts]
    return concatenate(*fields, *selection_words(config, count, table.form, bank))


def table_loads(config: FlexSfuConfig, table: SfuTable, bank: int = 0) -> dict[str, list[int]]:
    """What both load streams of Flex-SFU take."""
    return {
        "load_breakpoint": breakpoint_loads(config, table.breakpoints, table.form, bank),
        "load_coefficients": coefficient_loads(config, table, bank),
    }
