"""Which operators are computed together with the one before."""

from lanewise.mapping.graph import Operator
from lanewise.mapping.kernels.epilogue import Step, flex_functions, knows
from lanewise.mapping.lower_values import LoweredValues
from lanewise.mapping.steps import steps_of


class Fusion(LoweredValues):
    """Chains of operators, of which each has the only use of the value before it."""

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
            if not after.outputs:
                break
            out = after.outputs[0]
            if (
                after.index in self.fused
                or self.size(out) != self.size(value)
                or self.size(seen_as) != self.size(value)
            ):
                break
            if not self.in_memory_order(seen_as, out):
                break
            if not steps and self.of_columns(operator, after, value):
                self.column_operators.add(after.index)
                chain.append(after)
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

    def of_columns(self, operator: Operator, after: Operator, value: int) -> bool:
        """Whether ``after`` is a factor or an addend of each column of a product or a convolution: the matrix unit's output path has it for nothing.

        A product of two activations has one factor, which is positive.
        """
        if operator.kind not in ("matmul", "convolution"):
            return False
        if after.kind == "normalise":
            return after.function == "batch_norm" and operator.kind == "convolution"
        weights = self.has_weights(operator)
        if after.kind != "elementwise" or not self.folds(after, weights=weights):
            return False
        steps = steps_of(after, self.layouts, value) or ()
        if len(steps) != 1 or steps[0].function not in ("multiply", "divide", "add", "subtract"):
            return False
        (step,) = steps
        if weights:
            return step.operand in ("scalar", "channel")
        factor = step.function in ("multiply", "divide") and step.operand == "scalar"
        return factor and len(after.inputs) == 1 and step.constant > 0

    def has_weights(self, operator: Operator) -> bool:
        """Whether the columns of a product are a parameter's."""
        return operator.kind == "convolution" or (
            bool(operator.attributes.get("weight")) and not self.computed(operator.inputs[1])
        )

    def folds(self, operator: Operator, *, weights: bool) -> bool:  # noqa: ARG002
        """Whether an element-wise operator may be part of a column's scale and bias."""
        return True
