"""Quantiser: every rounding around its thresholds and limits, stalls, new seeds in mid-run, resets; latency and throughput."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import INT4_QUANTISER_LATENCY_CLK, MachineConfig, OperandPathConfig, Rounding
from lanewise.models.int4_quantiser import QuantiserSettings, inside, nibbles
from lanewise.models.lfsr import lane_states, random_bits
from lanewise.rtl.int4_quantiser import Int4Quantiser
from lanewise.verify.bench import Bench, Case
from lanewise.verify.operand_elements import path_cases, path_results, settings_word, state_loads
from lanewise.verify.testbench import Testbench
from lanewise.verify.words import concatenate, to_words

_BEATS = 6000
_GROUP_BEATS = 30
"""Beats of one tensor: they share their settings."""

Ints = npt.NDArray[np.int64]
Group: TypeAlias = tuple[Ints, QuantiserSettings]
"""Elements, shape ``(beats, lanes)``, and what is to be done with them."""


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    return path_cases(machine, full, label_formats=False)


BENCH = Bench(component=Int4Quantiser, cases=_cases)


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def every_rounding(dut: Any, p_stall: float) -> None:
    """Tensors of all kinds one behind the other; without stalls every beat is accepted at once and leaves 4 clocks later."""
    tb = await Testbench.start(dut, OperandPathConfig)
    states = await _seed(tb, 1)
    words, expected, _ = _beats(tb, _BEATS, states)
    moved = await tb.exchange({"i": words}, {"o": _BEATS}, p_stall=p_stall)
    tb.check_values(path_results(moved["o"].words, tb.config.lanes), expected, "lo, hi and inside")
    if p_stall == 0:
        i = moved["i"].clocks
        tb.check_clocks(i, list(range(i[0], i[0] + _BEATS)), "accepted beats")
        tb.check_clocks(moved["o"].clocks, [clk + INT4_QUANTISER_LATENCY_CLK for clk in i], "results")


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def limits(dut: Any, p_stall: float) -> None:
    """Elements at the limits of INT4 and INT8, exactly, and their neighbours: whether a gradient passes, and the result."""
    tb = await Testbench.start(dut, OperandPathConfig)
    states = await _seed(tb, 10)
    groups = list(_limits(tb))
    words, expected, _ = _payloads(tb, groups, states)
    moved = await tb.exchange({"i": words}, {"o": len(words)}, p_stall=p_stall)
    tb.check_values(path_results(moved["o"].words, tb.config.lanes), expected, "lo, hi and inside")


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def reseed_in_mid_run(dut: Any, p_stall: float) -> None:
    """States offered behind accepted beats: those have the old states' bits, later beats the new ones'."""
    tb = await Testbench.start(dut, OperandPathConfig)
    states = await _seed(tb, 2)
    for seed in range(3, 9):
        words, expected, states = _beats(tb, 3, states)
        await tb.exchange({"i": words}, {})  # they wait at the output
        new = lane_states(seed, tb.config.lanes)
        more, expected_more, states = _beats(tb, 60, new)
        loads = state_loads(tb.config.lanes, new)
        moved = await tb.exchange({"load": loads, "i": more}, {"o": 63}, p_stall={"i": p_stall, "o": p_stall})
        actual = path_results(moved["o"].words, tb.config.lanes)
        tb.check_values(
            actual, np.concatenate([expected, expected_more]), f"around the states of seed {seed}"
        )
        if p_stall == 0:
            first, last = moved["load"].clocks[0], moved["load"].clocks[-1]
            tb.check_clocks(last - first, tb.config.lanes - 1, "loads")
            tb.check_clocks(moved["i"].clocks[0] - last, 1, "first beat behind them")


@cocotb.test()
async def reset_in_mid_run(dut: Any) -> None:
    """A reset drops the beats in flight; with states loaded again the bits are the seed's first."""
    tb = await Testbench.start(dut, OperandPathConfig)
    for in_flight in range(1, INT4_QUANTISER_LATENCY_CLK + 1):
        states = await _seed(tb, in_flight)
        words, _, _ = _beats(tb, in_flight, states)
        await tb.exchange({"i": words}, {})
        await tb.wait(1)  # ports read at an edge have the values from before it
        tb.check_values(tb.port("busy").get(), 1, "busy")
        await tb.reset()
        tb.check_values(tb.port("busy").get(), 0, "busy after a reset")
        states = await _seed(tb, in_flight)
        words, expected, _ = _beats(tb, 50, states)
        moved = await tb.exchange({"i": words}, {"o": 50})
        tb.check_values(
            path_results(moved["o"].words, tb.config.lanes), expected, f"after {in_flight} beats and a reset"
        )


async def _seed(tb: Testbench, seed: int) -> npt.NDArray[np.uint32]:
    states = lane_states(seed, tb.config.lanes)
    await tb.exchange({"load": state_loads(tb.config.lanes, states)}, {})
    return states


def _beats(
    tb: Testbench, beats: int, states: npt.NDArray[np.uint32]
) -> tuple[list[int], Ints, npt.NDArray[np.uint32]]:
    """Random payloads, results and the states after them."""
    groups = []
    for start in range(0, beats, _GROUP_BEATS):
        settings, shape = _settings(tb.rng), (min(_GROUP_BEATS, beats - start), tb.config.lanes)
        groups.append((_elements(tb.rng, settings, shape, tb.config.transformed_bits), settings))
    return _payloads(tb, groups, states)


def _payloads(
    tb: Testbench, groups: list[Group], states: npt.NDArray[np.uint32]
) -> tuple[list[int], Ints, npt.NDArray[np.uint32]]:
    """Payloads, results (lo, hi, inside of each beat) and the states after them."""
    bits, settings_words, expected = tb.config.transformed_bits, [], []
    for y, settings in groups:
        random, states = random_bits(states, len(y))
        hi, lo = nibbles(y, settings, random)
        expected.append(np.hstack([lo, hi, inside(y, settings)]))
        settings_words += [settings_word(settings)] * len(y)
    payload = to_words(np.concatenate([y for y, _ in groups]) & ((1 << bits) - 1), bits)
    words = concatenate((payload, bits * tb.config.lanes), (settings_words, 25))
    return words, np.concatenate(expected), states


def _limits(tb: Testbench) -> Iterator[Group]:
    """Beats of elements around both limits; with powers of two as steps, which meet them, and with others."""
    reach = 1 << (tb.config.transformed_bits - 1)
    for rounding in (Rounding.NEAREST, Rounding.STOCHASTIC):
        for bits in (4, 8):
            low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
            for places in range(1, tb.config.transformed_bits - bits + 1):
                power = int(tb.rng.integers(max(0, 16 - places), 16))
                for multiplier in (1 << power, *tb.rng.integers(32768, 65536, 4).tolist()):
                    shift = places + multiplier.bit_length() - 1
                    settings = QuantiserSettings(
                        multiplier=multiplier, shift=shift, rounding=rounding, bits=bits
                    )
                    at = np.array([(limit << shift) // multiplier for limit in (low, high)])
                    y = np.add.outer(at, np.arange(-1, 3)).clip(-reach, reach - 1)
                    yield np.resize(y, (1, tb.config.lanes)), settings


def _settings(rng: np.random.Generator) -> QuantiserSettings:
    rounding = Rounding(int(rng.integers(0, 3)))
    exact = rng.random() < 0.3  # powers of two, so that there are ties
    multiplier = 1 << int(rng.integers(0, 16)) if exact else int(rng.integers(1, 65536))
    bits = 4 if rounding is Rounding.SPLIT else int(rng.choice([4, 8]))
    return QuantiserSettings(
        multiplier=multiplier, shift=int(rng.integers(16, 48)), rounding=rounding, bits=bits
    )


def _elements(
    rng: np.random.Generator, settings: QuantiserSettings, shape: tuple[int, ...], bits: int
) -> Ints:
    """Anything, small numbers, and elements whose results are near every threshold, the saturation's included."""
    top = (1 << (bits - 1)) - 1
    reach = {Rounding.SPLIT: 110.0}.get(settings.rounding, 1.2 * (1 << (settings.bits - 1)))
    steps = np.rint(rng.uniform(-reach, reach, shape) * 2) / 2  # halves
    near = np.rint(steps * (2.0**settings.shift / settings.multiplier)).clip(-top, top)
    near += rng.integers(-1, 2, shape) * (rng.random(shape) < 0.5)
    uniform = rng.integers(-top, top + 1, shape)
    small = rng.integers(-40, 41, shape)
    kind = rng.choice(4, size=shape, p=[0.6, 0.2, 0.15, 0.05])
    extreme = np.where(rng.random(shape) < 0.5, -top - 1, top)
    return np.choose(kind, [near.astype(np.int64), uniform, small, extreme]).clip(-top - 1, top)
