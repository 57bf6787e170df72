"""Runs programs on the core in simulation, and notes when things happen."""

from collections.abc import Callable, Mapping, Sequence

from cocotb.triggers import RisingEdge

from lanewise.rtl.matrix_stream import MATRIX_STROBES
from lanewise.rtl.vector_unit import LANDINGS
from lanewise.sim.matrix_stream import MatrixStream
from lanewise.verify.core_entries import Command, Entry, MatrixCommand
from lanewise.verify.core_outcomes import STREAMS, UNITS_THAT_LAND, Clocks
from lanewise.verify.testbench import Testbench

_IDLE_LIMIT_CLK = 20_000
_QUIET_CLK = 120
"""Clocks without an event after which everything has landed: more than a reduction's latency."""


class CoreSession:
    """The core's ports, and the feeding of its streams."""

    def __init__(self, tb: Testbench) -> None:
        self.tb = tb
        self._edge = RisingEdge(tb.dut.clk)
        matrix = tb.config.matrix.splits
        there = {"matrix": matrix, "generate": tb.config.weight_generator.enabled, "seed": matrix}
        self._names = tuple(name for name in (*STREAMS, "seed") if there.get(name, True))
        self._streams = {
            name: tuple(tb.port(f"{name}__{part}") for part in ("valid", "payload", "ready"))
            for name in self._names
        }
        self._watch = {
            name: tb.port(name)
            for name in ("started", "landed", "load_free", "load_finished", "store_read", "store_finished")
        }
        self._matrix_done = tb.port("matrix_done") if matrix else None
        self._generated = tb.port("generated") if there["generate"] else None

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
        tb, names = self.tb, self._names
        words: dict[str, list[int]] = {name: [] for name in names}
        for entry in entries:
            words[entry.stream].append(entry.payload(tb.config))
        starts: dict[str, list[int]] = {name: [] for name in STREAMS}
        ends: dict[str, list[int]] = {name: [] for name in UNITS_THAT_LAND}
        free: list[int] = []
        """Of each load, the first clock after its start in which the engine could take another."""
        read: list[int] = []
        done: dict[str, list[int]] = {name: [] for name in MATRIX_STROBES}
        fed, gaps = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        offered = {name: bool(words[name]) for name in names}
        for name in names:
            self._offer(name, words[name], 0)
        clock = quiet = 0
        watch = self._watch
        counts = {name: len(words[name]) for name in names}
        tiles = sum(isinstance(entry, MatrixCommand) and entry.output is not None for entry in entries)
        started_streams = [name for name in names if name in starts]
        while (
            quiet < _QUIET_CLK or any(len(starts[name]) < counts[name] for name in started_streams)
            or len(ends["dma_load"]) < counts["load"] or len(ends["dma_store"]) < counts["store"] or len(done["results_written"]) < tiles
            or len(ends["dma_generate"]) < counts.get("generate", 0)
        ):  # fmt: skip
            await self._edge
            clock += 1
            quiet += 1
            if clock == limit_clk:
                for name in names:
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
            if self._generated is not None and self._generated.get():
                ends["dma_generate"].append(clock)
            if watch["load_finished"].get():
                ends["dma_load"].append(clock)
            if watch["store_finished"].get():
                ends["dma_store"].append(clock)
            if watch["store_read"].get():
                read.append(clock)
            strobes = self._matrix_done.get() if self._matrix_done is not None else 0
            if strobes:
                quiet = 0
                for place, name in enumerate(MATRIX_STROBES):
                    if strobes >> place & 1:
                        done[name].append(clock)
            for name in names:
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
                waiting = {name: counts[name] - len(starts[name]) for name in started_streams}
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
        commands = [entry for entry in entries if isinstance(entry, MatrixCommand)]
        self._check_strobes(commands, starts["matrix"], done)
        ends["mm_tile"] = done["results_written"]
        ends["mm_accumulate"] = [
            clock
            for clock, command in zip(done["operands_read"], commands, strict=True)
            if command.output is None
        ]
        order = [entry.stream for entry in entries if isinstance(entry, Command)]
        rest = {name: iter(clocks) for name, clocks in held.items()}
        for name in (
            "dma_load",
            "dma_store",
            "dma_generate",
        ):  # a reader of the buffer can start in the clock after
            ends[name] = [clock + 1 for clock in ends[name]]
        return (
            Clocks(starts=_from(starts, first), ends=_from(ends, first)),
            [next(rest[stream]) for stream in order],
        )

    def _check_strobes(
        self, commands: Sequence[MatrixCommand], starts: Sequence[int], done: Mapping[str, Sequence[int]]
    ) -> None:  # fmt: skip
        """The matrix stream's own clocks, whatever a command has waited for."""
        recurrence = MatrixStream(self.tb.config.matrix)
        times = [
            recurrence.start(command.timing, start) for command, start in zip(commands, starts, strict=True)
        ]
        tiles = [each for each, command in zip(times, commands, strict=True) if command.output is not None]
        reloads = [each for each, command in zip(times, commands, strict=True) if command.timing.reload]
        check = self.tb.check_clocks
        check(starts, [each.start for each in times], "starts of matrix, no earlier than the RTL's")
        for name, whose in zip(MATRIX_STROBES, (times, reloads, tiles, tiles), strict=True):
            check(done[name], [getattr(each, name) for each in whose], name)

    def _offer(self, name: str, words: Sequence[int], index: int) -> None:
        valid, payload, _ = self._streams[name]
        if index < len(words):
            payload.set(words[index])
            valid.set(1)
        else:
            valid.set(0)


def _from(clocks: Mapping[str, Sequence[int]], first: int) -> dict[str, list[int]]:
    return {name: [clock - first for clock in values] for name, values in clocks.items()}
