"""Runs programs on the core in simulation, and notes when things happen."""

from collections.abc import Callable, Mapping, Sequence

from cocotb.triggers import RisingEdge

from lanewise.rtl.vector_unit import LANDINGS
from lanewise.verify.core_programs import UNITS_THAT_LAND, Clocks, Entry, Issue
from lanewise.verify.testbench import Testbench

STREAMS = ("vector", "load", "store")
_IDLE_LIMIT_CLK = 20_000
_QUIET_CLK = 120
"""Clocks without an event after which everything has landed: more than a reduction's latency."""


class CoreSession:
    """The core's ports, and the feeding of its streams."""

    def __init__(self, tb: Testbench) -> None:
        self.tb = tb
        self._edge = RisingEdge(tb.dut.clk)
        self._streams = {
            name: tuple(tb.port(f"{name}__{part}") for part in ("valid", "payload", "ready"))
            for name in STREAMS
        }
        self._watch = {
            name: tb.port(name)
            for name in ("started", "landed", "load_free", "load_finished", "store_read", "store_finished")
        }

    async def run(
        self,
        entries: Sequence[Entry],
        step: Callable[[], None],
        p_gap: float = 0.0,
        limit_clk: int | None = None,
    ) -> tuple[Clocks, list[tuple[int, int]]]:
        """Feed a program, each stream as fast as it goes.

        Args:
            step: Drives external memory, each clock.
            p_gap: Probability that the host has nothing to offer for some clocks after an instruction has been taken.
            limit_clk: Stop in the middle after so many clocks; what is returned is nothing then.

        Returns:
            When instructions started and landed; and of each DMA command how long it held its engine and when all of it had landed, from
            its start on, as :func:`lanewise.sim.engine.run` takes it.
        """
        tb = self.tb
        words: dict[str, list[int]] = {name: [] for name in STREAMS}
        for entry in entries:
            words[entry.stream].append(entry.payload(tb.config))
        starts: dict[str, list[int]] = {name: [] for name in STREAMS}
        ends: dict[str, list[int]] = {name: [] for name in UNITS_THAT_LAND}
        free: list[int] = []
        """Of each load, the first clock after its start in which the engine could take another."""
        read: list[int] = []
        fed, gaps = dict.fromkeys(STREAMS, 0), dict.fromkeys(STREAMS, 0)
        offered = {name: bool(words[name]) for name in STREAMS}
        for name in STREAMS:
            self._offer(name, words[name], 0)
        clock = quiet = 0
        watch = self._watch
        counts = {name: len(words[name]) for name in STREAMS}
        while quiet < _QUIET_CLK or any(len(starts[name]) < counts[name] for name in STREAMS) or (
            len(ends["dma_load"]) < counts["load"] or len(ends["dma_store"]) < counts["store"]
        ):  # fmt: skip
            await self._edge
            clock += 1
            quiet += 1
            if clock == limit_clk:
                for name in STREAMS:
                    self._streams[name][0].set(0)
                return Clocks(starts={}, ends={}), []
            started, landed = watch["started"].get(), watch["landed"].get()
            if len(free) < len(starts["load"]) and watch["load_free"].get():
                free.append(clock)
            if started | landed:
                quiet = 0
                for place, name in enumerate(STREAMS):
                    if started >> place & 1:
                        starts[name].append(clock)
                for place, name in enumerate(LANDINGS):
                    if landed >> place & 1:
                        ends[name].append(clock)
            if watch["load_finished"].get():
                ends["dma_load"].append(clock)
            if watch["store_finished"].get():
                ends["dma_store"].append(clock)
            if watch["store_read"].get():
                read.append(clock)
            for name in STREAMS:
                if offered[name] and self._streams[name][2].get():
                    fed[name] += 1
                    offered[name] = False
                    gaps[name] = int(tb.rng.integers(1, 40)) if tb.rng.random() < p_gap else 0
                    self._streams[name][0].set(0)
                if not offered[name] and fed[name] < counts[name]:
                    gaps[name] -= 1
                    if gaps[name] < 0:
                        self._offer(name, words[name], fed[name])
                        offered[name] = True
            step()
            if quiet > _IDLE_LIMIT_CLK:
                waiting = {name: counts[name] - len(starts[name]) for name in STREAMS}
                raise AssertionError(
                    f"nothing has started for {quiet} clocks: {waiting} wait; seed {tb.seed}"
                )
        tb.clk += clock
        assert not tb.port("failed").get(), f"an instruction is unknown, or memory has failed; seed {tb.seed}"
        first = min(clocks[0] for clocks in starts.values() if clocks)
        held = {
            "load": [
                (f - s, e + 1 - s) for s, f, e in zip(starts["load"], free, ends["dma_load"], strict=True)
            ],
            "store": [
                (r - s, e + 1 - s) for s, r, e in zip(starts["store"], read, ends["dma_store"], strict=True)
            ],
        }
        order = [entry.stream for entry in entries if not isinstance(entry, Issue)]
        rest = {name: iter(clocks) for name, clocks in held.items()}
        for name in ("dma_load", "dma_store"):  # a reader of the buffer can start in the clock after
            ends[name] = [clock + 1 for clock in ends[name]]
        return (
            Clocks(starts=_from(starts, first), ends=_from(ends, first)),
            [next(rest[stream]) for stream in order],
        )

    def _offer(self, name: str, words: Sequence[int], index: int) -> None:
        valid, payload, _ = self._streams[name]
        if index < len(words):
            payload.set(words[index])
            valid.set(1)
        else:
            valid.set(0)


def _from(clocks: Mapping[str, Sequence[int]], first: int) -> dict[str, list[int]]:
    return {name: [clock - first for clock in values] for name, values in clocks.items()}
