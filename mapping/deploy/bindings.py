"""What every task of a lowering is of a network's values: its work with scales, and a tensor of the network behind each name of its Program."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.mapping.deploy import movements
from lanewise.mapping.deploy.operands import step_operands, with_scalars
from lanewise.mapping.deploy.parameters import Parameters
from lanewise.mapping.deploy.quantities import biases, multipliers, quantised_lines
from lanewise.mapping.deploy.tensors import Tensors
from lanewise.mapping.graph import Graph, Operator
from lanewise.mapping.kernels.elementwise import CHUNK_ELEMENTS, ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import LookUpWork, MovementWork
from lanewise.mapping.kernels.patch_loads import ZEROS, zeros_bytes
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.scan import ScanWork
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.layout import Order, channels_innermost
from lanewise.mapping.lower import Lowering, Task
from lanewise.mapping.lower_rows import groups_of, reduction_order
from lanewise.mapping.matrix_operands import matrix_of
from lanewise.mapping.tables import table_tensors
from lanewise.models.matrix_layout import column_constants, packed_lines
from lanewise.sim.program import Program

if TYPE_CHECKING:
    import torch

Computing: TypeAlias = MatmulWork | RowsWork | ElementwiseWork | WindowsWork
Deployable: TypeAlias = Computing | MovementWork | LookUpWork | ScanWork
"""Works that can be bound."""

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BoundTask:
    """A task with its scales, and the tensor of the network that stands behind each name of its Program."""

    task: Task
    work: Deployable
    tensors: Mapping[str, str]
    result: int
    """The value that it computes, or puts into another order."""
    size: int
    """Elements of the result."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The formats that it computes its result in; of what only moves, none."""
        return () if isinstance(self.work, MovementWork | LookUpWork | ScanWork) else self.work.outputs

    @property
    def stored(self) -> tuple[str, ...]:
        """The Program's names of its results."""
        return self.outputs or ("out",)

    def program(self, config: MachineConfig) -> Program:
        """Its Program, in its own names."""
        return self.work.program(config)


class Bindings:
    """Binds tasks one by one: what a task reads is there when it is bound.

    Raises:
        UserError: The machine's array does not take INT4.
    """

    def __init__(
        self, graph: Graph, module: "torch.nn.Module", inputs: "Sequence[torch.Tensor]", config: MachineConfig,
        folded: "Mapping[int, torch.Tensor]",
    ) -> None:  # fmt: skip
        if not config.matrix.splits:
            raise UserError(
                f"matrix.operand_bits must be 4 to deploy a network, not {config.matrix.operand_bits}"
            )
        lowering = self.lowering = Lowering(graph, False)
        graph = lowering.graph
        self.graph, self.config, self.bits = graph, config, config.matrix.operand_bits
        self.tasks = lowering.lower().tasks
        layouts = self.layouts = lowering.layouts
        self.operators = {operator.name: operator for operator in graph.operators}
        self.parameters = Parameters(graph, module, folded)
        self.tensors = Tensors(layouts, self.bits)
        given = [value.id for value in graph.values if value.origin == "input"]
        self.given = {value: tensor.detach().numpy() for value, tensor in zip(given, inputs, strict=True)}
        for value, array in self.given.items():
            lying = array.astype(np.float16).transpose(layouts.order(value))
            self.tensors.put(self.tensors.name(value, "fp16"), lying)

    def bound(self, task: Task, inverse: float = 1.0) -> BoundTask:
        """A task whose quantised result, if it has one, is the real one times ``inverse``.

        Raises:
            ValueError: It is of a kind that has no deployment, or its values lie as no kernel reads them.
        """
        work = task.work
        if task.value is not None:
            if isinstance(work, MovementWork):
                return movements.rearrangement(self, task, work, task.value)
            return self._quantisation(task, task.value, inverse)
        members = [self.operators[name] for name in task.members]
        if isinstance(work, MovementWork):
            return movements.movement(self, task, work, members[0], self._next_result(members[0], work.form))
        if isinstance(work, LookUpWork):
            return movements.look_up(self, task, work, members[0])
        if isinstance(work, ScanWork):
            return movements.scan(self, task, work, members[0])
        if members[0].kind == "recurrent":
            raise ValueError(f"{members[0].function} has no deployment")
        if isinstance(work, MatmulWork):
            return self._product(task, work, members, inverse)
        if isinstance(work, ElementwiseWork):
            return self._elementwise(task, work, members, inverse)
        if isinstance(work, RowsWork):
            return self._rows(task, work, members[0], inverse)
        return self._windows(task, work, members, inverse)

    def _next_result(self, operator: Operator, form: str) -> int:
        """The first result of a movement that is not there yet: each has a task."""
        left = [out for out in operator.outputs if self.tensors.name(out, form) not in self.tensors.memory]
        return (left or operator.outputs[-1:])[0]

    def _quantisation(self, task: Task, value: int, inverse: float) -> BoundTask:
        """A quantisation of a value, as it lies or as it was rearranged."""
        assert isinstance(task.work, ElementwiseWork)
        work, layouts, tensors = replace(task.work, inverse_step=inverse), self.layouts, self.tensors
        if task.order is not None:
            line, size = task.shape[task.order[-1]] if task.order else 1, prod(task.shape)
            given = movements.LINES if work.elements > size else "fp16"
            found, name = (
                tensors.moved(value, task.shape, task.order, form) for form in (given, "quantised")
            )
            self._laid_by_host(value, task.shape, task.order, lines=work.elements > size)
            tensors.room_for(name, size, line, "quantised")
            source = self.present(found, "fp16")
            return self.made(task, work, {"in": source, "quantised": name}, value, work.elements)
        if work.elements != layouts.size(value):
            return self.made(task, work, {"in": self._stored_picture(task, value)}, value, work.elements)
        self._whole(self._line_read(value), layouts.size(value))
        return self.made(task, work, {"in": self.present(tensors.name(value, "fp16"), "fp16")}, value)

    def _line_read(self, value: int) -> int:
        """Elements of a line of a value as all of its readers see it, such as heads that lie side by side in each token; else as it lies."""
        layouts = self.layouts
        views = {view for _, view in self.lowering.uses.get(layouts.of(value), ())}
        lines = {layouts.shape(view)[layouts.order(view)[-1]] for view in views if layouts.order(view)}
        return lines.pop() if len(lines) == 1 else self.tensors.line(value)

    def _stored_picture(self, task: Task, value: int) -> str:
        """A picture that is given, with a channel of zeros more."""
        channels = self.tensors.line(value)
        lying = self.tensors.fp16(self.tensors.name(value, "fp16")).reshape(-1, channels)
        return self.host(task, "in", np.pad(lying, ((0, 0), (0, channels % 2))))

    def _elementwise(
        self, task: Task, work: ElementwiseWork, members: Sequence[Operator], inverse: float
    ) -> BoundTask:
        first, result = members[0], members[-1].outputs[0]
        tensors: dict[str, str] = {}
        if first.kind == "normalise":
            own = first.inputs[0]
            steps, operands = self._steps(members[1:], first.outputs[0], work.steps[2:])
            steps = (*work.steps[:2], *steps)
            operands = [(k + 2, value, out) for k, value, out in operands]
            for k, channel in enumerate(self._norm(first)):
                tensors[f"operand{k}"] = self._channels_of_chunk(task, k, channel, work)
        else:
            own = max((i for i in first.inputs if self.layouts.computed(i)), key=self.layouts.size)
            steps, operands = self._steps(members, None, work.steps)
        out = first.outputs[0]
        tensors["in"] = self.fp16(own, self.layouts.shape(out), self.layouts.order(out))
        for k, value, out in operands:
            tensors[f"operand{k}"] = (
                self._channels_of_chunk(task, k, self._channel(value, out), work)
                if steps[k].operand == "channel"
                else self._tensor(task, k, value, out)
            )
        if "quantised" in work.outputs:
            self._whole(self.tensors.line(result), self.layouts.size(result))
        return self.made(task, replace(work, steps=steps, inverse_step=inverse), tensors, result)

    def _channels_of_chunk(self, task: Task, k: int, channel: Reals, work: ElementwiseWork) -> str:
        """A channel operand over and over, as long as a chunk."""
        count = work.chunk_elements
        if count % channel.size and count < work.elements:
            raise ValueError(f"channels must be at most {CHUNK_ELEMENTS}, not {channel.size}")
        return self.host(task, f"operand{k}", np.resize(channel, count))

    def _rows(self, task: Task, work: RowsWork, operator: Operator, inverse: float) -> BoundTask:
        x, out = operator.inputs[0], operator.outputs[0]
        order = (
            reduction_order(self.layouts, operator)[1]
            if operator.kind == "reduce"
            else self.layouts.order(out)
        )
        tensors = {"in": self.fp16(x, self.layouts.shape(x), order)}
        for name, value in zip([each.removeprefix("@") for each in work.weights], operator.inputs[1:]):
            weights = self.parameters[value]
            if operator.function in ("group_norm", "instance_norm"):
                weights = self._of_groups(weights, work, operator)
            tensors[name] = self.host(task, name, weights)
        return self.made(task, replace(work, inverse_step=inverse), tensors, out)

    def _of_groups(self, weights: Reals, work: RowsWork, operator: Operator) -> Reals:
        """A number for each channel, as a row of each group meets them."""
        groups, channels = groups_of(self.layouts, operator)
        own = weights.reshape(groups, -1)
        if not channels:
            return np.repeat(own, work.length // own.shape[1], axis=1)
        return np.stack([np.resize(each, work.weight_elements(self.config)) for each in own])

    def _windows(
        self, task: Task, work: WindowsWork, members: Sequence[Operator], inverse: float
    ) -> BoundTask:
        first, result = members[0], members[-1].outputs[0]
        folded = [each for each in members[1:] if each.index in self.lowering.column_operators]
        x = self.layouts.shape(first.inputs[0])
        order = (
            reduction_order(self.layouts, first)[1] if first.kind == "reduce" else channels_innermost(len(x))
        )
        tensors = {"in": self.fp16(first.inputs[0], x, order)}
        if work.function == "depthwise":
            weight = self.parameters[first.inputs[1]]  # channels, 1, kernel
            taps = weight.reshape(weight.shape[0], -1).T
            bias = self.parameters[first.inputs[2]] if len(first.inputs) > 2 else np.zeros(weight.shape[0])
            for each in folded:
                factor, shift = self._of_columns(each)
                taps, bias = taps * factor, bias * factor + shift
            tensors["weights"] = self.host(task, "weights", np.concatenate([taps, bias[None]]))
        after, before = members[1 + len(folded) :], (folded or [first])[-1].outputs[0]
        steps, operands = self._steps(after, before, work.steps)
        for k, value, out in operands:
            tensors[f"operand{k}"] = (
                self.host(task, f"operand{k}", self._channel(value, out))
                if steps[k].operand == "channel"
                else self._tensor(task, k, value, out)
            )
        return self.made(task, replace(work, steps=steps, inverse_step=inverse), tensors, result)

    # Products

    def _product(
        self, task: Task, work: MatmulWork, members: Sequence[Operator], inverse: float
    ) -> BoundTask:
        operator, result = members[0], members[-1].outputs[0]
        given = work
        folded = [each for each in members[1:] if each.index in self.lowering.column_operators]
        after = members[1 + len(folded) :]
        work = work.on(self.config)
        right = operator.inputs[1]
        if not self.layouts.computed(operator.inputs[0]):
            raise ValueError("a parameter must be the right operand of a product")
        tensors = {"left": self._operand(operator, 0)}
        scale = self.tensors.scales[tensors["left"]]
        columns = work.batch * work.n if work.weights else work.n
        bias: Reals = np.zeros(columns)
        if len(operator.inputs) > 2:
            bias = np.resize(self.parameters[operator.inputs[2]].reshape(-1), columns)
        if work.weights:
            lines = self._lines(operator, right, given, work)
            for each in folded:
                factor, shift = self._of_columns(each)
                lines, bias = lines * np.resize(factor, (len(lines), 1)), bias * factor + shift
            whole, steps_of_lines = quantised_lines(lines, self.bits)
            tensors["right"] = self.laid(task, "right", packed_lines(whole, self.bits))
            factors = scale * steps_of_lines
        else:
            tensors["right"] = self._operand(operator, 1)
            scale *= prod(float(self._of_columns(each)[0]) for each in folded)
            factors = np.full(work.n, scale * self.tensors.scales[tensors["right"]])
        steps, operands = self._steps(after, (folded or [operator])[-1].outputs[0], work.steps)
        direct = not steps and work.outputs == ("quantised",)
        mults, shift_bits = multipliers(factors * inverse if direct else factors)
        tensors["constants"] = self.laid(task, "constants", self._constants(work, bias, factors, mults))
        for k, value, out in operands:
            if steps[k].operand == "channel":
                tensors[f"channel{k}"] = self.host(task, f"channel{k}", self._channel(value, out))
            else:
                tensors[f"operand{k}"] = self._tensor(task, k, value, out)
        if work.patches is not None and (size := zeros_bytes(work.patches, self.bits)):
            tensors[ZEROS] = self.laid(task, ZEROS, np.zeros(size, np.uint8))
        made = replace(work, steps=steps, shift=shift_bits, inverse_step=1.0 if direct else inverse)
        return self.made(task, made, tensors, result)

    def _constants(
        self, work: MatmulWork, bias: Reals, factors: Reals, mults: npt.NDArray[np.int64]
    ) -> npt.NDArray[Any]:
        """Those of each product's columns, or one tile's for all."""
        tile, matrix = work.tile_shape(self.config)[1], self.config.matrix
        if not work.weights:
            return column_constants(np.zeros(tile), np.full(tile, mults[0]), matrix, tile)
        products = zip(np.split(biases(bias, factors), work.batch), np.split(mults, work.batch))
        return np.concatenate(
            [column_constants(own, each, matrix, tile).reshape(-1) for own, each in products]
        )

    def _operand(self, operator: Operator, place: int) -> str:
        """An operand of the matrix unit."""
        value, tensors = operator.inputs[place], self.tensors
        if operator.kind == "matmul" and matrix_of(self.layouts, operator, place).direct:
            return self.present(tensors.name(value, "quantised"), "quantised")
        shape, order = self.lowering.operand(operator, place)
        if self.layouts.lies(value, shape, order):
            return self.present(tensors.name(value, "quantised"), "quantised")
        return self.present(tensors.moved(value, shape, order, "quantised"), "quantised")

    def _lines(self, operator: Operator, value: int, given: MatmulWork, work: MatmulWork) -> Reals:
        """Weights, a line for each column of each product: of a convolution kernel positions, then channels, as many as there are in memory; of groups that
        are ``given`` one by one and multiplied together, zeros for the others' channels."""
        if operator.kind == "matmul":
            return self.parameters.lines(value, work.n, work.k)
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

    def _of_columns(self, operator: Operator) -> tuple[Reals, Reals]:
        """The factor and the addend of each column, or of all, that an operator behind a product is."""
        if operator.kind == "normalise":
            return self._norm(operator)
        parameter = next((i for i in operator.inputs if not self.layouts.computed(i)), None)
        number = np.asarray(
            operator.attributes["scalar"] if parameter is None else self.parameters[parameter].reshape(-1), np.float64
        )  # fmt: skip
        match operator.function:
            case "multiply":
                return number, np.zeros(())
            case "divide":
                return 1 / number, np.zeros(())
            case "add":
                return np.ones(()), number
            case _:
                return np.ones(()), -number

    # Operands and results

    def _steps(
        self, members: Sequence[Operator], value: int | None, planned: tuple[Step, ...]
    ) -> tuple[tuple[Step, ...], list[tuple[int, int, int]]]:
        """The steps with the numbers that are parameters, and the vector operands by their step's number, with what the step is of."""
        read = list(step_operands(members, self.layouts, value)) if members else []
        numbers = {
            value: float(self.parameters[value].reshape(()))
            for step, value, _ in read
            if step.operand == "scalar" and value is not None
        }
        steps = with_scalars(read, numbers)
        if [step.function for step in steps] != [step.function for step in planned]:
            raise ValueError(f"steps must be {planned}, not {steps}")
        return steps, [
            (k, value, out)
            for k, (step, value, out) in enumerate(read)
            if step.operand in ("tensor", "channel") and value is not None
        ]

    def _tensor(self, task: Task, k: int, value: int, out: int) -> str:
        """An operand of as many elements as the result, in its order."""
        shape, order = self.layouts.shape(out), self.layouts.order(out)
        if self.layouts.computed(value):
            return self.fp16(value, shape, order)
        whole = np.broadcast_to(self.parameters[value], shape).transpose(order)
        return self.host(task, f"operand{k}", whole)

    def _channel(self, value: int, out: int) -> Reals:
        """A parameter along the axis that lies innermost."""
        real, rank = self.parameters[value], len(self.layouts.shape(out))
        aligned = real.reshape((1,) * (rank - real.ndim) + real.shape)
        if aligned.shape[self.layouts.innermost(out)] != real.size:
            raise ValueError(f"a vector of {real.size} must be along the axis that lies innermost")
        return aligned.reshape(-1)

    def fp16(self, value: int, shape: Sequence[int], order: Order) -> str:
        """The FP16 tensor of a value that is read as ``shape``, in ``order``.

        Raises:
            ValueError: There is none.
        """
        if self.layouts.places(value) is None:
            raise ValueError(f"value {value} must be a view whose elements lie at steps")
        if self.layouts.lies(value, shape, order):
            return self.present(self.tensors.name(value, "fp16"), "fp16")
        self._laid_by_host(value, shape, order)
        return self.present(self.tensors.moved(value, shape, order, "fp16"), "fp16")

    def _laid_by_host(self, value: int, shape: Sequence[int], order: Order, *, lines: bool = False) -> None:
        """What is given, in any order that it is read in, with ``lines`` each with an element more."""
        name = self.tensors.moved(value, shape, order, movements.LINES if lines else "fp16")
        if self.layouts.given(value) and name not in self.tensors.memory:
            lying = self.tensors.value(value, shape).transpose(order)
            self.tensors.put(name, np.pad(lying, [*[(0, 0)] * (lying.ndim - 1), (0, 1)]) if lines else lying)

    def present(self, name: str, form: str) -> str:
        """A tensor that is there.

        Raises:
            ValueError: It is not.
        """
        if name not in (self.tensors.memory if form == "fp16" else self.tensors.scales):
            raise ValueError(f"{name} must be in memory")
        return name

    def _whole(self, line: int, size: int) -> None:
        """Lines that are stored side by side must be whole bytes."""
        if line * self.bits % 8 and line != size:
            raise ValueError(f"a value's innermost axis must be whole bytes of INT4, not {line} elements")

    def host(self, task: Task, name: str, values: npt.NDArray[Any]) -> str:
        """A tensor of FP16 numbers that the host lays out."""
        return self.laid(task, name, np.asarray(values).astype(np.float16))

    def laid(self, task: Task, name: str, values: npt.NDArray[Any]) -> str:
        """A tensor of bytes that the host lays out."""
        return self.tensors.put(
            f"{task.name} {name}", np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        )

    def made(
        self, task: Task, work: Deployable, tensors: Mapping[str, str], result: int, size: int = 0
    ) -> BoundTask:
        """A task with rooms for its results and the tables that it loads; ``size``: elements, if not the result's."""
        outputs: dict[str, str] = {}
        if not isinstance(work, MovementWork | LookUpWork | ScanWork):
            outputs = {form: self.tensors.room(result, form) for form in work.outputs if form not in tensors}
        return BoundTask(
            task=task, work=work, tensors={**tensors, **outputs, **dict(self._tables(work))}, result=result,
            size=size or self.layouts.size(result),
        )  # fmt: skip

    def _tables(self, work: Deployable) -> Iterator[tuple[str, str]]:
        """Flex-SFU's tables that a work loads."""
        for name, table in table_tensors(work.program(self.config), self.config).items():
            self.tensors.memory.setdefault(name, table)
            yield name, name
