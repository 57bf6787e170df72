"""Flex-SFU: every FP16 element, tables of every kind, stalls, reloads, resets; the simulator's clocks."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import Combine

from lanewise.config import FlexSfuConfig
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.sim.flex_sfu import flex_sfu_clk, flex_sfu_load_clk
from lanewise.verify.bench import Bench
from lanewise.verify.sfu_tables import (
    Bits,
    breakpoint_loads,
    breakpoint_tables,
    coefficient_loads,
    every_element,
    random_table,
    sfu_cases,
)  # fmt: skip
from lanewise.verify.testbench import Testbench, Transfers
from lanewise.verify.words import from_words, to_words

BENCH = Bench(component=FlexSfu, cases=sfu_cases)


@cocotb.test()
async def every_table(dut: Any) -> None:
    """All 65,536 elements against every kind of table; clocks of whole runs."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    for name, breakpoints in breakpoint_tables(tb.rng, tb.config.breakpoints).items():
        table = random_table(tb.rng, breakpoints)
        await tb.exchange(_loads(table, tb.config), {})
        x = every_element(tb.rng, tb.config.lanes)
        moved = await _evaluate(tb, table, x, 0.0, name)
        tb.check_clocks(moved["o"].clocks[-1] - moved["i"].clocks[0], flex_sfu_clk(x.size, tb.config), name)


@cocotb.test()
async def stalls(dut: Any) -> None:
    """All 65,536 elements while senders and receiver stall at random."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    table = random_table(tb.rng, breakpoint_tables(tb.rng, tb.config.breakpoints)["random"])
    await tb.exchange(_loads(table, tb.config), {}, p_stall=0.5)
    await _evaluate(tb, table, every_element(tb.rng, tb.config.lanes), 0.5, "stalls")


@cocotb.test()
async def clocks(dut: Any) -> None:
    """Runs of many lengths take the simulator's clocks; a shorter last beat is padded."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    table = random_table(tb.rng, breakpoint_tables(tb.rng, tb.config.breakpoints)["random"])
    await tb.exchange(_loads(table, tb.config), {})
    lanes = tb.config.lanes
    for elements in (1, lanes, lanes + 1, 3 * lanes - 1, *tb.rng.integers(1, 40 * lanes, size=20).tolist()):
        x = np.zeros((-(-elements // lanes), lanes), np.uint16)
        x.reshape(-1)[:elements] = tb.rng.integers(0, 1 << 16, size=elements)
        moved = await _evaluate(tb, table, x, 0.0, f"{elements} elements")
        measured = moved["o"].clocks[-1] - moved["i"].clocks[0]
        tb.check_clocks(measured, flex_sfu_clk(elements, tb.config), f"{elements} elements")


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def reload_in_mid_run(dut: Any, p_stall: float) -> None:
    """Tables are replaced, wholly or in part, between beats; each beat sees the table of its time."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    config, lanes = tb.config, tb.config.lanes
    table = random_table(tb.rng, breakpoint_tables(tb.rng, config.breakpoints)["random"])
    await tb.exchange(_loads(table, config), {})
    for round_ in range(12):
        beats = 200
        x = tb.rng.integers(0, 1 << 16, size=(beats, lanes), dtype=np.uint16)
        new, loads = _replace(tb.rng, table, config, partly=round_ % 2 == 1)
        run = cocotb.start_soon(tb.exchange({"i": to_words(x, 16)}, {"o": beats}, p_stall=p_stall))
        load = cocotb.start_soon(_load_later(tb, loads, int(tb.rng.integers(1, 60))))
        await Combine(run, load)
        moved, loaded = run.result(), load.result()
        load_clocks = np.array(sorted(clk for name in loads for clk in loaded[name].clocks))
        accepted, taken = np.array(moved["i"].clocks), np.array(moved["o"].clocks)
        old = accepted < load_clocks[0]
        between = (accepted >= load_clocks[0]) & (accepted <= load_clocks[-1])
        assert not between.any(), "a beat between loads"
        assert (taken[old] < load_clocks[0]).all(), "a load before the beats in flight had left"
        actual = from_words(moved["o"].words, 16, lanes)
        tb.check_values(actual[old], flex_sfu(x[old], table), "before the load")
        tb.check_values(actual[~old], flex_sfu(x[~old], new), "after the load")
        if p_stall == 0:
            entries = max(len(words) for words in loads.values())
            measured = accepted[~old][0] - accepted[old][-1]
            tb.check_clocks(measured, flex_sfu_load_clk(entries, config), "across the load")
        table = new


@cocotb.test()
async def reset_in_mid_run(dut: Any) -> None:
    """A reset drops the beats in flight, and nothing else: the tables stay, and later beats are whole."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    config = tb.config
    table = random_table(tb.rng, breakpoint_tables(tb.rng, config.breakpoints)["random"])
    await tb.exchange(_loads(table, config), {})
    for in_flight in range(1, config.latency_clk + 1):
        x = tb.rng.integers(0, 1 << 16, size=(in_flight + 30, config.lanes), dtype=np.uint16)
        await tb.exchange({"i": to_words(x[:in_flight], 16)}, {})
        await tb.wait(1)  # ports read at an edge have the values from before it
        assert tb.port("busy").get() == 1
        dut.rst.value = 1
        await tb.wait(1)
        dut.rst.value = 0
        await tb.wait(1)
        assert tb.port("busy").get() == 0
        await _evaluate(tb, table, x[in_flight:], 0.0, f"after a reset with {in_flight} beats in flight")


async def _load_later(tb: Testbench, loads: dict[str, list[int]], delay_clk: int) -> dict[str, Transfers]:
    """Wait, then load, beside another exchange; clocks are counted as that one counts them."""
    loader = Testbench(tb.dut, tb.config, tb.parameters)
    loader.clk = tb.clk
    await loader.wait(delay_clk)
    return await loader.exchange(loads, {})


def _loads(table: SfuTable, config: FlexSfuConfig) -> dict[str, list[int]]:
    return {
        "load_breakpoint": breakpoint_loads(table.breakpoints, config),
        "load_coefficients": coefficient_loads(table.slopes, table.offsets, config),
    }


def _replace(
    rng: np.random.Generator, table: SfuTable, config: FlexSfuConfig, *, partly: bool
) -> tuple[SfuTable, dict[str, list[int]]]:  # fmt: skip
    """A new table and the loads that make it of the old: all, or the upper part of the coefficients."""
    if not partly:
        new = random_table(rng, breakpoint_tables(rng, config.breakpoints)["random"])
        return new, _loads(new, config)
    start = int(rng.integers(0, config.segments))
    drawn = random_table(rng, table.breakpoints)
    slopes, offsets = table.slopes.copy(), table.offsets.copy()
    slopes[start:], offsets[start:] = drawn.slopes[start:], drawn.offsets[start:]
    new = SfuTable(breakpoints=table.breakpoints, slopes=slopes, offsets=offsets)
    return new, {"load_coefficients": coefficient_loads(slopes, offsets, config)[start:]}


async def _evaluate(
    tb: Testbench, table: SfuTable, x: Bits, p_stall: float, what: str
) -> dict[str, Transfers]:  # fmt: skip
    moved = await tb.exchange({"i": to_words(x, 16)}, {"o": len(x)}, p_stall=p_stall)
    tb.check_values(from_words(moved["o"].words, 16, tb.config.lanes), flex_sfu(x, table), what)
    return moved
