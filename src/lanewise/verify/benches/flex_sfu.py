"""Flex-SFU: every element, random tables and functions' own, stalls, reloads, resets; the simulator's clocks."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import Combine

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.formats import NumberFormat
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.numbers import Bits
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.sim.flex_sfu import flex_sfu_clk, flex_sfu_load_clk
from lanewise.verify.bench import Bench, Case
from lanewise.verify.sfu_tables import (
    beat_words,
    breakpoint_tables,
    coefficient_loads,
    elements_of,
    random_elements,
    random_table,
    sfu_cases,
    table_loads,
)  # fmt: skip
from lanewise.verify.testbench import Testbench, Transfers
from lanewise.verify.words import from_words

_TESTS = ("every_table", "stalls", "clocks", "reload_in_mid_run", "reset_in_mid_run", "two_tables")


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    return [
        Case(
            label=case.label, config=case.config, tests=_TESTS if case.config.double_buffered else _TESTS[:-1]
        )
        for case in sfu_cases(machine, full)
    ]


BENCH = Bench(component=FlexSfu, cases=_cases)


@cocotb.test()
async def every_table(dut: Any) -> None:
    """All elements of every format against every kind of table; clocks of whole runs."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    config = tb.config
    for form in config.number_formats:
        for kind in breakpoint_tables(tb.rng, config.breakpoints, form):
            table = random_table(tb.rng, config, form, kind)
            await tb.exchange(table_loads(config, table), {})
            x = elements_of(tb.rng, config, form)
            moved = await evaluate(tb, table, x, 0.0, f"{form.name}, {kind}")
            measured = moved["o"].clocks[-1] - moved["i"].clocks[0]
            tb.check_clocks(measured, flex_sfu_clk(x.size, config, form.bits), kind)


@cocotb.test()
async def stalls(dut: Any) -> None:
    """All elements of every format while senders and receiver stall at random."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    for form in tb.config.number_formats:
        table = random_table(tb.rng, tb.config, form)
        await tb.exchange(table_loads(tb.config, table), {}, p_stall=0.5)
        await evaluate(tb, table, elements_of(tb.rng, tb.config, form), 0.5, f"{form.name}, stalls")


@cocotb.test()
async def clocks(dut: Any) -> None:
    """Runs of many lengths take the simulator's clocks; a shorter last beat is padded."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    for form in tb.config.number_formats:
        table = random_table(tb.rng, tb.config, form)
        await tb.exchange(table_loads(tb.config, table), {})
        width = tb.config.elements_per_clk(form.bits)
        lengths = (1, width, width + 1, 3 * width - 1, *tb.rng.integers(1, 40 * width, size=20).tolist())
        for elements in lengths:
            x = random_elements(tb.rng, tb.config, form, -(-elements // width))
            x.reshape(-1)[elements:] = 0
            moved = await evaluate(tb, table, x, 0.0, f"{elements} elements")
            measured = moved["o"].clocks[-1] - moved["i"].clocks[0]
            tb.check_clocks(measured, flex_sfu_clk(elements, tb.config, form.bits), f"{elements} elements")


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def reload_in_mid_run(dut: Any, p_stall: float) -> None:
    """Tables are replaced, wholly or in part, between beats; each beat sees the table of its time.

    A whole new table may have another format; the beats are then sent in two parts, for a beat must have the
    format of its table.
    """
    tb = await Testbench.start(dut, FlexSfuConfig)
    config = tb.config
    forms = config.number_formats
    table = random_table(tb.rng, config, forms[0])
    await tb.exchange(table_loads(config, table), {})
    for round_ in range(12):
        beats = 200
        form = table.form
        x = random_elements(tb.rng, config, form, beats)
        new, loads = _replace(tb.rng, table, config, partly=round_ % 2 == 1)
        run = cocotb.start_soon(
            tb.exchange({"i": beat_words(config, x, form)}, {"o": beats}, p_stall=p_stall)
        )
        load = cocotb.start_soon(_load_later(tb, loads, int(tb.rng.integers(1, 60))))
        await Combine(run, load)
        moved, loaded = run.result(), load.result()
        load_clocks = np.array(sorted(clk for name in loads for clk in loaded[name].clocks))
        accepted = np.array(moved["i"].clocks)
        old = accepted < load_clocks[0]
        between = (accepted >= load_clocks[0]) & (accepted <= load_clocks[-1])
        assert not between.any(), "a beat between loads"
        in_tree = accepted[old] + config.levels >= load_clocks[0]
        assert not in_tree.any(), "a load before the beats had left the tree"
        actual = from_words(moved["o"].words, form.bits, config.elements_per_clk(form.bits))
        tb.check_values(actual[old], flex_sfu(x[old], table), "before the load")
        tb.check_values(actual[~old], flex_sfu(x[~old], new), "after the load")
        if p_stall == 0:
            entries = max(len(words) for words in loads.values())
            measured = accepted[~old][0] - accepted[old][-1]
            tb.check_clocks(measured, flex_sfu_load_clk(entries, config), "across the load")
        form = forms[(round_ + 1) % len(forms)]
        table = random_table(tb.rng, config, form)
        await tb.exchange(table_loads(config, table), {})


@cocotb.test()
async def reset_in_mid_run(dut: Any) -> None:
    """A reset drops the beats in flight, and nothing else: the tables stay, and later beats are whole."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    config = tb.config
    for form in config.number_formats:
        table = random_table(tb.rng, config, form)
        await tb.exchange(table_loads(config, table), {})
        for in_flight in range(1, config.latency_clk + 1):
            x = random_elements(tb.rng, config, form, in_flight + 30)
            await tb.exchange({"i": beat_words(config, x[:in_flight], form)}, {})
            await tb.wait(1)  # ports read at an edge have the values from before it
            assert tb.port("busy").get() == 1
            await tb.reset()
            assert tb.port("busy").get() == 0
            await evaluate(tb, table, x[in_flight:], 0.0, f"after a reset with {in_flight} beats in flight")


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def two_tables(dut: Any, p_stall: float) -> None:
    """A table is loaded while the other is in use, and then used, in turns: not one clock is lost.

    Each run's beats change to the new function (often in a new format) with no bubble; every run is long enough
    for the load beside it.
    """
    tb = await Testbench.start(dut, FlexSfuConfig)
    config = tb.config
    forms = [tb.rng.choice(np.array(config.formats)) for _ in range(10)]
    tables = [random_table(tb.rng, config, _form(config, str(name))) for name in forms]
    await tb.exchange(table_loads(config, tables[0], 0), {})
    beats = 2 * config.segments + 2 * config.latency_clk
    xs = [random_elements(tb.rng, config, table.form, beats) for table in tables]
    for k, (table, x) in enumerate(zip(tables, xs, strict=True)):
        words = beat_words(config, x, table.form, k % 2)
        loads: dict[str, list[int]] = {}
        if k + 1 < len(tables):  # the other table: free since the last run's beats have left the tree
            loads = table_loads(config, tables[k + 1], (k + 1) % 2)
        count = len(words)
        moved = await tb.exchange({"i": words} | loads, {"o": count}, p_stall=p_stall)
        actual = from_words(moved["o"].words, table.form.bits, config.elements_per_clk(table.form.bits))
        tb.check_values(actual, flex_sfu(x, table), f"run {k}")
        if p_stall == 0:
            first = moved["i"].clocks[0]
            tb.check_clocks(moved["i"].clocks, list(range(first, first + count)), "accepted beats")
            last = max(
                (transfers.clocks[-1] for name, transfers in moved.items() if name in loads), default=0
            )
            assert last < moved["i"].clocks[-1], "the load took longer than the run beside it"
    # Both tables loaded: beats of the two alternate, one a clock.
    pair = tables[-2:]
    order = tb.rng.integers(0, 2, size=400)
    words, expected = [], []
    for which in order.tolist():
        x = random_elements(tb.rng, config, pair[which].form, 1)
        words += beat_words(config, x, pair[which].form, (len(tables) - 2 + which) % 2)
        expected.append(flex_sfu(x, pair[which]).reshape(-1).view(np.uint8))
    moved = await tb.exchange({"i": words}, {"o": len(words)}, p_stall=p_stall)
    actual = from_words(moved["o"].words, 8, 4 * config.lanes)
    tb.check_values(actual, np.array(expected), "alternating tables")
    if p_stall == 0:
        first = moved["i"].clocks[0]
        tb.check_clocks(moved["i"].clocks, list(range(first, first + len(words))), "alternating beats")


def _form(config: FlexSfuConfig, name: str) -> NumberFormat:
    return config.number_formats[config.formats.index(name)]


async def _load_later(tb: Testbench, loads: dict[str, list[int]], delay_clk: int) -> dict[str, Transfers]:
    """Wait, then load, beside another exchange; clocks are counted as that one counts them."""
    loader = Testbench(tb.dut, tb.config, tb.parameters)
    loader.clk = tb.clk
    await loader.wait(delay_clk)
    return await loader.exchange(loads, {})


def _replace(
    rng: np.random.Generator, table: SfuTable, config: FlexSfuConfig, *, partly: bool
) -> tuple[SfuTable, dict[str, list[int]]]:  # fmt: skip
    """A new table of the same format and the loads that make it of the old: all, or the upper part of the coefficients."""
    drawn = random_table(rng, config, table.form)
    if not partly:
        return drawn, table_loads(config, drawn)
    start = int(rng.integers(0, config.segments))
    coefficients = table.coefficients.copy()
    coefficients[start:] = drawn.coefficients[start:]
    new = SfuTable(
        format=table.format, breakpoints=table.breakpoints, coefficients=coefficients, shifts=drawn.shifts
    )
    return new, {"load_coefficients": coefficient_loads(config, new)[start:]}


async def evaluate(
    tb: Testbench, table: SfuTable, x: Bits, p_stall: float, what: str
) -> dict[str, Transfers]:
    """Run elements, shape ``(beats, elements a beat)``, and compare every result."""
    config, bits = tb.config, table.form.bits
    words = beat_words(config, x, table.form)
    moved = await tb.exchange({"i": words}, {"o": len(x)}, p_stall=p_stall)
    actual = from_words(moved["o"].words, bits, config.elements_per_clk(bits))
    tb.check_values(actual, flex_sfu(x, table), what)
    return moved
