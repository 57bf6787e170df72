"""Operand feed: tiles of every pair of widths and layouts, of all sizes, in chunks of k and of passes, stalls; the simulator's clocks."""

from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig
from lanewise.models.mac_array import steps
from lanewise.rtl.operand_feed import K_BITS, OperandFeed, operand_clients
from lanewise.sim.matrix_stream import matrix_stream_beats_clk, matrix_stream_first_step_clk
from lanewise.verify.bench import Bench
from lanewise.verify.matrix_operands import (
    Image,
    chunks_of,
    matrix_cases,
    most_operand_bytes,
    operand_fields,
    packed,
    random_operand,
    step_payloads,
)
from lanewise.verify.scratchpad_bench import BesideScratchpad, fill
from lanewise.verify.testbench import Testbench

_BATCHES = 6


def _component(config: MachineConfig) -> BesideScratchpad:
    return BesideScratchpad(OperandFeed(config), config, operand_clients(config))


BENCH = Bench(component=_component, cases=matrix_cases)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A command, and the steps that it makes."""

    word: int
    k: int
    passes: int
    steps: list[int]


@cocotb.test()
@cocotb.parametrize(p_in=[0.0, 0.6], p_out=[0.0, 0.5])
async def bits(dut: Any, p_in: float, p_out: float) -> None:
    """Steps of random tiles, whatever stalls."""
    tb = await Testbench.start(dut, MachineConfig)
    for _ in range(_BATCHES):
        chunks = await _batch(tb)
        await _compare(tb, chunks, {"i": p_in, "o": p_out})


@cocotb.test()
async def clocks(dut: Any) -> None:
    """Commands back to back: each holds the feed for its blocks, its first step comes a block behind its start."""
    tb = await Testbench.start(dut, MachineConfig)
    matrix = tb.config.matrix
    for _ in range(_BATCHES):
        chunks = await _batch(tb)
        i, o = await _compare(tb, chunks, 0.0)
        starts, expected = i[0], []
        found = []
        for chunk, start in zip(chunks, i, strict=True):
            found.append(start)
            tb.check_clocks(start, starts, "start")
            first = starts + matrix_stream_first_step_clk(matrix)
            for number in range(chunk.passes):
                begins = first + number * matrix_stream_beats_clk(chunk.k, 1, matrix)
                expected += [begins + k for k in range(chunk.k)]
            starts += matrix_stream_beats_clk(chunk.k, chunk.passes, matrix)
        tb.check_clocks(o, expected, "steps")


@cocotb.test()
async def whole_blocks_leave_without_a_gap(dut: Any) -> None:
    """From tile to tile, too."""
    tb = await Testbench.start(dut, MachineConfig)
    size = tb.config.matrix.block_steps
    chunks = await _batch(tb, k=[size, 2 * size, size, 3 * size])
    _, o = await _compare(tb, chunks, 0.0)
    tb.check_clocks(o, list(range(o[0], o[0] + len(o))), "steps")


async def _batch(tb: Testbench, k: list[int] | None = None) -> list[Chunk]:
    """Commands on random operands, which are in the scratchpad then."""
    rng, size = tb.rng, tb.config.matrix.block_steps
    image = Image(bytes=rng.integers(0, 256, tb.config.scratchpad.bytes, np.uint8))
    image.end = int(rng.integers(len(image.bytes)))
    chunks: list[Chunk] = []
    lengths = k or [1, size - 1, size + 1, *rng.integers(1, 3 * size + 2, 8).tolist()]
    matrix = tb.config.matrix
    while sum(most_operand_bytes(n, k) for n in (matrix.rows, matrix.columns) for k in lengths) > len(
        image.bytes
    ):
        lengths.pop()
    for length in lengths:
        chunks += _tile(tb, image, length, whole=k is not None)
    await fill(tb, tb.config, image.bytes)
    return chunks


def _tile(tb: Testbench, image: Image, k: int, *, whole: bool) -> list[Chunk]:
    """One command (``whole``), or perhaps a command for each pass of each chunk of k."""
    rng, matrix = tb.rng, tb.config.matrix
    a, w = (random_operand(rng, image, lines, k) for lines in (matrix.rows, matrix.columns))
    passes = matrix.passes(a.bits, w.bits)
    made = steps(a.values, w.values.T, a.bits, w.bits)
    signs = made.a_signed | made.w_signed.astype(np.int64) << 1
    chunks = []
    for start, count, first, final, last in chunks_of(rng, k, passes, whole=whole):
        places: npt.NDArray[np.int64] = np.concatenate(
            [number * k + start + np.arange(count) for number in range(first, final + 1)]
        )
        shift = made.shift.astype(np.int64)[places]
        flags = signs[places] | shift << 2
        flags[-1] |= last << 3
        fields = [
            *operand_fields(rng, a, w, start, tb.config), (count, K_BITS),
            (first, 2), (final, 2), (int(shift[0]), 1), (int(last), 1),
        ]  # fmt: skip
        words = step_payloads(made.a[:, places], made.w.T[:, places], flags, matrix)
        chunks.append(Chunk(word=packed(fields), k=count, passes=final - first + 1, steps=words))
    return chunks


async def _compare(tb: Testbench, chunks: list[Chunk], p_stall: Any) -> tuple[list[int], list[int]]:
    """Run commands; compare steps; edges of commands and steps."""
    expected = [word for chunk in chunks for word in chunk.steps]
    moved = await tb.exchange({"i": [chunk.word for chunk in chunks]}, {"o": len(expected)}, p_stall=p_stall)
    tb.check_values(np.array(moved["o"].words, object), np.array(expected, object), "steps")
    return moved["i"].clocks, moved["o"].clocks
