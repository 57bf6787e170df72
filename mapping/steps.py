"""Element-wise operators as steps on a value in registers."""

from lanewise.mapping.graph import Operator
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.logic import REVERSED_RELATIONS
from lanewise.mapping.layout import Layouts

_OWN_NUMBERS = ("clamp", "leaky_relu", "elu", "gelu", "softplus")
_RENAMED = {"log_sigmoid": "logsigmoid"}
"""Functions that have another name as tables."""


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
        views = [i for i in operator.inputs if layouts.of(i) == layouts.of(value)]
        if len(set(views)) > 1:
            return None  # the same tensor seen in two ways, of which registers hold one
        own = views[0] if views else value
        others = [i for i in operator.inputs if layouts.of(i) != layouts.of(value)]
    constant = _number(operator)
    function = _RENAMED.get(operator.function, operator.function)
    if function == "select":
        return _selection(operator, own, layouts)
    if function == "cast":
        return _cast(operator)
    first = operator.inputs[0] == own
    if function == "compare":
        function = str(operator.attributes["relation"])
        function = function if first else REVERSED_RELATIONS.get(function, function)
    if not others:
        if len(operator.inputs) == 2:
            return _of_itself(function)
        scalar = constant is not None and function not in _OWN_NUMBERS
        if function in _OWN_NUMBERS:
            return (_with_own_numbers(operator, function),)
        return (Step(function=function, operand="scalar" if scalar else "", constant=constant or 0.0),)
    if len(others) > 1:
        return None
    if function in ("subtract", "divide") and not first:
        function = f"reverse_{function}"
    operand = _operand(others[0], own, layouts)
    return (Step(function=function, operand=operand, constant=1.0 if operand == "scalar" else 0.0),)


def _of_itself(function: str) -> tuple[Step, ...]:
    """``function`` of x and x: a square, twice the value, the value; any other takes a pass as well, and two operands."""
    if function == "multiply":
        return (Step(function="square"),)
    if function == "add":
        return (Step(function="multiply", operand="scalar", constant=2.0),)
    return (Step(function=function, operand="tensor"),)


def _with_own_numbers(operator: Operator, function: str) -> Step:
    attributes = operator.attributes
    low, high = (
        float(value) if isinstance(value := attributes.get(name), int | float) else 0.0
        for name in ("slope" if function == "leaky_relu" else "minimum", "maximum")
    )
    return Step(function=function, constant=low, maximum=high)


def _cast(operator: Operator) -> tuple[Step, ...]:
    """All numbers are FP16: to a truth value, to an integer, or nothing."""
    source, target = (str(operator.attributes.get(name, "")) for name in ("from", "to"))
    if target == "bool":
        return (Step(function="not_equal", operand="scalar"),) if source != "bool" else ()
    return (Step(function="trunc"),) if "int" in target and "float" in source else ()


def _selection(operator: Operator, own: int, layouts: Layouts) -> tuple[Step, ...]:
    """The steps of ``condition ? a : b``, from whichever of them is in registers."""
    condition, *rest = operator.inputs
    numbers = {name: operator.attributes.get(name) for name in ("true", "false")}
    tensors = iter(rest)
    branches = {name: next(tensors, None) if numbers[name] is None else None for name in numbers}

    def step(function: str, name: str) -> Step:
        value, number = branches[name], numbers[name]
        if value is not None:
            return Step(function=function, operand=_operand(value, own, layouts))
        return Step(
            function=function,
            operand="scalar",
            constant=float(number) if isinstance(number, int | float) else 0.0,
        )

    def is_own(value: int | None) -> bool:
        return value is not None and layouts.of(value) == layouts.of(own)

    if is_own(condition):
        return (Step(function="mask_not"), step("set", "true"), step("merge", "false"))
    operand = _operand(condition, own, layouts)
    vector = "tensor" if operand == "scalar" else operand
    if is_own(branches["true"]):
        return (Step(function="mask_not", operand=vector), step("merge", "false"))
    return (Step(function="mask", operand=vector), step("merge", "true"))


def _operand(other: int, own: int, layouts: Layouts) -> str:
    """``scalar``, ``channel`` (a parameter vector along the axis that lies innermost) or ``tensor``; a smaller tensor is read as if expanded."""
    if layouts.size(other) == 1 and not layouts.computed(other):
        return "scalar"
    vector = not layouts.computed(other) and layouts.size(other) == max(layouts.shape(other), default=1)
    return "channel" if vector and _along_innermost(other, own, layouts) else "tensor"


def _along_innermost(vector: int, own: int, layouts: Layouts) -> bool:
    """Whether a vector's elements are those of the axis that lies innermost, seen as ``own`` and as it was stored; axes counted from the last one."""
    size, shape = layouts.size(vector), layouts.shape(vector)
    behind = next(i for i, length in enumerate(reversed(shape)) if length != 1)
    inner, stored = (layouts.innermost(value) for value in (own, layouts.of(own)))
    return (
        inner == len(layouts.shape(own)) - 1 - behind
        and size == layouts.shape(own)[inner] == layouts.shape(layouts.of(own))[stored]
    )


def _number(operator: Operator) -> float | None:
    for name in ("scalar", "exponent"):
        number = operator.attributes.get(name)
        if isinstance(number, int | float):
            return float(number)
    return None
