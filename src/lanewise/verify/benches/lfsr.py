"""Random generator: bits from several seeds, with and without stalls; a load between beats; clocks."""

from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np

from lanewise.config import MachineConfig
from lanewise.models.lfsr import States, lane_states, random_bits
from lanewise.rtl.lfsr import Lfsr
from lanewise.verify.bench import Bench, Case
from lanewise.verify.testbench import Testbench
from lanewise.verify.words import from_words


@dataclass(frozen=True, kw_only=True)
class LfsrConfig:
    """What the generator is made from."""

    lanes: int


def _component(config: LfsrConfig) -> Lfsr:
    return Lfsr(config.lanes)


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    counts = dict.fromkeys((1, 5, machine.vector.lanes, *((64,) if full else ())))
    return [Case(label=f"{lanes}", config=LfsrConfig(lanes=lanes)) for lanes in counts]


BENCH = Bench(component=_component, cases=_cases)
_BEATS = 5000


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def bits(dut: Any, p_stall: float) -> None:
    """Several seeds, one after the other: what is taken depends on no stall."""
    tb = await Testbench.start(dut, LfsrConfig)
    for seed in (0, 1, 2**32 - 1, *(int(s) for s in tb.rng.integers(0, 1 << 32, 3))):
        states = lane_states(seed, tb.config.lanes)
        await tb.exchange({"load": _loads(states)}, {}, p_stall=p_stall)
        for beats in (1, _BEATS):
            expected, states = random_bits(states, beats)
            moved = (await tb.exchange({}, {"o": beats}, p_stall=p_stall, extra_clk=0))["o"]
            tb.check_values(from_words(moved.words, 16, tb.config.lanes), expected, f"seed {seed}")
            if p_stall == 0:
                first = moved.clocks[0]
                tb.check_clocks(moved.clocks, list(range(first, first + beats)), "a beat each clock")


@cocotb.test()
async def load_of_one_lane(dut: Any) -> None:
    """A load reaches its lane alone; the others go on."""
    tb = await Testbench.start(dut, LfsrConfig)
    states = lane_states(7, tb.config.lanes)
    await tb.exchange({"load": _loads(states)}, {})
    for lane in range(tb.config.lanes):
        expected, states = random_bits(states, 3)
        moved = await tb.exchange({}, {"o": 3}, extra_clk=0)
        tb.check_values(from_words(moved["o"].words, 16, tb.config.lanes), expected, "before the load")
        states[lane] = tb.rng.integers(1, 1 << 32)
        await tb.exchange({"load": [_loads(states)[lane]]}, {})
        expected, states = random_bits(states, 2)
        moved = await tb.exchange({}, {"o": 2}, extra_clk=0)
        tb.check_values(from_words(moved["o"].words, 16, tb.config.lanes), expected, "after the load")


def _loads(states: States) -> list[int]:
    place = max(1, (len(states) - 1).bit_length())
    return [lane | int(np.uint32(state)) << place for lane, state in enumerate(states)]
