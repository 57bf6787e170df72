"""Dask's workers: processes of this computer, or those of a running cluster."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster
from distributed.versions import VersionMismatchWarning

from lanewise.errors import UserError
from lanewise.sweep.sources import row_hash

_CONNECT_SECONDS = 10
_IGNORE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""A worker hears of Ctrl-C from the client, which is asked by the same keys."""
_SETTINGS = {
    # a task that a worker died of comes back at once: what to do is decided in lanewise.sweep.run
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": False,
    "distributed.comm.timeouts.connect": f"{_CONNECT_SECONDS}s",
    "distributed.worker.daemon": True,
    # rows are small, and lanewise.sweep.limits looks after a network's memory
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


@contextmanager
def open_client(*, workers: int, scheduler: str | None) -> Iterator[Client]:
    """A client of ``workers`` processes of one thread each, or of the cluster at ``scheduler``.

    Raises:
        UserError: The scheduler cannot be reached, has no workers, or they run other versions.
    """
    with dask.config.set(_SETTINGS), _silent("distributed", "distributed.client", "distributed.scheduler"):
        if scheduler is None:
            with _local(workers) as client:
                yield client
        else:
            with _remote(scheduler) as client:
                yield client


@contextmanager
def _silent(*loggers: str) -> Iterator[None]:
    """What goes wrong is told in a line, not in Dask's tracebacks."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def worker_addresses(client: Client) -> list[str]:
    """Of all workers that the scheduler knows now."""
    return list(client.scheduler_info(n_workers=-1)["workers"])


@contextmanager
def _local(workers: int) -> Iterator[Client]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, memory_limit=None, dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False}, silence_logs=logging.CRITICAL,
            preload=[_IGNORE_INTERRUPTS],
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client


@contextmanager
def _remote(scheduler: str) -> Iterator[Client]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", VersionMismatchWarning)
            client = Client(scheduler, timeout=_CONNECT_SECONDS)
    except VersionMismatchWarning as error:
        raise _mismatch(scheduler, str(error)) from None
    except (OSError, ValueError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"--scheduler {scheduler}: cannot be reached: {reason}; expected the address of a running Dask scheduler"
        ) from None
    with client:
        try:
            client.get_versions(check=True)
        except (ValueError, ImportError) as error:
            raise _mismatch(scheduler, str(error)) from None
        if not worker_addresses(client):
            raise UserError(f"--scheduler {scheduler}: has no workers; expected at least one")
        try:
            hashes = client.run(row_hash)
        except Exception as error:  # noqa: BLE001 - whatever a worker of other software says
            raise _mismatch(scheduler, f"lanewise on a worker: {error}") from None
        if other := sorted({worker for worker, found in hashes.items() if found != row_hash()}):
            raise _mismatch(scheduler, f"lanewise or its libraries on {', '.join(other)}")
        yield client


def _mismatch(scheduler: str, what: str) -> UserError:
    return UserError(
        f"--scheduler {scheduler}: runs other versions than here: {' '.join(what.split())}; expected the same"
    )
