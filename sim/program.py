"""Programs: instruction streams with loops, the one thing that the timing engine runs.

A Program is what the host feeds to the core. Its order fixes the dependences; each instruction belongs to one
of six in-order streams (load, store, matrix, vector, operand, generate), and a stream runs ahead of another as far as the
buffers that they share allow. Time is a matter of the names that an instruction reads and writes; registers' numbers, scalars and
addresses are what :mod:`lanewise.mapping.assemble` encodes and :mod:`lanewise.mapping.functional` executes.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat as repeated
from operator import attrgetter, call
from typing import Any, TypeAlias

from lanewise.isa.operations import OPERATIONS, Unit


@dataclass(frozen=True, slots=True)
class Address:
    """A place in a scratchpad buffer (``@name``) or a tensor of external memory, affine in the counters of the loops around it.

    >>> Address("@in.0", 32, (("strip", 64),)).at({"strip": 3})
    224
    """

    base: str
    offset_bytes: int = 0
    steps: tuple[tuple[str, int], ...] = ()
    """Bytes that each repetition of a loop adds, by the loop's index; a loop that is not around counts as in its first."""

    def at(self, counters: Mapping[str, int]) -> int:
        """Bytes from the base."""
        return self.offset_bytes + sum(step * counters.get(index, 0) for index, step in self.steps)

    def moved(self, offset_bytes: int) -> "Address":
        """So many bytes further."""
        return Address(self.base, self.offset_bytes + offset_bytes, self.steps) if offset_bytes else self

    def along(self, index: str, step_bytes: int) -> "Address":
        """With a step for another loop."""
        return (
            Address(self.base, self.offset_bytes, (*self.steps, (index, step_bytes))) if step_bytes else self
        )

    def unrolled(self, index: str, rounds: int, place: int) -> "Address":
        """As in repetition ``place`` of ``rounds`` of a loop that becomes one repetition."""
        step = dict(self.steps).get(index, 0)
        steps = tuple((name, size * rounds if name == index else size) for name, size in self.steps)
        return Address(self.base, self.offset_bytes + place * step, steps)

    def __str__(self) -> str:
        terms = [self.base, *([str(self.offset_bytes)] if self.offset_bytes else [])]
        return " + ".join([*terms, *(f"{step} {index}" for index, step in self.steps)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """An operand of a matrix command, as it lies in the scratchpad: a line for each row of the array, or for each column.

    A line has its elements of k side by side, INT4 two a byte, the first in the low bits, and begins with a byte.
    """

    address: Address
    """Of the first line, where the command's first step is."""
    stride_bytes: int
    """From line to line; of a ``turned`` operand, from step to step."""
    lines: int
    bits: int = 4
    """4 or 8."""
    turned: bool = False
    """Steps, not lines, lie side by side: for each k the elements of all lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """Operands and results of ``mm.tile``, or the operands of ``mm.accumulate``, for an array that takes INT4 in passes."""

    left: Lines
    right: Lines
    first: int = 0
    """Number of the first pass, as :func:`lanewise.models.mac_array.steps` counts them."""
    shift: bool = False
    """Whether the sums move before the first step: it is a later pass's first."""
    results: Address | None = None
    """Of the first row of results (``mm.tile``)."""
    results_stride_bytes: int = 0
    """From row to row."""
    form: str = "fp16"
    """One of :data:`lanewise.config.REQUANTISER_FORMATS`."""
    stochastic: bool = False
    multiplier: int = 1
    """Of all rows, 16 bits, and"""
    shift_bits: int = 0
    """how far to the right, of 6 bits, if ``scales`` is ``None``."""
    scales: Address | None = None
    """Of the rows' own: multiplier and shift, 4 bytes each."""
    constants: Address | None = None
    """Of new constants of the columns (``reload``): for each beat of a row as many INT32 biases as the output path has lanes, then as many 16-bit
    multipliers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """One instruction, as the engine sees it.

    Vector instructions carry the RVV mnemonic, the element count and the element width; ``mm.tile`` the
    number of steps; ``op.quantise`` and ``op.sample`` the number of elements or rows; ``dma.load`` and ``dma.store`` the number
    and size of contiguous runs; ``dma.generate`` the size of its only one.
    """

    opcode: str
    """Mnemonic: RVV 1.0's, or ``sfu.*``, ``mm.*``, ``op.*``, ``dma.*`` for the custom ones."""
    writes: tuple[str, ...] = ()
    """Registers or buffers written."""
    reads: tuple[str, ...] = ()
    """Registers or buffers read."""
    vl: int = 0
    """Elements (vector instructions, ``sfu.*``)."""
    sew_bits: int = 16
    """Width of the widest operand's elements."""
    steps: int = 0
    """Steps of the K dimension, in each pass (``mm.tile``, ``mm.accumulate``)."""
    passes: int = 1
    """How often: operands wider than the array's are multiplied in passes."""
    reload: bool = False
    """Whether the columns' constants are reloaded before the tile leaves (``mm.tile``)."""
    block: int = 1
    """Elements that are transformed together (``op.quantise``)."""
    runs: int = 0
    """Contiguous runs in external memory (``dma.*``)."""
    indexed: bool = False
    """Whether the runs lie where a list of indices says: each is a descriptor of its own."""
    run_bytes: int = 0
    """Bytes of each run."""
    operands: tuple[str, ...] = ()
    """First register of each source, in the order of the mnemonic's semantics."""
    lengths: tuple[int, ...] = ()
    """Registers of each group in ``reads``, one group after the other; if not given, groups are runs that begin where ``operands`` say."""
    constant: float | None = None
    """Scalar operand (``.vf``, ``.vx``, ``.vi`` forms)."""
    vd: int | None = None
    """Register, or the field that stands in its place; ``None``: the instruction is priced alone (see :func:`is_complete`)."""
    vs2: int = 0
    vs1: int = 0
    masked: bool = False
    """Whether v0 is an operand."""
    address: Address | None = None
    """In the scratchpad: of a vector load or store, of a table's load, of ``dma.*``'s first run."""
    stride_bytes: int = 0
    """From element to element of a strided access, from run to run in the scratchpad; 0 of ``dma.*``: one run after the other."""
    external: Address | None = None
    """In external memory, of the first run."""
    distance_bytes: int = 0
    """From run to run there; 0: one after the other."""
    indices: Address | None = None
    """Of indexed runs: where the numbers are, 32 bits each, that ``distance_bytes`` is multiplied by. Of ``dma.generate``: of the generated tensor,
    the number of the block of weights."""
    seed: int = 0
    """Of ``dma.generate``: the tensor's, from which a block's follows by its number."""
    tile: Tile | None = None
    """Of ``mm.*``; ``None``: the instruction is priced alone."""

    def at(self, address: Address) -> "Instruction":
        """The same with another place in the scratchpad."""
        return replaced(self, address=address)


def replaced(instruction: Instruction, **changes: Any) -> Instruction:
    """:func:`dataclasses.replace` for instructions, many times as fast.

    >>> replaced(Instruction(opcode="vadd.vv", vl=3), vl=7) == Instruction(opcode="vadd.vv", vl=7)
    True
    """
    made = object.__new__(Instruction)
    deque(map(call, _ASSIGN.values(), repeated(made), _values(instruction)), 0)
    for name, value in changes.items():
        _ASSIGN[name](made, value)
    return made


_values = attrgetter(*Instruction.__slots__)
_ASSIGN = {name: getattr(Instruction, name).__set__ for name in Instruction.__slots__}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotate:
    """Renames buffers: the first takes the second's place, and so on round. Address arithmetic of the host: no clocks.

    Raises:
        ValueError: There is no name, or one of them twice.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"names must be different, and one at least, not {self.names}")


@dataclass(frozen=True, slots=True)
class Loop:
    """``count`` repetitions of ``body``."""

    count: int
    body: tuple["Node", ...]
    index: str = ""
    """Name of its counter in addresses."""

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count must be at least 0, not {self.count}")


Node: TypeAlias = Instruction | Rotate | Loop


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A kernel with its scratchpad buffers.

    Raises:
        ValueError: An instruction names a buffer (``@name``) that has no size.
    """

    body: tuple[Node, ...]
    buffers_bytes: Mapping[str, int] = field(default_factory=dict)
    """Size of each scratchpad buffer; a buffer's name starts with ``@``."""

    def __post_init__(self) -> None:
        names: set[str] = set()
        _named(self.body, names, set())
        missing = {name for name in names.difference(self.buffers_bytes) if name.startswith("@")}
        if not missing:
            return
        for instruction in flatten_once(self.body):
            for name in (*instruction.reads, *instruction.writes):
                if name in missing:
                    raise ValueError(f"buffer {name!r} of {instruction.opcode} must have a size")

    def rearranged(self, body: tuple[Node, ...]) -> "Program":
        """The same instructions, with what names no buffer, in another form: buffers' sizes are not asked for again."""
        if body is self.body:
            return self
        made = object.__new__(Program)
        object.__setattr__(made, "body", body)
        object.__setattr__(made, "buffers_bytes", self.buffers_bytes)
        return made


def _named(body: Sequence[Node], names: set[str], loops: set[int]) -> None:
    """Add what the instructions read and write to ``names``, and the loops' ids to ``loops``."""
    if is_straight(body):
        names.update(*map(_reads, body), *map(_writes, body))
        return
    for node in body:
        if isinstance(node, Instruction):
            names.update(node.reads, node.writes)
        elif isinstance(node, Loop) and id(node) not in loops:
            loops.add(id(node))
            _named(node.body, names, loops)


_reads, _writes = attrgetter("reads"), attrgetter("writes")
_INSTRUCTION_ALONE = frozenset([Instruction])


def is_straight(body: Sequence[Node]) -> bool:
    """Whether the nodes are instructions, all of them."""
    return _INSTRUCTION_ALONE.issuperset(map(type, body))


def flatten_once(body: Sequence[Node]) -> Iterator[Instruction]:
    """Every instruction once, loops not repeated."""
    for node in body:
        if isinstance(node, Loop):
            yield from flatten_once(node.body)
        elif isinstance(node, Instruction):
            yield node


def repeat(count: int, *body: Node, index: str = "") -> tuple[Node, ...]:
    """``count`` repetitions of ``body``, without a loop when one or none is needed."""
    if count <= 0 or not body:
        return ()
    return body if count == 1 else (Loop(count, body, index),)


def is_complete(instruction: Instruction) -> bool:
    """Whether an instruction can be executed; the others say what it takes and no more.

    >>> is_complete(Instruction(opcode="vadd.vv")), is_complete(Instruction(opcode="vsetvli"))
    (False, True)
    """
    operation = OPERATIONS.get(instruction.opcode)
    if operation is None:
        if instruction.opcode in ("mm.tile", "mm.accumulate"):
            return instruction.tile is not None
        if instruction.opcode == "dma.generate":
            return instruction.address is not None and instruction.indices is not None
        dma = instruction.opcode in ("dma.load", "dma.store")
        indices = instruction.indices is not None or not instruction.indexed
        return dma and instruction.address is not None and instruction.external is not None and indices
    if operation.unit is Unit.SET:
        return True
    return instruction.vd is not None and (
        instruction.address is not None or operation.unit is not Unit.MEMORY
    )


def priced_only(program: Program) -> tuple[str, ...]:
    """The opcodes of a Program's instructions that cannot be executed, each once; of none, the Program is executable."""
    return tuple(dict.fromkeys(i.opcode for i in flatten_once(program.body) if not is_complete(i)))
