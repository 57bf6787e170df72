"""Transposer: random blocks of all numbers of columns, stalls on either side, gaps between blocks; a line and a column a clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig
from lanewise.rtl.transposer import Transposer
from lanewise.verify.bench import Bench, Case
from lanewise.verify.testbench import Testbench
from lanewise.verify.words import from_words, to_words


@dataclass(frozen=True, kw_only=True)
class Square:
    """A transposer's shape."""

    size: int
    bits: int


_SQUARES = ((2, 1), (5, 3), (8, 8))
_SQUARES_FULL = ((16, 4), (32, 8), (64, 4))


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    own = (machine.matrix.block_steps, 4)
    squares = dict.fromkeys([*_SQUARES, own, *(_SQUARES_FULL if full else ())])
    return [Case(label=f"{size}x{bits}bits", config=Square(size=size, bits=bits)) for size, bits in squares]


def _component(square: Square) -> Transposer:
    return Transposer(size=square.size, bits=square.bits)


BENCH = Bench(component=_component, cases=_cases)

Block: TypeAlias = npt.NDArray[np.int64]
"""Elements, shape ``(size, size)``, a line a row."""


@cocotb.test()
@cocotb.parametrize(p_in=[0.0, 0.5], p_out=[0.0, 0.6])
async def blocks(dut: Any, p_in: float, p_out: float) -> None:
    """Random elements, whatever stalls."""
    tb = await Testbench.start(dut, Square)
    size = tb.config.size
    wanted = [size, size, 1, size, 1, 1, *tb.rng.integers(1, size + 1, 40).tolist()]
    await _compare(tb, [_block(tb) for _ in wanted], wanted, {"i": p_in, "o": p_out})


@cocotb.test()
async def clocks(dut: Any) -> None:
    """A line each clock from block to block; each block's columns right behind its last line, one a clock."""
    tb = await Testbench.start(dut, Square)
    size = tb.config.size
    for wanted in ([size] * 20, [1] * 10, tb.rng.integers(1, size + 1, 30).tolist()):
        i, o = await _compare(tb, [_block(tb) for _ in wanted], wanted, 0.0)
        tb.check_clocks(i, list(range(i[0], i[0] + len(wanted) * size)), "lines")
        expected = [i[(n + 1) * size - 1] + 1 + k for n, steps in enumerate(wanted) for k in range(steps)]
        tb.check_clocks(o, expected, "columns")


@cocotb.test()
async def begins_while_columns_leave(dut: Any) -> None:
    """A block that begins any number of clocks after the one before: columns never wait for it."""
    tb = await Testbench.start(dut, Square)
    size = tb.config.size
    for gap in range(2 * size + 3):
        pair = [_block(tb), _block(tb)]
        steps = [size, int(tb.rng.integers(1, size + 1))]
        words = _words(pair, steps, tb.config)
        await tb.exchange({"i": words[:size]}, {})
        first = tb.clk
        early = await tb.exchange({}, {"o": min(gap, size)}, extra_clk=0) if gap else None
        await tb.wait(max(0, gap - size))
        left = size - min(gap, size) + steps[1]
        late = await tb.exchange({"i": words[size:]}, {"o": left})
        found = [*(early["o"].words if early else []), *late["o"].words]
        tb.check_values(_columns(found, tb.config), _expected(pair, steps), "columns")
        if early:
            tb.check_clocks(early["o"].clocks, [first + 1 + k for k in range(min(gap, size))], "columns")
        tb.check_clocks(late["i"].clocks, [first + gap + 1 + k for k in range(size)], "lines of the second")


@cocotb.test()
async def reset_in_mid_block(dut: Any) -> None:
    """A reset drops lines and columns; the next block is whole."""
    tb = await Testbench.start(dut, Square)
    size = tb.config.size
    for lines in range(1, 2 * size):
        await tb.exchange(
            {"i": _words([_block(tb), _block(tb)], [size, size], tb.config)[: min(lines, size)]}, {}
        )
        await tb.reset()
        tb.check_values(tb.port("o__valid").get(), 0, "valid after a reset")
        await _compare(tb, [_block(tb), _block(tb)], [size, 1], 0.0)


def _block(tb: Testbench) -> Block:
    return tb.rng.integers(0, 1 << tb.config.bits, (tb.config.size,) * 2)


def _words(many: Sequence[Block], wanted: Sequence[int], square: Square) -> list[int]:
    """Lines as payloads; ``steps`` is noise but with the last of a block."""
    top, words = square.size * square.bits, []
    for block, steps in zip(many, wanted, strict=True):
        lines = to_words(block.astype(np.uint32), square.bits)
        words += [
            line | (steps if k == square.size - 1 else k % (square.size + 1)) << top
            for k, line in enumerate(lines)
        ]
    return words


def _expected(many: Sequence[Block], wanted: Sequence[int]) -> Block:
    return np.concatenate([block.T[:steps] for block, steps in zip(many, wanted, strict=True)])


def _columns(words: Sequence[int], square: Square) -> Block:
    return from_words(words, square.bits, square.size).astype(np.int64)


async def _compare(
    tb: Testbench, many: Sequence[Block], wanted: Sequence[int], p_stall: Any
) -> tuple[list[int], list[int]]:
    """Run blocks; compare columns and their marks; edges of lines and columns."""
    square = tb.config
    moved = await tb.exchange({"i": _words(many, wanted, square)}, {"o": sum(wanted)}, p_stall=p_stall)
    words = moved["o"].words
    tb.check_values(_columns(words, square), _expected(many, wanted), "columns")
    marks = [word >> square.size * square.bits for word in words]
    expected = [(k == 0) | (k == steps - 1) << 1 for steps in wanted for k in range(steps)]
    tb.check_values(marks, expected, "first and last")
    return moved["i"].clocks, moved["o"].clocks
