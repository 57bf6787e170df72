"""From a graph of operators to tasks: what each computes on the core, in which formats values live in memory, what is fused.

* A matrix product or convolution takes the element-wise operators after it along, as long as each has the only use of the
  value before it. Directly behind it, batch normalisation, factors and addends of columns are its column scale and bias.
* A value is stored as FP16, as operands of the matrix unit, or both: as its consumers want. Who produces it quantises it.
* Views move nothing. Who reads a value otherwise than it lies has it copied into its own order first; the matrix unit reads rows and
  products at any distance.
* An operator without a kernel is an error that names it; with ``allow_unmapped`` it is priced as :func:`fallback`.
"""

from collections.abc import Iterable
from typing import Any

from lanewise.errors import UnmappedError, UserError
from lanewise.mapping.graph import Graph, Operator
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import knows
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.layout import dense, joined
from lanewise.mapping.lower_convolution import lower_convolution, lower_pool, stored_elements
from lanewise.mapping.lower_fusion import Fusion
from lanewise.mapping.lower_movement import PAIR, embedding, movement
from lanewise.mapping.lower_recurrent import lower_recurrent
from lanewise.mapping.lower_rows import lower_reduce, lower_rows
from lanewise.mapping.matrix_operands import matrix_of
from lanewise.mapping.steps import steps_of
from lanewise.mapping.task import FALLBACK_STEPS, Lowered, Task, Work, fallback

__all__ = ["FALLBACK_STEPS", "Lowered", "Lowering", "Task", "Work", "fallback", "lower"]


def lower(graph: Graph, *, allow_unmapped: bool = False) -> Lowered:
    """Tasks for every operator of ``graph``.

    Raises:
        UserError: An operator has no kernel and ``allow_unmapped`` is false.
    """
    return Lowering(graph, allow_unmapped).lower()


class Lowering(Fusion):
    """Walks the operators in order; a task for each, and those fused into it."""

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
            if any(all(0 in self.shape(i) for i in ids) for ids in (operator.inputs, operator.outputs)):
                continue  # an assertion, or made of nothing, or nothing itself
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
                lower_rows(self, operator)
            case "pool":
                lower_pool(self, operator)
            case "reduce":
                lower_reduce(self, operator)
            case "elementwise":
                self.elementwise(operator)
            case "embedding":
                embedding(self, operator)
            case "movement":
                movement(self, operator)
            case "recurrent":
                lower_recurrent(self, operator)
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

    def quantise(self, operator: Operator, value: int | None = None) -> None:
        """For what cannot quantise its result on the way out, or the ``value`` behind its chain."""
        out = operator.outputs[0] if value is None else value
        if "quantised" in self.outputs(out):
            work = ElementwiseWork(elements=self.size(out), outputs=("quantised",))
            self.alone(f"quantise {operator.name}", "quantise", work, out)

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
        outputs = self.outputs(value)
        apart = "quantised" in outputs and step % PAIR > 0  # a product's rows would not begin with a byte
        self.add(
            operator,
            MatmulWork(
                m=m, k=k, n=n, batch=batch, weights=weights,
                left_transposed=a.turned, left_first=a.first, left_pitch=a.pitch, left_step=a.step,
                right_transposed=b.turned, right_first=b.first, right_pitch=b.pitch, right_step=b.step,
                result_pitch=pitch, result_step=step, steps=tuple(steps), outputs=("fp16",) if apart else outputs,
            ),
            chain,
        )  # fmt: skip
        if apart:
            self.quantise(operator, value)

    def result_distances(self, operator: Operator) -> tuple[int, int]:
        """From row to row and from product to product of the results, where they are not one after another."""
        out = operator.outputs[0]
        shape, order = self.shape(out), self.layouts.order(out)
        if order == tuple(range(len(shape))):
            return 0, 0
        steps = dense(shape, order)
        ((_, step),) = joined(tuple(zip(shape[:-2], steps[:-2])))
        return steps[-2], step

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
