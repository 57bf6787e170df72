"""Coefficient table: every segment in every slot, reloads, with and without stalls; latency."""

from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import COEFFICIENT_TABLE_LATENCY_CLK, FlexSfuConfig, MachineConfig
from lanewise.formats import NumberFormat
from lanewise.models.coefficient_table import coefficient_table
from lanewise.models.flex_sfu import SfuTable
from lanewise.models.numbers import Bits
from lanewise.rtl.coefficient_table import CoefficientTable
from lanewise.verify.bench import Bench, Case
from lanewise.verify.sfu_tables import (
    coefficient_loads,
    random_elements,
    random_table,
    selection_words,
    sfu_cases,
)
from lanewise.verify.testbench import Testbench
from lanewise.verify.words import concatenate, from_words, to_words

_BEATS = 2048


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    cases = sfu_cases(machine, full)
    return cases if full else [cases[0], cases[2]]


BENCH = Bench(component=CoefficientTable, cases=_cases)


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def reads(dut: Any, p_stall: float) -> None:
    """Random segments from random tables; the second table replaces only half of the first."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    config = tb.config
    for form in config.number_formats:
        table = random_table(tb.rng, config, form)
        loads = coefficient_loads(config, table)
        for _ in range(2):
            moved = await tb.exchange({"load": loads}, {}, p_stall=p_stall)
            if p_stall == 0:
                first = moved["load"].clocks[0]
                tb.check_clocks(
                    moved["load"].clocks, list(range(first, first + len(loads))), "accepted loads"
                )
            x, segment, words = _beats(tb, form, _BEATS)
            moved = await tb.exchange({"i": words}, {"o": _BEATS}, p_stall=p_stall)
            tb.check_values(_results(tb, form, moved["o"].words), _expected(x, segment, table), form.name)
            if p_stall == 0:
                delay = COEFFICIENT_TABLE_LATENCY_CLK
                tb.check_clocks(moved["o"].clocks, [clk + delay for clk in moved["i"].clocks], "results")
                first = moved["i"].clocks[0]
                tb.check_clocks(moved["i"].clocks, list(range(first, first + _BEATS)), "accepted beats")
            table, loads = _half(tb, form, table)


@cocotb.test()
async def reload_behind_a_beat(dut: Any) -> None:
    """Loads and beats offered behind a beat in flight: the loads go, then the beats; the beat keeps what it read."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    config = tb.config
    for form in config.number_formats:
        old, new = (random_table(tb.rng, config, form) for _ in range(2))
        await tb.exchange({"load": coefficient_loads(config, old)}, {})
        x, segment, words = _beats(tb, form, 20)
        await tb.exchange({"i": words[:1]}, {})
        moved = await tb.exchange({"i": words[1:], "load": coefficient_loads(config, new)}, {"o": 20})
        actual = _results(tb, form, moved["o"].words)
        tb.check_values(actual[:1], _expected(x[:1], segment[:1], old), "before the load")
        tb.check_values(actual[1:], _expected(x[1:], segment[1:], new), "after the load")


def _half(tb: Testbench, form: NumberFormat, table: SfuTable) -> tuple[SfuTable, list[int]]:
    """The table with half of its entries replaced, and the loads of those."""
    drawn = random_table(tb.rng, tb.config, form)
    replaced = tb.rng.permutation(table.segments)[: table.segments // 2]
    coefficients = table.coefficients.copy()
    coefficients[replaced] = drawn.coefficients[replaced]
    new = SfuTable(
        format=form.name, breakpoints=table.breakpoints, coefficients=coefficients, shifts=drawn.shifts
    )
    loads = coefficient_loads(tb.config, new)
    return new, [loads[k] for k in replaced]


def _beats(tb: Testbench, form: NumberFormat, beats: int) -> tuple[Bits, npt.NDArray[np.int64], list[int]]:
    """Elements, the segment of each, and the payloads."""
    config = tb.config
    x = random_elements(tb.rng, config, form, beats)
    segment = tb.rng.integers(0, config.segments, size=x.shape)
    count = min(beats, config.segments)
    segment[:count] = np.arange(count)[:, None]
    slots = np.repeat(segment, form.bits // config.slot_bits, axis=1)
    words = concatenate(
        (to_words(x, form.bits), 32 * config.lanes),
        (to_words(slots, config.levels), config.levels * slots.shape[1]),
        *selection_words(config, beats, form, 0),
    )
    return x, segment, words


def _results(tb: Testbench, form: NumberFormat, words: list[int]) -> Any:
    """Elements and coefficients, and the shifts, one row a beat."""
    config = tb.config
    fields = (config.degree + 2) * config.elements_per_clk(form.bits)
    values = from_words(words, form.bits, fields).astype(np.int64)
    if form.floating:
        return values
    place = 32 * config.lanes * (config.degree + 2)
    return np.hstack([values, from_words([word >> place for word in words], 11, config.degree)])


def _expected(x: Bits, segment: npt.NDArray[np.int64], table: SfuTable) -> Any:
    coefficients = coefficient_table(segment, table.coefficients)
    columns = [x, *(coefficients[..., power] for power in range(table.degree + 1))]
    if table.shifts:
        shifts = np.array([product | addend << 6 for product, addend in table.shifts])
        columns.append(np.broadcast_to(shifts, (len(x), len(shifts))))
    return np.hstack([column.astype(np.int64) for column in columns])
