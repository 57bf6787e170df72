"""A Program as numbers: what ``recurrence.cpp`` runs.

Nodes one after the other, each with its kind: a block of instructions (of each stream, unit, clocks held, drain, room for its number, last beat, what
it moves; what each name that it reads or writes makes it wait for and becomes; of a command of the matrix stream, its blocks), a rotation (the names'
places), a loop (count, body), an end.

What became of an instruction is remembered for each machine: kernels write the same code again and again.
"""

import enum
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import ceil
from operator import attrgetter

from lanewise.config import MachineConfig
from lanewise.sim.matrix_stream import Command
from lanewise.sim.program import Instruction, Loop, Node, Program, Rotate, is_straight
from lanewise.sim.timing import STREAMS, UNITS, Timing, timing_table

BLOCK, ROTATE, LOOP, END = range(4)
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
KEPT, KEPT_NAMES = 1 << 14, 1 << 12
"""Instructions, and names, that are remembered for each machine."""
_STREAM = {name: place for place, name in enumerate(STREAMS)}
_UNIT = {name: len(STREAMS) + place for place, name in enumerate(UNITS)}
_END = array("i", (END,)).tobytes()


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """A Program's numbers."""

    code: bytes
    names: dict[str, int]
    """Of each name its place; there may be others than the Program's."""
    registers: bytes
    """By place, whether it is a register's."""
    body: Sequence[Node]

    def used(self) -> dict[str, int]:
        """The names of the Program."""
        found = {name: self.names[name] for i in self.instructions() for name in (*i.reads, *i.writes)}
        return found | {name: self.names[name] for name in _rotated(self.body)}

    def instructions(self) -> list[Instruction]:
        """By number; each once, however often it runs."""
        return list(_numbered(self.body))


_content = attrgetter(
    "opcode", "vl", "sew_bits", "steps", "passes", "reload", "block", "runs", "indexed", "run_bytes", "reads", "writes", "operands", "lengths"
)  # fmt: skip
"""What an instruction's numbers depend on, but for places."""


def _numbered(body: Sequence[Node]) -> Iterator[Instruction]:
    for node in body:
        if isinstance(node, Instruction):
            yield node
        elif not isinstance(node, Rotate) and node.count:
            yield from _numbered(node.body)


def _rotated(body: Sequence[Node]) -> Iterator[str]:
    for node in body:
        if isinstance(node, Rotate):
            yield from node.names
        elif not isinstance(node, Instruction) and node.count:
            yield from _rotated(node.body)


class Encoder:
    """Makes Programs' numbers for one machine."""

    def __init__(self, config: MachineConfig) -> None:
        self._config, self._table = config, timing_table(config)
        self._words = config.vector.register_beats
        self._levels = config.flex_sfu.levels
        self._names: dict[str, int] = {}
        self._registers = b""
        self._made: dict[int, bytes] = {}
        """By the ids of instructions"""
        self._instructions: list[Node] = []
        """that are kept, so that the ids stay their own."""
        self._contents: dict[tuple[object, ...], bytes] = {}
        """By all that the numbers depend on."""

    def encode(self, program: Program) -> Encoded:
        """``program``'s numbers.

        Raises:
            ValueError: An instruction is not in the timing table, or not for this machine.
        """
        if len(self._instructions) > KEPT:
            self._made, self._instructions = {}, []
        if len(self._contents) > KEPT:
            self._contents = {}
        parts: list[bytes] = []
        self._nodes(program.body, parts)
        return Encoded(code=b"".join(parts), names=self._names, registers=self._registers, body=program.body)

    @property
    def full(self) -> bool:
        """Whether so many names are known that a new encoder is better."""
        return len(self._names) > KEPT_NAMES

    def _slot(self, name: str) -> int:
        if name not in self._names:
            self._names[name] = len(self._names)
            self._registers += bytes([is_register(name)])
        return FIRST_NAME + 3 * self._names[name]

    def _nodes(self, body: Sequence[Node], parts: list[bytes]) -> None:
        begin = 0
        others = (
            () if is_straight(body) else [k for k, t in enumerate(map(type, body)) if t is not Instruction]
        )
        for place in others:
            if begin < place:
                parts.append(self._block(body[begin:place]))
            begin, node = place + 1, body[place]
            if isinstance(node, Rotate):
                numbers = (ROTATE, len(node.names), *map(self._slot, node.names))
                parts.append(array("i", numbers).tobytes())
            elif isinstance(node, Loop) and node.count:
                parts.append(array("i", (LOOP, *_halves(node.count))).tobytes())
                self._nodes(node.body, parts)
        if begin < len(body):
            parts.append(self._block(body[begin:]))
        parts.append(_END)

    def _block(self, block: Sequence[Node]) -> bytes:
        made = self._made
        for instruction in [node for node in block if id(node) not in made]:
            assert isinstance(instruction, Instruction)
            made[id(instruction)] = self._numbers(instruction)
            self._instructions.append(instruction)
        code = b"".join(map(made.__getitem__, map(id, block)))
        return array("i", (BLOCK, len(code) // 4)).tobytes() + code

    def _numbers(self, instruction: Instruction) -> bytes:
        tile, content = instruction.tile, _content(instruction)
        if tile is not None:
            beside = [None if place is None else place.base for place in (tile.scales, tile.constants)]
            content = (*content, tile.left.address.base, tile.right.address.base, *beside)
        elif instruction.external is not None:
            content = (*content, self._table.key(instruction))
        numbers = self._contents.get(content)
        if numbers is None:
            numbers = self._contents[content] = self._encoded(instruction)
        return numbers

    def _encoded(self, instruction: Instruction) -> bytes:
        clocks = self._table[instruction]
        reads, read_count = self._reads(instruction, clocks)
        writes, write_count = self._writes(instruction, clocks)
        command = self._command(clocks.command)
        if clocks.command is not None and not clocks.command.last and instruction.writes:
            raise ValueError(f"writes of {instruction.opcode} must be empty, not {instruction.writes!r}")
        drain = STREAMED if command else clocks.drain_clk
        if clocks.unit == "matrix":
            moved = instruction.steps * instruction.passes
        else:
            moved = instruction.runs * instruction.run_bytes if clocks.stream in ("load", "store") else 0
        numbers = (
            _STREAM[clocks.stream], _UNIT[clocks.unit], clocks.beats, drain, 0, clocks.last_clk, read_count, write_count,
            *_halves(moved), *reads, *writes, *command,
        )  # fmt: skip
        return array("i", numbers).tobytes()

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


def _halves(number: int) -> tuple[int, int]:
    """The low 32 bits, as a signed number, and the high ones."""
    low = number & 0xFFFFFFFF
    return low - ((low & 0x80000000) << 1), number >> 32


@lru_cache(maxsize=8)
def _encoder(config: MachineConfig) -> list[Encoder]:
    return [Encoder(config)]


def encoder(config: MachineConfig) -> Encoder:
    """The one of ``config``'s machine, or a new one where it knows too many names."""
    kept = _encoder(config)
    if kept[0].full:
        kept[0] = Encoder(config)
    return kept[0]


def encode(program: Program, config: MachineConfig) -> Encoded:
    """``program`` as numbers for ``config``'s machine.

    Raises:
        ValueError: As :meth:`Encoder.encode`.
    """
    return encoder(config).encode(program)
