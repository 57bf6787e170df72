"""Static scheduling of straight-line vector code for in-order issue: what an optimising assembler would do.

``list_schedule.cpp`` lists; :mod:`lanewise.sim.reference_schedule` says the same once more in Python, and ``tests/sim/test_list_schedule.py`` holds the two
equal. Code of which everything that decides the order is the same is listed once for each machine.
"""

from array import array
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter

import numpy as np

from lanewise.config import MachineConfig
from lanewise.sim.compiled import library
from lanewise.sim.encode import is_register, places, whole_sources
from lanewise.sim.program import Instruction
from lanewise.sim.timing import UNITS, timing_table
from lanewise.sim.vector_type import need

KEPT = 1 << 14
"""Instructions, and orders, that are remembered for each machine."""
_names = attrgetter("reads", "writes", "operands", "lengths")
_UNIT = {unit: place for place, unit in enumerate(UNITS)}


class Scheduler:
    """Lists code for one machine."""

    def __init__(self, config: MachineConfig) -> None:
        self._table, self._words = timing_table(config), config.vector.register_beats
        self._names: dict[str, int] = {}
        self._numbers: dict[int, bytes] = {}
        """By the ids of instructions"""
        self._instructions: list[Instruction] = []
        """that are kept, so that the ids stay their own."""
        self._contents: dict[tuple[object, ...], bytes] = {}
        """By all that the numbers depend on."""
        self._orders: dict[bytes, list[int]] = {}

    def schedule(self, code: Sequence[Instruction]) -> list[Instruction]:
        """``code`` in the order of :func:`schedule`."""
        if len(self._instructions) > KEPT:
            self._numbers, self._instructions = {}, []
        if len(self._contents) > KEPT:
            self._contents = {}
        known = self._numbers
        for instruction in [each for each in code if id(each) not in known]:
            known[id(instruction)] = self._numbers_of(instruction)
            self._instructions.append(instruction)
        numbers = b"".join(map(known.__getitem__, map(id, code)))
        key = blake2b(numbers, digest_size=16).digest()
        order = self._orders.get(key)
        if order is None:
            if len(self._orders) > KEPT:
                self._orders.clear()
            order = self._orders[key] = self._listed(numbers, len(code))
        return [code[index] for index in order]

    def _listed(self, numbers: bytes, count: int) -> list[int]:
        order = np.empty(count, np.int32)
        library().lanewise_schedule(numbers, count, len(self._names), len(UNITS), order.ctypes.data)
        return order.tolist()

    def _slot(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

    def _numbers_of(self, instruction: Instruction) -> bytes:
        content = (*self._table.key(instruction), *_names(instruction))
        numbers = self._contents.get(content)
        if numbers is None:
            numbers = self._contents[content] = self._made(instruction)
        return numbers

    def _made(self, instruction: Instruction) -> bytes:
        """Unit and clocks; SEW and vl that it runs under; of each name that it reads or writes what it waits for, and what the name becomes."""
        clocks, words = self._table[instruction], self._words
        sew, vl = need(instruction) or (None, -1)
        whole = whole_sources(instruction) if clocks.whole else ()
        reads = places(instruction.reads, instruction.operands, instruction.lengths)
        writes = places(instruction.writes)
        numbers = [
            _UNIT[clocks.unit], clocks.beats, clocks.lands_clk, clocks.last_clk, sew or 0, vl, clocks.unit != "vector_fma",
            len(reads), len(writes),
        ]  # fmt: skip
        for name, place in reads:
            waits = (place * words, name in whole) if is_register(name) else (0, True)
            until = clocks.beats + (not is_register(name))
            numbers += (self._slot(name), *waits, until, name.startswith("@"))
        for name, place in writes:
            times = (0, clocks.last_clk)
            if is_register(name):
                times = clocks.lands_clk, clocks.ready_clk + place * words
            numbers += (self._slot(name), *times, name.startswith("@"))
        return array("i", numbers).tobytes()


@lru_cache(maxsize=8)
def _scheduler(config: MachineConfig) -> Scheduler:
    return Scheduler(config)


def schedule(code: Sequence[Instruction], config: MachineConfig) -> list[Instruction]:
    """The same instructions in an order that starts each as early as its sources and unit allow.

    Greedy list scheduling: of the instructions whose predecessors are placed, the one that can start first. Of those that can start
    in the same clock either the multiply-adds come first and then the earlier strips, which staggers the strips so that one's
    beginning fills another's end, or the instruction with the longest way to the end; the better of both orders is taken. Where vl or vtype
    must be set, that takes a slot.
    Dependences through registers are kept (read after write, write after read, write after write); strips use different
    addresses of a buffer, so buffers order nothing, though in the order chosen a write of a buffer holds back what comes after it.

    Raises:
        ValueError: An instruction is not in the timing table, or not for this machine.
    """
    return _scheduler(config).schedule(code)
