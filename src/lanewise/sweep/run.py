"""The sweep: what is missing is handed to workers, and what comes back is written, here alone."""

import asyncio
import queue
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

from distributed import Client, Future, KilledWorker
from distributed.comm import CommClosedError

from lanewise.errors import UserError
from lanewise.files import write_text
from lanewise.mapping.zoo import ZooModel
from lanewise.sweep.cluster import open_client, worker_addresses
from lanewise.sweep.machines import Machine
from lanewise.sweep.network import NetworkTask, Outcome, Shapes, run_network
from lanewise.sweep.order import Families
from lanewise.sweep.progress import Progress
from lanewise.sweep.results import TABLE, Results
from lanewise.sweep.row import NO_KERNEL, SweepRow
from lanewise.sweep.sources import row_hash
from lanewise.sweep.summary import Summary

MERGE_SECONDS = 30.0
"""How often ``results.parquet`` is brought up to date, and never for more than a twentieth of the time."""
_AHEAD = 2
"""Networks that a worker has at once: one runs, one waits."""
_DEATHS = 2
"""Of workers that a network may cost."""
_TICK_SECONDS = 0.5
_WORKERS_SECONDS = 60.0

Run = Callable[[NetworkTask], Outcome]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is asked for: every network on every machine."""

    networks: Sequence[ZooModel]
    machines: Sequence[Machine]
    shapes: Shapes = field(default_factory=Shapes)
    allow_unmapped: bool = False
    retry_failed: bool = False
    keep_costs: bool = True
    timeout_seconds: float | None = None
    memory_bytes: int | None = None
    cache: Path | None = None

    def wants(self, row: SweepRow | None) -> bool:
        """Whether the row of a network and a machine is to be computed (again)."""
        if row is None or row.source_hash != row_hash():
            return True
        if row.status == "failed":
            return self.retry_failed or (self.allow_unmapped and row.reason.startswith(NO_KERNEL))
        return bool(row.unmapped) and not self.allow_unmapped

    def missing(self, results: Results) -> list[NetworkTask]:
        """A task for each network with the machines of which it has no row yet."""
        tasks = []
        for model in self.networks:
            options = self.shapes.options(model)
            machines = tuple(
                machine
                for machine in self.machines
                if self.wants(results.get((model.name, options, machine.hash)))
            )
            if machines:
                tasks.append(
                    NetworkTask(
                        model=model, shapes=self.shapes, machines=machines, allow_unmapped=self.allow_unmapped,
                        keep_costs=self.keep_costs, timeout_seconds=self.timeout_seconds,
                        memory_bytes=self.memory_bytes, cache=self.cache,
                    )
                )  # fmt: skip
        return tasks

    def relabelled(self, results: Results) -> list[SweepRow]:
        """Rows whose network or machine is described otherwise by now: its family, its year, its label."""
        labels = {machine.hash: machine.label for machine in self.machines}
        models = {model.name: model for model in self.networks}
        changed = []
        for row in self.rows(results):
            model = models[row.model]
            new = replace(
                row, library=model.library, family=model.family, domain=model.domain, year=model.year,
                config=labels[row.config_hash],
            )  # fmt: skip
            if new != row:
                changed.append(new)
        return changed

    def rows(self, results: Results) -> list[SweepRow]:
        """The rows that are there of what is asked for."""
        keys = (
            (m.name, self.shapes.options(m), machine.hash) for m in self.networks for machine in self.machines
        )
        return [row for key in keys if (row := results.get(key)) is not None]


def run_sweep(
    sweep: Sweep, folder: Path, *, workers: int, scheduler: str | None, progress: Progress, run: Run = run_network
) -> Summary:  # fmt: skip
    """Compute what is missing in ``folder``.

    Args:
        workers: Processes of this computer, unless there is a ``scheduler``, the address of a Dask cluster.
        progress: Is told of every row, once it is on the disk.
        run: What a worker does; a function that it can import.

    Raises:
        UserError: Another sweep writes there, the folder or its files are no good, or the cluster is not.
    """
    start = monotonic()
    with Results(folder) as results:
        if changed := sweep.relabelled(results):
            results.add(changed)
        tasks = sweep.missing(results)
        computed = sum(len(task.machines) for task in tasks)
        for machine in sweep.machines:
            write_text(folder / "machines" / f"{machine.hash}.toml", machine.config.toml)
        present = [row for row in sweep.rows(results) if not sweep.wants(row)]
        if tasks:
            with (
                open_client(workers=min(workers, len(tasks)), scheduler=scheduler) as client,
                progress.begin(total=computed, present=present),
            ):
                _Dispatch(client, results, progress, run).all(tasks)
        rows = sweep.rows(results)
    return Summary(
        rows=rows, machines=tuple(sweep.machines), computed=computed, seconds=monotonic() - start, path=folder / TABLE
    )  # fmt: skip


class _Dispatch:
    """Keeps every worker busy, and gives up on a network that workers die of."""

    def __init__(self, client: Client, results: Results, progress: Progress, run: Run) -> None:
        self._client, self._results, self._progress, self._run = client, results, progress, run
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._running: dict[Future, tuple[NetworkTask, str]] = {}
        self._deaths: dict[NetworkTask, int] = {}
        self._suspects: list[NetworkTask] = []
        self._next_merge = monotonic() + MERGE_SECONDS

    def all(self, tasks: Iterable[NetworkTask]) -> None:
        """Until there is a row for everything."""
        families = Families(tasks)
        alive = monotonic()
        while True:
            try:
                workers = worker_addresses(self._client)
            except (OSError, ValueError):
                raise _lost() from None
            if workers:
                alive = monotonic()
            elif monotonic() > alive + _WORKERS_SECONDS:
                raise UserError("the Dask cluster has no workers any more; what was finished is kept")
            self._hand_out(workers, families)
            if not self._running and not self._suspects and not len(families):
                return
            self._collect()

    def _hand_out(self, workers: Sequence[str], families: Families) -> None:
        counts = dict.fromkeys(workers, 0)
        for _, worker in self._running.values():
            counts[worker] = counts.get(worker, 0) + 1
        for ahead in range(_AHEAD):
            for worker in workers:
                if counts[worker] == ahead and (task := families.take(worker)) is not None:
                    counts[worker] += 1
                    self._submit(task, worker)
        if not len(families):  # what workers died of runs alone, so that nothing else comes under suspicion
            for worker in workers:
                if not counts[worker] and self._suspects:
                    self._submit(self._suspects.pop(), worker)

    def _submit(self, task: NetworkTask, worker: str) -> None:
        future = self._client.submit(
            self._run, task, pure=False, workers=[worker], allow_other_workers=True, retries=0
        )
        self._running[future] = task, worker
        future.add_done_callback(self._ended.put)

    def _collect(self) -> None:
        """Write down what has ended, all that has by now at once."""
        ended: list[Future] = []
        try:
            ended.append(self._ended.get(timeout=_TICK_SECONDS))
            while True:
                ended.append(self._ended.get_nowait())
        except queue.Empty:
            pass
        rows: list[SweepRow] = []
        worn: list[str] = []
        for future in ended:
            task, worker = self._running.pop(future)
            outcome = self._outcome(future, task)
            rows += outcome.rows
            if outcome.worn:
                worn.append(worker)
        if rows:
            self._results.add(rows)
            self._progress.add(rows)
        if worn:  # one without a nanny cannot be, and one that has gone need not be
            with suppress(ValueError, KeyError, TimeoutError):
                self._client.restart_workers(worn, raise_for_error=False)
        self._merge()

    def _outcome(self, future: Future, task: NetworkTask) -> Outcome:
        try:
            outcome: Outcome = future.result()
            return outcome
        except KilledWorker:
            deaths = self._deaths[task] = self._deaths.get(task, 0) + 1
            if deaths < _DEATHS:
                self._suspects.append(task)
                return Outcome(rows=())
            reason = f"the worker died, {deaths} times: killed, out of memory, or a crash in a library"
        except (CommClosedError, futures.CancelledError, asyncio.CancelledError):
            raise _lost() from None
        except Exception as error:  # noqa: BLE001 - what a worker has raised outside run_network
            reason = f"{type(error).__name__}: {error}"
        return Outcome(rows=tuple(task.failed(machine, reason) for machine in task.machines))

    def _merge(self) -> None:
        if monotonic() < self._next_merge:
            return
        start = monotonic()
        self._results.merge()
        end = monotonic()
        self._next_merge = end + max(MERGE_SECONDS, 20 * (end - start))


def _lost() -> UserError:
    return UserError("the connection to the Dask scheduler is lost; what was finished is kept")
