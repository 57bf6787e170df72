"""A network on values: every task of the lowering bound to tensors, quantised by what the network itself computes.

Tasks run in order on the functional simulator. A task that stores operands of the matrix unit first runs with FP16 results, and
what these are decides on the scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.mapping.deploy.bindings import Bindings, BoundTask
from lanewise.mapping.deploy.quantities import inverse_step
from lanewise.mapping.functional import execute_program
from lanewise.mapping.graph import Graph
from lanewise.mapping.kernels.movement import LookUpWork, MovementWork
from lanewise.mapping.kernels.scan import ScanWork
from lanewise.mapping.lower import Task
from lanewise.mapping.trace import trace

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A network bound to external memory, and what it computes there."""

    graph: Graph
    config: MachineConfig
    tasks: tuple[BoundTask, ...]
    before: Mapping[str, npt.NDArray[np.uint8]]
    """External memory by tensor, before the first task."""
    after: Mapping[str, npt.NDArray[np.uint8]]
    """After the last one."""
    results: tuple[npt.NDArray[np.float16], ...]
    """What the network returns, in its shapes."""


def deploy(module: "torch.nn.Module", inputs: "Sequence[torch.Tensor]", config: MachineConfig) -> Deployment:
    """Bind a network to the core and run it.

    Args:
        module: With real weights, on the CPU.
        inputs: Of one run; activations' scales are what these make them.
        config: A machine whose array takes INT4.

    Raises:
        UserError: An operator has no kernel, or none that can be executed for its shapes, or does not fit the machine.
    """
    folded: dict[int, torch.Tensor] = {}
    graph = trace(module, inputs, folded=folded)
    return _Deployer(graph, module, inputs, config, folded).deploy()


class _Deployer(Bindings):
    """Walks the tasks of a network's lowering."""

    def deploy(self) -> Deployment:
        """Bind each task and run it."""
        bound: list[BoundTask] = []
        before = {name: array.copy() for name, array in self.tensors.memory.items()}
        for task in self.tasks:
            try:
                ready = self._scaled(task)
                self._run(ready)
            except ValueError as error:
                raise UserError(
                    f"{self.graph.model}: task {task.name} ({task.kind}) cannot be deployed: {error}"
                ) from None
            bound.append(ready)
            stored = set(ready.stored)
            for local, name in ready.tensors.items():  # results are rooms of zeros until they are stored
                found = self.tensors.memory[name]
                before.setdefault(name, np.zeros_like(found) if local in stored else found.copy())
        results = tuple(map(self._result, self.graph.outputs))
        return Deployment(
            graph=self.graph, config=self.config, tasks=tuple(bound), before=before, after=self.tensors.memory, results=results,
        )  # fmt: skip

    def _result(self, value: int) -> npt.NDArray[np.float16]:
        """What the network returns; the host knows what depends on no input."""
        if not self.layouts.computed(value):
            return self.parameters[value].astype(np.float16).reshape(self.layouts.shape(value))
        try:
            return self.tensors.value(value)
        except ValueError as error:
            raise UserError(f"{self.graph.model}: a result cannot be deployed: {error}") from None

    def _scaled(self, task: Task) -> BoundTask:
        """A task with the scale of its quantised result, which its own FP16 results decide on."""
        first = self.bound(task)
        if isinstance(first.work, MovementWork | LookUpWork | ScanWork) or "quantised" not in first.outputs:
            return first
        trial = replace(first.work, outputs=("fp16",))
        values = np.zeros(first.size, np.float16)
        self._execute(replace(first, work=trial), {"fp16": values})
        inverse = inverse_step(values, self.bits)
        self.tensors.scales[first.tensors["quantised"]] = 1 / inverse
        return self.bound(task, inverse)

    def _run(self, ready: BoundTask) -> None:
        self._execute(ready, {})

    def _execute(self, ready: BoundTask, others: Mapping[str, npt.NDArray[Any]]) -> None:
        memory = {name: self.tensors.memory[tensor] for name, tensor in ready.tensors.items()}
        execute_program(ready.program(self.config), self.config, memory | dict(others))
