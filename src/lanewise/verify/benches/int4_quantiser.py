"""Quantiser: every rounding around its thresholds, stalls, new seeds in mid-run, resets; latency and throughput."""

from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import INT4_QUANTISER_LATENCY_CLK, MachineConfig, OperandPathConfig, Rounding
from lanewise.models.int4_quantiser import QuantiserSettings, nibbles
from lanewise.models.lfsr import lane_states, random_bits
from lanewise.rtl.int4_quantiser import Int4Quantiser
from lanewise.verify.bench import Bench, Case
from lanewise.verify.operand_elements import path_cases, settings_word, state_loads
from lanewise.verify.testbench import Testbench
from lanewise.verify.words import concatenate, from_words, to_words

_BEATS = 6000
_GROUP_BEATS = 30
"""Beats of one tensor: they share their settings."""

Ints = npt.NDArray[np.int64]


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
    tb.check_values(_results(tb, moved["o"].words), expected, "lo and hi")
    if p_stall == 0:
        i = moved["i"].clocks
        tb.check_clocks(i, list(range(i[0], i[0] + _BEATS)), "accepted beats")
        tb.check_clocks(moved["o"].clocks, [clk + INT4_QUANTISER_LATENCY_CLK for clk in i], "results")


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
        actual = _results(tb, moved["o"].words)
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
        tb.check_values(_results(tb, moved["o"].words), expected, f"after {in_flight} beats and a reset")


async def _seed(tb: Testbench, seed: int) -> npt.NDArray[np.uint32]:
    states = lane_states(seed, tb.config.lanes)
    await tb.exchange({"load": state_loads(tb.config.lanes, states)}, {})
    return states


def _beats(
    tb: Testbench, beats: int, states: npt.NDArray[np.uint32]
) -> tuple[list[int], Ints, npt.NDArray[np.uint32]]:
    """Payloads, results (lo, then hi, of each beat) and the states after them."""
    config = tb.config
    random, after = random_bits(states, beats)
    ys, settings_words, expected = [], [], []
    for start in range(0, beats, _GROUP_BEATS):
        part = random[start : start + _GROUP_BEATS]
        settings = _settings(tb.rng)
        y = _elements(tb.rng, settings, part.shape, config.transformed_bits)
        ys.append(y)
        settings_words += [settings_word(settings)] * len(y)
        hi, lo = nibbles(y, settings, part)
        expected.append(np.hstack([lo, hi]))
    bits = config.transformed_bits
    payload = to_words(np.concatenate(ys) & ((1 << bits) - 1), bits)
    return concatenate((payload, bits * config.lanes), (settings_words, 25)), np.concatenate(expected), after


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


def _results(tb: Testbench, words: list[int]) -> Any:
    return from_words(words, 4, 2 * tb.config.lanes)
