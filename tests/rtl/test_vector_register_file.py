"""The vector register file against a table of words: every port at once, bytes, lane 0 alone, and v0 as a mask."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from lanewise.config import VectorConfig
from lanewise.rtl.vector_register_file import VectorRegisterFile


@pytest.mark.parametrize(("lanes", "vlen_bits"), [(1, 128), (2, 128), (4, 128)])
def test_words(lanes, vlen_bits):
    config = VectorConfig(lanes=lanes, vlen_bits=vlen_bits)
    file = VectorRegisterFile(config, reads=3, writes=2, masks=2)
    rng = np.random.default_rng(lanes)
    size, words = 4 * lanes, 32 * config.register_beats
    table = np.zeros((words, size), np.uint8)
    wrong = []

    async def bench(ctx):
        expected = masks = None
        for _ in range(1500):
            if expected is not None:
                for port, data in zip(file.read, expected, strict=True):
                    if ctx.get(port.data) != int.from_bytes(data.tobytes(), "little"):
                        wrong.append(("read", port.data))
                for port, bits in zip(file.mask, masks, strict=True):
                    if ctx.get(port.data) != bits:
                        wrong.append(("mask", bits))
            addresses = rng.choice(words, 3, replace=False)
            addresses[0] = rng.integers(config.register_beats) if rng.random() < 0.4 else addresses[0]
            while len(set(addresses.tolist())) < 3:
                addresses = rng.choice(words, 3, replace=False)
            expected = []
            for port in file.read:
                address = int(rng.choice([*addresses, rng.integers(words)]))
                ctx.set(port.address, address)
                expected.append(table[address].copy())
            register = int.from_bytes(table[: config.register_beats].tobytes(), "little")
            masks = []
            for port in file.mask:
                offset = int(rng.integers(vlen_bits // lanes))
                ctx.set(port.offset, offset)
                masks.append(register >> (offset * lanes) & ((1 << size) - 1))
            for port, address, count in zip(
                (*file.write, file.first), addresses, (size, size, 4), strict=True
            ):
                enable = rng.integers(0, 2, count)
                data = rng.integers(0, 256, count, dtype=np.uint8)
                ctx.set(port.address, int(address))
                ctx.set(port.enable, int(sum(int(bit) << k for k, bit in enumerate(enable))))
                ctx.set(port.data, int.from_bytes(data.tobytes(), "little"))
                table[address, :count] = np.where(enable, data, table[address, :count])
            await ctx.tick()

    simulator = Simulator(file)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert not wrong
