"""Lowering of what moves a window over channels-innermost pictures: convolutions and pooling.

A convolution is a product whose left operand is the input's patches (:mod:`lanewise.mapping.kernels.patches`); each group is a product of its own. The input
lies as its producer stored it: borders come from a tensor of zeros, so that no task copies it for them.
"""

from math import prod
from typing import TYPE_CHECKING, Any

from lanewise.errors import UnmappedError
from lanewise.mapping.graph import Operator
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.patches import Patches, stored_channels
from lanewise.mapping.kernels.window_axes import Axis
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.layout import Layouts, channels_innermost

if TYPE_CHECKING:
    from lanewise.mapping.lower import Lowering


def sizes(value: Any) -> tuple[int, ...]:
    """An attribute with an entry for each axis, or one for all."""
    return tuple(int(v) for v in value) if isinstance(value, tuple | list) else (int(value),)


def is_depthwise(operator: Operator, layouts: Layouts) -> bool:
    """Whether it is a convolution with a group for each channel of its input, and a result for each."""
    if operator.kind != "convolution":
        return False
    channels, results = (layouts.shape(value)[1] for value in (operator.inputs[0], operator.outputs[0]))
    return 1 < operator.number("groups") == channels == results


def stored_elements(lowering: "Lowering", value_id: int) -> int:
    """Elements of a network's quantised input: the host stores a picture that a convolution reads with an even number of channels, the last of zeros."""
    total = lowering.size(value_id)
    for operator, seen_as in lowering.uses.get(value_id, []):
        picture = operator.kind == "convolution" and seen_as == operator.inputs[0]
        if (
            picture
            and not operator.attributes.get("transposed")
            and not is_depthwise(operator, lowering.layouts)
        ):
            channels = lowering.shape(seen_as)[1]
            total = max(total, lowering.size(seen_as) // channels * stored_channels(channels))
    return total


def lower_convolution(lowering: "Lowering", operator: Operator) -> None:
    """A product of patches; of depthwise convolutions a window, of transposed ones a product and additions."""
    x, weight, out = (
        lowering.shape(value) for value in (*operator.inputs[:2], operator.outputs[0])
    )  # fmt: skip
    attributes, kernel = operator.attributes, weight[2:]
    chain, steps, value = lowering.chain(operator)
    outputs = lowering.outputs(value)
    form = "fp16" if is_depthwise(operator, lowering.layouts) else "quantised"
    lowering.rearrange(operator, operator.inputs[0], x, channels_innermost(len(x)), form)
    if attributes.get("transposed"):
        _transposed(lowering, operator, tuple(steps), chain, outputs)
        return
    stride, dilation, padding = (
        _axes(attributes.get(name, default), len(kernel))
        for name, default in (("stride", 1), ("dilation", 1), ("padding", 0))
    )
    if is_depthwise(operator, lowering.layouts):
        window = WindowsWork(
            function="depthwise", images=x[0], axes=_window_axes(operator, x[2:], out[2:], kernel), channels=out[1],
            steps=tuple(steps), outputs=outputs,
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
    """A window.

    Raises:
        UnmappedError: The pictures have no axis of images: which axis the channels are is not what the layout says.
    """
    x, out = lowering.shape(operator.inputs[0]), lowering.shape(operator.outputs[0])
    kernel = sizes(operator.attributes["kernel"])
    if len(x) != len(kernel) + 2:
        raise UnmappedError
    function = "max" if "max" in operator.function else "average"
    lowering.rearrange(operator, operator.inputs[0], x, channels_innermost(len(x)))
    chain, steps, value = lowering.chain(operator)
    divisor = operator.attributes.get("divisor", 0)
    window = WindowsWork(
        function=function, images=x[0], axes=_window_axes(operator, x[2:], out[2:], kernel), channels=out[1],
        divisor=float(divisor) if isinstance(divisor, int) and divisor else None, steps=tuple(steps), outputs=lowering.outputs(value),
    )  # fmt: skip
    lowering.add(operator, window, chain)


def _axes(value: Any, count: int) -> tuple[int, ...]:
    given = sizes(value)
    return given * count if len(given) == 1 else given


def _window_axes(
    operator: Operator, positions: tuple[int, ...], results: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[Axis, ...]:
    """The windows of a pool or a convolution along each axis of positions."""
    attributes = operator.attributes
    if "output" in attributes:
        return tuple(
            Axis(size=size, results=count, adaptive=True)
            for size, count in zip(positions, results, strict=True)
        )
    given = (
        _axes(attributes.get(name, default), len(positions))
        for name, default in (("stride", 1), ("dilation", 1), ("padding", 0))
    )
    counts_padding = bool(attributes.get("counts_padding", True))
    return tuple(
        Axis(
            size=size, kernel=taps, stride=step, dilation=apart, padding=border, results=count,
            counts_padding=counts_padding,
        )
        for size, taps, step, apart, border, count in zip(positions, kernel, *given, results, strict=True)
    )  # fmt: skip
