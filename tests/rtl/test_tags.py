"""Tags: counts of what has finished, and who may go on."""

import numpy as np
from amaranth.sim import Simulator

from lanewise.rtl.tags import COUNT_BITS, Tags


def test_counts():
    tags = Tags(askers=2, reporters=3)
    rng = np.random.default_rng(1)
    reads, writes = np.zeros(64, int), np.zeros(64, int)
    seen = []

    async def bench(ctx):
        for _ in range(3000):
            for ask in tags.ask:
                tag = int(rng.integers(4))
                wanted_reads, wanted_writes = (
                    int(n[tag] + rng.integers(2)) % 2**COUNT_BITS for n in (reads, writes)
                )
                writer = int(rng.integers(2))
                ctx.set(ask.request.tag, tag)
                ctx.set(ask.request.reads, wanted_reads)
                ctx.set(ask.request.writes, wanted_writes)
                ctx.set(ask.writes, writer)
                ahead = (writes[tag] - wanted_writes) % 2**COUNT_BITS < 2 ** (COUNT_BITS - 1)
                expected = ahead and (not writer or wanted_reads == reads[tag] % 2**COUNT_BITS)
                seen.append(bool(ctx.get(ask.counted)) == expected)
            for done in tags.done:
                tag, read, wrote = (int(rng.integers(n)) for n in (4, 2, 2))
                ctx.set(done.tag, tag)
                ctx.set(done.read, read)
                ctx.set(done.wrote, wrote)
                reads[tag] += read
                writes[tag] += wrote
            await ctx.tick()

    simulator = Simulator(tags)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(seen) == 6000
    assert all(seen)
