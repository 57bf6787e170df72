"""Output path: every format and rounding on sums of every size, stalls, reloads, clocks."""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import REQUANTISER_FORMATS, MachineConfig, MatrixConfig
from lanewise.models.lfsr import States, lane_states, random_bits
from lanewise.models.requantiser import requantise
from lanewise.rtl.requantiser import Requantiser
from lanewise.sim.requantiser import requantiser_results_clk, requantiser_rows_clk
from lanewise.verify.bench import Bench, Case
from lanewise.verify.testbench import Testbench, Transfers
from lanewise.verify.words import concatenate, from_words, to_words

_ROWS, _ROWS_FULL = 30_000, 400_000
_BLOCK = 3000
_SHAPES = ((4, 2), (5, 3), (1, 1))
_SHAPES_FULL = (*_SHAPES, (8, 8), (64, 16), (7, 64))
_TESTS = ("bits_and_clocks", "bits_with_stalls", "seeds_wait_for_rows")


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    configs = [
        MatrixConfig(rows=4, columns=c, output_lanes=n) for c, n in (_SHAPES_FULL if full else _SHAPES)
    ]
    cases = []
    own = [machine.matrix] if machine.matrix.integers else []
    for config in dict.fromkeys([*configs, *own]):
        rows = (_ROWS_FULL if full else _ROWS) // max(1, config.columns // 4)
        label = f"{config.columns}by{config.requantiser_lanes}"
        cases.append(Case(label=label, config=config, tests=_TESTS, parameters={"rows": rows}))
    return cases


BENCH = Bench(component=Requantiser, cases=_cases)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Constants of the columns."""

    bias: npt.NDArray[np.int64]
    multiplier: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Scales:
    """What goes with each row; shape ``(rows,)``."""

    multiplier: npt.NDArray[np.int64]
    shift: npt.NDArray[np.int64]
    form: npt.NDArray[np.int64]
    """Place in ``REQUANTISER_FORMATS``."""
    stochastic: npt.NDArray[np.int64]

    def part(self, rows: slice) -> "Scales":
        """Those of some rows."""
        return Scales(**{name: values[rows] for name, values in vars(self).items()})

    @staticmethod
    def joined(parts: "Sequence[Scales]") -> "Scales":
        """Those of several runs of rows, one after the other."""
        return Scales(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
        )


@cocotb.test()
async def bits_and_clocks(dut: Any) -> None:
    """Blocks of rows with new constants and seeds; the edges of rows and of beats."""
    tb = await Testbench.start(dut, MatrixConfig)
    left = tb.parameters["rows"]
    while left > 0:
        count = min(left, _BLOCK)
        reloads, moved = await _block(tb, count, 0.0)
        start = moved["load"].clocks[0]  # the first row reloads
        rows = [clk - start for clk in moved["i"].clocks]
        tb.check_clocks(rows, requantiser_rows_clk(count, tb.config, reloads), "rows")
        beats = [clk - start for clk in moved["o"].clocks]
        tb.check_clocks(beats, requantiser_results_clk(count, tb.config, reloads), "results")
        left -= count


@cocotb.test()
@cocotb.parametrize(p_in=[0.0, 0.5], p_out=[0.3, 0.7])
async def bits_with_stalls(dut: Any, p_in: float, p_out: float) -> None:
    """The same values, random bits included, whatever stalls."""
    tb = await Testbench.start(dut, MatrixConfig)
    for _ in range(2):
        await _block(tb, 500, {"i": p_in, "o": p_out, "load": p_in, "seed": p_in})


@cocotb.test()
async def seeds_wait_for_rows(dut: Any) -> None:
    """Seeds and constants that are offered behind a row: it keeps the old ones, the next rows have the new."""
    tb = await Testbench.start(dut, MatrixConfig)
    config = tb.config
    states = lane_states(3, config.requantiser_lanes)
    await tb.exchange({"seed": seed_words(states)}, {})
    for _ in range(20):
        old, new = random_columns(tb.rng, config), random_columns(tb.rng, config)
        sums, scales = random_rows(tb.rng, old, 4)
        scales = dataclasses.replace(scales, stochastic=np.ones(4, np.int64), form=np.arange(4) % 2)
        words = row_words(sums, scales, config, reloads=[0, 1])
        loads = column_words(old, config)
        first = await tb.exchange({"load": loads, "i": words[:1]}, {})
        assert len(first["i"].words) == 1
        other = lane_states(int(tb.rng.integers(1 << 32)), config.requantiser_lanes)
        moved = await tb.exchange(
            {"load": column_words(new, config), "seed": seed_words(other), "i": words[1:]},
            {"o": 4 * config.row_beats},
        )
        expected, _ = expected_rows(sums[:1], old, scales.part(slice(0, 1)), config, states)
        rest, states = expected_rows(sums[1:], new, scales.part(slice(1, 4)), config, other)
        tb.check_values(result_rows(moved["o"].words, scales, config), np.vstack([expected, rest]), "rows")


async def _block(tb: Testbench, count: int, p_stall: Any) -> tuple[list[int], dict[str, Transfers]]:
    """Load seeds, send rows of which some bring constants, compare the results; the rows that reload."""
    config = tb.config
    states = lane_states(int(tb.rng.integers(1 << 32)), config.requantiser_lanes)
    await tb.exchange({"seed": seed_words(states)}, {}, p_stall=p_stall)
    places = np.flatnonzero(tb.rng.random(count) < 0.01) + 1
    reloads = [0, *(int(place) for place in places if place < count)]
    ends = [*reloads[1:], count]
    loads: list[int] = []
    parts: list[tuple[npt.NDArray[np.int64], Scales]] = []
    expected: list[npt.NDArray[np.int64]] = []
    after = states
    for begin, end in zip(reloads, ends, strict=True):
        columns = random_columns(tb.rng, config)
        loads += column_words(columns, config)
        sums, scales = random_rows(tb.rng, columns, end - begin)
        parts.append((sums, scales))
        results, after = expected_rows(sums, columns, scales, config, after)
        expected.append(results)
    sums = np.vstack([sums for sums, _ in parts])
    scales = Scales.joined([scales for _, scales in parts])
    moved = await tb.exchange(
        {"i": row_words(sums, scales, config, reloads), "load": loads},
        {"o": count * config.row_beats}, p_stall=p_stall,
    )  # fmt: skip
    tb.check_values(result_rows(moved["o"].words, scales, config), np.vstack(expected), "results")
    flags = [word >> (16 * config.requantiser_lanes) for word in moved["o"].words]
    last = np.arange(1, count * config.row_beats + 1) % (config.rows * config.row_beats) == 0
    tb.check_values(flags, last.astype(int), "last flags")
    return reloads, moved


def random_columns(rng: np.random.Generator, config: MatrixConfig) -> Columns:
    """Small and large biases and multipliers, the extremes among them."""
    bias = rng.integers(-(1 << 31), 1 << 31, config.columns) >> rng.integers(0, 31, config.columns)
    multiplier = rng.integers(0, 1 << 16, config.columns) >> rng.integers(0, 16, config.columns)
    rare = rng.random((2, config.columns)) < 0.1
    bias = np.where(rare[0], rng.choice([-(1 << 31), (1 << 31) - 1, 0], config.columns), bias)
    return Columns(bias=bias, multiplier=np.where(rare[1], rng.choice([0, 65535, 1]), multiplier))


def random_rows(
    rng: np.random.Generator, columns: Columns, count: int
) -> tuple[npt.NDArray[np.int64], Scales]:
    """Sums of every size; shifts that bring a row's results near the format's range, mostly; some rows at ties or next to them."""
    shape = (count, len(columns.bias))
    sums = rng.integers(-(1 << 31), 1 << 31, shape) >> rng.integers(0, 32, shape)
    sums = np.where(rng.random(shape) < 0.02, rng.choice([-(1 << 31), (1 << 31) - 1, 0, 1, -1], shape), sums)
    near = np.clip(sums - columns.bias, -(1 << 31), (1 << 31) - 1)
    sums = np.where(rng.random((count, 1)) < 0.5, near, sums)  # then a row's values are as small as drawn
    scales = random_scales(rng, columns, sums)
    multiplier, shift = scales.multiplier, scales.shift
    near = rng.random(count) < 0.2
    scale = np.maximum(columns.multiplier * np.maximum(multiplier, 1)[:, None], 1)
    shift = np.where(
        near, np.clip(np.log2(scale.max(axis=1)).astype(np.int64) + rng.integers(8, 29, count), 0, 63), shift
    )
    halves = np.rint((rng.integers(-9, 9, shape) + 0.5) * 2.0 ** shift[:, None] / scale) + rng.integers(
        -1, 2, shape
    )
    ties = np.clip(halves, -(1 << 31), (1 << 31) - 1).astype(np.int64) - columns.bias
    sums = np.where(near[:, None], np.clip(ties, -(1 << 31), (1 << 31) - 1), sums)
    return sums, dataclasses.replace(scales, shift=shift)


def random_scales(rng: np.random.Generator, columns: Columns, sums: npt.NDArray[np.int64]) -> Scales:
    """Scales that mostly bring each row's results near the format's range."""
    count = len(sums)
    multiplier = rng.integers(0, 1 << 16, count) >> rng.integers(0, 16, count)
    multiplier = np.where(rng.random(count) < 0.3, 1 << rng.integers(0, 16, count), multiplier)
    value = np.abs((sums + columns.bias) * columns.multiplier).max(axis=1).astype(np.float64) * multiplier
    fit = np.log2(np.maximum(value, 1)).astype(np.int64) - rng.integers(-2, 28, count)
    shift = np.where(rng.random(count) < 0.7, np.clip(fit, 0, 63), rng.integers(0, 64, count))
    return Scales(
        multiplier=multiplier,
        shift=shift,
        form=rng.integers(0, 4, count),
        stochastic=rng.integers(0, 2, count),
    )


def expected_rows(
    sums: npt.NDArray[np.int64], columns: Columns, scales: Scales, config: MatrixConfig, states: States
) -> tuple[npt.NDArray[np.int64], States]:
    """Golden results, two's complement or bit patterns, and the states of the generators after them."""
    rows, lanes = len(sums), config.requantiser_lanes
    bits, states = random_bits(states, rows * config.row_beats)
    random = bits.reshape(rows, config.row_beats * lanes)[:, : config.columns]
    result = np.zeros(sums.shape, np.int64)
    for code, form in enumerate(REQUANTISER_FORMATS):
        for stochastic in (0, 1):
            chosen = (scales.form == code) & (scales.stochastic == stochastic)
            result[chosen] = requantise(
                sums[chosen], bias=columns.bias, column_multiplier=columns.multiplier,
                row_multiplier=scales.multiplier[chosen], shift=scales.shift[chosen], form=form,
                random=random[chosen] if stochastic else None,
            )  # fmt: skip
    return result, states


def result_rows(words: list[int], scales: Scales, config: MatrixConfig) -> npt.NDArray[np.int64]:
    """Beats taken apart by their rows' formats; what must be zero is checked."""
    lanes = config.requantiser_lanes
    whole = from_words(words, 16, lanes).astype(np.int64)
    form = np.repeat(scales.form, config.row_beats)
    result = whole.copy()
    for code, bits in ((0, 4), (1, 8)):
        chosen = np.flatnonzero(form == code)
        if len(chosen):
            packed = [words[k] & ((1 << 16 * lanes) - 1) for k in chosen]
            assert not any(word >> bits * lanes for word in packed), "bits above packed integers"
            values = from_words(packed, bits, lanes).astype(np.int64)
            result[chosen] = values - (values >> (bits - 1) << bits)
    return result.reshape(len(scales.form), -1)[:, : config.columns]


def column_words(columns: Columns, config: MatrixConfig) -> list[int]:
    """Loads of the whole table; what is beyond the last column is zero."""
    beats, lanes = config.row_beats, config.requantiser_lanes
    fields = np.zeros((2, beats * lanes), np.int64)
    fields[:, : config.columns] = columns.bias & 0xFFFFFFFF, columns.multiplier
    bias, multiplier = fields.reshape(2, beats, lanes)
    return concatenate((to_words(bias, 32), 32 * lanes), (to_words(multiplier, 16), 16 * lanes))


def seed_words(states: States) -> list[int]:
    """Loads of every lane's generator."""
    place = max(1, (len(states) - 1).bit_length())
    return [lane | int(state) << place for lane, state in enumerate(states)]


def scale_words(scales: Scales, reloads: Collection[int]) -> list[int]:
    """Payloads of what goes with a row; ``reloads``: numbers of the rows that bring constants."""
    parts = ((scales.multiplier, 16), (scales.shift, 6), (scales.form, 2), (scales.stochastic, 1))
    reload = [int(row in reloads) for row in range(len(scales.form))]
    return concatenate(*((values.tolist(), bits) for values, bits in parts), (reload, 1))


def row_words(
    sums: npt.NDArray[np.int64], scales: Scales, config: MatrixConfig, reloads: Collection[int]
) -> list[int]:
    """Payloads of rows; every ``config.rows``-th is its tile's last."""
    last = [int((row + 1) % config.rows == 0) for row in range(len(sums))]
    words = to_words(sums & 0xFFFFFFFF, 32)
    return concatenate((words, 32 * config.columns), (last, 1), (scale_words(scales, set(reloads)), 26))
