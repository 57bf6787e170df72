"""Address decoder: every element of every format against tables of every kind, with and without stalls; latency."""

import itertools
from typing import Any

import cocotb
import numpy as np

from lanewise.config import FlexSfuConfig
from lanewise.formats import NumberFormat
from lanewise.models.address_decoder import address_decoder
from lanewise.models.numbers import Bits, bits_dtype
from lanewise.rtl.address_decoder import AddressDecoder
from lanewise.verify.bench import Bench
from lanewise.verify.sfu_tables import (
    beat_words,
    breakpoint_loads,
    breakpoint_tables,
    elements_of,
    random_elements,
    selection_words,
    sfu_cases,
    sort,
)  # fmt: skip
from lanewise.verify.testbench import Testbench, Transfers
from lanewise.verify.words import concatenate, from_words

BENCH = Bench(component=AddressDecoder, cases=sfu_cases)


@cocotb.test()
async def every_table(dut: Any) -> None:
    """All elements against every kind of table, NaN breakpoints included; one beat a clock."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    for form in tb.config.number_formats:
        tables = breakpoint_tables(tb.rng, tb.config.breakpoints, form)
        any_bits = tb.rng.integers(0, 1 << form.bits, size=tb.config.breakpoints, dtype=bits_dtype(form))
        tables["any bits"] = sort(any_bits, form)
        for name, breakpoints in tables.items():
            await _load(tb, form, breakpoints, p_stall=0.0)
            x = elements_of(tb.rng, tb.config, form)
            moved = await _decode(tb, form, breakpoints, x, 0.0, name)
            accepted = moved["i"].clocks
            tb.check_clocks(accepted, list(range(accepted[0], accepted[0] + len(accepted))), "accepted beats")
            tb.check_clocks(moved["o"].clocks, [clk + tb.config.levels for clk in accepted], "results")


@cocotb.test()
async def stalls(dut: Any) -> None:
    """All elements while sender and receiver stall at random."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    for form in tb.config.number_formats:
        breakpoints = breakpoint_tables(tb.rng, tb.config.breakpoints, form)["random"]
        await _load(tb, form, breakpoints, p_stall=0.5)
        await _decode(tb, form, breakpoints, elements_of(tb.rng, tb.config, form), 0.5, "stalls")


@cocotb.test()
async def reload_behind_beats(dut: Any) -> None:
    """Loads and beats offered behind beats in flight: these leave, then the loads go, then the beats."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    levels = tb.config.levels
    for form in tb.config.number_formats:
        tables = list(breakpoint_tables(tb.rng, tb.config.breakpoints, form).values())
        await _load(tb, form, tables[0], p_stall=0.0)
        for old, new in itertools.pairwise(tables):
            x = random_elements(tb.rng, tb.config, form, levels + 20)
            words = beat_words(tb.config, x, form)
            await tb.exchange({"i": words[:levels]}, {})  # nobody takes: every stage is full
            sent = {"i": words[levels:], "load": breakpoint_loads(tb.config, new, form)}
            moved = await tb.exchange(sent, {"o": len(x)})
            segments = _segments(tb, form, moved["o"].words)
            tb.check_values(segments[:levels], address_decoder(x[:levels], old, form), "before the load")
            tb.check_values(segments[levels:], address_decoder(x[levels:], new, form), "after the load")


async def _load(tb: Testbench, form: NumberFormat, breakpoints: Bits, p_stall: float) -> None:
    """In random order, after a load to the address that has no breakpoint."""
    config = tb.config
    loads = breakpoint_loads(config, breakpoints, form)
    tb.rng.shuffle(loads)
    nowhere = concatenate(
        ([config.breakpoints], config.levels),
        ([0x3C], config.word_bits),
        *selection_words(config, 1, form, 0),
    )
    await tb.exchange({"load": nowhere + loads}, {}, p_stall=p_stall)


async def _decode(
    tb: Testbench, form: NumberFormat, breakpoints: Bits, x: Bits, p_stall: float, what: str
) -> dict[str, Transfers]:
    config = tb.config
    moved = await tb.exchange({"i": beat_words(config, x, form)}, {"o": len(x)}, p_stall=p_stall)
    out = moved["o"].words
    elements = from_words(out, form.bits, config.elements_per_clk(form.bits))
    tb.check_values(elements, x, f"{what} {form.name}: elements")
    tb.check_values(
        _segments(tb, form, out), address_decoder(x, breakpoints, form), f"{what} {form.name}: segments"
    )
    return moved


def _segments(tb: Testbench, form: NumberFormat, words: list[int]) -> Any:
    """Segment of each element; the slots of one element agree."""
    config = tb.config
    lanes_bits = 32 * config.lanes
    slots = lanes_bits // config.slot_bits
    segments = from_words([word >> lanes_bits for word in words], config.levels, slots)
    grouped = segments.reshape(len(words), -1, form.bits // config.slot_bits)
    assert np.all(grouped == grouped[:, :, :1]), "slots of one element differ"
    return grouped[:, :, 0].astype(np.int64)
