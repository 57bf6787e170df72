"""What a worker does: one network on several machines, as rows; whatever goes wrong becomes a row, too."""

import ctypes
import gc
import resource
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import thread_time

import psutil

from lanewise.errors import UserError
from lanewise.files import cache_folder
from lanewise.mapping.graph import Graph
from lanewise.mapping.lower import Lowered, lower
from lanewise.mapping.simulate import Simulation, simulate_lowered
from lanewise.mapping.trace import content_hash, trace_model
from lanewise.mapping.zoo import ZooModel
from lanewise.sweep.activations import activations
from lanewise.sweep.costs import KnownCosts, cost_store
from lanewise.sweep.limits import LimitError, Limits, MemoryLimitError
from lanewise.sweep.machines import Machine
from lanewise.sweep.row import NO_KERNEL, SweepRow
from lanewise.sweep.sources import row_hash

_KEPT_SHARE = 0.6
"""A worker that keeps more than this part of its memory limit after a network that passed it wants to be started anew."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What the shapes of a network's inputs depend on."""

    batch: int = 1
    sequence: int | None = None
    resolution: int | None = None
    phase: str | None = None
    context: int | None = None

    def options(self, model: ZooModel) -> str:
        """Those that are set and matter for ``model``, as a row has them; of a file, what tells its content from another's as well.

        >>> resnet = ZooModel(name="timm:resnet18", library="timm", family="resnet", domain="vision")
        >>> Shapes(sequence=64).options(resnet)
        'batch=1'
        """
        parts = {"batch": str(self.batch)}
        if self.sequence is not None and model.domain != "vision":
            parts["sequence"] = str(self.sequence)
        for name, value in (
            ("resolution", self.resolution),
            ("phase", self.phase),
            ("context", self.context),
        ):
            if value is not None:
                parts[name] = str(value)
        if content := content_hash(model.name):
            parts["file"] = content
        return " ".join(f"{name}={value}" for name, value in parts.items())


@dataclass(frozen=True, kw_only=True)
class NetworkTask:
    """A network, the machines that it is to be run on, and how."""

    model: ZooModel
    shapes: Shapes
    machines: tuple[Machine, ...]
    allow_unmapped: bool = False
    keep_costs: bool = True
    timeout_seconds: float | None = None
    """Wall clock of tracing and lowering, and again of each machine."""
    memory_bytes: int | None = None
    """Resident memory of the worker."""
    cache: Path | None = None
    """Folder of traces and costs; ``None``: the worker's own."""

    def failed(self, machine: Machine, reason: str) -> SweepRow:
        """The row of a network that failed."""
        return SweepRow(
            model=self.model.name, library=self.model.library, family=self.model.family, domain=self.model.domain,
            year=self.model.year, options=self.shapes.options(self.model), config_hash=machine.hash,
            source_hash=row_hash(), config=machine.label, status="failed", reason=" ".join(reason.split()), peak_bytes=_peak_bytes(),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What comes back from a worker."""

    rows: tuple[SweepRow, ...]
    worn: bool = False
    """Whether the worker keeps so much memory that the next network would not have enough."""


def run_network(task: NetworkTask) -> Outcome:
    """A row for each machine of ``task``; never raises what a network or a machine is the cause of."""
    folder = task.cache or cache_folder()
    failures = _Failures(task)
    with failures.of(*task.machines), _limits(task):
        start = thread_time()
        graph, trace_seconds = _trace(task, folder)
        lowered = lower(graph, allow_unmapped=True)
        if lowered.unmapped and not task.allow_unmapped:
            raise UserError(_without_kernel(lowered.unmapped))
        if not lowered.tasks:
            raise UserError("no operator computes anything of the input; expected at least one")
        shared_seconds = (thread_time() - start - trace_seconds) / len(task.machines)
    if failures.rows:
        return failures.outcome
    rows: list[SweepRow] = []
    for machine in task.machines:
        with failures.of(machine):
            start = thread_time()
            result = _priced(task, lowered, machine, folder)
            seconds = thread_time() - start + shared_seconds
            rows.append(_row(task, machine, graph, result, trace_seconds, seconds))
            trace_seconds = 0.0
    return Outcome(rows=(*rows, *failures.rows), worn=failures.worn)


def _priced(task: NetworkTask, lowered: Lowered, machine: Machine, folder: Path) -> Simulation:
    name, config = task.model.name, machine.config
    if not task.keep_costs:
        with _limits(task):
            return simulate_lowered(lowered, config, model=name)
    costs = KnownCosts(cost_store(folder), (part.work for part in lowered.tasks), (config, config.baseline()))
    try:
        with _limits(task):
            return simulate_lowered(lowered, config, model=name, cost=costs)
    finally:
        costs.save()


def _trace(task: NetworkTask, folder: Path) -> tuple[Graph, float]:
    """The graph, and the CPU seconds of building and tracing it, 0 if it was there."""
    told: list[str] = []
    start = thread_time()
    shapes = task.shapes
    graph = trace_model(
        task.model.name, batch=shapes.batch, sequence=shapes.sequence, resolution=shapes.resolution,
        phase=shapes.phase, context=shapes.context, cache=folder, progress=told.append,
    )  # fmt: skip
    return graph, thread_time() - start if told else 0.0


def _row(
    task: NetworkTask, machine: Machine, graph: Graph, result: Simulation, trace_seconds: float, seconds: float
) -> SweepRow:  # fmt: skip
    model, own, baseline = task.model, result.machine, result.baseline
    elements: dict[str, int] = {}
    through = 0
    for part, cost in zip(baseline.tasks, baseline.costs):
        found = activations(part.work) if part.mapped else {}
        for function, count in found.items():
            elements[function] = elements.get(function, 0) + count
        through += cost.cycles if found else 0
    return SweepRow(
        model=model.name, library=model.library, family=model.family, domain=model.domain, year=model.year,
        options=task.shapes.options(model), config_hash=machine.hash, source_hash=row_hash(), config=machine.label,
        status="done", cycles=own.cycles, baseline_cycles=baseline.cycles, speedup=result.speedup, macs=result.macs,
        parameters=graph.parameters or None, bytes=own.bytes,
        instructions=sum(cost.instructions for cost in own.costs), tasks=len(own.tasks), activations=elements,
        activation_share=through / baseline.cycles if baseline.cycles else 0.0,
        busy_clk=own.busy_clk, baseline_busy_clk=baseline.busy_clk,
        kinds=own.cycles_by_kind(), baseline_kinds=baseline.cycles_by_kind(), unmapped=list(result.unmapped),
        trace_seconds=trace_seconds, seconds=seconds, peak_bytes=_peak_bytes(),
    )  # fmt: skip


class _Failures:
    """Rows of what failed."""

    def __init__(self, task: NetworkTask) -> None:
        self._task = task
        self.rows: list[SweepRow] = []
        self.worn = False

    @property
    def outcome(self) -> Outcome:
        return Outcome(rows=tuple(self.rows), worn=self.worn)

    @contextmanager
    def of(self, *machines: Machine) -> Iterator[None]:
        """An exception in the block becomes a failed row of each of ``machines``."""
        try:
            yield
        except (Exception, LimitError) as error:  # noqa: BLE001 - a network that fails must not stop the others
            self.rows += [self._task.failed(machine, _reason(error, self._task)) for machine in machines]
            if isinstance(error, MemoryLimitError | MemoryError):
                self.worn = _worn(self._task.memory_bytes)


def _limits(task: NetworkTask) -> Limits:
    return Limits(seconds=task.timeout_seconds, memory_bytes=task.memory_bytes)


def _reason(error: BaseException, task: NetworkTask) -> str:
    """One line: our own messages as they are, of all else the kind and the place as well."""
    text = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, UserError):
        return text.removeprefix(f"{task.model.name}: ")
    if isinstance(error, LimitError):
        limit = (
            f"{task.timeout_seconds} s"
            if not isinstance(error, MemoryLimitError)
            else f"{(task.memory_bytes or 0) / 2**30:.2f} GiB"
        )
        return f"{error.reason} ({limit})"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def _without_kernel(labels: Sequence[str]) -> str:
    """By kind and function, with how many there are and the first.

    >>> _without_kernel(["a.norm (reduce norm)", "b.norm (reduce norm)", "c (other)"])
    'no kernel for reduce norm (2, first a.norm), other (1, first c)'
    """
    names: dict[str, list[str]] = {}
    for label in labels:
        name, _, what = label.removesuffix(")").rpartition(" (")
        names.setdefault(what, []).append(name)
    kinds = (f"{what} ({len(found)}, first {found[0]})" for what, found in names.items())
    return f"{NO_KERNEL}{', '.join(kinds)}"


def _worn(limit_bytes: int | None) -> bool:
    """Whether memory stays in use after the network has gone."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return limit_bytes is None or psutil.Process().memory_info().rss > _KEPT_SHARE * limit_bytes


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
