"""Row sampler: lists of all lengths and probabilities, stalls, new seeds, resets; the simulator's clocks."""

from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig, OperandPathConfig
from lanewise.models.lfsr import States, lane_states, random_bits
from lanewise.models.row_sampler import leverage_probabilities, probability_bits, row_sampler
from lanewise.rtl.row_sampler import RowSampler
from lanewise.sim.row_sampler import row_sampler_clk
from lanewise.verify.bench import Bench, Case
from lanewise.verify.operand_elements import state_loads
from lanewise.verify.testbench import Testbench


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    configs = [machine.operand_path, *([OperandPathConfig(row_bits=8)] if full else [])]
    return [
        Case(label=f"{bits}", config=OperandPathConfig(row_bits=bits))
        for bits in dict.fromkeys(config.row_bits for config in configs)
    ]


BENCH = Bench(component=RowSampler, cases=_cases)

Lists = list[npt.NDArray[np.uint16]]


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def lists(dut: Any, p_stall: float) -> None:
    """Leverage scores, all, none, and any probabilities; empty results and single rows among them."""
    tb = await Testbench.start(dut, OperandPathConfig)
    states = await _seed(tb, 1)
    await _compare(tb, _lists(tb.rng), states, p_stall)


@cocotb.test()
async def clocks(dut: Any) -> None:
    """A row a clock, whatever is kept; a list's count in the simulator's clocks."""
    tb = await Testbench.start(dut, OperandPathConfig)
    states = await _seed(tb, 2)
    for rows in (1, 2, 3, 100, int(tb.rng.integers(4, 256))):
        for bits in (np.full(rows, 65535), np.zeros(rows), tb.rng.integers(0, 65536, rows)):
            states = await _compare(tb, [bits.astype(np.uint16)], states, 0.0)


@cocotb.test()
async def reseed_in_mid_run(dut: Any) -> None:
    """A state loaded inside a list: rows accepted before it have the old state's bits, later ones the new one's."""
    tb = await Testbench.start(dut, OperandPathConfig)
    states = await _seed(tb, 3)
    for seed in range(4, 20):
        bits = tb.rng.integers(0, 65536, 120).astype(np.uint16)
        words = _words([bits])
        before = int(tb.rng.integers(1, 119))
        new = lane_states(seed, 1)
        first, _ = random_bits(states, before)
        rest, states = random_bits(new, 120 - before)
        kept = row_sampler(bits, np.concatenate([first, rest])[:, 0])
        early = int((kept < before).sum())
        got = await tb.exchange({"i": words[:before]}, {"o": early} if early else {}, extra_clk=0)
        moved = await tb.exchange(
            {"load": state_loads(1, new), "i": words[before:]}, {"o": len(kept) - early, "count": 1}
        )
        numbers = (got["o"].words if early else []) + moved["o"].words
        tb.check_values(numbers, kept, f"around the state of seed {seed}")
        tb.check_values(moved["count"].words, [len(kept)], "count")
        tb.check_clocks(moved["i"].clocks[0] - moved["load"].clocks[0], 1, "first row behind it")


@cocotb.test()
async def reset_in_mid_run(dut: Any) -> None:
    """A reset ends a list that was begun; the next one counts from 0."""
    tb = await Testbench.start(dut, OperandPathConfig)
    for rows in (1, 2, 9):
        await _seed(tb, rows)
        await tb.exchange({"i": [65535] * rows}, {"o": rows - 1} if rows > 1 else {}, extra_clk=0)
        await tb.reset()
        tb.check_values(tb.port("o__valid").get(), 0, "valid after a reset")
        states = await _seed(tb, rows)
        await _compare(tb, [tb.rng.integers(0, 65536, 40).astype(np.uint16)], states, 0.0)


def _lists(rng: np.random.Generator) -> Lists:
    found: Lists = []
    for rows in (1, 1, 2, 7, 64, 200, 255, 256):
        norms = rng.gamma(0.5, size=rows)
        found += [
            probability_bits(leverage_probabilities(norms, max(1, rows // 2))),
            np.full(rows, 65535, np.uint16),
            np.zeros(rows, np.uint16),
            rng.integers(0, 65536, rows).astype(np.uint16),
            rng.choice(np.array([0, 1, 65534, 65535], np.uint16), rows),
        ]
    return [found[k] for k in rng.permutation(len(found))]


def _words(probabilities: Lists) -> list[int]:
    return [
        int(p) | (k == len(bits) - 1) << 16 for bits in probabilities for k, p in enumerate(bits.tolist())
    ]


async def _seed(tb: Testbench, seed: int) -> States:
    states = lane_states(seed, 1)
    await tb.exchange({"load": state_loads(1, states)}, {})
    return states


async def _compare(tb: Testbench, probabilities: Lists, states: States, p_stall: float) -> States:
    """Run lists; compare numbers, counts and, without stalls, clocks. The state after them."""
    words = _words(probabilities)
    random, states = random_bits(states, len(words))
    parts = np.split(random[:, 0], np.cumsum([len(bits) for bits in probabilities])[:-1])
    kept = [row_sampler(bits, part) for bits, part in zip(probabilities, parts, strict=True)]
    numbers = np.concatenate(kept)
    moved = await tb.exchange({"i": words}, {"o": len(numbers), "count": len(kept)}, p_stall=p_stall)
    tb.check_values(moved["o"].words, numbers, "numbers of the kept rows")
    tb.check_values(moved["count"].words, [len(part) for part in kept], "counts")
    if p_stall == 0:
        i = moved["i"].clocks
        tb.check_clocks(i, list(range(i[0], i[0] + len(words))), "accepted rows")
        starts = np.cumsum([0, *(len(bits) for bits in probabilities)])[:-1]
        expected = [
            i[start] + row_sampler_clk(len(bits)) for start, bits in zip(starts, probabilities, strict=True)
        ]
        tb.check_clocks(moved["count"].clocks, expected, "counts")
    return states
