"""Programs: instruction streams with loops, the one thing that the timing engine runs.

A Program is what the host feeds to the core. Its order fixes the dependences; each instruction belongs to one
of five in-order streams (load, store, matrix, vector, operand), and a stream runs ahead of another as far as the
buffers that they share allow. Registers and buffers are named; the numbers in them are no concern here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """One instruction, as the engine sees it.

    Vector instructions carry the RVV mnemonic, the element count and the element width; ``mm.tile`` the
    number of steps; ``op.quantise`` and ``op.sample`` the number of elements or rows; ``dma.load`` and ``dma.store`` the number
    and size of contiguous runs.
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
    """Steps of the K dimension (``mm.tile``, ``mm.accumulate``)."""
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
    """Source operands in the order of the mnemonic's semantics, for execution on values."""
    lengths: tuple[int, ...] = ()
    """Registers of each group in ``reads``, one group after the other; if not given, groups are runs that begin where ``operands`` say."""
    constant: float | None = None
    """Scalar operand (``.vf``, ``.vx``, ``.vi`` forms)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotate:
    """Renames buffers: the first takes the second's place, and so on round. Address arithmetic of the host: no clocks."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """``count`` repetitions of ``body``."""

    count: int
    body: tuple["Node", ...]

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
        for instruction in flatten_once(self.body):
            for name in (*instruction.reads, *instruction.writes):
                if name.startswith("@") and name not in self.buffers_bytes:
                    raise ValueError(f"buffer {name!r} of {instruction.opcode} must have a size")


def flatten_once(body: Sequence[Node]) -> Iterator[Instruction]:
    """Every instruction once, loops not repeated."""
    for node in body:
        if isinstance(node, Loop):
            yield from flatten_once(node.body)
        elif isinstance(node, Instruction):
            yield node


def repeat(count: int, *body: Node) -> tuple[Node, ...]:
    """``count`` repetitions of ``body``, without a loop when one or none is needed."""
    if count <= 0 or not body:
        return ()
    return body if count == 1 else (Loop(count, body),)
