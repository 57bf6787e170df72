"""Stands for a network in tests of the sweep itself: quick, and its row depends on the task alone. Workers import it."""

import hashlib
import os
import signal
import time
from pathlib import Path

from lanewise.sweep.network import NetworkTask, Outcome
from lanewise.sweep.row import SweepRow
from lanewise.sweep.sources import row_hash


def run_network(task: NetworkTask) -> Outcome:
    """A row for each machine after some milliseconds; says in ``$FAKE_LOG`` that it has computed it.

    Of a family ``deadly`` the worker dies, of ``deadly_once`` only the first time, of ``raising`` it raises.
    """
    digest = hashlib.sha256(task.model.name.encode()).digest()
    log = Path(os.environ["FAKE_LOG"])
    time.sleep(digest[0] / 256 * float(os.environ.get("FAKE_SECONDS", "0.02")))
    first = not log.with_name(f"{log.name}.{task.model.name}").exists()
    if task.model.family == "deadly" or (task.model.family == "deadly_once" and first):
        log.with_name(f"{log.name}.{task.model.name}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if task.model.family == "raising":
        raise RuntimeError("of the fake")
    rows = [_row(task, place, digest) for place in range(len(task.machines))]
    with log.open("a") as stream:
        stream.write("".join(f"{row.model} {row.config_hash}\n" for row in rows))
    return Outcome(rows=tuple(rows))


def _row(task: NetworkTask, place: int, digest: bytes) -> SweepRow:
    machine = task.machines[place]
    if digest[1] < 20:
        return task.failed(machine, "as the digest says")
    cycles = 1000 + int.from_bytes(digest[2:4]) + int(machine.hash[:3], 16)
    return SweepRow(
        model=task.model.name, library=task.model.library, family=task.model.family, domain=task.model.domain, year=None,
        options=task.shapes.options(task.model), config_hash=machine.hash, source_hash=row_hash(), config=machine.label,
        status="done", cycles=cycles, baseline_cycles=2 * cycles, speedup=2.0, activations={"gelu": cycles},
    )  # fmt: skip
