"""DMA on a scratchpad: commands of all alignments and strides; against an ideal memory in the simulator's clocks, against a hesitant one."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from cocotbext.axi import AxiBus, AxiRam

from lanewise.config import DMA_PIPELINE_CLK, MachineConfig
from lanewise.rtl.dma import AXI_PREFIX, Dma
from lanewise.rtl.dma_walker import EXTERNAL_BITS, RUN_BYTES_BITS, RUNS_BITS, SCRATCH_STRIDE_BITS
from lanewise.rtl.scratchpad import Scratchpad, address_bits, read_signature, write_signature
from lanewise.sim.dma import (
    Transfer,
    dma_finished_clk,
    dma_read_clk,
    dma_starts_clk,
    memory_clk,
)
from lanewise.verify.bench import Bench, Case
from lanewise.verify.external_memory import IdealMemory, Protocol
from lanewise.verify.memory_machines import memory_cases
from lanewise.verify.testbench import Testbench

_EXTERNAL_BYTES = 1 << 16
_BASE = (1 << EXTERNAL_BITS) - 3 * _EXTERNAL_BYTES
"""Where the external memory's bytes are used; the upper bits of addresses matter."""
_COMMANDS = 120
_LIMIT_CLK = 400_000


class OnScratchpad(wiring.Component):
    """DMA with a scratchpad; the vector unit's ports are free.

    Members
    -------
    Those of :class:`~lanewise.rtl.dma.Dma` but ``read`` and ``write``, and ``vector_read`` and ``vector_write``.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.dma, self.scratchpad = Dma(config), Scratchpad(config)
        width = config.vector.bits_per_clk // 8
        self.own = {k: v for k, v in self.dma.signature.members.items() if k not in ("read", "write")}
        super().__init__({
            **self.own,
            "vector_read": In(read_signature(config, width)),
            "vector_write": In(write_signature(config, width)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.dma, m.submodules.scratchpad = self.dma, self.scratchpad
        for name, member in self.own.items():
            inner, outer = getattr(self.dma, name), getattr(self, name)
            if member.is_signature:
                wiring.connect(m, wiring.flipped(outer), inner)
            else:
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        wiring.connect(m, self.dma.read, self.scratchpad.dma_read)
        wiring.connect(m, self.dma.write, self.scratchpad.dma_write)
        for side in ("read", "write"):
            outer = getattr(self, f"vector_{side}")
            wiring.connect(m, wiring.flipped(outer), getattr(self.scratchpad, f"vector_{side}"))
        return m


def _cases(machine: MachineConfig, full: bool) -> list[Case]:
    least = dataclasses.replace(machine.dma, latency_clk=max(DMA_PIPELINE_CLK + 1, machine.dma.latency_clk))
    machine = dataclasses.replace(machine, dma=least)
    quick = memory_cases(machine, False, latency_clk=9, descriptor_clk=1)[:1]
    return [*quick, *memory_cases(machine, full, latency_clk=40, descriptor_clk=4)[1:]]


BENCH = Bench(component=OnScratchpad, cases=_cases)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of one of the streams."""

    external: int
    scratch: int
    runs: int
    run_bytes: int
    external_stride: int
    scratch_stride: int

    @property
    def transfer(self) -> Transfer:
        """What the simulator wants to know."""
        return Transfer(
            external=self.external, runs=self.runs, run_bytes=self.run_bytes,
            external_stride=self.external_stride,
        )  # fmt: skip

    def word(self, config: MachineConfig) -> int:
        """The payload."""
        word = place = 0
        for value, bits in (
            (self.external, EXTERNAL_BITS), (self.scratch, address_bits(config)), (self.runs, RUNS_BITS),
            (self.run_bytes, RUN_BYTES_BITS), (self.external_stride, EXTERNAL_BITS),
            (self.scratch_stride, SCRATCH_STRIDE_BITS),
        ):  # fmt: skip
            word |= (value & (1 << bits) - 1) << place
            place += bits
        return word

    def places(self, size: int) -> Iterator[tuple[int, int]]:
        """External and scratchpad address of each byte in order, modulo both sizes."""
        for run, k in itertools.product(range(self.runs), range(self.run_bytes)):
            external = self.external + run * self.external_stride + k
            yield external % _EXTERNAL_BYTES, (self.scratch + run * self.scratch_stride + k) % size


@dataclass(kw_only=True)
class Seen:
    """Clocks of one stream's events."""

    started: list[int]
    finished: list[int]
    read: list[int]


class Session:
    """A design with its two memories, and what they should hold."""

    def __init__(self, tb: Testbench) -> None:
        self.tb = tb
        self.protocol = Protocol(tb)
        self.scratch = bytearray(tb.rng.bytes(tb.config.scratchpad.bytes))
        self.external = bytearray(tb.rng.bytes(_EXTERNAL_BYTES))
        self.width = tb.config.vector.bits_per_clk // 8

    def drawn(self, side: str, half: bool) -> Command:
        """A random command: anywhere, or, if loads and stores run at once, in the half of either memory that is the side's."""
        rng, count = self.tb.rng, self.tb.config.dma.bytes_per_clk
        size = len(self.scratch)
        limits = [_EXTERNAL_BYTES // 2, size // 2]
        run_bytes = int(rng.choice([1, count, rng.integers(1, 3 * count), rng.integers(1, 600), 2 * count]))
        if rng.random() < 0.08:
            run_bytes = int(rng.integers(2000, 6000))
        runs = int(rng.integers(1, 2 + min(30, 3000 // run_bytes)))
        strides, bases = [], []
        for limit in limits:
            stride = int(rng.choice([run_bytes, rng.integers(-600, 600), count * rng.integers(-9, 9), 4096]))
            if (runs - 1) * abs(stride) + run_bytes > limit:
                stride = int(rng.integers(-3, 4))
            span = (runs - 1) * abs(stride) + run_bytes
            strides.append(stride)
            bases.append(int(rng.integers(limit - span + 1)) + (runs - 1) * max(0, -stride))
        external, scratch = bases
        if half and side == "store":
            external, scratch = external + limits[0], scratch + limits[1]
        elif not half:
            scratch = int(rng.integers(-64, 64) if rng.random() < 0.5 else scratch) % size
        return Command(
            external=_BASE + external, scratch=scratch, runs=runs, run_bytes=run_bytes,
            external_stride=strides[0], scratch_stride=strides[1],
        )  # fmt: skip

    def expect(self, side: str, command: Command) -> None:
        """Copy as the command says."""
        for external, scratch in command.places(len(self.scratch)):
            if side == "load":
                self.scratch[scratch] = self.external[external]
            else:
                self.external[external] = self.scratch[scratch]

    async def fill(self) -> None:
        """Put the expected bytes into the scratchpad."""
        tb = self.tb
        tb.port("vector_write__enable").set((1 << self.width) - 1)
        for address in range(0, len(self.scratch), self.width):
            tb.port("vector_write__address").set(address)
            tb.port("vector_write__data").set(
                int.from_bytes(self.scratch[address : address + self.width], "little")
            )
            await tb.wait(1)
        tb.port("vector_write__enable").set(0)
        await tb.wait(2)

    async def check(self, external: bytes) -> None:
        """Compare both memories."""
        tb, found = self.tb, bytearray()
        tb.port("vector_read__enable").set(1)
        for address in range(0, len(self.scratch) + self.width, self.width):
            tb.port("vector_read__address").set(address % len(self.scratch))
            await tb.wait(1)
            if address:
                found += tb.port("vector_read__data").get().to_bytes(self.width, "little")
        tb.port("vector_read__enable").set(0)
        tb.check_values(
            np.frombuffer(bytes(found), np.uint8), np.frombuffer(self.scratch, np.uint8), "scratchpad"
        )
        tb.check_values(
            np.frombuffer(external, np.uint8), np.frombuffer(self.external, np.uint8), "external memory"
        )
        self.protocol.check_idle()

    async def run(
        self, commands: Mapping[str, Sequence[Command]], offered: Mapping[str, Sequence[int]], step: Callable[[], object],
    ) -> dict[str, Seen]:  # fmt: skip
        """Offer commands from their clocks on, in order, until all have finished."""
        tb, events = self.tb, ("load", "store")
        seen = {side: Seen(started=[], finished=[], read=[]) for side in events}
        clock = 0
        while any(len(seen[side].finished) < len(commands.get(side, ())) for side in events):
            for side in events:
                todo, k = commands.get(side, ()), len(seen[side].started)
                ready = k < len(todo) and offered[side][k] <= clock
                tb.port(f"{side}__valid").set(int(ready))
                if ready:
                    tb.port(f"{side}__payload").set(todo[k].word(tb.config))
            await tb.wait(1)
            self.protocol.step()
            step()
            for side in events:
                for event in ("started", "finished"):
                    if tb.port(f"{side}_{event}").get():
                        getattr(seen[side], event).append(clock)
            if tb.port("store_read").get():
                seen["store"].read.append(clock)
            clock += 1
            assert clock < _LIMIT_CLK, f"no end; finished {seen}; seed {tb.seed}"
        for side in events:
            tb.port(f"{side}__valid").set(0)
        return seen


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
    memory = AxiRam(AxiBus.from_prefix(dut, AXI_PREFIX), dut.clk, dut.rst, size=_EXTERNAL_BYTES)
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
    await session.check(memory.read(0, _EXTERNAL_BYTES))
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
                    external=_BASE + half * _EXTERNAL_BYTES // 2 + int(tb.rng.integers(99)) * count, runs=runs,
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
async def landing(dut: Any) -> None:
    """Bytes of a load are there in the clock after ``finished``, and not before."""
    session = await _started(dut)
    tb = session.tb
    memory = IdealMemory(tb, bytearray(session.external), memory_clk(tb.config.dma))
    found, expected = [], []
    for _ in range(40):
        scratch, external = (int(k) for k in tb.rng.integers(len(session.scratch), size=2))
        command = Command(
            external=_BASE + external, scratch=scratch, runs=1, run_bytes=1, external_stride=0, scratch_stride=0,
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
    """An error of either direction is kept; the command finishes all the same."""
    tb = (await _started(dut)).tb
    for side in ("load", "store"):
        await tb.reset()
        session = Session(tb)
        memory = IdealMemory(tb, bytearray(session.external), memory_clk(tb.config.dma))
        command = Command(
            external=_BASE, scratch=0, runs=3, run_bytes=8, external_stride=4096, scratch_stride=8,
        )  # fmt: skip
        for error_at, failed in ((-1, 0), (_BASE + 4096, 1), (-1, 1)):
            memory.error_at = error_at
            await session.run({side: [command]}, {side: [0]}, memory.step)
            await tb.wait(1)
            memory.step()
            tb.check_values(tb.port("failed").get(), failed, side)


def _pauses(tb: Testbench, chance: float) -> Iterator[bool]:
    rng = np.random.default_rng(tb.rng.integers(1 << 32))
    while True:
        yield from (rng.random(4096) < chance).tolist()
