"""Static scheduling of straight-line vector code for in-order issue: what an optimising assembler would do."""

from lanewise.config import MachineConfig
from lanewise.sim.encode import is_register, places, whole_sources
from lanewise.sim.program import Instruction
from lanewise.sim.timing import Timing, timing_table


def schedule(code: list[Instruction], config: MachineConfig) -> list[Instruction]:
    """The same instructions in an order that starts each as early as its sources and unit allow.

    Greedy list scheduling: of the instructions whose predecessors are placed, the one that can start first, and of
    those the one with the longest way to the end. Dependences through registers are kept (read after write,
    write after read, write after write); strips use different addresses of a buffer, so buffers order nothing, though in the
    order chosen a write of a buffer holds back what comes after it.
    """
    table = timing_table(config)
    clocks = [table[instruction] for instruction in code]
    followers, waits = _dependences(code)
    height = [0] * len(code)
    for index in reversed(range(len(code))):
        height[index] = clocks[index].lands_clk + max((height[f] for f in followers[index]), default=0)
    machine = _Machine(config, code, clocks)
    ready = [index for index, count in enumerate(waits) if count == 0]
    order: list[Instruction] = []
    while ready:
        best = min(ready, key=lambda i: (machine.start(i), -height[i], i))
        ready.remove(best)
        machine.place(best)
        order.append(code[best])
        for follower in followers[best]:
            waits[follower] -= 1
            if waits[follower] == 0:
                ready.append(follower)
    return order


def _dependences(code: list[Instruction]) -> tuple[list[set[int]], list[int]]:
    followers: list[set[int]] = [set() for _ in code]
    writer: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    for index, instruction in enumerate(code):
        for name in instruction.reads:
            if name in writer:
                followers[writer[name]].add(index)
            if not name.startswith("@"):
                readers.setdefault(name, []).append(index)
        for name in instruction.writes:
            if name.startswith("@"):
                continue
            if name in writer:
                followers[writer[name]].add(index)
            for reader in readers.pop(name, []):
                if reader != index:
                    followers[reader].add(index)
            writer[name] = index
    waits = [0] * len(code)
    for group in followers:
        for follower in group:
            waits[follower] += 1
    return followers, waits


class _Machine:
    """The recurrence of :mod:`lanewise.sim.engine` for the vector stream."""

    def __init__(self, config: MachineConfig, code: list[Instruction], clocks: list[Timing]) -> None:
        self.issue = -1
        self.unit: dict[str, int] = {}
        self.ready: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.read: dict[str, int] = {}
        self.clocks = clocks
        words = config.vector.register_beats
        self.reads: list[list[tuple[str, int, bool, int]]] = []
        """By instruction: what it reads, how long before the name is ready it may start, whether all must have landed, when it has read."""
        self.writes: list[list[tuple[str, int, int]]] = []
        """What it writes, how long before the last read has ended it may start, when the result is ready."""
        for instruction, timing in zip(code, clocks, strict=True):
            whole = whole_sources(instruction) if timing.whole else ()
            self.reads.append([
                (name, place * words, name in whole, timing.beats) if is_register(name) else (name, 0, True, timing.beats + 1)
                for name, place in places(instruction.reads, instruction.operands, instruction.lengths)
            ])  # fmt: skip
            self.writes.append([
                (name, timing.lands_clk, timing.ready_clk + place * words) if is_register(name) else (name, 0, timing.last_clk)
                for name, place in places(instruction.writes)
            ])  # fmt: skip

    def start(self, index: int) -> int:
        """When the instruction can start, next after those that are placed."""
        ready, last, read = self.ready, self.last, self.read
        start = max(self.issue + 1, self.unit.get(self.clocks[index].unit, 0))
        for name, before, whole, _ in self.reads[index]:
            if name in last:
                start = max(start, last[name] if whole else ready[name] - before)
        for name, credit, _ in self.writes[index]:
            if name in read:
                start = max(start, read[name] - credit)
            if name in last:
                start = max(start, last[name] + (credit > 0) - credit)
        return start

    def place(self, index: int) -> None:
        """Start it."""
        start, clocks = self.start(index), self.clocks[index]
        self.issue, self.unit[clocks.unit] = start, start + clocks.beats
        for name, _, _, until in self.reads[index]:
            self.read[name] = max(self.read.get(name, 0), start + until)
        for name, _, ready in self.writes[index]:
            self.ready[name], self.last[name] = start + ready, start + clocks.last_clk
