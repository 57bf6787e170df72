"""The list scheduling of :mod:`lanewise.sim.list_schedule` once more, as plainly as can be. For tests."""

from collections.abc import Sequence
from operator import itemgetter

from lanewise.config import MachineConfig
from lanewise.sim.encode import is_register, places, whole_sources
from lanewise.sim.program import Instruction
from lanewise.sim.timing import Timing, timing_table
from lanewise.sim.vector_type import Need, need


def schedule(code: list[Instruction], config: MachineConfig) -> list[Instruction]:
    """As :func:`lanewise.sim.list_schedule.schedule`."""
    table = timing_table(config)
    clocks = [table[instruction] for instruction in code]
    followers, waits = _dependences(code)
    height = [0] * len(code)
    for index in reversed(range(len(code))):
        height[index] = clocks[index].lands_clk + max((height[f] for f in followers[index]), default=0)
    machine = _Machine(config, code, clocks)
    staggered = [(timing.unit != "vector_fma", index) for index, timing in enumerate(clocks)]
    urgent = [(-way, index) for index, way in enumerate(height)]
    _, order = min(
        (_listed(machine, followers, waits, urgency) for urgency in (staggered, urgent)), key=itemgetter(0)
    )
    return [code[index] for index in order]


def _listed(
    machine: "_Machine", followers: list[set[int]], waits: list[int], urgency: Sequence[tuple[int, int]]
) -> tuple[int, list[int]]:
    """The clock in which the last unit is free, and the order."""
    machine.clear()
    left = list(waits)
    ready = [index for index, count in enumerate(left) if count == 0]
    order: list[int] = []
    while ready:
        best = min(ready, key=lambda index: (machine.start(index), urgency[index]))
        ready.remove(best)
        machine.place(best)
        order.append(best)
        for follower in followers[best]:
            left[follower] -= 1
            if left[follower] == 0:
                ready.append(follower)
    return max(machine.unit.values(), default=0), order


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
        self.clear()
        self.clocks = clocks
        self.needs = [need(instruction) for instruction in code]
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

    def clear(self) -> None:
        """Nothing is placed."""
        self.issue = -1
        self.need: Need | None = None
        self.unit: dict[str, int] = {}
        self.ready: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.read: dict[str, int] = {}

    def start(self, index: int) -> int:
        """When the instruction can start, next after those that are placed."""
        ready, last, read = self.ready, self.last, self.read
        start = max(self.issue + 1 + self._sets(index), self.unit.get(self.clocks[index].unit, 0))
        for name, before, whole, _ in self.reads[index]:
            if name in last:
                start = max(start, last[name] if whole else ready[name] - before)
        for name, credit, _ in self.writes[index]:
            if name in read:
                start = max(start, read[name] - credit)
            if name in last:
                start = max(start, last[name] + (credit > 0) - credit)
        return start

    def _sets(self, index: int) -> bool:
        """Whether vl or vtype must be set before the instruction, which takes a slot."""
        (sew, vl), state = self.needs[index] or (None, None), self.need
        return state is not None and (vl != state[1] or sew not in (None, state[0]))

    def place(self, index: int) -> None:
        """Start it."""
        start, clocks = self.start(index), self.clocks[index]
        sew, vl = self.needs[index] or (None, 0)
        self.need = (sew if sew is not None or self.need is None else self.need[0], vl)
        self.issue, self.unit[clocks.unit] = start, start + clocks.beats
        for name, _, _, until in self.reads[index]:
            self.read[name] = max(self.read.get(name, 0), start + until)
        for name, _, ready in self.writes[index]:
            self.ready[name], self.last[name] = start + ready, start + clocks.last_clk
