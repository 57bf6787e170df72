"""From a graph of operators to tasks: what each computes on the core, in which formats values live in memory, what is fused.

* A matrix product or convolution takes the element-wise operators after it along, as long as each has the only use of the
  value before it; batch normalisation after a convolution folds into its column scale and bias.
* A value is stored as FP16, as operands of the matrix unit, or both: as its consumers want. Who produces it quantises it.
* Views move nothing. A permutation is paid by the operator that reads through it, as shorter runs of its DMA.
* An operator without a kernel is an error that names it; with ``allow_unmapped`` it is priced as :func:`fallback`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, prod
from typing import Any, TypeAlias

from lanewise.errors import UnmappedError, UserError
from lanewise.mapping.graph import Graph, Operator
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step, flex_functions, knows
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import MovementWork
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.window_axes import Axis
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.layout import Layouts, Order, is_view
from lanewise.mapping.lower_convolution import (
    is_depthwise,
    lower_convolution,
    lower_pool,
    sizes,
    stored_elements,
)
from lanewise.mapping.steps import steps_of

Work: TypeAlias = MatmulWork | RowsWork | ElementwiseWork | WindowsWork | MovementWork

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
        self.producer = {out: op.index for op in graph.operators if not is_view(op) for out in op.outputs}
        self.uses: dict[int, list[tuple[Operator, int]]] = {}
        for operator in graph.operators:
            if not is_view(operator):
                for value_id in operator.inputs:
                    self.uses.setdefault(self.of(value_id), []).append((operator, value_id))
        self.results = {self.of(value_id) for value_id in graph.outputs}
        self.formats = self.wanted_formats()
        self.fused: set[int] = set()
        self.tasks: list[Task] = []
        self.unmapped: list[str] = []

    def wanted_formats(self) -> dict[int, tuple[str, ...]]:
        """For each value in memory: ``fp16``, ``quantised`` or both."""
        wanted: dict[int, set[str]] = {value_id: {"fp16"} for value_id in self.results}
        for operator in reversed(self.graph.operators):
            if is_view(operator):
                continue
            forms = {"fp16"}
            if operator.kind in ("matmul", "convolution") and not is_depthwise(operator, self.layouts):
                forms = {"quantised"}
            elif operator.kind == "movement":
                forms = set().union(*(wanted.get(self.of(out), {"fp16"}) for out in operator.outputs))
            for value_id in operator.inputs:
                if self.computed(value_id):
                    wanted.setdefault(self.of(value_id), set()).update(forms)
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
            if operator.index in self.fused or is_view(operator):
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
                width = self.shape(operator.outputs[0])[-1]
                rows = self.size(operator.outputs[0]) // width
                self.add(operator, MovementWork(runs=rows, run_elements=width), ())
                self.quantise(operator)
            case "movement":
                self.movement(operator)
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

    def alone(self, name: str, kind: str, work: Work, value: int) -> None:
        """A task that is no operator's."""
        self.tasks.append(Task(name=name, kind=kind, members=(), functions=(), work=work, value=value))

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
            if not self.in_memory_order(seen_as, value):
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
            if any(self.size(i) == self.size(out) and self.moves(i, self.layouts.order(out)) for i in others):
                break
            chain.append(after)
            steps += more
            value = out
        return chain, steps, value

    def fuses(self, operator: Operator) -> bool:  # noqa: ARG002
        """Whether an element-wise operator may be computed while its operand is in registers."""
        return True

    def in_memory_order(self, view: int, value: int) -> bool:
        """Whether reading ``view`` element by element is reading ``value`` as it lies."""
        if len(self.shape(view)) == len(self.shape(value)):
            return self.layouts.order(view) == self.layouts.order(value)
        straight = tuple(range(len(self.shape(view))))
        return self.layouts.order(view) == straight and self.layouts.order(value) == tuple(
            range(len(self.shape(value)))
        )

    def moves(self, value_id: int, wanted: Order) -> bool:
        """Whether a computed value must be rearranged to be read in the order ``wanted``."""
        if (
            not self.computed(value_id)
            or self.layouts.given(value_id)
            or len(wanted) != len(self.shape(value_id))
        ):
            return False
        return self.layouts.run(value_id, wanted) != self.size(value_id)

    def rearrange(self, operator: Operator, value_id: int, wanted: Order) -> None:
        """A task that copies an operand into the order ``wanted``, where it does not lie so."""
        if not self.moves(value_id, wanted):
            return
        run, size = self.layouts.run(value_id, wanted), self.size(value_id)
        work = MovementWork(
            runs=1 if run == 1 else ceil(size / run),
            run_elements=size if run == 1 else run,
            transposed=run == 1,
        )
        name = f"rearrange for {operator.name}"
        self.alone(name, "movement", work, value_id)

    # Operators

    def matmul(self, operator: Operator) -> None:
        attributes = operator.attributes
        batch, m, k, n = (int(_required(attributes, name)) for name in ("batch", "m", "k", "n"))
        weights = bool(attributes.get("weight", False))
        chain, steps, value = self.chain(operator)
        left, right = operator.inputs[0], operator.inputs[1]
        if weights and self.computed(right) and not self.computed(left):  # the parameter stands on the left
            left, right, m, n = right, left, n, m
        left_transposed = not weights and bool(attributes.get("transposed_a", False))
        right_transposed = not weights and not attributes.get("transposed_b", False)
        runs, left_lines, right_lines = 0, (0, 0), (0, 0)
        if left_transposed or self.layouts.run(left, tuple(range(len(self.shape(left))))) != self.size(left):
            straight, turned = (self.layouts.lines(left, batch, turned=swapped) for swapped in (False, True))
            left_transposed = straight is None and (left_transposed or turned is not None)
            told = turned if left_transposed else straight
            runs, left_lines = (1, (0, 0)) if told is None else (0, told)
        if not weights:
            right_lines = self.layouts.lines(right, batch, turned=not right_transposed) or (0, 0)
        self.add(
            operator,
            MatmulWork(
                m=m, k=k, n=n, batch=batch, weights=weights, left_runs=runs, left_transposed=left_transposed,
                left_pitch=left_lines[0], left_step=left_lines[1], right_transposed=right_transposed,
                right_pitch=right_lines[0], right_step=right_lines[1], steps=tuple(steps), outputs=self.outputs(value),
            ),
            chain,
        )  # fmt: skip

    def rows(self, operator: Operator) -> None:
        function = operator.function if operator.kind == "normalise" else "softmax"
        out = operator.outputs[0]
        if function == "batch_norm":
            steps = (Step(function="multiply", operand="channel"), Step(function="add", operand="channel"))
            chain, more, value = self.chain(operator, first=steps)
            self.add(
                operator,
                ElementwiseWork(elements=self.size(out), steps=tuple(more), outputs=self.outputs(value)),
                chain,
            )
            return
        if operator.kind == "softmax" and operator.attributes.get("log"):
            raise UnmappedError
        length = operator.number("length")
        rank = len(self.shape(out))
        if function in ("softmax", "layer_norm", "rms_norm"):
            axis = int(operator.attributes.get("axis", rank - 1)) % max(1, rank)  # type: ignore[arg-type]
            wanted = (*(a for a in range(rank) if a != axis), axis)
            self.rearrange(operator, operator.inputs[0], wanted)
        if function in ("group_norm", "instance_norm"):
            function = "layer_norm"
        work = RowsWork(
            function=function, rows=self.size(out) // length, length=length,
            affine=bool(operator.attributes.get("affine", False)), outputs=self.outputs(out),
        )  # fmt: skip
        self.add(operator, work, ())
        if function == "softmax" and axis != rank - 1:  # and back to where the axis was
            back = MovementWork(runs=1, run_elements=self.size(out), transposed=True)
            self.alone(f"rearrange after {operator.name}", "movement", back, out)

    def reduce(self, operator: Operator) -> None:
        x = operator.inputs[0]
        shape = self.shape(x)
        function = {"amax": "max"}.get(operator.function, operator.function)
        if function not in ("sum", "mean", "max"):
            raise UnmappedError
        axes = sorted(
            {int(a) % len(shape) for a in sizes(operator.attributes.get("axes", tuple(range(len(shape)))))}
        )
        length = prod(shape[a] for a in axes)
        out = operator.outputs[0]
        order = self.layouts.order(x)
        if order and order[-1] in axes:  # along what lies innermost
            self.rearrange(
                operator, x, (*(a for a in order if a not in axes), *(a for a in order if a in axes))
            )
            rows = RowsWork(function=function, rows=self.size(x) // length, length=length)
            self.add(operator, rows, ())
            self.quantise(operator)
            return
        channels = shape[order[-1]] if order else 1
        outer = tuple(a for a in order[:-1] if a not in axes)
        self.rearrange(operator, x, (*outer, *(a for a in order if a in axes), *order[-1:]))
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
        for value_id in dict.fromkeys(operator.inputs):
            if self.size(value_id) == self.size(out):
                self.rearrange(operator, value_id, self.layouts.order(out))
        chain, steps, value = self.chain(operator, first=first)
        work = ElementwiseWork(
            elements=self.size(operator.outputs[0]), steps=tuple(steps), outputs=self.outputs(value)
        )
        self.add(operator, work, chain)

    def movement(self, operator: Operator) -> None:
        """Copies of what is stored, in each format that is wanted."""
        for form in self.outputs(operator.outputs[0]):
            for out in operator.outputs:
                computed = [i for i in operator.inputs if self.computed(i)]
                size = self.size(out)
                run = min([self.run_length(operator, i, out) for i in computed], default=1)
                transposed = run == 1 and size > 1 and operator.attributes.get("operation") == "clone"
                work = MovementWork(
                    runs=1 if transposed else max(1, ceil(size / run)), run_elements=size if transposed else run,
                    form=form, transposed=transposed,
                )  # fmt: skip
                self.add(operator, work, ())

    def run_length(self, operator: Operator, value_id: int, out: int) -> int:
        """Contiguous elements of ``value_id`` that stay together."""
        shape, order = self.shape(value_id), self.layouts.order(value_id)
        if operator.attributes.get("operation") in ("clone", "fill"):
            wanted = self.layouts.order(out)
            return (
                self.layouts.run(value_id, wanted)
                if len(wanted) == len(shape)
                else shape[order[-1]]
                if order
                else 1
            )
        return max(1, shape[order[-1]]) if order else 1


def _required(attributes: Any, name: str) -> Any:
    if name not in attributes:
        raise ValueError(f"a matmul operator must have the attribute {name!r}")
    return attributes[name]
