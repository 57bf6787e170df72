"""What the code of windows depends on, and what it leaves: the kind of windows, the machine, the registers before."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lanewise.config import FlexSfuConfig, MachineConfig, VectorConfig
from lanewise.mapping.kernels.activations import ON_FLEX_SFU
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.epilogue import Operand, Step, emit_steps, store_outputs
from lanewise.mapping.kernels.window_axes import Span
from lanewise.sim.program import Instruction, Loop, Node, replaced


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What follows a sum or a maximum, as a work says it."""

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    inverse_step: float

    def emit(self, kernel: VectorKernel, total: Register) -> None:
        """The steps, and a store in each format."""
        operands: dict[int, Operand] = {
            index: f"@operand{index}.0"
            for index, step in enumerate(self.steps)
            if step.operand in ("tensor", "channel")
        }
        total = emit_steps(kernel, total, self.steps, operands)
        places = {form: f"@{form}.0" for form in self.outputs}
        store_outputs(kernel, total, self.outputs, places, self.inverse_step)
        kernel.release(total)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """All of a work that the code of a strip depends on."""

    function: str
    taps: tuple[int, int, int]
    """Of the largest window, along planes, rows and columns."""
    apart: tuple[int, int]
    """Positions from tap to tap, along rows and columns."""
    divisor: float | None
    ending: Ending
    vl: int
    rolled: bool
    """Whether the rows of taps are a loop."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """All of a configuration that it depends on; ``config`` is any that has it."""

    vector: VectorConfig
    flex_sfu: FlexSfuConfig | None
    """``None``: no step is a function of Flex-SFU."""
    operand_bits: int
    config: MachineConfig = field(compare=False)

    @classmethod
    def of(cls, config: MachineConfig, steps: Sequence[Step]) -> "Machine":
        """What ``config`` is to code with ``steps``."""
        flex = config.flex_sfu if any(step.function in ON_FLEX_SFU for step in steps) else None
        return cls(
            vector=config.vector, flex_sfu=flex, operand_bits=config.matrix.operand_bits, config=config
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Constants:
    """Registers that are taken for good, what is in them, and tables."""

    used: frozenset[int]
    splats: tuple[tuple[tuple[float, int, int], Register], ...]
    setup: tuple[Instruction, ...]
    tables: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What the groups so far leave to the next."""

    constants: Constants
    written: frozenset[int]
    """Registers in which no constant can be from now on."""


Windows = tuple[Span, Span, tuple[Span, ...]]
"""Of a group, along planes, rows and columns, each from the first one's tap 0 on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """A group's instructions, what they leave, and what they write; or why there are none."""

    nodes: tuple[Node, ...] = ()
    constants: Constants | None = None
    written: frozenset[int] = frozenset()
    problem: str = ""
    reads: tuple[tuple[str, int], ...] = ()
    """How often each buffer is read."""


def reads(nodes: Iterable[Node]) -> Counter[str]:
    """Vector loads of each buffer."""
    found = Counter[str]()
    for node in nodes:
        if isinstance(node, Loop):
            for name, times in reads(node.body).items():
                found[name] += node.count * times
        elif isinstance(node, Instruction):
            found.update(name for name in node.reads if name.startswith("@"))
    return found


def to_middle(node: Node) -> Node:
    if isinstance(node, Loop):
        return Loop(node.count, tuple(to_middle(inner) for inner in node.body), node.index)
    if isinstance(node, Instruction) and node.address is not None and node.address.base == "@fp16.0":
        return replaced(node, writes=("@middle.0",), address=replace(node.address, base="@middle.0"))
    return node


def fills_table(instruction: Instruction) -> bool:
    """Whether it is part of filling a table of Flex-SFU."""
    return instruction.opcode in ("dma.load", "sfu.breakpoints", "sfu.coefficients")
