"""Which values the steps of a task read, by the places that its kernel knows them by."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lanewise.mapping.graph import Operator
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.layout import Layouts
from lanewise.mapping.steps import steps_of

VECTORS = ("tensor", "channel")


def step_operands(
    members: Sequence[Operator], layouts: Layouts, value: int | None = None
) -> Iterator[tuple[Step, int | None, int]]:
    """The steps of element-wise operators, one after the other, each with the value of its operand and with what its operator computes.

    Args:
        members: Operators that are computed together, without the one that is no element-wise one.
        layouts: Of the graph.
        value: What the first of them finds in registers; ``None``: its own largest operand, which is loaded.

    Raises:
        ValueError: An operator reads more than its steps say.
    """
    for operator in members:
        own = (
            max((i for i in operator.inputs if layouts.computed(i)), key=layouts.size)
            if value is None
            else value
        )
        steps = steps_of(operator, layouts, value) or ()
        others = [
            i for i in operator.inputs if (i != own if value is None else layouts.of(i) != layouts.of(own))
        ]
        wanting = [k for k, step in enumerate(steps) if step.operand in VECTORS or (step.operand and others)]
        if operator.function == "select" or (others and len(wanting) != len(others)):
            raise ValueError(
                f"{operator.name}: {operator.function} of {len(operator.inputs)} operands has no deployment"
            )
        places = dict(zip(wanting, others or [own] * len(wanting), strict=True))
        for k, step in enumerate(steps):
            yield step, places.get(k), operator.outputs[0]
        value = operator.outputs[0]


def with_scalars(
    steps: Sequence[tuple[Step, int | None, int]], numbers: dict[int, float]
) -> tuple[Step, ...]:
    """The steps with the numbers of operands that are a single parameter."""
    return tuple(
        replace(step, constant=numbers[value]) if step.operand == "scalar" and value is not None else step
        for step, value, _ in steps
    )
