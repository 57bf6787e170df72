"""Row sampler: lists of all lengths and probabilities, every worth, stalls, new seeds, resets; the simulator's clocks."""

from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig, OperandPathConfig
from lanewise.models.lfsr import States, lane_states, random_bits
from lanewise.models.row_sampler import leverage_probabilities, probability_bits, row_powers, row_sampler
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

Bits = npt.NDArray[np.uint16]
Lists = list[Bits]


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
        kept = _kept(bits, np.concatenate([first, rest])[:, 0])
        early = int((kept[:, 0] < before).sum())
        got = await tb.exchange({"i": words[:before]}, {"o": early} if early else {}, extra_clk=0)
        moved = await tb.exchange(
            {"load": state_loads(1, new), "i": words[before:]}, {"o": len(kept) - early, "count": 1}
        )
        words = (got["o"].words if early else []) + moved["o"].words
        tb.check_values(_rows(tb, words), kept, f"around the state of seed {seed}")
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


@cocotb.test()
async def powers(dut: Any) -> None:
    """What a row is worth: all probabilities that keep it, and their edges with draws on both sides of the threshold."""
    tb = await Testbench.start(dut, OperandPathConfig)
    bits, draws = _edges(tb.rng)
    cuts = range(200, len(bits), 200)
    lists = np.split(bits, cuts)
    kept = [_kept(*both) for both in zip(lists, np.split(draws, cuts), strict=True)]
    found = _rows(tb, await _drawn(tb, lists, draws))
    tb.check_values(found, np.concatenate(kept), "numbers and powers of the kept rows")


async def _drawn(tb: Testbench, probabilities: Lists, draws: Bits) -> list[int]:
    """Words of ``o`` where each row has its own state, which begins with its draw, loaded in the clock before it."""
    load, load_valid, row, row_valid = (
        tb.port(name) for name in ("load__payload", "load__valid", "i__payload", "i__valid")
    )
    valid, payload = tb.port("o__valid"), tb.port("o__payload")
    tb.port("o__ready").set(1)
    tb.port("count__ready").set(1)
    upper = tb.rng.integers(1, 1 << 16, len(draws), dtype=np.uint32)  # no state is 0
    found = []
    words = [*_words(probabilities), 0]  # one more: a row that is not kept
    for word, state in zip(words, [*(upper << 16 | draws), 1], strict=True):
        row_valid.set(0)
        load.set(*state_loads(1, np.array([state], np.uint32)))
        load_valid.set(1)
        await tb.wait(1)
        if valid.get():  # the row before
            found.append(payload.get())
        load_valid.set(0)
        row.set(word)
        row_valid.set(1)
        await tb.wait(1)
    return found


def _edges(rng: np.random.Generator) -> tuple[Bits, Bits]:
    """Probabilities, and draws that mostly keep a row of each."""
    some = [1 << k for k in range(17)]
    edges = np.unique([p + by for p in some for by in (-2, -1, 0, 1, 2)])
    edges = np.repeat(edges[(edges >= 0) & (edges < 65536)], 8)
    p = np.concatenate([np.arange(65536), edges])
    below = np.maximum(p - 1, 0)
    threshold = (1 << np.frexp(below)[1].astype(np.int64)) - p
    choices = np.stack([
        threshold - 1, threshold, threshold + 1, np.zeros_like(p), below, rng.integers(0, below + 1),
        p, np.full_like(p, 65535),
    ])  # fmt: skip
    chosen = np.concatenate([rng.integers(0, 6, 65536), np.arange(len(edges)) % 8])
    draws = np.clip(choices[chosen, np.arange(len(p))], 0, 65535)
    draws[:65536] = np.minimum(draws, below)[:65536]  # every probability but 0 keeps a row
    order = rng.permutation(len(p))
    return p[order].astype(np.uint16), draws[order].astype(np.uint16)


def _kept(bits: Bits, random: Bits) -> npt.NDArray[np.int64]:
    """Numbers and powers of a list's kept rows, shape ``(kept, 2)``."""
    rows = row_sampler(bits, random)
    return np.stack([rows, row_powers(bits[rows], random[rows])], axis=1)


def _rows(tb: Testbench, words: list[int]) -> npt.NDArray[np.int64]:
    """The same of the words of ``o``."""
    found = np.array(words, np.int64)
    return np.stack([found & (1 << tb.config.row_bits) - 1, found >> tb.config.row_bits], axis=1)


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
    kept = [_kept(bits, part) for bits, part in zip(probabilities, parts, strict=True)]
    rows = np.concatenate(kept)
    moved = await tb.exchange({"i": words}, {"o": len(rows), "count": len(kept)}, p_stall=p_stall)
    tb.check_values(_rows(tb, moved["o"].words), rows, "numbers and powers of the kept rows")
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
