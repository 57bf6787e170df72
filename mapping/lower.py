"""From a graph of operators to tasks: what each computes on the core, in which formats values live in memory, what is fused.

* A matrix product or convolution takes the element-wise operators after it along, as long as each has the only use of the
  value before it; batch normalisation after a convolution folds into its column scale and bias.
* A value is stored as FP16, as operands of the matrix unit, or both: as its consumers want. Who produces it quantises it.
* Views move nothing. Who reads a value otherwise than it lies has it copied into its own order first; the matrix unit reads rows and
  products at any distance.
* An operator without a kernel is an error that names it; with ``allow_unmapped`` it is priced as :func:`fallback`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

from lanewise.errors import UnmappedError, UserError
from lanewise.mapping.graph import Graph, Operator
from lanewise.mapping.kernels.copies import Copy
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step, flex_functions, knows
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import LookUpWork, MovementWork
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.window_axes import Axis
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.layout import Layouts, Order, channels_innermost, dense, joined
from lanewise.mapping.lower_convolution import (
    is_depthwise,
    lower_convolution,
    lower_pool,
    sizes,
    stored_elements,
)
from lanewise.mapping.lower_movement import (
    PAIR,
    embedding,
    movement,
    moves_operands,
    rearrangement,
    whole_bytes,
)
from lanewise.mapping.matrix_operands import matrix_of
from lanewise.mapping.steps import steps_of

Work: TypeAlias = MatmulWork | RowsWork | ElementwiseWork | WindowsWork | MovementWork | LookUpWork

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


def lower(graph: Graph, *, allow_unmapped: bool = False) -> Lowered:
    """Tasks for every operator of ``graph``.

    Raises:
        UserError: An operator has no kernel and ``allow_unmapped`` is false.
    """
    return Lowering(graph, allow_unmapped).lower()


def fallback(elements: int) -> ElementwiseWork:
    """The documented price of an operator that has no kernel; see :data:`FALLBACK_STEPS`."""
    return ElementwiseWork(elements=max(1, elements), steps=FALLBACK_STEPS)


class Lowering:
    """Walks the operators in order; a task for each, and those fused into it."""

    def __init__(self, graph: Graph, allow_unmapped: bool) -> None:
        self.graph, self.allow_unmapped = graph, allow_unmapped
        layouts = self.layouts = Layouts(graph)
        self.of, self.shape, self.size, self.computed = (
            layouts.of,
            layouts.shape,
            layouts.size,
            layouts.computed,
        )
        self.producer = {
            out: op.index for op in graph.operators if not layouts.still(op) for out in op.outputs
        }
        self.uses: dict[int, list[tuple[Operator, int]]] = {}
        for operator in graph.operators:
            if not layouts.still(operator):
                for value_id in operator.inputs:
                    self.uses.setdefault(self.of(value_id), []).append((operator, value_id))
        self.results = {self.of(value_id) for value_id in graph.outputs}
        self.formats = self.wanted_formats()
        self.fused: set[int] = set()
        self.rearranged: set[tuple[int, tuple[int, ...], Order, str]] = set()
        self.tasks: list[Task] = []
        self.unmapped: list[str] = []

    def wanted_formats(self) -> dict[int, tuple[str, ...]]:
        """For each value in memory: ``fp16``, ``quantised`` or both."""
        wanted: dict[int, set[str]] = {value_id: {"fp16"} for value_id in self.results}
        for operator in reversed(self.graph.operators):
            if self.layouts.still(operator):
                continue
            forms = {"fp16"}
            if operator.kind in ("matmul", "convolution") and not is_depthwise(operator, self.layouts):
                forms = {"quantised"}
            elif operator.kind == "movement" and all(
                moves_operands(self.layouts, operator, out) for out in operator.outputs
            ):
                forms = set().union(*(wanted.get(self.of(out), {"fp16"}) for out in operator.outputs))
            for place, value_id in enumerate(operator.inputs):
                if self.computed(value_id):
                    through = forms == {"quantised"} and self._rearranged_as_fp16(operator, place)
                    wanted.setdefault(self.of(value_id), set()).update({"fp16"} if through else forms)
        return {value_id: tuple(sorted(forms)) for value_id, forms in wanted.items()}

    def outputs(self, value_id: int) -> tuple[str, ...]:
        return self.formats.get(self.of(value_id), ("fp16",))

    # Walk

    def lower(self) -> Lowered:
        for value in self.graph.values:
            if value.origin == "input" and "quantised" in self.formats.get(value.id, ()):
                work = ElementwiseWork(elements=stored_elements(self, value.id), outputs=("quantised",))
                self.alone(f"quantise input {value.id}", "quantise", work, value.id)
        for operator in self.graph.operators:
            if operator.index in self.fused or self.layouts.still(operator):
                continue
            if not any(self.computed(i) for i in operator.inputs):
                continue  # made of parameters and constants alone: computed once, before the network runs
            try:
                self.one(operator)
            except UnmappedError:
                label = (
                    f"{operator.name} ({operator.kind}{' ' + operator.function if operator.function else ''})"
                )
                if not self.allow_unmapped:
                    raise UserError(
                        f"{self.graph.model}: operator {label} has no kernel; expected one that lanewise maps, "
                        "or --allow-unmapped to price it as a documented fallback"
                    ) from None
                self.unmapped.append(label)
                elements = max(self.size(i) for i in (*operator.inputs, *operator.outputs))
                self.add(operator, fallback(elements), (), mapped=False)
        return Lowered(tasks=tuple(self.tasks), unmapped=tuple(self.unmapped))

    def one(self, operator: Operator) -> None:
        match operator.kind:
            case "matmul":
                self.matmul(operator)
            case "convolution":
                lower_convolution(self, operator)
            case "softmax" | "normalise":
                self.rows(operator)
            case "pool":
                lower_pool(self, operator)
            case "reduce":
                self.reduce(operator)
            case "elementwise":
                self.elementwise(operator)
            case "embedding":
                embedding(self, operator)
            case "movement":
                movement(self, operator)
            case _:
                raise UnmappedError

    def add(
        self,
        operator: Operator,
        work: Work,
        chain: Iterable[Operator],
        *,
        mapped: bool = True,
        kind: str = "",
    ) -> None:
        chain = tuple(chain)
        self.fused.update(op.index for op in chain)
        functions = tuple(
            op.function for op in (operator, *chain) if op.kind == "elementwise" and len(op.inputs) == 1
        )
        self.tasks.append(
            Task(
                name=operator.name, kind=kind or operator.kind, members=(operator.name, *(op.name for op in chain)),
                functions=functions, work=work, mapped=mapped,
            )
        )  # fmt: skip

    def quantise(self, operator: Operator) -> None:
        """For what cannot quantise on the way out."""
        out = operator.outputs[0]
        if "quantised" in self.outputs(out):
            work = ElementwiseWork(elements=self.size(out), outputs=("quantised",))
            self.alone(f"quantise {operator.name}", "quantise", work, out)

    def alone(
        self, name: str, kind: str, work: Work, value: int, shape: tuple[int, ...] = (), order: Order | None = None
    ) -> None:  # fmt: skip
        """A task that is no operator's."""
        self.tasks.append(
            Task(
                name=name,
                kind=kind,
                members=(),
                functions=(),
                work=work,
                value=value,
                shape=shape,
                order=order,
            )
        )

    # Fusion

    def chain(
        self, operator: Operator, *, first: tuple[Step, ...] = ()
    ) -> tuple[list[Operator], list[Step], int]:
        """The element-wise operators that follow with no other use of the values between; their steps; the last value."""
        chain: list[Operator] = []
        steps = list(first)
        value = operator.outputs[0]
        while self.of(value) not in self.results:
            readers = self.uses.get(self.of(value), [])
            if len({after.index for after, _ in readers}) != 1:
                break
            after, seen_as = readers[0]
            out = after.outputs[0]
            if (
                after.index in self.fused
                or self.size(out) != self.size(value)
                or self.size(seen_as) != self.size(value)
            ):
                break
            if not self.in_memory_order(seen_as, out):
                break
            norm = after.kind == "normalise" and after.function == "batch_norm"
            if norm and operator.kind == "convolution" and not steps:
                chain.append(after)  # column scale and bias: folded
                value = out
                continue
            if after.kind != "elementwise" or not self.fuses(after):
                break
            more = steps_of(after, self.layouts, value)
            if (
                more is None
                or not all(knows(step) for step in more)
                or len(flex_functions([*steps, *more])) > 1
            ):
                break
            others = [i for i in after.inputs if self.of(i) != self.of(value)]
            if not all(self.producer.get(self.of(i), -1) < operator.index for i in others):
                break  # an operand that is not there yet
            chain.append(after)
            steps += more
            value = out
        made = {out for each in (operator, *chain) for out in each.outputs}
        for after in chain:
            self.rearrange_operands(after, made)
        return chain, steps, value

    def fuses(self, operator: Operator) -> bool:  # noqa: ARG002
        """Whether an element-wise operator may be computed while its operand is in registers."""
        return True

    def in_memory_order(self, view: int, out: int) -> bool:
        """Whether ``out``, computed element by element as ``view`` is read, lies as what ``view`` is of."""
        layouts = self.layouts
        return layouts.places(view) is not None and layouts.lies(view, self.shape(out), layouts.order(out))

    def rearrange(
        self, operator: Operator, value_id: int, shape: tuple[int, ...], wanted: Order, form: str = "fp16"
    ) -> None:
        """Tasks that copy an operand, expanded to ``shape``, into the order ``wanted``, where it does not lie so: once, whoever reads it."""
        copy = self.computed(value_id) and rearrangement(self.layouts, value_id, shape, wanted)
        if not copy or (form == "fp16" and self.layouts.given(value_id)):
            return
        moved = "fp16" if form == "quantised" and self._as_fp16(value_id, copy, shape, wanted) else form
        name = f"rearrange for {operator.name}"
        if (key := (value_id, shape, wanted, moved)) not in self.rearranged:
            self.rearranged.add(key)
            if moved == "quantised" or not self.layouts.given(value_id):
                self.alone(
                    name, "movement", MovementWork(copies=(copy,), form=moved), value_id, shape, wanted
                )
        if (key := (value_id, shape, wanted, form)) not in self.rearranged:
            self.rearranged.add(key)
            work = ElementwiseWork(elements=max(1, prod(shape)), outputs=("quantised",))
            self.alone(f"quantise for {operator.name}", "quantise", work, value_id, shape, wanted)

    def _as_fp16(self, value_id: int, copy: Copy, shape: tuple[int, ...], wanted: Order) -> bool:
        """Whether what is to be rearranged is quantised only then: as INT4 its runs would be no whole bytes."""
        innermost = shape[wanted[-1]] if wanted else 1
        return innermost % PAIR > 0 or not whole_bytes(self.layouts, value_id, (copy,))

    def _rearranged_as_fp16(self, operator: Operator, place: int) -> bool:
        """Whether an operand of the matrix unit is made of the FP16 value."""
        value_id = operator.inputs[place]
        if place > 1 or operator.kind == "movement" or not self.computed(value_id):
            return False
        if operator.kind == "matmul" and matrix_of(self.layouts, operator, place).direct:
            return False
        shape, wanted = self.operand(operator, place)
        copy = rearrangement(self.layouts, value_id, shape, wanted)
        return copy is not None and self._as_fp16(value_id, copy, shape, wanted)

    def operand(self, operator: Operator, place: int) -> tuple[tuple[int, ...], Order]:
        """The shape and the order in which a convolution or a matrix product reads an operand that it does not read where it lies."""
        shape = self.shape(operator.inputs[place])
        if operator.kind == "convolution":
            return shape, channels_innermost(len(shape))
        return matrix_of(self.layouts, operator, place).wanted

    def rearrange_operands(self, operator: Operator, own: set[int]) -> None:
        """Computed operands of an element-wise operator in the order of its result, but what is in registers."""
        out = operator.outputs[0]
        for value_id in dict.fromkeys(operator.inputs):
            if self.of(value_id) not in own:
                self.rearrange(operator, value_id, self.shape(out), self.layouts.order(out))

    # Operators

    def matmul(self, operator: Operator) -> None:
        attributes = operator.attributes
        batch, m, k, n = (int(_required(attributes, name)) for name in ("batch", "m", "k", "n"))
        weights = bool(attributes.get("weight", False))
        chain, steps, value = self.chain(operator)
        a, b = (matrix_of(self.layouts, operator, place) for place in (0, 1))
        if weights and self.computed(operator.inputs[1]) and not self.computed(operator.inputs[0]):
            a, b, m, n = b, a, n, m  # the parameter stands on the left
        for place, matrix in enumerate((a, b)):
            if not matrix.direct and self.computed(operator.inputs[place]):
                self.rearrange(operator, operator.inputs[place], *matrix.wanted, "quantised")
        pitch, step = self.result_distances(operator)
        self.add(
            operator,
            MatmulWork(
                m=m, k=k, n=n, batch=batch, weights=weights,
                left_transposed=a.turned, left_first=a.first, left_pitch=a.pitch, left_step=a.step,
                right_transposed=b.turned, right_first=b.first, right_pitch=b.pitch, right_step=b.step,
                result_pitch=pitch, result_step=step, steps=tuple(steps), outputs=self.outputs(value),
            ),
            chain,
        )  # fmt: skip

    def result_distances(self, operator: Operator) -> tuple[int, int]:
        """From row to row and from product to product of the results, where they are not one after another."""
        out = operator.outputs[0]
        shape, order = self.shape(out), self.layouts.order(out)
        if order == tuple(range(len(shape))):
            return 0, 0
        steps = dense(shape, order)
        ((_, step),) = joined(tuple(zip(shape[:-2], steps[:-2])))
        return steps[-2], step

    def rows(self, operator: Operator) -> None:
        function = operator.function if operator.kind == "normalise" else "softmax"
        out = operator.outputs[0]
        if function == "batch_norm":
            order = self.layouts.order(out)
            self.rearrange(operator, operator.inputs[0], self.shape(out), order)
            steps = (Step(function="multiply", operand="channel"), Step(function="add", operand="channel"))
            chain, more, value = self.chain(operator, first=steps)
            work = ElementwiseWork(
                elements=self.size(out), steps=tuple(more), outputs=self.outputs(value), channels=self.shape(out)[order[-1]]
            )  # fmt: skip
            self.add(operator, work, chain)
            return
        if operator.kind == "softmax" and operator.attributes.get("log"):
            raise UnmappedError
        length = operator.number("length")
        self.rearrange(operator, operator.inputs[0], self.shape(out), self.layouts.order(out))
        if function in ("group_norm", "instance_norm"):
            function = "layer_norm"
        rows = RowsWork(
            function=function, rows=self.size(out) // length, length=length,
            affine=bool(operator.attributes.get("affine", False)), outputs=self.outputs(out),
        )  # fmt: skip
        self.add(operator, rows, ())

    def reduction_order(self, operator: Operator) -> tuple[set[int], Order]:
        """The axes of a reduction, and the order in which it reads its operand: they are innermost, or all but what lies innermost is before them."""
        shape, order = self.shape(operator.inputs[0]), self.layouts.order(operator.inputs[0])
        given = sizes(operator.attributes.get("axes", tuple(range(len(shape)))))
        axes = {int(a) % max(1, len(shape)) for a in given}
        last = () if not order or order[-1] in axes else order[-1:]
        outer = tuple(a for a in order if a not in axes and a not in last)
        return axes, (*outer, *(a for a in order if a in axes), *last)

    def reduce(self, operator: Operator) -> None:
        x = operator.inputs[0]
        shape = self.shape(x)
        function = {"amax": "max"}.get(operator.function, operator.function)
        if function not in ("sum", "mean", "max"):
            raise UnmappedError
        axes, wanted = self.reduction_order(operator)
        self.rearrange(operator, x, shape, wanted)
        length = prod(shape[a] for a in axes)
        out = operator.outputs[0]
        if not wanted or wanted[-1] in axes:  # along what lies innermost
            rows = RowsWork(function=function, rows=self.size(x) // length, length=length)
            self.add(operator, rows, ())
            self.quantise(operator)
            return
        channels = shape[wanted[-1]]
        chain, steps, value = self.chain(operator)
        window = WindowsWork(
            function="average" if function == "mean" else function, images=max(1, self.size(out) // channels),
            axes=(Axis(size=length, kernel=length),), channels=channels, steps=tuple(steps), outputs=self.outputs(value),
        )  # fmt: skip
        self.add(operator, window, chain)

    def elementwise(self, operator: Operator) -> None:
        first = steps_of(operator, self.layouts)
        if first is None or not all(knows(step) for step in first):
            raise UnmappedError
        out = operator.outputs[0]
        self.rearrange_operands(operator, set())
        chain, steps, value = self.chain(operator, first=first)
        order = self.layouts.order(out)
        work = ElementwiseWork(
            elements=self.size(out), steps=tuple(steps), outputs=self.outputs(value),
            channels=self.shape(out)[order[-1]] if any(step.operand == "channel" for step in steps) else 0,
        )  # fmt: skip
        self.add(operator, work, chain)


def _required(attributes: Any, name: str) -> Any:
    if name not in attributes:
        raise ValueError(f"a matmul operator must have the attribute {name!r}")
    return attributes[name]
