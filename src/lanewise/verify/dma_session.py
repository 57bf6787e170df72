"""A run of commands on DMA, its scratchpad and an external memory, and what both should hold at the end."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from lanewise.config import MachineConfig
from lanewise.rtl.dma import Dma
from lanewise.rtl.dma_walker import EXTERNAL_BITS, descriptor_layout
from lanewise.rtl.scratchpad import Scratchpad, read_signature, write_signature
from lanewise.sim.dma import Transfer
from lanewise.verify.external_memory import Protocol
from lanewise.verify.testbench import Testbench

EXTERNAL_BYTES = 1 << 16
"""Size of the external memory; addresses are modulo it."""
BASE = (1 << EXTERNAL_BITS) - 3 * EXTERNAL_BYTES
"""Where its bytes are used: the upper bits of addresses matter."""
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
        return descriptor_layout(config).const(dataclasses.asdict(self)).as_bits()

    def places(self, size: int) -> Iterator[tuple[int, int]]:
        """External and scratchpad address of each byte in order, modulo both sizes."""
        for run, k in itertools.product(range(self.runs), range(self.run_bytes)):
            external = self.external + run * self.external_stride + k
            yield external % EXTERNAL_BYTES, (self.scratch + run * self.scratch_stride + k) % size


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
        self.external = bytearray(tb.rng.bytes(EXTERNAL_BYTES))
        self.width = tb.config.vector.bits_per_clk // 8

    def drawn(self, side: str, half: bool) -> Command:
        """A random command: anywhere, or, if loads and stores run at once, in the half of either memory that is the side's."""
        rng, count = self.tb.rng, self.tb.config.dma.bytes_per_clk
        size = len(self.scratch)
        limits = [EXTERNAL_BYTES // 2, size // 2]
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
            external=BASE + external, scratch=scratch, runs=runs, run_bytes=run_bytes,
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
