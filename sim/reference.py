"""The engine's recurrence once more, as plainly as can be: every instruction in turn, nothing compiled, nothing skipped. For tests."""

from collections.abc import Iterator, Sequence

from lanewise.config import MachineConfig
from lanewise.sim.encode import EXTERNAL, LOADS, Role, is_register, places, read_roles, whole_sources
from lanewise.sim.matrix_stream import MatrixStream
from lanewise.sim.program import Instruction, Node, Program, Rotate
from lanewise.sim.timing import STREAMS, UNITS, Timing, timing

Event = tuple[Instruction, int, int]
"""An instruction, its start, and the clock after its last beat has landed."""


class Reference:
    """Runs a Program; ``dma_clk`` is :class:`~lanewise.sim.engine.Engine`'s."""

    def __init__(
        self, program: Program, config: MachineConfig, dma_clk: Sequence[tuple[int, int]] | None = None
    ) -> None:
        self.config = config
        self.events: list[Event] = []
        self.streams = dict.fromkeys(STREAMS, -1)
        self.units = dict.fromkeys(UNITS, 0)
        self.busy_clk = dict.fromkeys(UNITS, 0)
        self.drain = 0
        self.matrix = MatrixStream(config.matrix)
        self.ready: dict[str, int] = {}
        """When an instruction that reads the name, a word a clock from its first on, may start."""
        self.last: dict[str, int] = {}
        """When the last beat has landed."""
        self.read: dict[str, int] = {}
        """When the last read has ended."""
        self._dma: Iterator[tuple[int, int]] | None = None if dma_clk is None else iter(dma_clk)
        self._run(program.body)

    @property
    def cycles(self) -> int:
        """To the end of everything."""
        loads = (clock for name, clock in self.ready.items() if not is_register(name))
        ends = (*self.units.values(), self.drain, *self.last.values(), *self.read.values(), *loads, 0)
        return max(ends)

    def _run(self, body: Sequence[Node]) -> None:
        for node in body:
            if isinstance(node, Instruction):
                self._execute(node)
            elif isinstance(node, Rotate):
                for times in (self.ready, self.last, self.read):
                    old = [times.get(name, 0) for name in node.names]
                    times.update(zip(node.names, old[1:] + old[:1]))
            else:
                for _ in range(node.count):
                    self._run(node.body)

    def _command(self, instruction: Instruction, clocks: Timing) -> None:
        """A command of the matrix stream."""
        assert clocks.command is not None
        times = self.matrix.start(clocks.command, max(self._earliest(instruction, clocks)))
        self.streams["matrix"], self.units["matrix"] = times.start, times.free
        self.busy_clk["matrix"] += times.free - times.start
        ends = {
            Role.OPERANDS: times.operands_read,
            Role.CONSTANTS: times.constants_read,
            Role.SCALES: times.scales_read,
        }
        for name, roles in read_roles(instruction).items():
            until = max(end for role, end in ends.items() if role in roles)
            self.read[name] = max(self.read.get(name, 0), until + 1)
        end = times.operands_read
        if clocks.command.last:
            end = times.results_written
            self.drain = end + 1
            self.last.update(dict.fromkeys(instruction.writes, end + 1))
        self.events.append((instruction, times.start, end + 1))

    def _execute(self, instruction: Instruction) -> None:
        clocks = timing(instruction, self.config)
        if clocks.command is not None:
            self._command(instruction, clocks)
            return
        beats, last = clocks.beats, clocks.last_clk
        if self._dma is not None and clocks.stream in ("load", "store"):
            beats, last = next(self._dma)
        start = max(self._earliest(instruction, clocks))
        if clocks.drain_clk:
            self.drain = start + beats + clocks.drain_clk
        self.streams[clocks.stream] = start
        self.units[clocks.unit] = start + beats
        self.busy_clk[clocks.unit] += beats
        vector = self.config.vector
        for name in instruction.reads:
            more = 0 if is_register(name) else self.config.flex_sfu.levels if name.startswith("sfu.") else 1
            self.read[name] = max(self.read.get(name, 0), start + beats + more)
        for name, place in places(instruction.writes):
            ready = last
            if is_register(name):
                # a word a clock, this register's after those of the registers before it
                ready = last - (clocks.words - 1) * clocks.chained + place * vector.register_beats
            if is_register(name):
                self.ready[name], self.last[name] = start + ready, start + last
            elif clocks.unit == LOADS:
                self.ready[name] = start + last
            else:
                self.last[name] = start + last
        self.events.append((instruction, start, start + last + 1))

    def _earliest(self, instruction: Instruction, clocks: Timing) -> Iterator[int]:
        """What the start waits for."""
        vector = self.config.vector
        yield self.streams[clocks.stream] + 1
        yield self.units[clocks.unit]
        if clocks.drain_clk:
            yield self.drain - clocks.beats
        whole = whole_sources(instruction) if clocks.whole else frozenset()
        for name, place in places(instruction.reads, instruction.operands, instruction.lengths):
            if not is_register(name):
                yield self.ready.get(name, 0)
                yield self.last.get(name, 0)
            else:
                yield self.ready.get(name, 0) - place * vector.register_beats
                if name in whole:
                    yield self.last.get(name, 0)
        for name in instruction.writes:
            if is_register(name):
                yield self.read.get(name, 0) - clocks.lands_clk
                yield self.last.get(name, 0) + 1 - clocks.lands_clk
            elif name != EXTERNAL:
                yield self.read.get(name, 0)
                yield self.last.get(name, 0)
                if clocks.unit != LOADS:
                    yield self.ready.get(name, 0)
