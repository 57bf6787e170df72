"""A network on a machine and on its baseline: cycles by operator and by unit, utilisation, bytes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol, TypeAlias, TypeVar

from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.mapping.graph import Graph
from lanewise.mapping.kernels import candidate, elementwise, matmul_vector, rows, window_bands, window_code
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.price import banks, price
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.mapping.lower import Lowered, Task, Work, lower
from lanewise.sim.engine import Run
from lanewise.sim.program import Program
from lanewise.sim.timing import UNITS

_FLEX_SFU = UNITS.index("flex_sfu")

Stored = TypeVar("Stored")
"""Any work."""


class Priced(Protocol):
    """A work: what it is on a machine."""

    def program(self, config: MachineConfig, /) -> Program: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorCost:
    """What one task of the network takes on one machine; small, for a sweep keeps many."""

    cycles: int
    busy: tuple[int, ...]
    """Clocks that each of :data:`~lanewise.sim.timing.UNITS` was held."""
    loaded_bytes: int
    stored_bytes: int
    instructions: int

    @classmethod
    def of(cls, run: Run) -> "OperatorCost":
        """What is kept of a Program's run."""
        busy = tuple(run.busy_clk[unit] for unit in UNITS)
        return cls(
            cycles=run.cycles, busy=busy, loaded_bytes=run.loaded_bytes, stored_bytes=run.stored_bytes, instructions=run.instructions
        )  # fmt: skip

    @property
    def busy_clk(self) -> dict[str, int]:
        """Clocks that each unit was held."""
        return dict(zip(UNITS, self.busy, strict=True))

    @property
    def unit(self) -> str:
        """The unit that is busy longest."""
        return UNITS[self.busy.index(max(self.busy))]


Cost: TypeAlias = Callable[[Work, MachineConfig], OperatorCost]
"""What :func:`work_cost` is, and whoever remembers what it said."""


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """All tasks of a network, one after another: each ends before the next begins."""

    config: MachineConfig
    tasks: tuple[Task, ...]
    costs: tuple[OperatorCost, ...]

    @property
    def cycles(self) -> int:
        """Clocks from the first to the last."""
        return sum(cost.cycles for cost in self.costs)

    @property
    def bytes(self) -> int:
        """Bytes loaded from and stored to external memory."""
        return sum(cost.loaded_bytes + cost.stored_bytes for cost in self.costs)

    @property
    def busy_clk(self) -> dict[str, int]:
        """Clocks that each unit was held."""
        return {unit: sum(cost.busy[place] for cost in self.costs) for place, unit in enumerate(UNITS)}

    @property
    def utilisation(self) -> dict[str, float]:
        """Share of the cycles that each unit was held; 0 to 1."""
        return {unit: busy / self.cycles if self.cycles else 0.0 for unit, busy in self.busy_clk.items()}

    def cycles_by_kind(self) -> dict[str, int]:
        """Cycles by kind of operator, the largest first."""
        totals: dict[str, int] = {}
        for task, cost in zip(self.tasks, self.costs):
            totals[task.kind] = totals.get(task.kind, 0) + cost.cycles
        return dict(sorted(totals.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A network on a machine, and on the same machine without Flex-SFU."""

    model: str
    machine: NetworkCost
    baseline: NetworkCost
    unmapped: tuple[str, ...]

    @property
    def speedup(self) -> float:
        """Baseline cycles over cycles."""
        return self.baseline.cycles / self.machine.cycles if self.machine.cycles else 1.0

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the network needs (matrix unit and depthwise convolutions)."""
        return sum(task.work.macs for task in self.machine.tasks)

    def as_dict(self) -> dict[str, Any]:
        """The object that ``lanewise simulate --json`` prints."""
        rows = zip(self.machine.tasks, self.machine.costs, self.baseline.costs)
        ideal = sum(t.work.macs for t in self.machine.tasks if t.kind in ("matmul", "convolution"))
        peak = self.machine.config.matrix.macs_per_clk * self.machine.cycles
        return {
            "model": self.model,
            "config_hash": self.machine.config.hash,
            "baseline": "the same machine without Flex-SFU: activations in software on the vector unit",
            "cycles": self.machine.cycles,
            "baseline_cycles": self.baseline.cycles,
            "speedup": self.speedup,
            "milliseconds": self.machine.cycles * self.machine.config.clock_ns * 1e-6,
            "baseline_milliseconds": self.baseline.cycles * self.machine.config.clock_ns * 1e-6,
            "macs": self.macs,
            "matrix_efficiency": ideal / peak if peak else 0.0,
            "bytes": self.machine.bytes,
            "instructions": sum(cost.instructions for cost in self.machine.costs),
            "utilisation": self.machine.utilisation,
            "baseline_utilisation": self.baseline.utilisation,
            "cycles_by_kind": self.machine.cycles_by_kind(),
            "baseline_cycles_by_kind": self.baseline.cycles_by_kind(),
            "operators": [
                {
                    "name": task.name, "kind": task.kind, "functions": list(task.functions), "members": list(task.members),
                    "unit": cost.unit, "cycles": cost.cycles, "baseline_cycles": base.cycles, "macs": task.work.macs,
                    "bytes": cost.loaded_bytes + cost.stored_bytes, "busy_clk": cost.busy_clk, "mapped": task.mapped,
                }
                for task, cost, base in rows
            ],
            "unmapped": list(self.unmapped),
        }  # fmt: skip


@lru_cache(maxsize=1 << 17)
def work_cost(work: Priced, config: MachineConfig) -> OperatorCost:
    """Clocks of one work on one machine; works are values, so equal ones are run once.

    Raises:
        ValueError: Its buffers, each in banks of its own, do not fit the scratchpad.
    """
    stored = as_stored(work, config)
    run: Run | None = None
    if isinstance(stored, MatmulWork):
        program, run = stored.fastest(config)
    elif isinstance(stored, WindowsWork):
        program = stored.timed(config)
    else:
        program = stored.program(config)
    needed = banks(program, config)
    if needed > config.scratchpad.banks:
        raise ValueError(
            f"scratchpad.banks must hold the operator's {needed} banks of {config.scratchpad.bank_bytes} bytes, not {config.scratchpad.banks}"
        )
    return OperatorCost.of(run or price(program, config))


def forget() -> None:
    """Empty the caches of works and kernels, for who measures how long choosing and pricing them takes."""
    for kept in (
        work_cost,
        matmul_vector.kernel_of,
        elementwise.kernel_of,
        rows.way_of,
        rows.long_way_of,
        candidate.shared_family,
        window_bands.pass_clocks,
        window_code.strip_code,
    ):
        kept.cache_clear()


def as_stored(work: Stored, config: MachineConfig) -> Stored:
    """``work`` with its results as the machine keeps them: the operands of an FP16 array are the FP16 values themselves."""
    if config.matrix.operand_bits != 16:
        return work
    if isinstance(work, ElementwiseWork) and not work.steps:  # nothing to quantise
        return replace(work, elements=0)
    if isinstance(work, MatmulWork | RowsWork | ElementwiseWork | WindowsWork):
        return replace(work, outputs=("fp16",))
    return work


def network_cost(
    lowered: Lowered, config: MachineConfig, *, like: NetworkCost | None = None, cost: Cost | None = None
) -> NetworkCost:
    """Run every task of a network on ``config``'s machine; ``cost`` stands for :func:`work_cost`.

    ``like`` is the cost on the same machine with Flex-SFU, for ``config`` without: a task that does not use the unit is the
    same Program on both, and is not run again.
    """
    costs: list[OperatorCost] = []
    known: dict[Any, OperatorCost] = {}
    for index, task in enumerate(lowered.tasks):
        if like is not None and not like.costs[index].busy[_FLEX_SFU]:
            costs.append(like.costs[index])
            continue
        found = known.get(task.work)
        if found is None:
            try:
                found = known[task.work] = (cost or work_cost)(task.work, config)
            except ValueError as error:
                raise UserError(
                    f"operator {task.name} ({task.kind}) does not fit the machine: {error}"
                ) from None
        costs.append(found)
    return NetworkCost(config=config, tasks=lowered.tasks, costs=tuple(costs))


def simulate(
    graph: Graph,
    config: MachineConfig,
    *,
    allow_unmapped: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Simulation:
    """Cycles of ``graph`` on ``config``'s machine and on its baseline.

    Raises:
        UserError: An operator has no kernel (and ``allow_unmapped`` is false) or does not fit the machine.
    """
    lowered = lower(graph, allow_unmapped=allow_unmapped)
    if progress is not None:
        progress(f"{graph.model}: {len(lowered.tasks)} tasks")
    return simulate_lowered(lowered, config, model=graph.model)


def simulate_lowered(
    lowered: Lowered, config: MachineConfig, *, model: str, cost: Cost | None = None
) -> Simulation:
    """Cycles of a network's tasks on ``config``'s machine and on its baseline; ``cost`` stands for :func:`work_cost`.

    Raises:
        UserError: An operator does not fit the machine.
    """
    machine = network_cost(lowered, config, cost=cost)
    baseline = network_cost(lowered, config.baseline(), like=machine, cost=cost)
    faster = zip(
        machine.costs, baseline.costs, strict=True
    )  # software also runs where Flex-SFU is: loading a table may not pay
    machine = replace(
        machine, costs=tuple(own if own.cycles <= other.cycles else other for own, other in faster)
    )
    return Simulation(model=model, machine=machine, baseline=baseline, unmapped=lowered.unmapped)
