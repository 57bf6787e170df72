"""Address decoder: every FP16 element against tables of every kind, with and without stalls; latency."""

import itertools
from typing import Any

import cocotb
import numpy as np

from lanewise.config import FlexSfuConfig
from lanewise.models.address_decoder import address_decoder
from lanewise.rtl.address_decoder import AddressDecoder
from lanewise.verify.bench import Bench
from lanewise.verify.sfu_tables import (
    Bits,
    breakpoint_loads,
    breakpoint_tables,
    every_element,
    sfu_cases,
    sort,
)
from lanewise.verify.testbench import Testbench, Transfers
from lanewise.verify.words import from_words, to_words

BENCH = Bench(component=AddressDecoder, cases=sfu_cases)


@cocotb.test()
async def every_table(dut: Any) -> None:
    """All 65,536 elements against every kind of table, NaN breakpoints included; one beat a clock."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    tables = breakpoint_tables(tb.rng, tb.config.breakpoints)
    tables["any bits"] = sort(tb.rng.integers(0, 1 << 16, size=tb.config.breakpoints, dtype=np.uint16))
    for name, breakpoints in tables.items():
        await _load(tb, breakpoints, p_stall=0.0)
        moved = await _decode(tb, breakpoints, every_element(tb.rng, tb.config.lanes), 0.0, name)
        accepted = moved["i"].clocks
        tb.check_clocks(accepted, list(range(accepted[0], accepted[0] + len(accepted))), "accepted beats")
        tb.check_clocks(moved["o"].clocks, [clk + tb.config.levels for clk in accepted], "results")


@cocotb.test()
async def stalls(dut: Any) -> None:
    """All 65,536 elements while sender and receiver stall at random."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    breakpoints = breakpoint_tables(tb.rng, tb.config.breakpoints)["random"]
    await _load(tb, breakpoints, p_stall=0.5)
    await _decode(tb, breakpoints, every_element(tb.rng, tb.config.lanes), 0.5, "stalls")


@cocotb.test()
async def reload_behind_beats(dut: Any) -> None:
    """Loads and beats offered behind beats in flight: these leave, then the loads go, then the beats."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    lanes, levels = tb.config.lanes, tb.config.levels
    tables = list(breakpoint_tables(tb.rng, tb.config.breakpoints).values())
    await _load(tb, tables[0], p_stall=0.0)
    for old, new in itertools.pairwise(tables):
        x = tb.rng.integers(0, 1 << 16, size=(levels + 20, lanes), dtype=np.uint16)
        words = to_words(x, 16)
        await tb.exchange({"i": words[:levels]}, {})  # nobody takes: every stage is full
        sent = {"i": words[levels:], "load": breakpoint_loads(new, tb.config)}
        moved = await tb.exchange(sent, {"o": len(x)})
        segments = from_words([word >> (16 * lanes) for word in moved["o"].words], levels, lanes)
        tb.check_values(segments[:levels], address_decoder(x[:levels], old), "before the load")
        tb.check_values(segments[levels:], address_decoder(x[levels:], new), "after the load")


async def _load(tb: Testbench, breakpoints: Bits, p_stall: float) -> None:
    """In random order, after a load to the address that has no breakpoint."""
    loads = breakpoint_loads(breakpoints, tb.config)
    tb.rng.shuffle(loads)
    loads.insert(0, tb.config.breakpoints | 0x3C00 << tb.config.levels)
    await tb.exchange({"load": loads}, {}, p_stall=p_stall)


async def _decode(
    tb: Testbench, breakpoints: Bits, x: Bits, p_stall: float, what: str
) -> dict[str, Transfers]:
    lanes, levels = tb.config.lanes, tb.config.levels
    moved = await tb.exchange({"i": to_words(x, 16)}, {"o": len(x)}, p_stall=p_stall)
    out = moved["o"].words
    tb.check_values(from_words(out, 16, lanes), x, f"{what}: elements")
    segments = from_words([word >> (16 * lanes) for word in out], levels, lanes)
    tb.check_values(segments, address_decoder(x, breakpoints), f"{what}: segments")
    return moved
