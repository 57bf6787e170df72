"""From a network's graph to the tasks of one training step.

Forward: as for inference, but what the backward pass needs is stored: an activation's operand, so that no product takes it along.
Backward: the operators in reverse order, each by its rule; a value with several readers has its gradients added. Then AdamW on every parameter.

On an INT4 array linear layers train in INT4 (:mod:`~lanewise.mapping.training.linear`); attention's products, convolutions and the layers whose
results the network returns in INT8, in passes (docs/int4_training.md). On an FP16 array everything is FP16. The loss is softmax and cross
entropy over the results' last axis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from lanewise.config import MachineConfig
from lanewise.errors import UnmappedError, UserError
from lanewise.mapping.graph import Graph, Operator
from lanewise.mapping.kernels.adamw import AdamWWork
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import FillWork, LookUpWork, MovementWork
from lanewise.mapping.kernels.row_gradients import ColumnSumsWork, RowGradientsWork
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.layout import is_view
from lanewise.mapping.lower import Lowering, Task
from lanewise.mapping.lower_convolution import is_depthwise
from lanewise.mapping.training.linear import (
    Linear,
    Part,
    block_of,
    fp16_backward,
    fp16_forward,
    int4_backward,
    int4_forward,
    int8_backward,
    int8_forward,
    int8_operands,
)
from lanewise.mapping.training.work import TrainingWork
from lanewise.models.sampling_statistics import MEASURED, SamplingStatistics

DERIVATIVES: dict[str, tuple[Step, ...]] = {
    "gelu": (Step(function="gelu_derivative"),),
    "gelu_tanh": (Step(function="gelu_tanh_derivative"),),
    "silu": (Step(function="silu_derivative"),),
    "relu": (Step(function="greater", operand="scalar"),),
    "tanh": (Step(function="square"), Step(function="subtract", operand="scalar", constant=1.0)),
    "sigmoid": (Step(function="square"), Step(function="subtract", operand="tensor")),
    "exp": (),
    "cast": (),
    "negate": (),
    "square": (Step(function="multiply", operand="scalar", constant=2.0),),
}
"""What the gradient is multiplied by, from the operand or (tanh, sigmoid, exp) the result."""

LINEAR = ("add", "subtract", "multiply", "divide")
"""Functions of two operands."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a step is run."""

    block: int = 32
    """Elements that are transformed together, where the width allows it."""
    sampling: SamplingStatistics = MEASURED["text"]
    """Rows that the sampler keeps, and what they are worth; measured in training, see docs/int4_training.md."""


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """A piece of the step."""

    name: str
    """The operator's."""
    kind: str
    """The operator's, or ``optimiser``."""
    phase: str
    """``forward``, ``backward`` or ``optimiser``."""
    part: str
    """What of the operator it is: ``product``, ``quantise``, ``sample``, ``turn back``, ``bias``, ``rest``."""
    work: TrainingWork


def lower_training(
    graph: Graph, config: MachineConfig, options: TrainingOptions | None = None
) -> tuple[TrainingTask, ...]:
    """The tasks of one step on ``config``'s machine, in order.

    Raises:
        UserError: An operator has no kernel, forward or backward, or the array is neither INT4 nor FP16.
    """
    if config.matrix.operand_bits not in (4, 16):
        raise UserError(
            f"matrix.operand_bits must be 4 or 16 for a training step, not {config.matrix.operand_bits}"
        )
    if config.matrix.operand_bits == 4 and "fp16" not in config.operand_path.formats:
        formats = ", ".join(config.operand_path.formats)
        raise UserError(f"operand_path.formats must have fp16 for a training step, not {formats}")
    return _Training(graph, config, options or TrainingOptions()).step()


def pass_clk(config: MachineConfig) -> int:
    """Clocks in which the vector unit adds a tile of FP16 results to what is in memory: two loads and a store.

    >>> pass_clk(MachineConfig())
    192
    """
    return 3 * 16 * config.matrix.rows * config.matrix.columns // config.vector.bits_per_clk


class _Training(Lowering):
    def __init__(self, graph: Graph, config: MachineConfig, options: TrainingOptions) -> None:
        super().__init__(graph, allow_unmapped=False)
        self.formats = {}  # all values are FP16: quantising is a task of its own
        self.int4 = config.matrix.operand_bits == 4
        self.options = options
        self.pass_clk = pass_clk(config)
        self.largest_block = min(self.options.block, config.operand_path.largest_block)
        self.columns = config.matrix.columns
        self.learned = 0
        """Learned steps of quantisers."""
        self.all: list[TrainingTask] = []
        self.forward_of: dict[int, list[Task]] = {}
        self.wanted = self._wanted()

    def _wanted(self) -> set[int]:
        """Roots of the values that have a gradient: real numbers that depend on a parameter."""
        wanted: set[int] = set()
        for operator in self.graph.operators:
            sources = [self.layouts.values[i] for i in operator.inputs]
            if not any(v.origin == "parameter" or self.of(v.id) in wanted for v in sources):
                continue
            for out in operator.outputs:
                if "float" in self.layouts.values[out].dtype:
                    wanted.add(self.of(out))
        return wanted

    def fuses(self, operator: Operator) -> bool:
        """Only what needs nothing of the value before it to run backwards."""
        return operator.function in ("add", "subtract", "negate") or (
            operator.function in ("multiply", "divide") and len(operator.inputs) == 1
        )

    def folds(self, operator: Operator, *, weights: bool) -> bool:  # noqa: ARG002
        """Nothing: a factor has a gradient, and an INT4 layer's bias is an addition of its own."""
        return False

    def step(self) -> tuple[TrainingTask, ...]:
        for operator in self.graph.operators:
            if operator.index in self.fused or is_view(operator):
                continue
            if not any(self.computed(i) for i in operator.inputs):
                continue
            before = len(self.tasks)
            self._forward(operator)
            self.forward_of[operator.index] = self.tasks[before:]
        self._loss()
        for operator in reversed(self.graph.operators):
            if not is_view(operator) and any(self.of(out) in self.wanted for out in operator.outputs):
                self._backward(operator)
        if self.learned:
            self._emit(
                "learned steps", "optimiser", "optimiser", [("rest", AdamWWork(elements=self.learned))]
            )
        for value in self.graph.values:
            if (
                value.origin == "parameter"
                and "float" in value.dtype
                and value.producer is None
                and value.size
            ):
                self._emit(value.name or f"parameter {value.id}", "optimiser", "optimiser", [("rest", AdamWWork(elements=value.size))])  # fmt: skip
        return tuple(self.all)

    def _emit(self, name: str, kind: str, phase: str, parts: Sequence[Part]) -> None:
        self.all += [
            TrainingTask(name=name, kind=kind, phase=phase, part=part, work=work) for part, work in parts
        ]

    # Forward

    def _forward(self, operator: Operator) -> None:
        if (operator.kind == "normalise" and operator.function == "batch_norm") or is_depthwise(
            operator, self.layouts
        ):
            raise self._refused(operator)
        before = len(self.tasks)
        try:
            self.one(operator)
        except UnmappedError:
            raise self._refused(operator) from None
        for task in self.tasks[before:]:
            parts: list[Part] = [("rest", task.work)]
            if isinstance(task.work, MatmulWork) and operator.kind in ("matmul", "convolution"):
                layer = self._layer(operator, task.work)
                if layer is None:
                    parts = self._attention(task.work)
                elif not self.int4:
                    parts = fp16_forward(layer)
                elif not self._eight(operator):
                    self.learned += 2
                    parts = int4_forward(layer, self.block(layer))
                else:
                    parts = int8_forward(layer)
            if operator.kind == "normalise":  # the mean and r of each row are kept
                length = operator.number("length")
                parts.append(("rest", FillWork(elements=4 * self.size(operator.outputs[0]) // length)))
            self._emit(task.name, task.kind, "forward", parts)

    def _layer(self, operator: Operator, work: MatmulWork) -> Linear | None:
        """The linear layer that a product with a parameter is."""
        if operator.kind == "matmul" and not work.weights:
            return None
        if work.batch != 1 or operator.attributes.get("transposed"):
            raise self._refused(operator)
        bias = len(operator.inputs) > 2
        return Linear(
            rows=work.m, inputs=work.k, outputs=work.n, bias=bias, steps=work.steps, left_runs=work.left_runs,
            left_transposed=work.left_transposed, left_pitch=work.left_pitch, patches=work.patches,
        )  # fmt: skip

    def block(self, layer: Linear) -> int:
        """Elements that are transformed together."""
        return block_of(layer.inputs, self.largest_block, self.columns)

    def _eight(self, operator: Operator) -> bool:
        """Whether a layer is one of the first and the last, which are not INT4: convolutions, and what the network returns."""
        return operator.kind == "convolution" or self.of(operator.outputs[0]) in self.results

    def _attention(self, work: MatmulWork) -> list[Part]:
        if not self.int4:
            return [("product", work)]
        sizes = (work.batch * work.m * work.k, work.batch * work.k * work.n)
        return [*int8_operands(sizes), ("product", replace(work, left_bits=8, right_bits=8))]

    def _loss(self) -> None:
        for value_id in self.graph.outputs:
            if self.of(value_id) in self.wanted:
                length = self.shape(value_id)[-1] if self.shape(value_id) else 1
                work = RowsWork(function="softmax", rows=self.size(value_id) // length, length=length)
                right = ElementwiseWork(
                    elements=self.size(value_id), steps=(Step(function="subtract", operand="tensor"),)
                )
                self._emit("loss", "loss", "forward", [("rest", work), ("rest", right)])

    # Backward

    def _backward(self, operator: Operator) -> None:
        rule: Callable[[Operator], list[Part]] | None = {
            "matmul": self._product_back, "convolution": self._product_back, "softmax": self._row_back,
            "normalise": self._row_back, "elementwise": self._elementwise_back, "embedding": self._embedding_back,
            "movement": self._mirrored, "reduce": self._spread, "pool": self._spread,
        }.get(operator.kind)  # fmt: skip
        if rule is None:
            raise self._refused(operator)
        parts = [*rule(operator), *self._rearranged(operator)]
        self._emit(operator.name, operator.kind, "backward", [*parts, *self._added(operator)])

    def _added(self, operator: Operator) -> list[Part]:
        """Additions of the gradients of a result that several operators read; its operator is the last to be reached."""
        parts: list[Part] = []
        for out in operator.outputs:
            readers = {reader.index for reader, _ in self.uses.get(self.of(out), [])}
            extra = len(readers) - 1 + (self.of(out) in self.results)
            work = ElementwiseWork(elements=self.size(out), steps=(Step(function="add", operand="tensor"),))
            parts += [("rest", work)] * max(0, extra)
        for source in operator.inputs:
            value = self.layouts.values[self.of(source)]
            if value.origin == "parameter" and operator.index != self.uses[self.of(source)][-1][0].index:
                add = ElementwiseWork(
                    elements=self.size(source), steps=(Step(function="add", operand="tensor"),)
                )
                parts.append(("rest", add))  # the parameter has a gradient from a later operator already
        return parts

    def _rearranged(self, operator: Operator) -> list[Part]:
        """What was rearranged for the operator is rearranged back."""
        tasks = self.forward_of.get(operator.index, [])
        moved = [task.work for task in tasks if task.name.startswith("rearrange")]
        return [("rest", work) for work in moved]

    def _product_back(self, operator: Operator) -> list[Part]:
        work = next(t.work for t in self.forward_of[operator.index] if isinstance(t.work, MatmulWork))
        layer = self._layer(operator, work)
        wanted = [self.of(i) in self.wanted for i in operator.inputs[:2]]
        if layer is None:
            return self._attention_back(work, wanted)
        inputs = any(w for w, i in zip(wanted, operator.inputs) if self.computed(i))
        if inputs and operator.kind == "convolution" and self._overlaps(operator):
            raise self._refused(operator)
        if not self.int4:
            return fp16_backward(layer, inputs=inputs)
        if self._eight(operator):
            return int8_backward(layer, inputs=inputs)
        return int4_backward(layer, self.block(layer), self.options.sampling, pass_clk=self.pass_clk)

    def _overlaps(self, operator: Operator) -> bool:
        """Whether patches share pixels, whose gradients would have to be added."""
        kernel, stride = self.shape(operator.inputs[1])[2:], operator.attributes.get("stride", 1)
        strides = stride if isinstance(stride, tuple) else (stride,) * len(kernel)
        return any(size > int(step) for size, step in zip(kernel, strides))

    def _attention_back(self, work: MatmulWork, wanted: Sequence[bool]) -> list[Part]:
        """``dA = dC B^T`` and ``dB = A^T dC`` for every head."""
        parts: list[Part] = int8_operands([work.batch * work.m * work.n]) if self.int4 else []
        left = MatmulWork(
            m=work.m,
            k=work.n,
            n=work.k,
            batch=work.batch,
            weights=False,
            right_transposed=not work.right_transposed,
        )
        right = MatmulWork(
            m=work.k, k=work.m, n=work.n, batch=work.batch, weights=False, left_transposed=not work.left_transposed,
            right_transposed=True,
        )  # fmt: skip
        for product, is_wanted in ((left, wanted[0]), (right, wanted[1])):
            if is_wanted:
                parts.append(
                    ("product", replace(product, left_bits=8, right_bits=8) if self.int4 else product)
                )
        return parts

    def _row_back(self, operator: Operator) -> list[Part]:
        function = operator.function if operator.kind == "normalise" else "softmax"
        if operator.attributes.get("log") or function not in ("softmax", "layer_norm", "rms_norm"):
            raise self._refused(operator)
        length, size = operator.number("length"), self.size(operator.outputs[0])
        parts: list[Part] = []
        if self.of(operator.inputs[0]) in self.wanted:
            parts.append(("rest", RowGradientsWork(function=function, rows=size // length, length=length)))
        if operator.attributes.get("affine"):
            parts.append(("rest", ColumnSumsWork(rows=size // length, columns=length, norm=True)))
        return parts

    def _elementwise_back(self, operator: Operator) -> list[Part]:
        size, function = self.size(operator.outputs[0]), operator.function
        gradient = Step(function="multiply", operand="tensor")
        parts: list[Part] = []
        if len(operator.inputs) == 1:
            if function in LINEAR:  # with a number
                if function in ("multiply", "divide"):
                    step = Step(function="multiply", operand="scalar", constant=1.0)
                    parts.append(("rest", ElementwiseWork(elements=size, steps=(step,))))
                return parts
            if function not in DERIVATIVES:
                raise self._refused(operator)
            if function not in ("cast", "negate"):
                parts.append(
                    ("rest", ElementwiseWork(elements=size, steps=(*DERIVATIVES[function], gradient)))
                )
            return parts
        if function not in LINEAR:
            raise self._refused(operator)
        for place, source in enumerate(operator.inputs):
            value = self.layouts.values[self.of(source)]
            if value.origin != "parameter" and self.of(source) not in self.wanted:
                continue
            if function == "multiply" or (function == "divide" and place == 0):
                parts.append(("rest", ElementwiseWork(elements=size, steps=(gradient,))))
            elif function == "divide":
                parts.append(("rest", ElementwiseWork(elements=size, steps=(gradient, gradient))))
            if (own := self.size(source)) < size:  # it was repeated: the gradients of all copies are added
                parts.append(("rest", ColumnSumsWork(rows=max(1, size // own), columns=own)))
        return parts

    def _embedding_back(self, operator: Operator) -> list[Part]:
        """Rows are read, added to, and written back: gathered and scattered, one run each."""
        width = self.shape(operator.outputs[0])[-1]
        rows = self.size(operator.outputs[0]) // width
        add = ElementwiseWork(elements=rows * width, steps=(Step(function="add", operand="tensor"),))
        table = self.size(operator.inputs[0])
        gather = LookUpWork(rows=rows, width=width)
        return [("rest", FillWork(elements=table)), ("rest", gather), ("rest", add)]

    def _mirrored(self, operator: Operator) -> list[Part]:
        return [
            ("rest", t.work)
            for t in self.forward_of.get(operator.index, [])
            if isinstance(t.work, MovementWork)
        ]

    def _spread(self, operator: Operator) -> list[Part]:
        """A mean's or a sum's gradient goes to all that it was taken over."""
        if operator.function not in (
            "mean",
            "sum",
            "avg",
            "average",
            "adaptive_avg",
            "avg_pool",
            "adaptive_avg_pool",
        ):
            raise self._refused(operator)
        step = Step(function="multiply", operand="scalar", constant=1.0)
        return [("rest", ElementwiseWork(elements=self.size(operator.inputs[0]), steps=(step,)))]

    def _refused(self, operator: Operator) -> UserError:
        label = f"{operator.name} ({operator.kind}{' ' + operator.function if operator.function else ''})"
        return UserError(
            f"{self.graph.model}: operator {label} has no training kernel; expected linear layers, convolutions without groups, attention, "
            "layer or RMS norm, softmax, embeddings, copies, means and sums, and GELU, SiLU, ReLU, tanh or sigmoid"
        )


def parameters(graph: Graph) -> int:
    """Numbers that the optimiser changes."""
    return sum(
        prod(v.shape)
        for v in graph.values
        if v.origin == "parameter" and "float" in v.dtype and v.producer is None
    )
