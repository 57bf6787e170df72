"""The vector unit's ALU: every instruction at every width, corner and random values, all 16-bit operands of the estimates, latency."""

from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np

from lanewise.config import MachineConfig, VectorConfig
from lanewise.isa.operations import OPERATIONS, Width
from lanewise.models.vector_elements import is_elementwise
from lanewise.rtl.vector_alu import VectorAlu
from lanewise.verify.bench import Bench, Case
from lanewise.verify.testbench import Testbench
from lanewise.verify.vector_alu_beats import ONE_CLOCK, Beats, Stimuli, settings
from lanewise.verify.words import from_words

_LANES, _LANES_FULL = (1, 8), (1, 2, 4, 8, 32)
_LATENCY_CLK = 1
_OUTPUTS = ("y", "bits")
_NARROW_TESTS = ("every_instruction", "every_16_bit_operand", "instructions_beat_by_beat", "latency")
"""What fewer than ``_WIDE`` lanes do: the rest has too many beats for them."""
_WIDE = 8


def _component(config: VectorConfig) -> VectorAlu:
    return VectorAlu(config.lanes)


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    lanes = dict.fromkeys([*(_LANES_FULL if full else _LANES), machine.vector.lanes])
    return [
        Case(
            label=f"{count}lanes", config=VectorConfig(lanes=count, vlen_bits=max(128, 32 * count)),
            parameters={"beats": 4000 if full else 120}, tests=() if full or count >= _WIDE else _NARROW_TESTS,
        )
        for count in lanes
    ]  # fmt: skip


BENCH = Bench(component=_component, cases=_cases)


@cocotb.test()
async def every_instruction(dut: Any) -> None:
    """Each instruction at each SEW and format: corner values with each other, and random ones."""
    tb = await Testbench.start(dut, VectorConfig)
    stimuli = Stimuli(tb.config.lanes, tb.rng)
    for operation in ONE_CLOCK:
        await _run(tb, [stimuli.of(operation, *s, tb.parameters["beats"]) for s in settings(operation)])


@cocotb.test()
async def every_pair_of_8_bits(dut: Any) -> None:
    """Every pair of operands of the instructions with two vectors of 8 bits."""
    tb = await Testbench.start(dut, VectorConfig)
    stimuli = Stimuli(tb.config.lanes, tb.rng)
    for operation in ONE_CLOCK:
        if operation.vs1 is operation.vs2 is Width.SEW and 8 in operation.sews and is_elementwise(operation):
            await _run(tb, [stimuli.pairs(operation)])


@cocotb.test()
async def every_16_bit_operand(dut: Any) -> None:
    """The estimates of every FP16 and BF16 number; of FP32, every sign, exponent and upper fraction."""
    tb = await Testbench.start(dut, VectorConfig)
    stimuli = Stimuli(tb.config.lanes, tb.rng)
    words = np.arange(1 << 16)
    for name in ("vfrec7.v", "vfrsqrt7.v"):
        for altfmt in (False, True):
            await _run(tb, [stimuli.unary(OPERATIONS[name], 16, altfmt, words)])
        below = tb.rng.integers(0, 1 << 16, words.size) >> tb.rng.integers(0, 17, words.size)
        await _run(tb, [stimuli.unary(OPERATIONS[name], 32, False, words << 16 | below)])
        small = tb.rng.integers(0, 1 << 23, 4096) >> tb.rng.integers(0, 24, 4096)
        await _run(tb, [stimuli.unary(OPERATIONS[name], 32, False, small)])


@cocotb.test()
async def instructions_beat_by_beat(dut: Any) -> None:
    """Every beat is another instruction's."""
    tb = await Testbench.start(dut, VectorConfig)
    stimuli = Stimuli(tb.config.lanes, tb.rng)
    groups = [
        stimuli.of(operation, *s, 8, corners=False) for operation in ONE_CLOCK for s in settings(operation)
    ]
    order = tb.rng.permutation(np.repeat(np.arange(len(groups)), [len(group.expected) for group in groups]))
    await _run(tb, groups, order.tolist())


@cocotb.test()
async def latency(dut: Any) -> None:
    """The clock edge after which a changed operand's result is there."""
    tb = await Testbench.start(dut, VectorConfig)
    beats = Stimuli(tb.config.lanes, tb.rng).of(OPERATIONS["vid.v"], 32, False, 200)
    for port, words in beats.ports.items():
        tb.port(port).set(words[0])
    await tb.wait(4)
    clocks = []
    for word in beats.ports["index"][1:]:
        old = tb.port("y").get()
        tb.port("index").set(word)
        await tb.wait(1)  # values from before this edge, and so on
        assert tb.port("y").get() == old
        for clk in range(1, 5):
            await tb.wait(1)
            if tb.port("y").get() != old:
                clocks.append(clk)
                break
    tb.check_clocks(clocks, [_LATENCY_CLK] * (len(beats.expected) - 1), "changed results")


async def _run(tb: Testbench, groups: Sequence[Beats], order: Sequence[int] | None = None) -> None:
    """A beat each clock, of the groups one after the other, or as ``order`` has it; compare what comes out."""
    if order is None:
        order = [k for k, group in enumerate(groups) for _ in range(len(group.expected))]
    ports = {name: tb.port(name) for name in groups[0].ports}
    outputs = [tb.port(name) for name in _OUTPUTS]
    words = {name: [iter(group.ports[name]) for group in groups] for name in ports}
    driven: dict[str, int] = {}
    results: list[dict[str, list[int]]] = [{name: [] for name in _OUTPUTS} for _ in groups]
    for clk, owner in enumerate([*order, *[None] * _LATENCY_CLK]):
        if owner is not None:
            for name, port in ports.items():
                word = next(words[name][owner])
                if driven.get(name) != word:
                    port.set(word)
                    driven[name] = word
        await tb.wait(1)
        if clk >= _LATENCY_CLK:
            for name, output in zip(_OUTPUTS, outputs, strict=True):
                results[order[clk - _LATENCY_CLK]][name].append(output.get())
    for group, found in zip(groups, results, strict=True):
        count = group.expected.shape[1]
        actual = from_words(found[group.output], group.bits, count)
        if group.written is not None:
            actual = np.where(group.written, actual, group.expected)
        tb.check_values(actual, group.expected, group.label)
