"""Whole spiking networks as tasks: for each layer a product of all steps at once, and its neurons."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import Any, cast

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.task import Lowered, Task
from lanewise.mapping.workloads.spsn.layer import SpikingLayerWork
from lanewise.mapping.workloads.spsn.readout import ReadoutWork

FORGOTTEN = 2.0**-16
"""What may be left of a state where a segment of time begins."""


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """A spiking network and its input.

    Raises:
        ValueError: There are fewer than three sizes, or ``model`` is unknown.
    """

    model: str
    """``lif`` or ``spsn``; of the two stochastic neurons, GS is SB with twice the weights."""
    sizes: tuple[int, ...]
    """Inputs, spiking layers, classes."""
    steps: int
    batch: int = 1
    current_decay: float = 0.8
    voltage_decay: float = 0.9
    weight_bits: int = 4
    """4 or 8."""
    generator: str = "congruential"

    def __post_init__(self) -> None:
        if len(self.sizes) < 3 or self.model not in ("lif", "spsn"):
            raise ValueError(
                f"a network must be lif or spsn of three sizes at least, not {self.model!r} of {self.sizes}"
            )

    @property
    def text(self) -> str:
        """In words."""
        return f"{'-'.join(map(str, self.sizes))}, T = {self.steps:,}, batch {self.batch}"


def layer_work(shape: NetworkShape, neurons: int, config: MachineConfig) -> SpikingLayerWork:
    """The neurons of a layer: where they do not fill a register and there is one sample, an SPSN's segments of time do."""
    work = SpikingLayerWork(
        model=shape.model, neurons=neurons, steps=shape.steps, batch=shape.batch, current_decay=shape.current_decay,
        voltage_decay=shape.voltage_decay, generator=shape.generator,
    )  # fmt: skip
    if shape.model == "lif" or shape.batch > 1:
        return work
    segments = max(1, config.vector.vlen_bits // (8 * neurons))
    segments = 1 << segments.bit_length() - 1
    warm = warm_up(max(shape.current_decay, shape.voltage_decay))
    while segments > 1 and shape.steps < 2 * segments * warm:
        segments //= 2
    warm += (shape.steps - warm) % segments
    if segments == 1:
        return work
    return SpikingLayerWork(**{**vars(work), "segments": segments, "warm_up": warm})


def warm_up(decay: float) -> int:
    """Steps after which :data:`FORGOTTEN` is left of a state.

    >>> warm_up(0.9)
    106
    """
    return ceil(log(FORGOTTEN) / log(decay))


def lowered(shape: NetworkShape, config: MachineConfig) -> Lowered:
    """The network's tasks."""
    tasks: list[Task] = []
    for number, (inputs, outputs) in enumerate(zip(shape.sizes, shape.sizes[1:]), 1):
        product = MatmulWork(
            m=shape.steps * shape.batch, k=inputs, n=outputs, right_bits=_bits(shape, config)
        )
        last = number == len(shape.sizes) - 1
        neurons: Any = (
            ReadoutWork(
                columns=outputs * shape.batch, steps=shape.steps, current_decay=shape.current_decay,
                voltage_decay=shape.voltage_decay,
            )
            if last
            else layer_work(shape, outputs, config)
        )  # fmt: skip
        tasks += [
            _task(f"product {number}", "matmul", product),
            _task("readout" if last else f"neurons {number}", "readout" if last else shape.model, neurons),
        ]
    return Lowered(tasks=tuple(tasks), unmapped=())


def step_by_step(shape: NetworkShape, config: MachineConfig) -> Lowered:
    """One step of a LIF network as a framework runs it, operator by operator through external memory: times the steps, the whole."""
    tasks: list[Task] = []
    for number, (inputs, outputs) in enumerate(zip(shape.sizes, shape.sizes[1:]), 1):
        elements, last = shape.batch * outputs, number == len(shape.sizes) - 1
        product = MatmulWork(m=shape.batch, k=inputs, n=outputs, right_bits=_bits(shape, config))
        tasks.append(_task(f"product {number}", "matmul", product))
        for name, steps in _operators(shape, last):
            outs = ("quantised",) if name == "spikes" else ("fp16",)
            work = ElementwiseWork(elements=elements, steps=steps, outputs=outs)
            tasks.append(_task(f"{name} {number}", "elementwise", work))
    return Lowered(tasks=tuple(tasks), unmapped=())


def _operators(shape: NetworkShape, last: bool) -> Sequence[tuple[str, tuple[Step, ...]]]:
    def decayed(decay: float) -> tuple[Step, ...]:
        return Step(function="multiply", operand="scalar", constant=decay), Step(
            function="add", operand="tensor"
        )

    filters = [("current", decayed(shape.current_decay)), ("voltage", decayed(shape.voltage_decay))]
    if last:
        return [*filters, ("sum", (Step(function="add", operand="tensor"),))]
    fired = Step(function="greater", operand="scalar", constant=1.0)
    kept = (
        Step(function="less_equal", operand="scalar", constant=1.0),
        Step(function="multiply", operand="tensor"),
    )
    return [*filters, ("spikes", (fired,)), ("reset", kept)]


def _bits(shape: NetworkShape, config: MachineConfig) -> int:
    """Of the right operand, on an array that takes several widths."""
    return shape.weight_bits if config.matrix.splits else 0


def _task(name: str, kind: str, work: Any) -> Task:
    return Task(name=name, kind=kind, members=(name,), functions=(), work=cast(Any, work))
