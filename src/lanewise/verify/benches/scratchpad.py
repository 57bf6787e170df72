"""Scratchpad: all clients at once, any alignment, around the end, reads behind and beside writes; a clock each."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cocotb
import numpy as np

from lanewise.config import MachineConfig
from lanewise.rtl.scratchpad import Client, Scratchpad, clients
from lanewise.verify.bench import Bench
from lanewise.verify.memory_machines import memory_cases
from lanewise.verify.testbench import Testbench

_CLOCKS = 6000
_FURTHER = Client(name="matrix", bytes=4)

BENCH = Bench(component=lambda config: Scratchpad(config, (_FURTHER,)), cases=memory_cases)


@dataclass(kw_only=True)
class Golden:
    """The bytes, and what each client has offered in the clock before."""

    bytes: bytearray
    offered: dict[str, dict[int, int]] = field(default_factory=dict)
    """For each client, bytes by address."""

    def read(self, name: str, address: int, count: int) -> int:
        """What a read of this clock gives: its own client's write of the clock before is seen."""
        own = self.offered.get(name, {})
        places = [(address + k) % len(self.bytes) for k in range(count)]
        return int.from_bytes(bytes(own.get(place, self.bytes[place]) for place in places), "little")

    def step(self, offers: dict[str, dict[int, int]]) -> None:
        """A clock's edge: the writes of the clock before land, these are registered."""
        for writes in self.offered.values():
            for place, byte in writes.items():
                self.bytes[place] = byte
        self.offered = offers


@cocotb.test()
async def fill(dut: Any) -> None:
    """Every byte from one client, read by all others, unaligned."""
    tb = await Testbench.start(dut, MachineConfig)
    golden = await _filled(tb)
    size = len(golden.bytes)
    for client in (*clients(tb.config), _FURTHER):
        found, expected = [], []
        for address in range(1, size, client.bytes):
            _offer_read(tb, client, address)
            await tb.wait(1)
            if address > 1:
                found.append(tb.port(f"{client.name}_read__data").get())
            expected.append(golden.read(client.name, address, client.bytes))
        tb.check_values(np.array(found, object), np.array(expected[:-1], object), client.name)
        tb.port(f"{client.name}_read__enable").set(0)


@cocotb.test()
async def all_at_once(dut: Any) -> None:
    """Every client reads and writes where the others do: data of every read one clock later, kept while none is enabled."""
    tb = await Testbench.start(dut, MachineConfig)
    golden = await _filled(tb)
    held: dict[str, int] = {}
    compared: list[tuple[int, int]] = []
    for _ in range(_CLOCKS):
        offers: dict[str, dict[int, int]] = {}
        taken: set[int] = set()
        for client in (*clients(tb.config), _FURTHER):
            writes = _offer_write(tb, client, taken)
            offers[client.name] = writes
            taken |= writes.keys()
        reads = {}
        for client in (*clients(tb.config), _FURTHER):
            if tb.rng.random() < 0.7:
                address = next(_places(tb.rng, len(golden.bytes)))
                _offer_read(tb, client, address)
                reads[client.name] = golden.read(client.name, address, client.bytes)
            else:
                tb.port(f"{client.name}_read__enable").set(0)
        await tb.wait(1)
        compared += [(tb.port(f"{name}_read__data").get(), value) for name, value in held.items()]
        held |= reads
        golden.step(offers)
    found, expected = np.array(compared, object).T
    tb.check_values(found, expected, "reads")


def _places(rng: np.random.Generator, size: int) -> Iterator[int]:
    """Addresses, most of them near the end and the beginning, where accesses meet and wrap."""
    while True:
        yield int((rng.integers(-24, 24) if rng.random() < 0.8 else rng.integers(size)) % size)


def _offer_read(tb: Testbench, client: Client, address: int) -> None:
    tb.port(f"{client.name}_read__enable").set(1)
    tb.port(f"{client.name}_read__address").set(address)


def _offer_write(tb: Testbench, client: Client, taken: set[int]) -> dict[int, int]:
    """Drive a random write of bytes that nobody else writes in this clock; its bytes by address."""
    size = tb.config.scratchpad.bytes
    address = next(_places(tb.rng, size))
    data = tb.rng.bytes(client.bytes)
    enable = int(tb.rng.integers(1 << min(62, client.bytes)))
    if tb.rng.random() < 0.3:
        enable = (1 << client.bytes) - 1
    places = [(address + k) % size for k in range(client.bytes)]
    enable = sum(1 << k for k, place in enumerate(places) if enable >> k & 1 and place not in taken)
    for name, value in (("enable", enable), ("address", address), ("data", int.from_bytes(data, "little"))):
        tb.port(f"{client.name}_write__{name}").set(value)
    return {place: data[k] for k, place in enumerate(places) if enable >> k & 1}


async def _filled(tb: Testbench) -> Golden:
    """Random bytes everywhere, by the vector unit's port."""
    width = clients(tb.config)[0].bytes
    golden = Golden(bytes=bytearray(tb.rng.bytes(tb.config.scratchpad.bytes)))
    enable = tb.port("vector_write__enable")
    enable.set((1 << width) - 1)
    for address in range(0, len(golden.bytes), width):
        tb.port("vector_write__address").set(address)
        tb.port("vector_write__data").set(int.from_bytes(golden.bytes[address : address + width], "little"))
        await tb.wait(1)
    enable.set(0)
    await tb.wait(2)
    return golden
