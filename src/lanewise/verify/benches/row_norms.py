"""Row norms: rows of all lengths, of extremes and random numbers, stalls, sums that wrap, resets; the simulator's clocks."""

from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig, OperandPathConfig
from lanewise.models.operand_path import word_norms
from lanewise.rtl.row_norms import RowNorms
from lanewise.sim.row_norms import row_norms_clk
from lanewise.verify.bench import Bench, Case
from lanewise.verify.operand_elements import norm_pairs
from lanewise.verify.testbench import Testbench
from lanewise.verify.words import to_words


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    lanes = dict.fromkeys((8, machine.operand_path.lanes, *((16, 32, 64) if full else ())))
    return [Case(label=f"{count}", config=OperandPathConfig(lanes=count)) for count in lanes]


BENCH = Bench(component=RowNorms, cases=_cases)

Rows = list[npt.NDArray[np.uint8]]
"""Nibbles of each row, lo then hi, shape ``(beats, 2 * lanes)``."""


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def rows(dut: Any, p_stall: float) -> None:
    """Rows of all numbers, extremes and zeros, from one beat to many; without stalls in the simulator's clocks."""
    tb = await Testbench.start(dut, OperandPathConfig)
    lengths = [1, 1, 1, 2, 1, 2, 2, 3, 64, 1, 1, *tb.rng.integers(1, 12, 150).tolist()]
    await _compare(tb, [_row(tb, beats) for beats in lengths], p_stall)


@cocotb.test()
@cocotb.parametrize(side=["i", "o"])
async def one_side_stalls(dut: Any, side: str) -> None:
    """Beats that hardly come, and sums that are hardly taken."""
    tb = await Testbench.start(dut, OperandPathConfig)
    many = [_row(tb, beats) for beats in tb.rng.integers(1, 6, 150).tolist()]
    await _compare(tb, many, {side: 0.9})


@cocotb.test()
async def clocks(dut: Any) -> None:
    """A beat a clock whatever the rows, and each row's sums two clocks behind its last beat."""
    tb = await Testbench.start(dut, OperandPathConfig)
    for lengths in ([1], [2], [1] * 50, [2] * 50, [77, 1, 1, 3], tb.rng.integers(1, 30, 40).tolist()):
        await _compare(tb, [_row(tb, beats) for beats in lengths], 0.0)


@cocotb.test()
async def sums_wrap(dut: Any) -> None:
    """The largest squares on each side of 2**24, and a row behind them."""
    tb = await Testbench.start(dut, OperandPathConfig)
    beats = (1 << 18) // tb.config.lanes
    eights = np.full((beats + 1, 2 * tb.config.lanes), 8, np.uint8)
    await _compare(tb, [eights[: beats - 1], eights[:beats], eights, _row(tb, 3)], 0.0)


@cocotb.test()
async def waits_for_sums(dut: Any) -> None:
    """While sums are not taken, the next row is accepted to its last beat and no beat behind it."""
    tb = await Testbench.start(dut, OperandPathConfig)
    for beats in (1, 2, 5):
        many = [_row(tb, beats) for _ in range(4)]
        words = _words(many)
        await tb.exchange({"i": words[: 2 * beats]}, {})
        await tb.wait(3)
        tb.check_values(tb.port("i__ready").get(), 0, "ready behind two rows")
        tb.check_values(tb.port("o__valid").get(), 1, "sums on offer")
        moved = await tb.exchange({"i": words[2 * beats :]}, {"o": len(many)})
        tb.check_values(norm_pairs(moved["o"].words), _expected(many, tb.config.lanes), "lo and hi")


@cocotb.test()
async def reset_in_mid_run(dut: Any) -> None:
    """A reset drops a row that was begun and sums that were not taken; the next row begins with 0."""
    tb = await Testbench.start(dut, OperandPathConfig)
    for beats in range(1, 8):
        await tb.exchange({"i": _words([_row(tb, 2), _row(tb, 9)])[:beats]}, {})
        await tb.wait(1)
        await tb.reset()
        tb.check_values(tb.port("o__valid").get(), 0, "valid after a reset")
        await _compare(tb, [_row(tb, 3), _row(tb, 1)], 0.0)


def _row(tb: Testbench, beats: int) -> npt.NDArray[np.uint8]:
    shape = (beats, 2 * tb.config.lanes)
    kind = tb.rng.integers(0, 4)
    if kind == 0:
        return np.full(shape, tb.rng.integers(0, 16), np.uint8)  # one number: -8 and 0 among them
    if kind == 1:
        return tb.rng.choice(np.array([0, 7, 8], np.uint8), shape)
    return tb.rng.integers(0, 16, shape, dtype=np.uint8)


def _words(many: Rows) -> list[int]:
    top = 4 * many[0].shape[1]
    return [word | (k == len(row) - 1) << top for row in many for k, word in enumerate(to_words(row, 4))]


def _expected(many: Rows, lanes: int) -> npt.NDArray[np.int64]:
    return np.concatenate([word_norms(row[:, lanes:], row[:, :lanes], len(row)) for row in many])


async def _compare(tb: Testbench, many: Rows, p_stall: float | dict[str, float]) -> None:
    """Run rows; compare sums and, without stalls, clocks."""
    moved = await tb.exchange({"i": _words(many)}, {"o": len(many)}, p_stall=p_stall)
    tb.check_values(norm_pairs(moved["o"].words), _expected(many, tb.config.lanes), "lo and hi")
    if p_stall == 0:
        i = moved["i"].clocks
        tb.check_clocks(i, list(range(i[0], i[0] + len(i))), "accepted beats")
        expected = [i[0] + clk for clk in row_norms_clk([len(row) for row in many])]
        tb.check_clocks(moved["o"].clocks, expected, "sums")
