"""Transposer: random blocks of all numbers of columns, turned already or not, stalls on either side, gaps between blocks; a line and a column a clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    parts: int


_SQUARES = ((2, 1, 1), (5, 3, 3), (8, 8, 1))
_P_TURNED = 0.5
_SQUARES_FULL = ((16, 4, 2), (32, 8, 1), (64, 4, 2))


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    own = (machine.matrix.block_steps, 4, 2)
    squares = dict.fromkeys([*_SQUARES, own, *(_SQUARES_FULL if full else ())])
    return [
        Case(label=f"{size}x{parts}of{bits}bits", config=Square(size=size, bits=bits, parts=parts))
        for size, bits, parts in squares
    ]


def _component(square: Square) -> Transposer:
    return Transposer(size=square.size, bits=square.bits, parts=square.parts)


BENCH = Bench(component=_component, cases=_cases)


@dataclass(frozen=True, kw_only=True)
class Block:
    """What comes in, and what is wanted of it."""

    elements: npt.NDArray[np.uint32]
    """Parts, shape ``(size, size, parts)``, a line a row."""
    turned: npt.NDArray[np.bool_]
    """Of each part."""
    steps: int

    @property
    def columns(self) -> npt.NDArray[np.uint32]:
        """Shape ``(steps, size * parts)``."""
        square = np.where(self.turned, self.elements, self.elements.swapaxes(0, 1))[: self.steps]
        return square.reshape(self.steps, -1)


@cocotb.test()
@cocotb.parametrize(p_in=[0.0, 0.5], p_out=[0.0, 0.6])
async def blocks(dut: Any, p_in: float, p_out: float) -> None:
    """Random elements, whatever stalls."""
    tb = await Testbench.start(dut, Square)
    size = tb.config.size
    wanted = [size, size, 1, size, 1, 1, *tb.rng.integers(1, size + 1, 40).tolist()]
    await _compare(tb, [_block(tb, steps) for steps in wanted], {"i": p_in, "o": p_out})


@cocotb.test()
async def clocks(dut: Any) -> None:
    """A line each clock from block to block; each block's columns right behind its last line, one a clock."""
    tb = await Testbench.start(dut, Square)
    size = tb.config.size
    for wanted in ([size] * 20, [1] * 10, tb.rng.integers(1, size + 1, 30).tolist()):
        i, o = await _compare(tb, [_block(tb, steps) for steps in wanted], 0.0)
        tb.check_clocks(i, list(range(i[0], i[0] + len(wanted) * size)), "lines")
        expected = [i[(n + 1) * size - 1] + 1 + k for n, steps in enumerate(wanted) for k in range(steps)]
        tb.check_clocks(o, expected, "columns")


@cocotb.test()
async def begins_while_columns_leave(dut: Any) -> None:
    """A block that begins any number of clocks after the one before: columns never wait for it."""
    tb = await Testbench.start(dut, Square)
    size = tb.config.size
    for gap in range(2 * size + 3):
        pair = [_block(tb, size), _block(tb, int(tb.rng.integers(1, size + 1)))]
        words = _words(pair, tb.config)
        await tb.exchange({"i": words[:size]}, {})
        first = tb.clk
        early = await tb.exchange({}, {"o": min(gap, size)}, extra_clk=0) if gap else None
        await tb.wait(max(0, gap - size))
        left = size - min(gap, size) + pair[1].steps
        late = await tb.exchange({"i": words[size:]}, {"o": left})
        found = [*(early["o"].words if early else []), *late["o"].words]
        tb.check_values(_columns(found, tb.config), _expected(pair), "columns")
        if early:
            tb.check_clocks(early["o"].clocks, [first + 1 + k for k in range(min(gap, size))], "columns")
        tb.check_clocks(late["i"].clocks, [first + gap + 1 + k for k in range(size)], "lines of the second")


@cocotb.test()
async def reset_in_mid_block(dut: Any) -> None:
    """A reset drops lines and columns; the next block is whole."""
    tb = await Testbench.start(dut, Square)
    size = tb.config.size
    for lines in range(1, 2 * size):
        await tb.exchange({"i": _words([_block(tb, size)], tb.config)[:lines]}, {})
        await tb.reset()
        tb.check_values(tb.port("o__valid").get(), 0, "valid after a reset")
        await _compare(tb, [_block(tb, size), _block(tb, 1)], 0.0)


def _block(tb: Testbench, steps: int) -> Block:
    square = tb.config
    shape = (square.size, square.size, square.parts)
    elements = tb.rng.integers(0, 1 << square.bits, shape, np.uint32)
    return Block(elements=elements, turned=tb.rng.random(square.parts) < _P_TURNED, steps=steps)


def _words(many: Sequence[Block], square: Square) -> list[int]:
    """Lines as payloads; ``steps`` and ``turned`` are noise but with the last of a block."""
    top, words = square.size * square.bits * square.parts, []
    above = top + square.size.bit_length()
    for block in many:
        lines = to_words(block.elements.reshape(square.size, -1), square.bits)
        turned = sum(int(part) << number for number, part in enumerate(block.turned))
        for k, line in enumerate(lines[:-1]):
            words.append(line | k % (square.size + 1) << top | k % (1 << square.parts) << above)
        words.append(lines[-1] | block.steps << top | turned << above)
    return words


def _expected(many: Sequence[Block]) -> npt.NDArray[np.uint32]:
    return np.concatenate([block.columns for block in many])


def _columns(words: Sequence[int], square: Square) -> npt.NDArray[np.uint32]:
    return from_words(words, square.bits, square.size * square.parts).astype(np.uint32)


async def _compare(tb: Testbench, many: Sequence[Block], p_stall: Any) -> tuple[list[int], list[int]]:
    """Run blocks; compare columns and their marks; edges of lines and columns."""
    square = tb.config
    count = sum(block.steps for block in many)
    moved = await tb.exchange({"i": _words(many, square)}, {"o": count}, p_stall=p_stall)
    words = moved["o"].words
    tb.check_values(_columns(words, square), _expected(many), "columns")
    marks = [word >> square.size * square.bits * square.parts for word in words]
    expected = [(k == 0) | (k == block.steps - 1) << 1 for block in many for k in range(block.steps)]
    tb.check_values(marks, expected, "first and last")
    return moved["i"].clocks, moved["o"].clocks
