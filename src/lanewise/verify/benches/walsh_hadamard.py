"""Walsh-Hadamard unit: every element, every block, blocks in turn, stalls, resets; the simulator's clocks."""

from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from lanewise.config import FIXED_POINT_EXPONENTS, OperandPathConfig
from lanewise.formats import NumberFormat
from lanewise.models.numbers import Bits
from lanewise.models.walsh_hadamard import fixed_point, walsh_hadamard
from lanewise.rtl.walsh_hadamard import WalshHadamard
from lanewise.sim.walsh_hadamard import walsh_hadamard_clk
from lanewise.verify.bench import Bench
from lanewise.verify.operand_elements import path_cases, random_blocks, random_operands, transform_words
from lanewise.verify.testbench import Testbench, Transfers
from lanewise.verify.words import from_words

BENCH = Bench(component=WalshHadamard, cases=path_cases)

_EXPONENTS = (FIXED_POINT_EXPONENTS[0], 0, 9, 15, FIXED_POINT_EXPONENTS[1])


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def every_element(dut: Any, p_stall: float) -> None:
    """All elements of each format to fixed point, block 1; without stalls at several exponents, with them at one a beat."""
    tb = await Testbench.start(dut, OperandPathConfig)
    for form in tb.config.number_formats:
        x = tb.rng.permutation(np.arange(1 << 16, dtype=np.uint16)).reshape(-1, tb.config.lanes)
        if p_stall:
            exponents = tb.rng.integers(FIXED_POINT_EXPONENTS[0], FIXED_POINT_EXPONENTS[1] + 1, size=len(x))
            await _compare(tb, form, x, exponents, np.ones(len(x), int), p_stall, "each beat its exponent")
            continue
        for exponent in _EXPONENTS:
            exponents = np.full(len(x), exponent)
            moved = await _compare(tb, form, x, exponents, np.ones(len(x), int), 0.0, f"exponent {exponent}")
            measured = moved["o"].clocks[-1] - moved["i"].clocks[0]
            tb.check_clocks(measured, walsh_hadamard_clk(len(x), tb.config, 1))


@cocotb.test()
async def clocks(dut: Any) -> None:
    """Runs of each block: every beat is accepted at once and leaves when the simulator says; so does a run as a whole."""
    tb = await Testbench.start(dut, OperandPathConfig)
    for form in tb.config.number_formats:
        for block in tb.config.blocks:
            per_block = tb.config.block_beats(block)
            for count in (1, 2, 3, int(tb.rng.integers(4, 40)), 400):
                beats = per_block * count
                x = random_operands(tb.rng, tb.config, form, beats)
                moved = await _compare(tb, form, x, np.full(beats, 7), np.full(beats, block), 0.0, f"{block}")
                i, o = moved["i"].clocks, moved["o"].clocks
                tb.check_clocks(i, list(range(i[0], i[0] + beats)), "accepted beats")
                tb.check_clocks(o, [clk + tb.config.transform_latency_clk(block) for clk in i], "results")
                tb.check_clocks(o[-1] - i[0], walsh_hadamard_clk(beats, tb.config, block), "the run")


@cocotb.test()
@cocotb.parametrize(p_in=[0.0, 0.5], p_out=[0.0, 0.5])
async def blocks_in_turn(dut: Any, p_in: float, p_out: float) -> None:
    """Blocks of random sizes behind each other, with exponents of their own: the same values whatever stalls."""
    tb = await Testbench.start(dut, OperandPathConfig)
    for form in tb.config.number_formats:
        blocks = random_blocks(tb.rng, tb.config, 1500)
        x = random_operands(tb.rng, tb.config, form, len(blocks))
        exponents = tb.rng.integers(-2, 16, size=len(blocks))
        await _compare(tb, form, x, exponents, blocks, {"i": p_in, "o": p_out}, "blocks in turn")


@cocotb.test()
async def reset_in_mid_run(dut: Any) -> None:
    """A reset drops the beats in flight, those kept for their block's second half, too."""
    tb = await Testbench.start(dut, OperandPathConfig)
    config = tb.config
    form = config.number_formats[0]
    for in_flight in range(1, config.transform_latency_clk(config.largest_block) + 1):
        blocks = np.full(config.block_beats(config.largest_block) * 30, config.largest_block)
        x = random_operands(tb.rng, config, form, len(blocks))
        words = transform_words(config, x, 5, blocks, form)
        await tb.exchange({"i": words[:in_flight]}, {})
        await tb.wait(1)  # ports read at an edge have the values from before it
        tb.check_values(tb.port("busy").get(), 1, "busy")
        await tb.reset()
        tb.check_values(tb.port("busy").get(), 0, "busy after a reset")
        await _compare(tb, form, x, np.full(len(x), 5), blocks, 0.0, f"after {in_flight} beats and a reset")


def transformed(
    x: Bits,
    exponents: npt.NDArray[Any],
    blocks: npt.NDArray[Any],
    config: OperandPathConfig,
    form: NumberFormat,
) -> npt.NDArray[np.int64]:
    """The golden results of beats whose blocks and exponents differ."""
    fixed = np.zeros(x.shape, np.int64)
    for exponent in np.unique(exponents).tolist():
        fixed[exponents == exponent] = fixed_point(x[exponents == exponent], exponent, form)
    result = np.empty_like(fixed)
    for block in np.unique(blocks).tolist():
        part = fixed[blocks == block]  # blocks are whole and their beats follow each other
        per_beat = part.reshape(-1, max(block, config.lanes))
        result[blocks == block] = walsh_hadamard(per_beat, block).reshape(part.shape)
    return result


async def _compare(
    tb: Testbench, form: NumberFormat, x: Bits, exponents: npt.NDArray[Any], blocks: npt.NDArray[Any],
    p_stall: Any, what: str,
) -> dict[str, Transfers]:  # fmt: skip
    config, bits = tb.config, tb.config.transformed_bits
    words = transform_words(config, x, exponents, blocks, form)
    moved = await tb.exchange({"i": words}, {"o": len(x)}, p_stall=p_stall)
    actual = from_words(moved["o"].words, bits, config.lanes).astype(np.int64)
    actual -= (actual >> (bits - 1)) << bits
    tb.check_values(actual, transformed(x, exponents, blocks, config, form), f"{form.name}, {what}")
    return moved
