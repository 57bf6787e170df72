"""A block beside a scratchpad, and the scratchpad's contents before and after a run."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from lanewise.config import MachineConfig
from lanewise.rtl.scratchpad import Client, Scratchpad, clients
from lanewise.verify.testbench import Testbench

Bytes = npt.NDArray[np.uint8]


class BesideScratchpad(wiring.Component):
    """A block with its clients' ports connected; all other ports of it, and DMA's of the scratchpad, are those of the whole.

    Members
    -------
    As the block's without ``<client>_read`` and ``<client>_write``; and ``dma_read``, ``dma_write``.
    """

    def __init__(self, block: wiring.Component, config: MachineConfig, further: Sequence[Client]) -> None:
        self._block = block
        self._scratchpad = Scratchpad(config, further)
        self._names = [f"{client.name}_{way}" for client in further for way in ("read", "write")]
        members = dict(block.signature.members.items())
        self._connected = [name for name in self._names if name in members]
        self._outer = {name: member for name, member in members.items() if name not in self._connected}
        dma = {name: self._scratchpad.signature.members[name] for name in ("dma_read", "dma_write")}
        super().__init__(self._outer | dma)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.block, m.submodules.scratchpad = self._block, self._scratchpad
        for name in self._connected:
            connect(m, getattr(self._block, name), getattr(self._scratchpad, name))
        for name in ("dma_read", "dma_write"):
            connect(m, flipped(getattr(self, name)), getattr(self._scratchpad, name))
        for name, member in self._outer.items():
            inner, outer = getattr(self._block, name), getattr(self, name)
            if member.is_signature:
                connect(m, inner, flipped(outer))
            else:
                m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        return m


async def fill(tb: Testbench, config: MachineConfig, image: Bytes) -> None:
    """Write the whole scratchpad by DMA's port."""
    width = next(client.bytes for client in clients(config) if client.name == "dma")
    tb.port("dma_write__enable").set((1 << width) - 1)
    for address in range(0, len(image), width):
        tb.port("dma_write__address").set(address)
        tb.port("dma_write__data").set(int.from_bytes(image[address : address + width].tobytes(), "little"))
        await tb.wait(1)
    tb.port("dma_write__enable").set(0)
    await tb.wait(2)


async def contents(tb: Testbench, config: MachineConfig) -> Bytes:
    """Read the whole scratchpad by DMA's port."""
    width, found = next(client.bytes for client in clients(config) if client.name == "dma"), b""
    tb.port("dma_read__enable").set(1)
    for address in range(0, config.scratchpad.bytes + width, width):
        tb.port("dma_read__address").set(address % config.scratchpad.bytes)
        await tb.wait(1)
        if address > 0:
            found += tb.port("dma_read__data").get().to_bytes(width, "little")
    tb.port("dma_read__enable").set(0)
    return np.frombuffer(found, np.uint8)
