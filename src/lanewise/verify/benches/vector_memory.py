"""Loads and stores on a scratchpad: every operation, alignment, stride and mask; beats follow each other; clocks of `docs/core.md`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from lanewise.config import MachineConfig
from lanewise.isa.operations import OPERATIONS, Operation
from lanewise.rtl.scratchpad import Scratchpad, write_signature
from lanewise.rtl.vector_memory import CONTROL, VectorMemory
from lanewise.verify.bench import Bench
from lanewise.verify.memory_machines import memory_cases
from lanewise.verify.testbench import Testbench

_ACCESSES = 1500
_LOAD_CLK, _STORE_CLK = 3, 2
"""Clocks from a beat's own to that of its data, and to that at whose end it is in the memory: `load` and `store` are one and two more."""


class OnScratchpad(wiring.Component):
    """The unit with a scratchpad; DMA's write port is free.

    Members
    -------
    Those of :class:`~lanewise.rtl.vector_memory.VectorMemory` but ``read`` and ``write``, and ``dma_write``.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.unit, self.scratchpad = VectorMemory(config), Scratchpad(config)
        own = {k: v for k, v in self.unit.signature.members.items() if k not in ("read", "write")}
        super().__init__({**own, "dma_write": In(write_signature(config, config.dma.bytes_per_clk))})
        self.forwarded = {name: member.flow is In for name, member in own.items()}

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.unit, m.submodules.scratchpad = self.unit, self.scratchpad
        for name, inward in self.forwarded.items():
            inner, outer = getattr(self.unit, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if inward else outer.eq(inner)
        wiring.connect(m, self.unit.read, self.scratchpad.vector_read)
        wiring.connect(m, self.unit.write, self.scratchpad.vector_write)
        wiring.connect(m, wiring.flipped(self.dma_write), self.scratchpad.dma_write)
        return m


BENCH = Bench(component=OnScratchpad, cases=memory_cases)


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What the walker gives in a beat's clock and in the next one, and what comes of it."""

    now: dict[str, int]
    then: dict[str, int]
    loaded: int | None
    """Data of a load."""


@cocotb.test()
@cocotb.parametrize(p_gap=[0.0, 0.4])
async def accesses(dut: Any, p_gap: float) -> None:
    """Random accesses in a row: what was stored is loaded, with and without clocks between beats."""
    tb = await Testbench.start(dut, MachineConfig)
    memory = await _filled(tb)
    beats: list[Beat | None] = []
    for name in tb.rng.permutation(np.resize([*CONTROL], _ACCESSES)):
        for beat in _access(tb, memory, OPERATIONS[str(name)]):
            while tb.rng.random() < p_gap:
                beats.append(None)
            beats.append(beat)
    width = tb.config.vector.bits_per_clk // 8
    for address in tb.rng.integers(0, len(memory), _ACCESSES):  # everything that is left, at the end
        beats += _beats(tb, memory, OPERATIONS["vle8.v"], int(address), 0, width)
    await _run(tb, beats)


@cocotb.test()
async def store_then_load(dut: Any) -> None:
    """A load of one beat right behind a store of one beat sees it, whatever their alignment."""
    tb = await Testbench.start(dut, MachineConfig)
    memory = await _filled(tb)
    width = tb.config.vector.bits_per_clk // 8
    beats: list[Beat | None] = []
    for _ in range(400):
        address = int(tb.rng.integers(len(memory)))
        for name, shift in (("vse8.v", 0), ("vle8.v", 0), ("vse8.v", 3), ("vle8.v", 1)):
            beats += _beats(tb, memory, OPERATIONS[name], (address + shift) % len(memory), 0, width)
    await _run(tb, beats)


@cocotb.test()
async def store_edge(dut: Any) -> None:
    """A byte that DMA writes at a store's own edge, and one clock before and behind it: the later one stays."""
    tb = await Testbench.start(dut, MachineConfig)
    memory = await _filled(tb)
    width = tb.config.vector.bits_per_clk // 8
    found, expected = [], []
    for k in range(200):
        address, late = int(tb.rng.integers(len(memory) - width)), bool(k % 2)
        store = _beats(tb, memory, OPERATIONS["vse8.v"], address, 0, width, p_mask=1.0)
        byte = int(tb.rng.integers(256))
        # offered in clock o, DMA's byte is written at the end of clock o + 1; the store's at the end of its clock + 2
        clock = _STORE_CLK - 1 + (1 if late else -1)
        for c in range(6):
            _drive(tb, store[0].now if c == 0 else {"valid": 0})
            if c == 1:
                _drive(tb, store[0].then)
            _drive(
                tb, {"dma_write__enable": c == clock, "dma_write__address": address, "dma_write__data": byte}
            )
            await tb.wait(1)
        if late:
            memory[address] = byte
        load = _beats(tb, memory, OPERATIONS["vle8.v"], address, 0, width)
        expected.append(load[0].loaded)
        found += await _run(tb, [*load], check=False)
    tb.check_values(np.array(found, object), np.array(expected, object), "what is left")


def _access(tb: Testbench, memory: bytearray, operation: Operation) -> Iterator[Beat]:
    """Beats of an access somewhere, mostly near the beginning and the end."""
    size, rng = len(memory), tb.rng
    count = int(rng.integers(1, 9))
    if operation.strided:
        stride = int(rng.choice([0, 1, -1, 2, 4, -4, 6, 100, -100, *rng.integers(-900, 900, 4)]))
        base = int(rng.integers(900 * 8, size - 900 * 8 - 4))
        if rng.random() < 0.3:  # begins and ends at the edges
            base = size - 4 if stride < 0 else 0
        return iter(_beats(tb, memory, operation, base, stride, count))
    width = tb.config.vector.bits_per_clk // 8
    near = rng.integers(-3 * width, 2 * width) if rng.random() < 0.8 else rng.integers(size)
    total = count * (4 if not operation.strided and operation.vd is None else width)
    return iter(_beats(tb, memory, operation, int(near) % size, int(rng.integers(-9, 9)), total))


def _beats(
    tb: Testbench, memory: bytearray, operation: Operation, base: int, stride: int, count: int, p_mask: float = 0.7,
) -> list[Beat]:  # fmt: skip
    """An access of ``count`` bytes, or of ``count`` elements where strided; stores change ``memory``."""
    size, width, element = len(memory), tb.config.vector.bits_per_clk // 8, operation.eew_bits // 8
    single = operation.strided or operation.vd is None
    step = stride if operation.strided else 4 if single else width
    beats = count if operation.strided else -(-count // step)
    found = []
    for j in range(beats):
        address = (base + j * step) % size
        taken = element if single else width
        places = [(address + k) % size for k in range(taken)]
        now = {
            "valid": 1, "first": j == 0, "base": base if j == 0 else int(tb.rng.integers(size)),
            "stride": stride, "control": CONTROL[operation.mnemonic],
        }  # fmt: skip
        data, loaded, then = tb.rng.bytes(width), None, {}
        if operation.stores:
            position = int(tb.rng.integers(width // element)) * element
            active = [tb.rng.random() < p_mask for _ in range(width)]
            then = {
                "data": int.from_bytes(data, "little"),
                "enable": sum(1 << k for k in range(width) if active[k]),
            }
            then["position"] = position if single else int(tb.rng.integers(width))
            for k, place in enumerate(places):
                if active[0 if single else k]:
                    memory[place] = data[position + k if single else k]
        else:
            loaded = int.from_bytes(bytes(memory[place] for place in places) * (width // taken), "little")
        found.append(Beat(now=now, then=then, loaded=loaded))
    return found


async def _run(tb: Testbench, beats: list[Beat | None], *, check: bool = True) -> list[int]:
    """Walk; the data of loads, each compared and in its clock."""
    clocks, words, expected_clocks, expected = [], [], [], []
    then: dict[str, int] = {}
    for clock, beat in enumerate([*beats, *[None] * (_LOAD_CLK + 2)]):
        _drive(tb, beat.now if beat else {"valid": 0, "first": int(tb.rng.integers(2))})
        _drive(tb, then)
        then = beat.then if beat else {}
        if beat and beat.loaded is not None:
            expected_clocks.append(clock + _LOAD_CLK)
            expected.append(beat.loaded)
        await tb.wait(1)
        if tb.port("o_valid").get():
            clocks.append(clock)
            words.append(tb.port("o_data").get())
    if check:
        tb.check_clocks(clocks, expected_clocks, "loaded beats")
        tb.check_values(np.array(words, object), np.array(expected, object), "loaded beats")
    return words


def _drive(tb: Testbench, values: dict[str, int]) -> None:
    for name, value in values.items():
        port = tb.port(name)
        port.set(int(value) & port.mask)


async def _filled(tb: Testbench) -> bytearray:
    """Random bytes everywhere, by unit-stride stores."""
    memory = bytearray(tb.config.scratchpad.bytes)
    beats = _beats(tb, memory, OPERATIONS["vse8.v"], 0, 0, len(memory), p_mask=1.0)
    await _run(tb, [*beats], check=False)
    return memory
