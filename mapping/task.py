"""What the lowering makes of a network: tasks, one after the other."""

from dataclasses import dataclass
from typing import TypeAlias

from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import LookUpWork, MovementWork
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.scan import ScanWork
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.layout import Order

Work: TypeAlias = MatmulWork | RowsWork | ElementwiseWork | WindowsWork | MovementWork | LookUpWork | ScanWork

FALLBACK_STEPS = (
    Step(function="exp"),
    Step(function="reciprocal"),
    Step(function="exp"),
    Step(function="reciprocal"),
)
"""What an unmapped operator is charged for every element of its largest input or output: two software exp and two reciprocals."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One operator with those fused into it, as the core runs it."""

    name: str
    kind: str
    members: tuple[str, ...]
    """Names of all operators that it computes."""
    functions: tuple[str, ...]
    """Activation functions among them."""
    work: Work
    mapped: bool = True
    value: int | None = None
    """Of a task without members: the value that it quantises or rearranges."""
    shape: tuple[int, ...] = ()
    """Of a rearrangement, or the quantisation of one: the shape that the value is expanded to, and"""
    order: Order | None = None
    """the order that its axes then have in memory."""


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """All tasks of a network, in order, and what had no kernel."""

    tasks: tuple[Task, ...]
    unmapped: tuple[str, ...]


def fallback(elements: int) -> ElementwiseWork:
    """The documented price of an operator that has no kernel; see :data:`FALLBACK_STEPS`."""
    return ElementwiseWork(elements=max(1, elements), steps=FALLBACK_STEPS)
