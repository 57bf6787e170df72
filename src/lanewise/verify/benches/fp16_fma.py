"""FP16 multiply-add: bits against numpy's float64 rounded to odd, latency and throughput."""

from collections.abc import Sequence

import cocotb
import numpy as np

from lanewise.config import FP16_FMA_LATENCY_CLK, FlexSfuConfig, MachineConfig
from lanewise.rtl.fp16_fma import Fp16Fma
from lanewise.verify.bench import Bench, Case
from lanewise.verify.fp16_reference import Bits, fp16_fma_reference, random_triples, special_triples
from lanewise.verify.testbench import Testbench, Transfers
from lanewise.verify.words import from_words, to_words

_LANES = 16  # all lanes are the same module: as many as make a clock of simulation worth its time
_RANDOM, _RANDOM_FULL = 2_200_000, 20_000_000


def _component(config: FlexSfuConfig) -> Fp16Fma:
    return Fp16Fma(lanes=config.lanes)


def _cases(_machine: MachineConfig, full: bool) -> list[Case]:
    config = FlexSfuConfig(lanes=_LANES)
    return [Case(label=f"{_LANES}", config=config, parameters={"random": _RANDOM_FULL if full else _RANDOM})]


BENCH = Bench(component=_component, cases=_cases)


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def special_values(dut: object, p_stall: float) -> None:
    """Every triple of the special values, every sign."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    await _compare(tb, special_triples(), p_stall)


@cocotb.test()
@cocotb.parametrize(p_stall=[0.0, 0.5])
async def random_values(dut: object, p_stall: float) -> None:
    """Random triples; one in ten of them again with stalls."""
    tb = await Testbench.start(dut, FlexSfuConfig)
    count = tb.parameters["random"] if p_stall == 0 else tb.parameters["random"] // 10
    block = 500_000
    for start in range(0, count, block):
        await _compare(tb, random_triples(tb.rng, min(block, count - start)), p_stall)


async def _compare(tb: Testbench, triples: Sequence[Bits], p_stall: float) -> None:
    """Run the triples, each in a random lane, and hold results and clocks to what they must be."""
    count, lanes = triples[0].size, tb.config.lanes
    beats = -(-count // lanes)
    order = np.resize(tb.rng.permutation(count), beats * lanes)  # the last beat is filled up with repeats
    a, b, c = (operand[order].reshape(beats, lanes) for operand in triples)
    moved = await tb.exchange({"i": to_words(np.hstack([a, b, c]), 16)}, {"o": beats}, p_stall=p_stall)
    tb.check_values(from_words(moved["o"].words, 16, lanes), fp16_fma_reference(a, b, c), "a * b + c")
    if p_stall == 0:
        _check_pace(tb, moved["i"], moved["o"])


def _check_pace(tb: Testbench, i: Transfers, o: Transfers) -> None:
    tb.check_clocks(i.clocks, list(range(i.clocks[0], i.clocks[0] + len(i.clocks))), "accepted beats")
    tb.check_clocks(o.clocks, [clk + FP16_FMA_LATENCY_CLK for clk in i.clocks], "results")
