"""Lowering of operators along rows, and of reductions."""

from math import prod
from typing import TYPE_CHECKING

from lanewise.errors import UnmappedError
from lanewise.mapping.graph import Operator
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.scan import ScanWork
from lanewise.mapping.kernels.window_axes import Axis
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.layout import Layouts, Order
from lanewise.mapping.lower_convolution import sizes
from lanewise.mapping.lower_movement import PAIR

if TYPE_CHECKING:
    from lanewise.mapping.lower import Lowering


def lower_rows(lowering: "Lowering", operator: Operator) -> None:
    """Softmax and norms of rows; a batch norm that no convolution has is element-wise."""
    function = operator.function if operator.kind == "normalise" else "softmax"
    out = operator.outputs[0]
    if function == "batch_norm":
        order = lowering.layouts.order(out)
        lowering.rearrange(operator, operator.inputs[0], lowering.shape(out), order)
        steps = (Step(function="multiply", operand="channel"), Step(function="add", operand="channel"))
        chain, more, value = lowering.chain(operator, first=steps)
        work = ElementwiseWork(
            elements=lowering.size(out), steps=tuple(more), outputs=lowering.outputs(value), channels=lowering.shape(out)[order[-1]]
        )  # fmt: skip
        lowering.add(operator, work, chain)
        return
    length = operator.number("length")
    lowering.rearrange(operator, operator.inputs[0], lowering.shape(out), lowering.layouts.order(out))
    affine, groups, channels = bool(operator.attributes.get("affine", False)), 1, 0
    if function in ("group_norm", "instance_norm"):
        function = "layer_norm"
        groups, channels = groups_of(lowering.layouts, operator)
        if not affine and (groups == 1 or not channels):
            groups, channels = 1, 0  # rows like any others
    outputs = lowering.outputs(out)
    apart = "quantised" in outputs and groups > 1 and channels // groups % PAIR > 0
    rows = RowsWork(
        function=function, rows=lowering.size(out) // length, length=length, affine=affine, groups=groups, channels=channels,
        outputs=("fp16",) if apart else outputs, epsilon=float(operator.attributes.get("epsilon", 1e-5)),  # type: ignore[arg-type]
    )  # fmt: skip
    lowering.add(operator, rows, ())
    if apart:
        lowering.quantise(operator)


def groups_of(layouts: Layouts, operator: Operator) -> tuple[int, int]:
    """Groups of a group norm, and its channels if they lie innermost, else 0."""
    out = operator.outputs[0]
    channels = layouts.shape(out)[1]
    groups = operator.number("groups") if "groups" in operator.attributes else channels
    return groups, channels if layouts.innermost(out) == 1 else 0


def _scan(lowering: "Lowering", operator: Operator) -> None:
    """Sums of all that comes before, along what lies innermost or outermost."""
    out = operator.outputs[0]
    shape, order = lowering.shape(out), lowering.layouts.order(out)
    (axis,) = sizes(operator.attributes["axes"])
    lowering.rearrange(operator, operator.inputs[0], shape, order)
    length = shape[axis]
    outermost = bool(order) and order[-1] != axis
    work = ScanWork(
        operator="sum", rows=lowering.size(out) // length, length=length, time_outermost=outermost
    )
    lowering.add(operator, work, ())
    lowering.quantise(operator)


def reduction_order(layouts: Layouts, operator: Operator) -> tuple[set[int], Order]:
    """The axes of a reduction, and the order in which it reads its operand: they are innermost, or all but what lies innermost is before them."""
    shape, order = layouts.shape(operator.inputs[0]), layouts.order(operator.inputs[0])
    given = sizes(operator.attributes.get("axes", tuple(range(len(shape)))))
    axes = {int(a) % max(1, len(shape)) for a in given}
    last = () if not order or order[-1] in axes else order[-1:]
    outer = tuple(a for a in order if a not in axes and a not in last)
    return axes, (*outer, *(a for a in order if a in axes), *last)


def lower_reduce(lowering: "Lowering", operator: Operator) -> None:
    """Sums, means, maxima and scans.

    Raises:
        UnmappedError: It is another reduction.
    """
    x = operator.inputs[0]
    shape = lowering.shape(x)
    function = {"amax": "max"}.get(operator.function, operator.function)
    if function == "cumsum":
        _scan(lowering, operator)
        return
    if function not in ("sum", "mean", "max"):
        raise UnmappedError
    axes, wanted = reduction_order(lowering.layouts, operator)
    lowering.rearrange(operator, x, shape, wanted)
    length = prod(shape[a] for a in axes)
    out = operator.outputs[0]
    if not wanted or wanted[-1] in axes:  # along what lies innermost
        rows = RowsWork(function=function, rows=lowering.size(x) // length, length=length)
        lowering.add(operator, rows, ())
        lowering.quantise(operator)
        return
    channels = shape[wanted[-1]]
    chain, steps, value = lowering.chain(operator)
    window = WindowsWork(
        function="average" if function == "mean" else function, images=max(1, lowering.size(out) // channels),
        axes=(Axis(size=length, kernel=length),), channels=channels, steps=tuple(steps), outputs=lowering.outputs(value),
    )  # fmt: skip
    lowering.add(operator, window, chain)
