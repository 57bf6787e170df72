"""DMA on a scratchpad: commands of all alignments and strides; against an ideal memory in the simulator's clocks, against a hesitant one."""

from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from cocotbext.axi import AxiBus, AxiRam

from lanewise.config import MachineConfig
from lanewise.rtl.dma import AXI_PREFIX
from lanewise.sim.dma import dma_finished_clk, dma_read_clk, dma_starts_clk, memory_clk
from lanewise.verify.bench import Bench, Case
from lanewise.verify.dma_session import BASE, EXTERNAL_BYTES, Command, OnScratchpad, Session
from lanewise.verify.external_memory import IdealMemory
from lanewise.verify.memory_machines import memory_cases
from lanewise.verify.testbench import Testbench

_COMMANDS = 120


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    quick = memory_cases(machine, False, latency_clk=9, descriptor_clk=1)[:1]
    return [*quick, *memory_cases(machine, full, latency_clk=40, descriptor_clk=4)[1:]]


BENCH = Bench(component=OnScratchpad, cases=_cases)


async def _started(dut: Any) -> Session:
    session = Session(await Testbench.start(dut, MachineConfig))
    await session.fill()
    return session


@cocotb.test()
@cocotb.parametrize(sides=[("load",), ("store",), ("load", "store")], p_idle=[0.0, 0.3])
async def ideal(dut: Any, sides: tuple[str, ...], p_idle: float) -> None:
    """Bytes and the simulator's clocks, one command behind the other and on an idle engine; both engines alone and at once."""
    session = await _started(dut)
    tb = session.tb
    config = tb.config.dma
    memory = IdealMemory(tb, bytearray(session.external), memory_clk(config))
    commands, offered = {}, {}
    for side in sides:
        commands[side] = [session.drawn(side, len(sides) > 1) for _ in range(_COMMANDS)]
        gaps = tb.rng.integers(1, 300, _COMMANDS) * (tb.rng.random(_COMMANDS) < p_idle)
        offered[side] = np.cumsum(gaps).tolist()
        for command in commands[side]:
            session.expect(side, command)
    seen = await session.run(commands, offered, memory.step)
    for side in sides:
        transfers = [command.transfer for command in commands[side]]
        starts = dma_starts_clk(offered[side], transfers, config)
        tb.check_clocks(seen[side].started, starts, f"{side} started")
        pairs = list(zip(starts, transfers, strict=True))
        tb.check_clocks(
            seen[side].finished, [dma_finished_clk(*pair, config) for pair in pairs], f"{side} finished"
        )
        if side == "store":
            tb.check_clocks(seen[side].read, [dma_read_clk(*pair, config) for pair in pairs], "read")
    await session.check(bytes(memory.contents))
    assert not tb.port("failed").get()


@cocotb.test()
@cocotb.parametrize(p_pause=[0.0, 0.5, 0.9])
async def hesitant(dut: Any, p_pause: float) -> None:
    """Bytes and protocol where every channel of the memory pauses at random; both engines at once."""
    session = await _started(dut)
    tb = session.tb
    memory = AxiRam(AxiBus.from_prefix(dut, AXI_PREFIX), dut.clk, dut.rst, size=EXTERNAL_BYTES)
    memory.write(0, bytes(session.external))
    read, write = memory.read_if, memory.write_if
    for channel in (read.ar_channel, read.r_channel, write.aw_channel, write.w_channel, write.b_channel):
        channel.set_pause_generator(_pauses(tb, p_pause))
    sides = ("load", "store")
    commands = {side: [session.drawn(side, True) for _ in range(_COMMANDS // 2)] for side in sides}
    for side in sides:
        for command in commands[side]:
            session.expect(side, command)
    offered = {side: [0] * len(commands[side]) for side in sides}
    await session.run(commands, offered, lambda: None)
    await session.check(memory.read(0, EXTERNAL_BYTES))
    tb.check_values(session.protocol.bursts > 2 * len(commands["load"]), True, "bursts")


@cocotb.test()
async def short(dut: Any) -> None:
    """Commands of one beat, as many on their way as the memory's latency holds; then runs of one beat, a request a clock."""
    session = await _started(dut)
    tb = session.tb
    config, count = tb.config.dma, tb.config.dma.bytes_per_clk
    memory = IdealMemory(tb, bytearray(session.external), memory_clk(config))
    for runs in (1, 3 * config.latency_clk):
        commands = {}
        for side, half in (("load", 0), ("store", 1)):
            commands[side] = [
                Command(
                    external=BASE + half * EXTERNAL_BYTES // 2 + int(tb.rng.integers(99)) * count, runs=runs,
                    scratch=half * len(session.scratch) // 2 + int(tb.rng.integers(99)),
                    run_bytes=int(tb.rng.integers(1, count + 1)), external_stride=3 * count, scratch_stride=count,
                )
                for _ in range(2 * config.latency_clk if runs == 1 else 3)
            ]  # fmt: skip
            for command in commands[side]:
                session.expect(side, command)
        offered = {side: [0] * len(commands[side]) for side in commands}
        seen = await session.run(commands, offered, memory.step)
        for side, events in seen.items():
            transfers = [command.transfer for command in commands[side]]
            starts = dma_starts_clk(offered[side], transfers, config)
            tb.check_clocks(events.started, starts, f"{side} started")
            ends = [dma_finished_clk(*pair, config) for pair in zip(starts, transfers, strict=True)]
            tb.check_clocks(events.finished, ends, f"{side} finished")
    await session.check(bytes(memory.contents))
    tb.check_values(session.protocol.most_reads >= memory_clk(config), True, "requests on their way")


@cocotb.test()
async def slow(dut: Any) -> None:
    """Memory much slower than the config says: more commands and responses to come than can be counted, and nothing is lost."""
    session = await _started(dut)
    tb = session.tb
    count, latency = tb.config.dma.bytes_per_clk, 8 * tb.config.dma.latency_clk
    memory = IdealMemory(tb, bytearray(session.external), latency)
    commands: dict[str, list[Command]] = {"load": [], "store": []}
    for side, half in (("load", 0), ("store", 1)):
        for runs in (1,) * 40 + (4 * latency,):
            commands[side].append(
                Command(
                    external=BASE + half * EXTERNAL_BYTES // 2 + int(tb.rng.integers(EXTERNAL_BYTES // 2 - 5 * latency)),
                    scratch=half * len(session.scratch) // 2 + int(tb.rng.integers(len(session.scratch) // 2 - 5 * latency)),
                    runs=runs, run_bytes=int(tb.rng.integers(1, count)), external_stride=1, scratch_stride=1,
                )
            )  # fmt: skip
            session.expect(side, commands[side][-1])
    await session.run(commands, {side: [0] * len(commands[side]) for side in commands}, memory.step)
    tb.check_values(memory.idle, True, "all answered when the last command has finished")
    await session.check(bytes(memory.contents))


@cocotb.test()
async def landing(dut: Any) -> None:
    """Bytes of a load are there in the clock after ``finished``, and not before."""
    session = await _started(dut)
    tb = session.tb
    memory = IdealMemory(tb, bytearray(session.external), memory_clk(tb.config.dma))
    found, expected = [], []
    for _ in range(40):
        scratch, external = int(tb.rng.integers(len(session.scratch))), int(tb.rng.integers(EXTERNAL_BYTES))
        command = Command(
            external=BASE + external, scratch=scratch, runs=1, run_bytes=1, external_stride=0, scratch_stride=0,
        )  # fmt: skip
        tb.port("vector_read__enable").set(1)
        tb.port("vector_read__address").set(scratch)
        expected += [session.scratch[scratch], session.external[external]]
        await session.run({"load": [command]}, {"load": [0]}, memory.step)
        session.expect("load", command)
        for _ in range(2):  # read in the clock of ``finished``, and in the next one
            await tb.wait(1)
            memory.step()
            found.append(tb.port("vector_read__data").get() & 255)
        tb.port("vector_read__enable").set(0)
    tb.check_values(found, expected, "the byte in the clock of `finished` and in the next one")


@cocotb.test()
async def errors(dut: Any) -> None:
    """An answer of either direction that is none for us is kept; the command finishes all the same."""
    tb = (await _started(dut)).tb
    wrong = [(response, 0, True) for response in (1, 2, 3)] + [(0, 1, True), (0, 0, False)]
    for side in ("load", "store"):
        for response, identity, lasts in wrong if side == "load" else wrong[:-1]:
            await tb.reset()
            session = Session(tb)
            memory = IdealMemory(tb, bytearray(session.external), memory_clk(tb.config.dma))
            memory.response, memory.identity = response, identity
            command = Command(
                external=BASE, scratch=0, runs=3, run_bytes=8, external_stride=4096, scratch_stride=8,
            )  # fmt: skip
            for error_at, failed in ((-1, 0), (BASE + 4096, 1), (-1, 1)):
                memory.error_at, memory.lasts = error_at, lasts or error_at < 0
                await session.run({side: [command]}, {side: [0]}, memory.step)
                await tb.wait(1)
                memory.step()
                what = f"{side}: response {response}, ID {identity}, last beats {lasts}"
                tb.check_values(tb.port("failed").get(), failed, what)


def _pauses(tb: Testbench, chance: float) -> Iterator[bool]:
    rng = np.random.default_rng(tb.rng.integers(1 << 32))
    while True:
        yield from (rng.random(4096) < chance).tolist()
