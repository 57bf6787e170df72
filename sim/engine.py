"""The timing engine: when each instruction of a Program starts and ends.

The recurrence (one line per rule; times in clk):

* an instruction starts after the previous one of its stream has started, when its unit is free;
* a source must have its first beat ready, and its last beat ready by this instruction's last beat (chaining);
* a result must not land before the last read of the old value and the last write to it (no renaming);
* a MAC-array tile must not finish before the drain of the one before it has ended.

Loops are summarised exactly: the machine's state at the top of a loop, relative to the streams that the loop
uses, decides all that follows; when it recurs, the clocks between are a period and whole periods are skipped.
``tests/sim/test_engine.py`` holds this equal to unrolled execution.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import lcm
from typing import TypeAlias

from lanewise.config import MachineConfig
from lanewise.sim.program import Instruction, Node, Program, Rotate
from lanewise.sim.timing import STREAMS, UNITS, timing

_Code: TypeAlias = tuple[int, int, int, int, int, int, tuple[int, ...], tuple[int, ...], int]
"""stream, unit, beats, first beat, last beat, drain, source slots, result slots, number of the instruction."""

Watcher: TypeAlias = Callable[[Instruction, int, int], None]
"""Called with an instruction, its first clock, and the clock after its last beat has landed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a Program took."""

    cycles: int
    """From the first clock to the last byte landed."""
    busy_clk: dict[str, int]
    """Clocks that each unit was held."""
    instructions: int
    loaded_bytes: int
    stored_bytes: int
    macs: int
    """Multiply-accumulates that the array performed, padding included."""


_DRAIN = len(STREAMS) + len(UNITS)
_FIXED = _DRAIN + 1  # then, for each name: first beat ready, last beat ready, last read


class _Block:
    """Straight-line code, compiled: one tuple of numbers per instruction."""

    def __init__(self, code: list[_Code]) -> None:
        self.code = code


class _Loop:
    def __init__(self, count: int, body: list["_Item"]) -> None:
        self.count, self.body = count, body
        self.phases = 1
        self.keys: tuple[tuple[int, tuple[int, ...]], ...] = ()
        self.moved: tuple[int, ...] = ()
        self.memo: dict[tuple[int, ...], tuple[tuple[int, int], ...]] = {}


class _Swap:
    def __init__(self, indices: tuple[int, ...]) -> None:
        self.indices = indices


_Item = _Block | _Loop | _Swap


class Engine:
    """Runs one Program on one machine.

    Args:
        summarise: Skip the periods of loops (exact); ``False`` executes every instruction.
        watcher: Told every instruction's start and end; needs ``summarise=False``.
    """

    def __init__(
        self,
        program: Program,
        config: MachineConfig,
        *,
        summarise: bool = True,
        watcher: Watcher | None = None,
    ) -> None:
        if watcher is not None and summarise:
            raise ValueError("summarise must be False with a watcher, not True")
        self._config, self._summarise, self._watcher = config, summarise, watcher
        self._names: dict[str, int] = {}
        self._instructions: list[Instruction] = []
        self._busy = dict.fromkeys(UNITS, 0)
        self._counts = {"instructions": 0, "loaded": 0, "stored": 0, "macs": 0}
        self._items, _ = self._compile(program.body, 1)

    def run(self) -> Run:
        """Run to the last byte landed."""
        self._state = [-1] * len(STREAMS) + [0] * (len(UNITS) + 1 + 3 * len(self._names))
        self._sequence(self._items)
        # starts are at most one less than the unit's next free clock, so the maximum is the end of everything
        cycles = max(self._state[len(STREAMS) :], default=0)
        return Run(
            cycles=cycles, busy_clk=dict(self._busy), instructions=self._counts["instructions"],
            loaded_bytes=self._counts["loaded"], stored_bytes=self._counts["stored"], macs=self._counts["macs"],
        )  # fmt: skip

    # Compilation

    def _slot(self, name: str) -> int:
        return _FIXED + 3 * self._names.setdefault(name, len(self._names))

    def _compile(self, body: Sequence[Node], times: int) -> tuple[list[_Item], "_Touched"]:
        items: list[_Item] = []
        touched = _Touched()
        for node in body:
            if isinstance(node, Instruction):
                if not items or not isinstance(items[-1], _Block):
                    items.append(_Block([]))
                block = items[-1]
                assert isinstance(block, _Block)
                block.code.append(self._encode(node, times, touched))
            elif isinstance(node, Rotate):
                slots = tuple(self._slot(name) for name in node.names)
                items.append(_Swap(slots))
                touched.groups.append(slots)
            elif node.count:
                inner, inner_touched = self._compile(node.body, times * node.count)
                loop = _Loop(node.count, inner)
                inner_touched.close(loop)
                items.append(loop)
                touched.update(inner_touched)
        return items, touched

    def _encode(self, instruction: Instruction, times: int, touched: "_Touched") -> _Code:
        clocks = timing(instruction, self._config)
        self._busy[clocks.unit] += times * clocks.beats
        self._counts["instructions"] += times
        if clocks.unit == "matrix":
            self._counts["macs"] += times * clocks.beats * self._config.matrix.macs_per_clk
        elif clocks.unit == "dma_load":
            self._counts["loaded"] += times * instruction.runs * instruction.run_bytes
        elif clocks.unit == "dma_store":
            self._counts["stored"] += times * instruction.runs * instruction.run_bytes
        stream, unit = STREAMS.index(clocks.stream), len(STREAMS) + UNITS.index(clocks.unit)
        reads = tuple(self._slot(name) for name in dict.fromkeys(instruction.reads))
        writes = tuple(self._slot(name) for name in dict.fromkeys(instruction.writes))
        # a tile's result lands row by row after the last step; others' beats land as they come
        first = clocks.latency_clk
        last = first + clocks.beats - 1
        if clocks.unit == "matrix":
            last = first + clocks.beats + clocks.drain_clk - 1
        if not clocks.chained:
            first = last
        touched.add(stream, unit, reads, writes, drains=clocks.unit == "matrix")
        self._instructions.append(instruction)
        number = len(self._instructions) - 1
        return (stream, unit, clocks.beats, first, last, clocks.drain_clk, reads, writes, number)

    # Execution

    def _sequence(self, items: list[_Item]) -> None:
        for item in items:
            if isinstance(item, _Block):
                self._straight(item.code)
            elif isinstance(item, _Swap):
                self._rotate(item.indices)
            elif self._summarise:
                self._summarised(item)
            else:
                for _ in range(item.count):
                    self._sequence(item.body)

    def _rotate(self, slots: tuple[int, ...]) -> None:
        state = self._state
        head = state[slots[0] : slots[0] + 3]
        for here, there in itertools.pairwise(slots):
            state[here : here + 3] = state[there : there + 3]
        state[slots[-1] : slots[-1] + 3] = head

    def _straight(self, code: list[_Code]) -> None:
        state = self._state
        for stream, unit, beats, first, last, drain, reads, writes, number in code:
            start = state[stream] + 1
            if state[unit] > start:
                start = state[unit]
            for slot in reads:
                if state[slot] > start:
                    start = state[slot]
                if state[slot + 1] - beats + 1 > start:
                    start = state[slot + 1] - beats + 1
            for slot in writes:
                free = state[slot + 2] if state[slot + 2] > state[slot + 1] else state[slot + 1] + 1
                if free - first > start:
                    start = free - first
            if drain:
                if state[_DRAIN] - beats > start:
                    start = state[_DRAIN] - beats
                state[_DRAIN] = start + beats + drain
            state[stream] = start
            state[unit] = start + beats
            for slot in reads:
                if start + beats > state[slot + 2]:
                    state[slot + 2] = start + beats
            for slot in writes:
                state[slot] = start + first
                state[slot + 1] = start + last
            if self._watcher is not None:
                self._watcher(self._instructions[number], start, start + last + 1)

    def _key(self, loop: _Loop) -> tuple[int, tuple[int, ...]]:
        """Base time, and the state relative to it that can still delay an instruction of the loop."""
        state = self._state
        base = min(state[stream] for stream in range(len(STREAMS)) if stream in loop.moved)
        key = []
        for slot, streams in loop.keys:
            value = state[slot]
            if streams:  # what is past cannot delay any of these streams, however long past it is
                floor = state[streams[0]] if len(streams) == 1 else min(state[s] for s in streams)
                value = max(value, floor)
            key.append(value - base)
        return base, tuple(key)

    def _summarised(self, loop: _Loop) -> None:
        if not loop.moved:  # nothing but renaming
            for _ in range(loop.count % loop.phases):
                self._sequence(loop.body)
            return
        base, entry = self._key(loop)
        state = self._state
        memorable = loop.phases == 1
        if memorable and (known := loop.memo.get(entry)) is not None:
            for slot, value in known:
                state[slot] = base + value
            return
        seen: dict[tuple[int, ...], tuple[int, int]] = {}
        done = 0
        while done < loop.count:
            if done:
                at, key = self._key(loop)
                key = (done % loop.phases, *key)
                if key in seen:
                    before, before_at = seen[key]
                    periods = (loop.count - done) // (done - before)
                    if periods:
                        shift = periods * (at - before_at)
                        for slot in loop.moved:
                            state[slot] += shift
                        done += periods * (done - before)
                        seen.clear()
                        continue
                seen[key] = (done, at)
            self._sequence(loop.body)
            done += 1
        if memorable:
            loop.memo[entry] = tuple((slot, state[slot] - base) for slot in loop.moved)


class _Touched:
    """The parts of the state that a loop's body can read or change."""

    def __init__(self) -> None:
        self.streams_of: dict[int, set[int]] = {}
        self.changed: set[int] = set()
        self.groups: list[tuple[int, ...]] = []

    def add(
        self, stream: int, unit: int, reads: tuple[int, ...], writes: tuple[int, ...], *, drains: bool
    ) -> None:
        use = [stream, unit, *([_DRAIN] if drains else [])]
        for slot in reads:
            use += [slot, slot + 1, slot + 2]
            self.changed.add(slot + 2)
        for slot in writes:
            use += [slot, slot + 1, slot + 2]
            self.changed |= {slot, slot + 1}
        self.changed |= {stream, unit, *([_DRAIN] if drains else [])}
        for index in use:
            self.streams_of.setdefault(index, set()).add(stream)

    def update(self, other: "_Touched") -> None:
        self.changed |= other.changed
        self.groups += other.groups
        for index, streams in other.streams_of.items():
            self.streams_of.setdefault(index, set()).update(streams)

    def close(self, loop: _Loop) -> None:
        """Give the loop what its summary needs; buffers that rotate share their uses and are compared exactly."""
        exact: set[int] = set()
        for group in self.groups:
            for part in range(3):
                members = [slot + part for slot in group]
                streams = set().union(*(self.streams_of.get(index, set()) for index in members))
                for index in members:
                    if streams:
                        self.streams_of[index] = streams
                if any(index in self.changed for index in members):
                    self.changed.update(members)
                    exact.update(members)
                else:  # only permuted: a period must bring every member back to its place
                    loop.phases = lcm(loop.phases, len(group))
        loop.keys = tuple(
            (index, () if index in exact else tuple(sorted(self.streams_of[index])))
            for index in sorted(self.streams_of.keys() | exact)
        )
        loop.moved = tuple(sorted(self.changed))


def run(
    program: Program, config: MachineConfig, *, summarise: bool = True, watcher: Watcher | None = None
) -> Run:
    """Clocks, unit occupancy and bytes of ``program`` on ``config``'s machine."""
    return Engine(program, config, summarise=summarise, watcher=watcher).run()
