"""A Program as numbers: what ``recurrence.cpp`` runs.

Nodes one after the other, each with its kind: an instruction (stream, unit, clocks held, drain, number, last beat; what each name that it
reads or writes makes it wait for and becomes; of a command of the matrix stream, its blocks), a rotation (the names' places), a loop (count, body), an end.
"""

import enum
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from math import ceil

from lanewise.config import MachineConfig
from lanewise.sim.matrix_stream import Command
from lanewise.sim.program import Instruction, Node, Program, Rotate
from lanewise.sim.timing import STREAMS, UNITS, Timing, timing_table

INSTRUCTION, ROTATE, LOOP, END = range(4)
DRAIN = len(STREAMS) + len(UNITS)
"""Place of the MAC array's drain in the state, behind streams and units."""
MATRIX_TIMES = ("first", "second", "filled", "array", "second_from", "drained", "port")
"""What ``matrix_stream.h`` keeps from command to command, behind the drain."""
FIRST_NAME = DRAIN + 1 + len(MATRIX_TIMES)
"""Place of the first name: three numbers for each."""
EXTERNAL = "external"
"""External memory as a name that is written: nothing waits for it; its last write is an end."""
LOADS = "dma_load"
"""The unit whose writes of buffers are told apart from the others': of a buffer the first of three numbers is when the last load into it has
landed, the second when the last write of another unit has."""
UNCHANGED = -1
"""In place of a clock that a write sets: it sets none."""
NEVER = 1 << 30
"""More clocks than anything takes: what waits so much less does not wait."""
STREAMED = -1
"""In place of a drain's clocks: a command of the matrix stream, whose clocks are the recurrence's."""
_STREAM = {name: place for place, name in enumerate(STREAMS)}
_UNIT = {name: len(STREAMS) + place for place, name in enumerate(UNITS)}


@lru_cache(maxsize=1 << 12)
def is_register(name: str) -> bool:
    """Whether a name is a vector register's: chained, and with the latency's credit for writers. All others are not.

    >>> is_register("v12"), is_register("@v1"), is_register("vector")
    (True, False, False)
    """
    return name[0] == "v" and name[1:].isdigit()


@lru_cache(maxsize=1 << 16)
def places(
    names: Sequence[str], firsts: Sequence[str] = (), lengths: Sequence[int] = ()
) -> tuple[tuple[str, int], ...]:
    """Names with a register's place in its group, each pair once.

    Groups are as long as ``lengths`` say; or they are runs of registers, or begin where ``firsts`` says.

    >>> places(("v2", "v3", "v8", "@a", "v9"), ("v9",))
    (('v2', 0), ('v3', 1), ('v8', 0), ('@a', 0), ('v9', 0))
    >>> places(("v2", "v3", "v3"), lengths=(2, 1))
    (('v2', 0), ('v3', 1), ('v3', 0))
    """
    found: dict[tuple[str, int], None] = {}
    before, place = -2, 0
    begins = {0, *accumulate(lengths)}
    for index, name in enumerate(names):
        if not is_register(name):
            found[name, 0] = None
            continue
        number = int(name[1:])
        follows = index not in begins if lengths else number == before + 1 and name not in firsts
        place = place + 1 if follows else 0
        before = number
        found[name, place] = None
    return tuple(found)


def whole_sources(instruction: Instruction) -> frozenset[str]:
    """The registers of the first source, which some instructions do not read in order; all, if the operands are not told."""
    names = instruction.reads
    if instruction.lengths:
        names = names[: instruction.lengths[0]]
    elif len(instruction.operands) > 1 and instruction.operands[1] in names:
        names = names[: names.index(instruction.operands[1])] or names
    return frozenset(filter(is_register, names))


class Role(enum.IntFlag):
    """What a command of the matrix stream reads a buffer for: each has its own last read."""

    OPERANDS = 1
    CONSTANTS = 2
    """Of the columns."""
    SCALES = 4
    """Of the rows."""


def read_roles(instruction: Instruction) -> dict[str, Role]:
    """What each buffer is read for by ``mm.tile`` or ``mm.accumulate``.

    Without ``tile``, the first two of ``reads`` are operands, the constants are in the second's buffer, and all others are scales.

    Raises:
        ValueError: ``tile`` reads a buffer that is not among ``reads``, or constants that it does not have.

    >>> read_roles(Instruction(opcode="mm.tile", reads=("@a", "@w", "@scales"), reload=True))
    {'@a': <Role.OPERANDS: 1>, '@w': <Role.OPERANDS|CONSTANTS: 3>, '@scales': <Role.SCALES: 4>}
    """
    reads, tile, ends = instruction.reads, instruction.tile, instruction.opcode == "mm.tile"
    constants: str | None
    if tile is None:
        operands, scales = reads[:2] if ends else reads, reads[2:] if ends else ()
        constants = reads[:2][-1] if reads else None
    else:
        operands = tile.left.address.base, tile.right.address.base
        scales = (tile.scales.base,) if ends and tile.scales is not None else ()
        constants = None if tile.constants is None else tile.constants.base
        if ends and instruction.reload and constants is None:
            raise ValueError("constants of an mm.tile with reload must be an address, not None")
    roles = dict.fromkeys(reads, Role(0))
    named = [(name, Role.OPERANDS) for name in operands] + [(name, Role.SCALES) for name in scales]
    if ends and instruction.reload and constants is not None:
        named.append((constants, Role.CONSTANTS))
    for name, role in named:
        if name not in roles:
            raise ValueError(f"reads of {instruction.opcode} must have {name!r}, not only {reads!r}")
        roles[name] |= role
    # what is named for the order's sake alone is read with the operands
    return {name: role or Role.OPERANDS for name, role in roles.items()}


@dataclass(kw_only=True)
class Encoded:
    """A Program's numbers and what is known of it without running."""

    code: "array[int]" = field(default_factory=lambda: array("i"))
    names: dict[str, int] = field(default_factory=dict)
    instructions: list[Instruction] = field(default_factory=list)
    """By number; each once, however often it runs."""
    busy_clk: dict[str, int] = field(default_factory=lambda: dict.fromkeys(UNITS, 0))
    executed: int = 0
    loaded_bytes: int = 0
    stored_bytes: int = 0
    macs: int = 0


class Encoder:
    """Makes a Program's numbers for one machine."""

    def __init__(self, config: MachineConfig) -> None:
        self._config, self._table = config, timing_table(config)
        self._words = config.vector.register_beats
        self._levels = config.flex_sfu.levels
        self._made = Encoded()
        self._known: dict[int, tuple[Timing, tuple[int, ...], tuple[int, ...]]] = {}
        """By object: where loops are unrolled, most of an instruction's copies are one."""

    def encode(self, program: Program) -> Encoded:
        """``program``'s numbers.

        Raises:
            ValueError: An instruction is not in the timing table, or not for this machine.
        """
        self._nodes(program.body, 1)
        return self._made

    def _slot(self, name: str) -> int:
        names = self._made.names
        return FIRST_NAME + 3 * names.setdefault(name, len(names))

    def _nodes(self, body: Sequence[Node], times: int) -> None:
        code = self._made.code
        for node in body:
            if isinstance(node, Instruction):
                self._instruction(node, times)
            elif isinstance(node, Rotate):
                code.extend((ROTATE, len(node.names), *map(self._slot, node.names)))
            elif node.count:
                low = node.count & 0xFFFFFFFF
                code.extend((LOOP, low - ((low & 0x80000000) << 1), node.count >> 32))
                self._nodes(node.body, times * node.count)
        code.append(END)

    def _instruction(self, instruction: Instruction, times: int) -> None:
        known = self._known.get(id(instruction))
        if known is None:
            known = self._known[id(instruction)] = self._encoded(instruction)
        (clocks, before, behind), made = known, self._made
        made.busy_clk[clocks.unit] += times * clocks.beats
        made.executed += times
        if clocks.unit == "matrix":
            made.macs += times * instruction.steps * instruction.passes * self._config.matrix.macs_per_clk
        elif clocks.unit == "dma_load":
            made.loaded_bytes += times * instruction.runs * instruction.run_bytes
        elif clocks.unit == "dma_store":
            made.stored_bytes += times * instruction.runs * instruction.run_bytes
        made.code.extend(before)
        made.code.append(len(made.instructions))
        made.code.extend(behind)
        made.instructions.append(instruction)

    def _encoded(self, instruction: Instruction) -> tuple[Timing, tuple[int, ...], tuple[int, ...]]:
        """Its timing, its numbers before its place in the list of instructions, and those behind."""
        clocks = self._table[instruction]
        reads, read_count = self._reads(instruction, clocks)
        writes, write_count = self._writes(instruction, clocks)
        command = self._command(clocks.command)
        if clocks.command is not None and not clocks.command.last and instruction.writes:
            raise ValueError(f"writes of {instruction.opcode} must be empty, not {instruction.writes!r}")
        drain = STREAMED if command else clocks.drain_clk
        size = 8 + len(reads) + len(writes) + len(command)
        before = INSTRUCTION, size, _STREAM[clocks.stream], _UNIT[clocks.unit], clocks.beats, drain
        return clocks, before, (clocks.last_clk, read_count, write_count, *reads, *writes, *command)

    def _command(self, command: Command | None) -> tuple[int, ...]:
        """Blocks of all passes, steps of the first and of the last, whether the tile ends, and whether it has new constants."""
        if command is None:
            return ()
        size = self._config.matrix.block_steps
        blocks, last_steps = ceil(command.k / size), (command.k - 1) % size + 1
        return (
            command.passes * blocks,
            min(size, command.k),
            last_steps,
            int(command.last),
            int(command.reload),
        )

    def _reads(self, instruction: Instruction, clocks: Timing) -> tuple[list[int], int]:
        numbers: list[int] = []
        whole = whole_sources(instruction) if clocks.whole else ()
        roles = None if clocks.command is None else read_roles(instruction)
        count = 0
        for name, place in places(instruction.reads, instruction.operands, instruction.lengths):
            count += 1
            if roles is not None:
                numbers += (self._slot(name), 0, 0, roles[name])
            elif is_register(name):
                last = 0 if name in whole else NEVER
                numbers += (self._slot(name), place * self._words, last, clocks.beats)
            else:
                extra = self._levels if name.startswith("sfu.") else 1
                numbers += (self._slot(name), 0, 0, clocks.beats + extra)
        return numbers, count

    def _writes(self, instruction: Instruction, clocks: Timing) -> tuple[list[int], int]:
        numbers: list[int] = []
        lands, last = clocks.lands_clk, clocks.last_clk
        count = 0
        for name, place in places(instruction.writes):
            count += 1
            if is_register(name):
                ready = clocks.ready_clk + place * self._words
                numbers += (self._slot(name), NEVER, lands - 1, lands, ready, last)
            elif clocks.unit == LOADS:  # loads land in their order: only the others' writes are waited for
                numbers += (self._slot(name), NEVER, 0, 0, last, UNCHANGED)
            else:
                wait = NEVER if name == EXTERNAL else 0
                numbers += (self._slot(name), wait, wait, wait, UNCHANGED, last)
        return numbers, count


def encode(program: Program, config: MachineConfig) -> Encoded:
    """``program`` as numbers for ``config``'s machine.

    Raises:
        ValueError: As :meth:`Encoder.encode`.
    """
    return Encoder(config).encode(program)
