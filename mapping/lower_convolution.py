"""Lowering of what moves a window over channels-innermost pictures: convolutions and pooling.

A convolution is a product whose left operand is the input's patches (:mod:`lanewise.mapping.kernels.patches`); each group is a product of its own. The input
lies as its producer stored it: borders come from a tensor of zeros, so that no task copies it for them.
"""

from math import ceil, prod
from typing import TYPE_CHECKING, Any

from lanewise.mapping.graph import Operator
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.patches import Patches, stored_channels
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.layout import Layouts, channels_innermost

if TYPE_CHECKING:
    from lanewise.mapping.lower import Lowering


def sizes(value: Any) -> tuple[int, ...]:
    """An attribute with an entry for each axis, or one for all."""
    return tuple(int(v) for v in value) if isinstance(value, tuple | list) else (int(value),)


def is_depthwise(operator: Operator, layouts: Layouts) -> bool:
    """Whether it is a convolution with a group for each channel of its input."""
    if operator.kind != "convolution":
        return False
    return 1 < operator.number("groups") == layouts.shape(operator.inputs[0])[1]


def stored_elements(lowering: "Lowering", value_id: int) -> int:
    """Elements of a network's quantised input: the host stores a picture that a convolution reads with an even number of channels, the last of zeros."""
    total = lowering.size(value_id)
    for operator, seen_as in lowering.uses.get(value_id, []):
        shape = lowering.shape(seen_as)
        if (
            operator.kind != "convolution"
            or seen_as != operator.inputs[0]
            or operator.attributes.get("transposed")
        ):
            continue
        if not is_depthwise(operator, lowering.layouts):
            groups = operator.number("groups")
            total = max(total, shape[0] * groups * stored_channels(shape[1] // groups) * prod(shape[2:]))
    return total


def lower_convolution(lowering: "Lowering", operator: Operator) -> None:
    """A product of patches; of depthwise convolutions a window, of transposed ones a product and additions."""
    x, weight, out = (
        lowering.shape(value) for value in (*operator.inputs[:2], operator.outputs[0])
    )  # fmt: skip
    attributes, kernel = operator.attributes, weight[2:]
    chain, steps, value = lowering.chain(operator)
    outputs = lowering.outputs(value)
    lowering.rearrange(operator, operator.inputs[0], channels_innermost(len(x)))
    if attributes.get("transposed"):
        _transposed(lowering, operator, tuple(steps), chain, outputs)
        return
    stride, dilation, padding = (
        _axes(attributes.get(name, default), len(kernel))
        for name, default in (("stride", 1), ("dilation", 1), ("padding", 0))
    )
    if is_depthwise(operator, lowering.layouts):
        window = WindowsWork(
            function="depthwise", positions=out[0] * prod(out[2:]), channels=out[1], taps=prod(kernel), steps=tuple(steps),
            outputs=outputs, input_positions=x[0] * prod(x[2:]), row_positions=prod(x[3:]),
            halo_rows=_halo(kernel[0], stride[0], dilation[0]),
        )  # fmt: skip
        lowering.add(operator, window, chain, kind="depthwise convolution")
        return
    groups = operator.number("groups")
    patches = Patches(
        images=x[0], channels=x[1] // groups, groups=groups, size=x[2:], kernel=kernel, stride=stride, dilation=dilation,
        padding=padding,
    )  # fmt: skip
    work = MatmulWork(
        m=patches.lines, k=x[1] // groups * prod(kernel), n=out[1] // groups, batch=groups, patches=patches, steps=tuple(steps),
        outputs=outputs,
    )  # fmt: skip
    lowering.add(operator, work, chain)


def _transposed(
    lowering: "Lowering",
    operator: Operator,
    steps: tuple[Step, ...],
    chain: list[Operator],
    outputs: tuple[str, ...],
) -> None:
    """Every input position times the whole kernel; the overlaps are added where they land."""
    x, weight, out = (
        lowering.shape(value) for value in (*operator.inputs[:2], operator.outputs[0])
    )  # fmt: skip
    groups = operator.number("groups")
    work = MatmulWork(
        m=x[0] * prod(x[2:]), k=x[1] // groups, n=out[1] // groups * prod(weight[2:]), batch=groups,
        left_runs=1 if groups > 1 else 0, outputs=("fp16",),
    )  # fmt: skip
    lowering.add(operator, work, ())
    add = Step(function="add", operand="tensor")
    adds = ElementwiseWork(elements=work.m * work.n * groups, steps=(add, *steps), outputs=outputs)
    lowering.add(operator, adds, chain)


def lower_pool(lowering: "Lowering", operator: Operator) -> None:
    """A window."""
    x, out = lowering.shape(operator.inputs[0]), lowering.shape(operator.outputs[0])
    kernel = sizes(operator.attributes.get("kernel", 0))
    if not kernel or 0 in kernel:  # adaptive
        kernel = tuple(ceil(i / o) for i, o in zip(x[2:], out[2:]))
    function = "max" if "max" in operator.function else "average"
    lowering.rearrange(operator, operator.inputs[0], channels_innermost(len(x)))
    stride = sizes(operator.attributes.get("stride", kernel))
    chain, steps, value = lowering.chain(operator)
    window = WindowsWork(
        function=function, positions=out[0] * prod(out[2:]), channels=out[1], taps=prod(kernel), steps=tuple(steps),
        outputs=lowering.outputs(value), input_positions=x[0] * prod(x[2:]), row_positions=prod(x[3:]),
        halo_rows=_halo(kernel[0], stride[0], 1),
    )  # fmt: skip
    lowering.add(operator, window, chain)


def _axes(value: Any, count: int) -> tuple[int, ...]:
    given = sizes(value)
    return given * count if len(given) == 1 else given


def _halo(kernel: int, stride: int, dilation: int) -> int:
    """Input rows that two successive rows of results share."""
    return max(0, dilation * (kernel - 1) + 1 - stride)
