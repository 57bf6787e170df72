"""A training step on an INT4 machine, beside machines whose array multiplies FP16."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.mapping.graph import Graph
from lanewise.mapping.simulate import OperatorCost, work_cost
from lanewise.mapping.training.lower import TrainingOptions, TrainingTask, lower_training, parameters
from lanewise.sim.timing import UNITS


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """A step on one machine; each task ends before the next begins."""

    config: MachineConfig
    tasks: tuple[TrainingTask, ...]
    runs: tuple[OperatorCost, ...]

    @property
    def cycles(self) -> int:
        """Clocks of the step."""
        return sum(run.cycles for run in self.runs)

    def cycles_by(self, *fields: str) -> dict[str, int]:
        """Clocks by the tasks' fields, joined by a blank, the most first.

        Args:
            fields: Of :class:`~lanewise.mapping.training.lower.TrainingTask`: ``phase``, ``kind``, ``part``, ``name``.
        """
        totals: dict[str, int] = {}
        for task, result in zip(self.tasks, self.runs, strict=True):
            key = " ".join(str(getattr(task, field)) for field in fields)
            totals[key] = totals.get(key, 0) + result.cycles
        return dict(sorted(totals.items(), key=lambda item: -item[1]))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        matrix = self.config.matrix
        cycles = max(1, self.cycles)
        return {
            "config_hash": self.config.hash,
            "array": {"rows": matrix.rows, "columns": matrix.columns, "operand_bits": matrix.operand_bits},
            "cycles": self.cycles,
            "milliseconds": self.cycles * self.config.clock_ns * 1e-6,
            "bytes": sum(run.loaded_bytes + run.stored_bytes for run in self.runs),
            "cycles_by_phase": self.cycles_by("phase"),
            "cycles_by_part": self.cycles_by("part"),
            "cycles_by_kind": self.cycles_by("phase", "kind"),
            "utilisation": {unit: sum(run.busy_clk[unit] for run in self.runs) / cycles for unit in UNITS},
        }


@dataclass(frozen=True, kw_only=True)
class TrainingSimulation:
    """The same step on an INT4 machine and on others."""

    model: str
    parameters: int
    macs: int
    """Multiply-accumulates of the step where every row is multiplied."""
    machine: TrainingCost
    others: Mapping[str, TrainingCost]

    def speedup(self, other: str) -> float:
        """Cycles on ``other`` over those on the machine."""
        return self.others[other].cycles / self.machine.cycles

    @property
    def overhead(self) -> float:
        """Share of the machine's cycles that goes to largest magnitudes, transform, quantiser, norms, sampling, turning back."""
        parts = self.machine.cycles_by("part")
        return sum(parts.get(part, 0) for part in ("quantise", "sample", "turn back")) / self.machine.cycles

    def as_dict(self) -> dict[str, Any]:
        """The object that ``lanewise simulate --training --json`` prints."""
        return {
            "model": self.model,
            "parameters": self.parameters,
            "macs": self.macs,
            **self.machine.as_dict(),
            "quantiser_overhead": self.overhead,
            "baselines": {
                name: cost.as_dict() | {"speedup": self.speedup(name)} for name, cost in self.others.items()
            },
        }


def training_cost(
    graph: Graph, config: MachineConfig, options: TrainingOptions | None = None
) -> TrainingCost:
    """A step of ``graph`` on ``config``'s machine.

    Raises:
        UserError: An operator has no kernel or does not fit the machine.
    """
    tasks = lower_training(graph, config, options)
    runs = []
    for task in tasks:
        try:
            runs.append(work_cost(task.work, config))
        except ValueError as error:
            raise UserError(
                f"operator {task.name} ({task.phase}) does not fit the machine: {error}"
            ) from None
    return TrainingCost(config=config, tasks=tasks, runs=tuple(runs))


def simulate_training(
    graph: Graph, config: MachineConfig, others: Mapping[str, MachineConfig], options: TrainingOptions | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> TrainingSimulation:  # fmt: skip
    """A step on ``config``'s machine and on ``others``.

    Raises:
        UserError: As :func:`training_cost`.
    """
    costs: dict[str, TrainingCost] = {}
    for name, machine in (("machine", config), *others.items()):
        progress(f"{graph.model}: a training step on {name}")
        costs[name] = training_cost(graph, machine, options)
    own = costs.pop("machine")
    whole = next((cost for cost in costs.values() if cost.config.matrix.operand_bits == 16), own)
    return TrainingSimulation(
        model=graph.model, parameters=parameters(graph), macs=sum(task.work.macs for task in whole.tasks), machine=own, others=costs
    )  # fmt: skip
