"""Elements that a task passes through functions for which Flex-SFU has a table."""

from lanewise.mapping.kernels.activations import ON_FLEX_SFU
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.lower import Work


def activations(work: Work) -> dict[str, int]:
    """Elements through each function of ``work`` that a Flex-SFU can compute, whether or not the machine does; softmax's exp included.

    >>> activations(MatmulWork(m=2, k=9, n=3, batch=4, steps=(Step(function="gelu"), Step(function="relu"))))
    {'gelu': 24}
    >>> activations(RowsWork(function="softmax", rows=5, length=7))
    {'exp': 35}
    """
    steps: tuple[Step, ...] = ()
    counts: dict[str, int] = {}
    elements = 0
    match work:
        case MatmulWork():
            steps, elements = work.steps, work.batch * work.m * work.n
        case ElementwiseWork():
            steps, elements = work.steps, work.elements
        case WindowsWork():
            steps, elements = work.steps, work.positions * work.channels
        case RowsWork():
            steps, elements = work.steps, work.rows * work.result_length
            if work.function == "softmax":
                counts["exp"] = elements
        case _:
            if getattr(work, "steps", ()):
                raise TypeError(f"steps of {type(work).__name__} must be counted by its elements")
    for step in steps:
        if step.function in ON_FLEX_SFU:
            counts[step.function] = counts.get(step.function, 0) + elements
    return counts
