"""Static scheduling of straight-line vector code for in-order issue: what an optimising assembler would do."""

from lanewise.config import MachineConfig
from lanewise.sim.program import Instruction
from lanewise.sim.timing import Timing, timing


def schedule(code: list[Instruction], config: MachineConfig) -> list[Instruction]:
    """The same instructions in an order that starts each as early as its sources and unit allow.

    Greedy list scheduling: of the instructions whose predecessors are placed, the one that can start first, and of
    those the one with the longest way to the end. Dependences through registers are kept (read after write,
    write after read, write after write); strips use different addresses of a buffer, so buffers order nothing.
    """
    clocks = [timing(instruction, config) for instruction in code]
    followers, waits = _dependences(code)
    height = [0] * len(code)
    for index in reversed(range(len(code))):
        height[index] = clocks[index].latency_clk + max((height[f] for f in followers[index]), default=0)
    machine = _Machine()
    ready = [index for index, count in enumerate(waits) if count == 0]
    order: list[Instruction] = []
    while ready:
        best = min(ready, key=lambda i: (machine.start(code[i], clocks[i]), -height[i], i))
        ready.remove(best)
        machine.place(code[best], clocks[best])
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
    """The recurrence of :mod:`lanewise.sim.engine` for registers and vector units."""

    def __init__(self) -> None:
        self.issue = -1
        self.unit: dict[str, int] = {}
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.read: dict[str, int] = {}

    def start(self, instruction: Instruction, clocks: Timing) -> int:
        start = max(self.issue + 1, self.unit.get(clocks.unit, 0))
        for name in instruction.reads:
            start = max(start, self.first.get(name, 0), self.last.get(name, 0) - clocks.beats + 1)
        latency = clocks.latency_clk if clocks.chained else clocks.latency_clk + clocks.beats - 1
        for name in instruction.writes:
            start = max(start, max(self.read.get(name, 0), self.last.get(name, -1) + 1) - latency)
        return start

    def place(self, instruction: Instruction, clocks: Timing) -> None:
        start = self.start(instruction, clocks)
        self.issue, self.unit[clocks.unit] = start, start + clocks.beats
        last = start + clocks.latency_clk + clocks.beats - 1
        for name in instruction.reads:
            if not name.startswith("@"):
                self.read[name] = max(self.read.get(name, 0), start + clocks.beats)
        for name in instruction.writes:
            if not name.startswith("@"):
                self.first[name] = start + clocks.latency_clk if clocks.chained else last
                self.last[name] = last
