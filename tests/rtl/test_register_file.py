import numpy as np
import pytest
from amaranth.sim import Simulator

from lanewise.config import VectorConfig
from lanewise.rtl.register_file import READ_PORTS, REGISTERS, RegisterFile

CONFIGS = (
    VectorConfig(lanes=1, vlen_bits=128),
    VectorConfig(lanes=4, vlen_bits=128),
    VectorConfig(lanes=2, vlen_bits=256),
)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.lanes}x{c.vlen_bits}")
@pytest.mark.parametrize("seed", [1, 2])
def test_reads_and_writes_equal_a_table(config, seed):
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    dut = RegisterFile(config)
    beats, bits = config.vlen_bits // config.bits_per_clk, config.bits_per_clk
    table: dict[tuple[int, int], int] = {}
    compared = 0

    def word() -> int:
        return int.from_bytes(rng.bytes(bits // 8), "little")

    def place() -> tuple[int, int]:
        return int(rng.integers(REGISTERS)), int(rng.integers(beats))

    async def drive(ctx):
        nonlocal compared
        for register in range(REGISTERS):  # every beat once, so that all reads are of known data
            for beat in range(beats):
                await write(ctx, (register, beat), word())
        held: list[int | None] = [None] * READ_PORTS
        for _ in range(1500):
            new = place() if rng.random() < 0.6 else None
            for port, read in enumerate(dut.read):
                if rng.random() < 0.7:
                    # Every third read is of the beat being written.
                    source = new if new and rng.random() < 0.3 else place()
                    ctx.set(read.enable, 1)
                    ctx.set(read.register, source[0])
                    ctx.set(read.beat, source[1])
                    held[port] = table[source]
                else:
                    ctx.set(read.enable, 0)
                    ctx.set(read.register, place()[0])
            if new:
                await write(ctx, new, word())
            else:
                ctx.set(dut.write.enable, 0)
                await ctx.tick()
            for port, read in enumerate(dut.read):
                if held[port] is not None:
                    assert ctx.get(read.data.as_value()) == held[port]
                    compared += 1

    async def write(ctx, at, value):
        ctx.set(dut.write.enable, 1)
        ctx.set(dut.write.register, at[0])
        ctx.set(dut.write.beat, at[1])
        ctx.set(dut.write.data.as_value(), value)
        await ctx.tick()
        table[at] = value
        ctx.set(dut.write.enable, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert compared > 4000
