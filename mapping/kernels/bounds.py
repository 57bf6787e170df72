"""The fewest clocks that strips of vector code can take, from the timing table alone: what need not be scheduled or priced to be turned down.

A strip's instructions start in an order that keeps its dependences through registers, one a clock, and each holds its unit; strip follows strip.
So a loop's clocks are at least: for each unit, when a strip can use it first, the clocks that all strips hold it, and how long what comes
after its last use takes; and for each repetition, the longest way through its dependences. All of it leaves out what else an instruction
may wait for, so that it is never more than the engine's count (``tests/mapping/kernels/test_bounds.py``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.sim.encode import is_register, places, whole_sources
from lanewise.sim.program import Instruction, Loop, Node, Program
from lanewise.sim.timing import Timing, timing_table
from lanewise.sim.vector_type import need


@dataclass(frozen=True, slots=True)
class Bound:
    """What a loop over ``code`` takes at least, its setup before it."""

    units: tuple[tuple[int, int, int], ...]
    """Of each unit, and of the vector stream's starts, one a clock: the first clock of its first use, the clocks that ``code`` holds it, and
    those from the end of its last use to the end."""
    begins: int
    """First clock in which an instruction of the loop can start."""
    period: int
    """From a repetition's first start to the next one's."""
    finish: int
    """From the last repetition's first start to the end."""

    def clocks(self, rounds: int, ways: int = 1) -> int:
        """Of ``rounds`` repetitions, each of ``ways`` copies of ``code`` in registers of their own, in any order.

        >>> Bound(units=((4, 16, 3),), begins=2, period=30, finish=40).clocks(8, 2)
        263
        """
        held = max(first + rounds * ways * busy + rest for first, busy, rest in self.units)
        return max(held, self.begins + (rounds - 1) * self.period + self.finish)


class _Setup:
    """When what comes before the loop leaves the vector stream, its units and the names that it writes."""

    def __init__(self, setup: Iterable[Instruction], config: MachineConfig) -> None:
        table, words = timing_table(config), config.vector.register_beats
        self.ready: dict[str, int] = {}
        """Of a register when a reader of its first word may start, of others when they have landed."""
        self.last: dict[str, int] = {}
        self.free: dict[str, int] = {}
        issued: dict[str, int] = {"vector": 0}  # vl and vtype are set first
        for instruction in setup:
            clocks = table[instruction]
            start = max(issued.get(clocks.stream, -1) + 1, self.free.get(clocks.unit, 0))
            for name, place, whole in _reads(instruction, clocks):
                there = self.last.get(name, 0) if whole else self.ready.get(name, 0) - place * words
                start = max(start, there)
            issued[clocks.stream], self.free[clocks.unit] = start, start + clocks.beats
            for name, place in places(instruction.writes):
                self.ready[name] = start + clocks.ready_clk + place * words
                self.last[name] = start + clocks.last_clk
        self.begins = issued["vector"] + 1


def _reads(instruction: Instruction, clocks: Timing) -> list[tuple[str, int, bool]]:
    """What it reads: name, place in the group, whether all of it must have landed."""
    whole = whole_sources(instruction) if clocks.whole else ()
    return [
        (name, place, name in whole or not is_register(name))
        for name, place in places(instruction.reads, instruction.operands, instruction.lengths)
    ]


class _Code:
    """Straight-line code, the waits of its instructions for each other through registers."""

    def __init__(self, code: Sequence[Instruction], config: MachineConfig, *, ordered: bool) -> None:
        table, words = timing_table(config), config.vector.register_beats
        self.clocks = [table[instruction] for instruction in code]
        self.sets = _sets(code) if ordered else [0] * len(code)
        self.ordered = ordered
        self.waits: list[list[tuple[int, int]]] = []
        """By instruction: writers of what it reads, and how much later than each it can start."""
        self.outside: list[list[tuple[str, int, bool]]] = []
        """What it reads that no instruction of the code writes: as of :func:`_reads`, the place in clocks."""
        written = {name for instruction in code for name in instruction.writes}
        writers: dict[str, tuple[int, int, int]] = {}
        self.ends: list[int] = []
        """From an instruction's start until it is over."""
        for index, (instruction, clocks) in enumerate(zip(code, self.clocks, strict=True)):
            inside, outside = [], []
            for name, place, whole in _reads(instruction, clocks):
                if name in writers:
                    writer, ready, last = writers[name]
                    inside.append((writer, last if whole else ready - place * words))
                elif name not in written:
                    outside.append((name, place * words, whole))
            self.waits.append(inside)
            self.outside.append(outside)
            for name, place in places(instruction.writes):
                if is_register(name):
                    writers[name] = index, clocks.ready_clk + place * words, clocks.last_clk
            self.ends.append(max(clocks.beats, clocks.last_clk if instruction.writes else 0))

    def starts(self, setup: _Setup | None) -> list[int]:
        """When each can start at the earliest, without what comes before if ``setup`` is ``None``."""
        made: list[int] = []
        free = {} if setup is None else dict(setup.free)
        issue = -1 if setup is None else setup.begins - 1
        for index, clocks in enumerate(self.clocks):
            start = max(issue + 1, free.get(clocks.unit, 0))
            if self.ordered and made:
                start = max(start, made[-1] + 1 + self.sets[index])
            for writer, later in self.waits[index]:
                start = max(start, made[writer] + later)
            if setup is not None:
                for name, before, whole in self.outside[index]:
                    start = max(
                        start, setup.last.get(name, 0) if whole else setup.ready.get(name, 0) - before
                    )
            made.append(start)
            if self.ordered:
                free[clocks.unit] = start + clocks.beats
        return made

    def rests(self) -> list[int]:
        """From the start of each to the end of all that waits for it."""
        made = list(self.ends)
        for index in reversed(range(len(made))):
            if self.ordered and index:
                made[index - 1] = max(made[index - 1], made[index] + 1 + self.sets[index])
            for writer, later in self.waits[index]:
                made[writer] = max(made[writer], made[index] + later)
        return made


def bound(
    setup: Iterable[Instruction], code: Sequence[Instruction], config: MachineConfig, *, ordered: bool
) -> Bound:
    """What a loop over ``code`` takes at least.

    Args:
        setup: What runs once before the loop.
        ordered: Whether ``code`` stays in its order; if not, in any that keeps its dependences.
    """
    before, strip = _Setup(setup, config), _Code(code, config, ordered=ordered)
    starts, alone, rests = strip.starts(before), strip.starts(None), strip.rests()
    units: dict[str, tuple[int, int, int]] = {}
    for start, clocks, rest in zip(starts, strip.clocks, rests, strict=True):
        first, busy, least = units.get(clocks.unit, (start, 0, rest - clocks.beats))
        least = rest - clocks.beats if ordered else min(least, rest - clocks.beats)
        units[clocks.unit] = min(first, start), busy + clocks.beats, least
    slots = before.begins, len(code) + sum(strip.sets), (rests[-1] if ordered else min(rests)) - 1
    finish = max(start + end for start, end in zip(alone, strip.ends, strict=True))
    return Bound(units=(*units.values(), slots), begins=before.begins, period=max(alone) + 1, finish=finish)


def least_clocks(program: Program, config: MachineConfig) -> int:
    """What a Program takes at least: DMA's words in each direction, wherever they begin, and the steps of the array.

    >>> from lanewise.sim.program import Address, repeat
    >>> load = Instruction(opcode="dma.load", writes=("@a",), runs=3, run_bytes=40, external=Address("x"), distance_bytes=40)
    >>> least_clocks(Program(body=repeat(5, load), buffers_bytes={"@a": 120}), MachineConfig())
    113
    """
    dma = config.dma
    held = {"dma.load": 0, "dma.store": 0, "mm": 0}

    def add(body: Sequence[Node], times: int) -> None:
        for node in body:
            if isinstance(node, Loop):
                add(node.body, times * node.count)
            elif not isinstance(node, Instruction):
                continue
            elif node.opcode in held:
                descriptors = max(1, node.runs) if node.indexed else 1
                words = node.runs * ceil(node.run_bytes / dma.bytes_per_clk)
                held[node.opcode] += times * (descriptors * dma.descriptor_clk + words)
            elif node.opcode in ("mm.tile", "mm.accumulate"):
                held["mm"] += times * node.steps * node.passes

    add(program.body, 1)
    lands = dma.latency_clk - 1
    return max(held["mm"], *(held[opcode] + lands for opcode in ("dma.load", "dma.store") if held[opcode]), 0)


def _sets(code: Sequence[Instruction]) -> list[int]:
    """How many times vl or vtype must be set before each, at least: 0 or 1."""
    made: list[int] = []
    sew: int | None = None
    vl: int | None = None
    for instruction in code:
        wanted = need(instruction)
        if wanted is None:
            made.append(0)
            continue
        other = wanted[1] != vl
        made.append(int(vl is not None and (other or (sew is not None and wanted[0] not in (None, sew)))))
        sew = wanted[0] if wanted[0] is not None or other else sew
        vl = wanted[1]
    return made
