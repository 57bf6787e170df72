"""Coefficient table: every segment in every lane, reloads, with and without stalls; latency."""

from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import COEFFICIENT_TABLE_LATENCY_CLK, FlexSfuConfig, MachineConfig
from lanewise.models.coefficient_table import coefficient_table
from lanewise.rtl.coefficient_table import CoefficientTable
from lanewise.verify.bench import Bench, Case
from lanewise.verify.sfu_tables import Bits, coefficient_loads, sfu_cases
from lanewise.verify.testbench import Testbench
from lanewise.verify.words import from_words, to_words

_BEATS = 4096


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    return sfu_cases(machine, full)[: None if full else 1]


BENCH = Bench(component=CoefficientTable, cases=_cases)


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def reads(dut: Any, p_stall: float) -> None:
    """Random segments from random tables; the second table replaces only half of the first."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    segments, lanes = tb.config.segments, tb.config.lanes
    slopes, offsets = tb.rng.integers(0, 1 << 16, size=(2, segments), dtype=np.uint16)
    loads = coefficient_loads(slopes, offsets, tb.config)
    for _ in range(3):
        moved = await tb.exchange({"load": loads}, {}, p_stall=p_stall)
        if p_stall == 0:
            first = moved["load"].clocks[0]
            tb.check_clocks(moved["load"].clocks, list(range(first, first + len(loads))), "accepted loads")
        x = tb.rng.integers(0, 1 << 16, size=(_BEATS, lanes), dtype=np.uint16)
        segment = tb.rng.integers(0, segments, size=(_BEATS, lanes))
        segment[:segments] = np.arange(segments)[:, None]
        inputs = _inputs(x, segment, tb.config)
        moved = await tb.exchange({"i": inputs}, {"o": _BEATS}, p_stall=p_stall)
        expected = np.hstack([x, *coefficient_table(segment, slopes, offsets)])
        tb.check_values(from_words(moved["o"].words, 16, 3 * lanes), expected, "x, slopes, offsets")
        if p_stall == 0:
            delay = COEFFICIENT_TABLE_LATENCY_CLK
            tb.check_clocks(moved["o"].clocks, [clk + delay for clk in moved["i"].clocks], "results")
            first = moved["i"].clocks[0]
            tb.check_clocks(moved["i"].clocks, list(range(first, first + _BEATS)), "accepted beats")
        replaced = tb.rng.permutation(segments)[: segments // 2]
        slopes[replaced], offsets[replaced] = tb.rng.integers(0, 1 << 16, size=(2, replaced.size))
        loads = [coefficient_loads(slopes, offsets, tb.config)[k] for k in replaced]


@cocotb.test()
async def reload_behind_a_beat(dut: Any) -> None:
    """Loads and beats offered behind a beat in flight: it leaves, then the loads go, then the beats."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    segments, lanes = tb.config.segments, tb.config.lanes
    old, new = tb.rng.integers(0, 1 << 16, size=(2, 2, segments), dtype=np.uint16)
    await tb.exchange({"load": coefficient_loads(old[0], old[1], tb.config)}, {})
    x = tb.rng.integers(0, 1 << 16, size=(20, lanes), dtype=np.uint16)
    segment = tb.rng.integers(0, segments, size=(20, lanes))
    inputs = _inputs(x, segment, tb.config)
    await tb.exchange({"i": inputs[:1]}, {})
    moved = await tb.exchange(
        {"i": inputs[1:], "load": coefficient_loads(new[0], new[1], tb.config)}, {"o": 20}
    )
    actual = from_words(moved["o"].words, 16, 3 * lanes)
    tb.check_values(actual[:1], np.hstack([x[:1], *coefficient_table(segment[:1], *old)]), "before the load")
    tb.check_values(actual[1:], np.hstack([x[1:], *coefficient_table(segment[1:], *new)]), "after the load")


def _inputs(x: Bits, segment: npt.NDArray[np.int64], config: FlexSfuConfig) -> list[int]:
    pairs = zip(to_words(x, 16), to_words(segment, config.levels), strict=True)
    return [low | high << (16 * config.lanes) for low, high in pairs]
