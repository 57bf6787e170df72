"""Element-wise operators as steps on a value in registers."""

from lanewise.mapping.graph import Operator
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.layout import Layouts

MERGES = ("select", "compare", "logical_and", "logical_or", "logical_xor")
"""Functions of which every further operand is merged in turn."""

_OWN_NUMBERS = ("clamp", "leaky_relu", "elu", "gelu", "softplus")


def steps_of(operator: Operator, layouts: Layouts, value: int | None = None) -> tuple[Step, ...] | None:
    """The steps that ``operator`` is, seen from one operand.

    Args:
        value: The operand in registers (any view of it); the largest computed one if ``None``.

    Returns:
        One step, or one for each further operand of a selection; ``None`` if it is no such thing.
    """
    if value is None:
        computed = [i for i in operator.inputs if layouts.computed(i)]
        own = max(computed, key=layouts.size)
        others = [i for i in operator.inputs if i != own]
    else:
        own = value
        others = [i for i in operator.inputs if layouts.of(i) != layouts.of(value)]
    constant = _number(operator)
    function = operator.function
    if not others:
        if len(operator.inputs) == 2:  # x * x is a square; any other function of x and x takes one pass, too
            return (
                Step(function="square")
                if function == "multiply"
                else Step(function="multiply", operand="scalar", constant=2.0),
            )
        scalar = constant is not None and function not in _OWN_NUMBERS
        return (Step(function=function, operand="scalar" if scalar else "", constant=constant or 0.0),)
    if function in MERGES:
        return tuple(Step(function=function, operand=_operand(i, own, layouts)) for i in others)
    if len(others) > 1:
        return None
    if function in ("subtract", "divide") and layouts.of(operator.inputs[0]) != layouts.of(own):
        function = f"reverse_{function}"
    operand = _operand(others[0], own, layouts)
    return (Step(function=function, operand=operand, constant=1.0 if operand == "scalar" else 0.0),)


def _operand(other: int, own: int, layouts: Layouts) -> str:
    """``scalar``, ``channel`` (a parameter vector along one axis) or ``tensor``; a smaller tensor is read as if expanded."""
    if layouts.size(other) == 1 and not layouts.computed(other):
        return "scalar"
    vector = not layouts.computed(other) and layouts.size(other) == max(layouts.shape(other), default=1)
    return "channel" if vector and layouts.size(other) in layouts.shape(own) else "tensor"


def _number(operator: Operator) -> float | None:
    for name in ("scalar", "exponent"):
        number = operator.attributes.get(name)
        if isinstance(number, int | float):
            return float(number)
    return None
