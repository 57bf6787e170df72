"""What every task of a lowering is of a network's values: its work with scales, and a tensor of the network behind each name of its Program."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.mapping.deploy.operands import step_operands, with_scalars
from lanewise.mapping.deploy.parameters import Parameters
from lanewise.mapping.deploy.quantities import biases, multipliers, quantised_lines
from lanewise.mapping.deploy.tensors import Tensors
from lanewise.mapping.graph import Graph, Operator
from lanewise.mapping.kernels.elementwise import CHUNK_ELEMENTS, ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.patch_loads import ZEROS, zeros_bytes
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.layout import channels_innermost
from lanewise.mapping.lower import Lowering, Task
from lanewise.mapping.tables import table_tensors
from lanewise.models.matrix_layout import column_constants, packed_lines
from lanewise.sim.program import Program

if TYPE_CHECKING:
    import torch

Deployable: TypeAlias = MatmulWork | RowsWork | ElementwiseWork | WindowsWork
"""Works that can be bound."""

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BoundTask:
    """A task with its scales, and the tensor of the network that stands behind each name of its Program."""

    task: Task
    work: Deployable
    tensors: Mapping[str, str]
    result: int
    """The value that it computes."""

    @property
    def stored(self) -> tuple[str, ...]:
        """The Program's names of its results."""
        return tuple(self.work.outputs)

    def program(self, config: MachineConfig) -> Program:
        """Its Program, in its own names."""
        return self.work.program(config)


class Bindings:
    """Binds tasks one by one: what a task reads is there when it is bound.

    Raises:
        UserError: The machine's array does not take INT4.
    """

    def __init__(
        self, graph: Graph, module: "torch.nn.Module", inputs: "Sequence[torch.Tensor]", config: MachineConfig
    ) -> None:
        if not config.matrix.splits:
            raise UserError(
                f"matrix.operand_bits must be 4 to deploy a network, not {config.matrix.operand_bits}"
            )
        self.graph, self.config, self.bits = graph, config, config.matrix.operand_bits
        lowering = Lowering(graph, False)
        self.tasks = lowering.lower().tasks
        layouts = self.layouts = lowering.layouts
        self.operators = {operator.name: operator for operator in graph.operators}
        self.parameters = Parameters(graph, module)
        self.tensors = Tensors(layouts, self.bits)
        given = [value.id for value in graph.values if value.origin == "input"]
        for value, tensor in zip(given, inputs, strict=True):
            if any(operator.kind in ("convolution", "pool") for operator, _ in lowering.uses.get(value, ())):
                layouts.orders[value] = channels_innermost(len(layouts.shape(value)))  # the host lays it out
            array = tensor.detach().numpy().astype(np.float16).transpose(layouts.order(value))
            self.tensors.put(self.tensors.name(value, "fp16"), array)

    def bound(self, task: Task, inverse: float = 1.0) -> BoundTask:
        """A task whose quantised result, if it has one, is the real one times ``inverse``.

        Raises:
            ValueError: It is of a kind that has no deployment, or its values lie as no kernel reads them.
        """
        if task.value is not None:
            return self._alone(task, task.value, inverse)
        members = [self.operators[name] for name in task.members]
        work = task.work
        if isinstance(work, MatmulWork):
            return self._product(task, work, members, inverse)
        if isinstance(work, ElementwiseWork):
            return self._elementwise(task, work, members, inverse)
        if isinstance(work, RowsWork):
            return self._rows(task, work, members[0], inverse)
        if isinstance(work, WindowsWork):
            return self._windows(task, work, members, inverse)
        raise ValueError("movements have no deployment")

    def _alone(self, task: Task, value: int, inverse: float) -> BoundTask:
        """A quantisation."""
        if not isinstance(task.work, ElementwiseWork):
            raise ValueError("values must lie in the order in which they are read")
        work = replace(task.work, inverse_step=inverse)
        if work.elements == self.layouts.size(value):
            self._even(value)
            return self._made(task, work, {"in": self._fp16(value)}, value)
        channels = self.tensors.line(value)  # of a picture that the host gives: an even number of them
        picture = self.tensors.fp16(self._fp16(value)).astype(np.float64).reshape(-1, channels)
        even = np.pad(picture, [(0, 0), (0, channels % 2)])
        return self._made(task, work, {"in": self._host(task, "in", even)}, value)

    def _elementwise(
        self, task: Task, work: ElementwiseWork, members: Sequence[Operator], inverse: float
    ) -> BoundTask:
        result = members[-1].outputs[0]
        if members[0].kind == "normalise":
            raise ValueError("batch norms must follow a convolution")
        own = max((i for i in members[0].inputs if self.layouts.computed(i)), key=self.layouts.size)
        if self.layouts.size(own) != work.elements:
            raise ValueError(
                f"an operand must have the result's {work.elements} elements, not {self.layouts.size(own)}"
            )
        steps, operands = self._steps(members, None, work.steps)
        tensors = {"in": self._fp16(own)}
        for k, value in operands:
            if steps[k].operand == "channel":
                channel = self.parameters[value].reshape(-1)
                count = min(work.elements, CHUNK_ELEMENTS)
                if CHUNK_ELEMENTS % channel.size and work.elements > CHUNK_ELEMENTS:
                    raise ValueError(f"channels must divide {CHUNK_ELEMENTS}, not {channel.size}")
                tensors[f"operand{k}"] = self._host(task, f"operand{k}", np.resize(channel, count))
            else:
                tensors[f"operand{k}"] = self._tensor(task, k, value, result)
        if "quantised" in work.outputs:
            self._even(result)
        return self._made(task, replace(work, steps=steps, inverse_step=inverse), tensors, result)

    def _rows(self, task: Task, work: RowsWork, operator: Operator, inverse: float) -> BoundTask:
        tensors = {"in": self._fp16(operator.inputs[0])}
        for name, value in zip([each.removeprefix("@") for each in work.weights], operator.inputs[1:]):
            tensors[name] = self._host(task, name, self.parameters[value])
        return self._made(task, replace(work, inverse_step=inverse), tensors, operator.outputs[0])

    def _windows(
        self, task: Task, work: WindowsWork, members: Sequence[Operator], inverse: float
    ) -> BoundTask:
        first, result = members[0], members[-1].outputs[0]
        tensors = {"in": self._fp16(first.inputs[0])}
        if work.function == "depthwise":
            weight = self.parameters[first.inputs[1]]  # channels, 1, kernel
            taps = weight.reshape(weight.shape[0], -1).T
            bias = self.parameters[first.inputs[2]] if len(first.inputs) > 2 else np.zeros(weight.shape[0])
            tensors["weights"] = self._host(task, "weights", np.concatenate([taps, bias[None]]))
        steps, operands = self._steps(members[1:], first.outputs[0], work.steps)
        for k, value in operands:
            tensors[f"operand{k}"] = (
                self._host(task, f"operand{k}", self.parameters[value])
                if steps[k].operand == "channel"
                else self._tensor(task, k, value, result)
            )
        return self._made(task, replace(work, steps=steps, inverse_step=inverse), tensors, result)

    # Products

    def _product(
        self, task: Task, work: MatmulWork, members: Sequence[Operator], inverse: float
    ) -> BoundTask:
        operator, result = members[0], members[-1].outputs[0]
        given = work
        norm = [each for each in members[1:] if each.kind == "normalise"]
        after = members[1 + len(norm) :]
        work = work.on(self.config)
        left, right = operator.inputs[:2]
        if operator.kind == "matmul" and self.layouts.computed(right) and not self.layouts.computed(left):
            left, right = right, left
        tensors = {"left": self._quantised(left)}
        scale = self.tensors.scales[tensors["left"]]
        bias: Reals = np.zeros(work.batch * work.n)
        if len(operator.inputs) > 2:
            bias = self.parameters[operator.inputs[2]].reshape(-1)
        if work.weights:
            lines = self._lines(operator, right, given, work)
            for each in norm:
                factor, shift = self._norm(each)
                lines, bias = lines * factor[:, None], bias * factor + shift
            whole, steps_of_lines = quantised_lines(lines, self.bits)
            tensors["right"] = self._bytes(task, "right", packed_lines(whole, self.bits))
            factors = scale * steps_of_lines
        else:
            tensors["right"] = self._quantised(right)
            factors = np.full(work.n, scale * self.tensors.scales[tensors["right"]])
        steps, operands = self._steps(after, (norm or [operator])[-1].outputs[0], work.steps)
        direct = not steps and work.outputs == ("quantised",)
        mults, shift_bits = multipliers(factors * inverse if direct else factors)
        tile = work.tile_shape(self.config)[1]
        of_products = [(np.zeros(tile), np.full(tile, mults[0]))]
        if work.weights:
            both = (each.reshape(work.batch, work.n) for each in (biases(bias, factors), mults))
            of_products = list(zip(*both, strict=True))
        constants = np.concatenate([column_constants(b, m, self.config.matrix, tile) for b, m in of_products])
        tensors["constants"] = self._bytes(task, "constants", constants)
        for k, value in operands:
            if steps[k].operand == "channel":
                tensors[f"channel{k}"] = self._host(task, f"channel{k}", self.parameters[value])
            else:
                tensors[f"operand{k}"] = self._tensor(task, k, value, result)
        if work.patches is not None and (size := zeros_bytes(work.patches, self.bits)):
            tensors[ZEROS] = self._bytes(task, ZEROS, np.zeros(size, np.uint8))
        made = replace(work, steps=steps, shift=shift_bits, inverse_step=1.0 if direct else inverse)
        return self._made(task, made, tensors, result)

    def _lines(self, operator: Operator, value: int, given: MatmulWork, work: MatmulWork) -> Reals:
        """Weights, a line for each column of each product: of a convolution kernel positions, then channels, as many as there are in memory; of groups that
        are ``given`` one by one and multiplied together, zeros for the others' channels."""
        if operator.kind == "matmul":
            turned = not operator.attributes.get("transposed_b", False)
            return self.parameters.matrix(value, work.n, work.k, turned=turned)
        weight = np.moveaxis(self.parameters[value], 1, -1)  # n, kernel, channels
        assert work.patches is not None
        channels, together = weight.shape[-1], given.batch // work.batch
        groups = weight.reshape(work.batch, together, given.n, -1, channels)
        lines = np.zeros((*groups.shape[:-1], work.patches.stored_channels(self.bits)))
        for group in range(together):
            lines[:, group, ..., group * channels : (group + 1) * channels] = groups[:, group]
        return lines.reshape(work.batch * work.n, work.k)

    def _norm(self, operator: Operator) -> tuple[Reals, Reals]:
        """A batch norm as a factor and a shift for each channel."""
        *affine, mean, variance = (self.parameters[value] for value in operator.inputs[1:])
        epsilon = float(operator.attributes["epsilon"])  # type: ignore[arg-type]
        weight, bias = affine if affine else (np.ones_like(mean), np.zeros_like(mean))
        factor = weight / np.sqrt(variance + epsilon)
        return factor, bias - mean * factor

    # Operands and results

    def _steps(
        self, members: Sequence[Operator], value: int | None, planned: tuple[Step, ...]
    ) -> tuple[tuple[Step, ...], list[tuple[int, int]]]:
        """The steps with the numbers that are parameters, and the vector operands by their step's number."""
        read = list(step_operands(members, self.layouts, value)) if members else []
        numbers = {
            value: float(self.parameters[value].reshape(()))
            for step, value in read
            if step.operand == "scalar" and value is not None
        }
        steps = with_scalars(read, numbers)
        if [step.function for step in steps] != [step.function for step in planned]:
            raise ValueError(f"steps must be {planned}, not {steps}")
        return steps, [
            (k, value)
            for k, (step, value) in enumerate(read)
            if step.operand in ("tensor", "channel") and value is not None
        ]

    def _tensor(self, task: Task, k: int, value: int, result: int) -> str:
        """An operand of as many elements as the result, in its order."""
        size = self.layouts.size(result)
        if self.layouts.computed(value):
            if self.layouts.size(value) != size:
                raise ValueError(
                    f"an operand must have the result's {size} elements, not {self.layouts.size(value)}"
                )
            return self._fp16(value)
        shape = self.layouts.shape(result)
        whole = np.broadcast_to(self.parameters[value], shape).transpose(self.layouts.order(result))
        return self._host(task, f"operand{k}", whole)

    def _fp16(self, value: int) -> str:
        name = self.tensors.name(value, "fp16")
        if name not in self.tensors.memory:
            raise ValueError(f"value {value} must be in memory as FP16")
        return name

    def _quantised(self, value: int) -> str:
        name = self.tensors.name(value, "quantised")
        if name not in self.tensors.scales:
            raise ValueError(f"value {value} must be in memory as operands")
        return name

    def _even(self, value: int) -> None:
        """Lines that are stored side by side must be whole bytes."""
        line = self.tensors.line(value)
        if line * self.bits % 8 and line != self.layouts.size(value):
            raise ValueError(f"a value's innermost axis must be whole bytes of INT4, not {line} elements")

    def _host(self, task: Task, name: str, values: Reals) -> str:
        """A tensor of FP16 numbers that the host lays out."""
        return self._bytes(task, name, np.asarray(values).astype(np.float16))

    def _bytes(self, task: Task, name: str, values: npt.NDArray[Any]) -> str:
        return self.tensors.put(
            f"{task.name} {name}", np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        )

    def _made(self, task: Task, work: Deployable, tensors: Mapping[str, str], result: int) -> BoundTask:
        outputs = {form: self.tensors.room(result, form) for form in work.outputs}
        tables = dict(self._tables(work))
        return BoundTask(task=task, work=work, tensors={**tensors, **outputs, **tables}, result=result)

    def _tables(self, work: Deployable) -> Iterator[tuple[str, str]]:
        """Flex-SFU's tables that a work loads."""
        for name, table in table_tensors(work.program(self.config), self.config).items():
            self.tensors.memory.setdefault(name, table)
            yield name, name
