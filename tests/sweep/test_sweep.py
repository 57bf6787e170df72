"""The sweep under kills: nothing lost that was said to be done, nothing computed twice, nothing duplicated."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lanewise.mapping.zoo import ZooModel
from lanewise.sweep.machines import machines
from lanewise.sweep.network import NetworkTask, Shapes
from lanewise.sweep.progress import Progress
from lanewise.sweep.results import LOG, Results, read_rows
from lanewise.sweep.row import SweepRow
from lanewise.sweep.run import Sweep, run_sweep

HERE = Path(__file__).parent


def start(
    folder: Path, log: Path, networks: int, workers: int, seconds: float = 0.02
) -> subprocess.Popen[str]:
    """A sweep of fake networks, with its workers in a process group of its own."""
    environment = os.environ | {"FAKE_LOG": str(log), "FAKE_SECONDS": str(seconds), "PYTHONPATH": str(HERE)}
    return subprocess.Popen(
        [sys.executable, HERE / "fake_sweep.py", folder, str(networks), str(workers)],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def told(out: str) -> list[str]:
    """The rows that a sweep has said to be done: whole lines."""
    return [line.rstrip("\n") for line in out.splitlines(keepends=True) if line.endswith("\n")]


def comparable(folder: Path) -> list[dict]:
    """All rows but what differs from run to run."""
    rows = [{**vars(row), "peak_bytes": None} for row in read_rows(folder)]
    return sorted(rows, key=lambda row: (row["model"], row["config_hash"]))


def killed_and_resumed(
    tmp_path: Path, *, networks: int, kills: int, seed: int, workers: int, group: bool
) -> None:
    """A sweep that is killed ``kills`` times ends with the rows of one that was not, and has computed little more."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    killed, log, done = tmp_path / "killed", tmp_path / "log", []
    for _ in range(kills):
        with start(killed, log, networks, workers, 0.1) as process:
            lines = rng.randrange(1, max(2, 2 * networks // (kills + 1)))
            out = "".join(process.stdout.readline() for _ in range(lines))
            time.sleep(rng.random() * 0.05)
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
            out += process.stdout.read()
            assert out, process.stderr.read()
        done += told(out)
        time.sleep(0.3)  # workers whose client has gone end by themselves
    with start(killed, log, networks, workers, 0.0) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    done += told(out)
    computed = Counter(log.read_text().splitlines())
    assert len(done) == len(set(done)), "a row that was done was computed again"
    under_way = kills * workers * 2 * 2  # so many networks of two machines a worker has at once
    assert sum(computed.values()) - len(computed) <= under_way, (
        "more than what was under way was computed again"
    )
    rows = comparable(killed)
    assert len(rows) == 2 * networks
    there = {f"{row['model']} {row['config_hash']}" for row in rows}
    assert set(done) <= there
    assert len(there - set(done)) <= under_way  # on the disk, and killed before it was said
    assert (killed / LOG).read_bytes() == b""
    assert {row["status"] for row in rows} == {"done", "failed"}
    with start(tmp_path / "undisturbed", tmp_path / "log0", networks, workers, 0.0) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert rows == comparable(tmp_path / "undisturbed")


def test_a_killed_sweep_carries_on(tmp_path):
    killed_and_resumed(tmp_path, networks=40, kills=1, seed=1, workers=1, group=True)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(2))
def test_a_sweep_killed_many_times_carries_on(tmp_path, seed):
    killed_and_resumed(tmp_path, networks=300, kills=5, seed=seed, workers=2, group=seed % 2 == 0)


def test_a_network_that_workers_die_of_fails_and_the_rest_goes_on(tmp_path, monkeypatch):
    """Both of the sweep's ways out: a worker that is killed once costs nothing, one that is killed again its network."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))  # of the workers
    monkeypatch.syspath_prepend(str(HERE))
    import fake_network

    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    families = ["deadly", "deadly_once", "plain", "plain", "raising"]
    networks = [
        ZooModel(name=f"fake:{i}", library="fake", family=family, domain="vision")
        for i, family in enumerate(families)
    ]
    sweep = Sweep(networks=networks, machines=machines([], []))
    with (tmp_path / "said").open("w") as said:
        progress = Progress(Console(file=said, soft_wrap=True))
        summary = run_sweep(
            sweep,
            tmp_path / "out",
            workers=1,
            scheduler=None,
            progress=progress,
            run=fake_network.run_network,
        )
    rows = {row.model: row for row in read_rows(tmp_path / "out")}
    assert rows == {row.model: row for row in summary.rows}
    assert rows["fake:0"].status == "failed"
    assert rows["fake:0"].reason == "the worker died, 2 times: killed, out of memory, or a crash in a library"
    assert rows["fake:4"].reason == "RuntimeError: of the fake"
    assert [rows[f"fake:{i}"].status for i in (1, 2, 3)] == ["done"] * 3
    text = (tmp_path / "said").read_text()
    assert "failed: fake:0: the worker died" in text
    assert "5 of 5: 3 done, 2 failed" in text
    values = summary.as_dict()
    assert (values["networks"], values["done"], values["computed"]) == (5, 3, 5)
    assert [failed["model"] for failed in values["failed"]] == ["fake:0", "fake:4"]
    assert values["geometric_mean_speedup"] == pytest.approx(2.0)


def test_what_is_missing_is_what_has_no_row_of_this_code(tmp_path):
    networks = [
        ZooModel(name=f"fake:{i}", library="fake", family="f", domain="vision", year=2020) for i in range(4)
    ]
    asked = Sweep(networks=networks, machines=machines([], ["vector.lanes=4,8"]))

    def missing(**changes) -> list[tuple[str, str]]:
        with Results(tmp_path) as results:
            tasks = replace(asked, **changes).missing(results)
        return [(task.model.name, machine.label) for task in tasks for machine in task.machines]

    assert len(missing()) == 8
    with Results(tmp_path) as results:
        tasks = asked.missing(results)
        rows = [row for task in tasks for row in fake_rows(task)]
        rows[0] = replace(rows[0], source_hash="of other code")
        rows[2] = replace(rows[2], status="failed", reason="whatever")
        rows[4] = replace(rows[4], unmapped=["a (b)"])
        results.add(rows[:7])
    missed, failed, unmapped = (
        ("fake:0", "vector.lanes=4"),
        ("fake:1", "vector.lanes=4"),
        ("fake:2", "vector.lanes=4"),
    )
    assert missing() == [missed, unmapped, ("fake:3", "")]
    assert missing(allow_unmapped=True) == [missed, ("fake:3", "")]
    assert missing(retry_failed=True) == [missed, failed, unmapped, ("fake:3", "")]
    assert len(missing(shapes=Shapes(batch=2))) == 8
    with Results(tmp_path) as results:
        results.add([replace(rows[2], reason="no kernel for other sort (1, first a)", status="failed")])
    assert failed in missing(allow_unmapped=True)
    assert failed not in missing()


def test_a_year_that_has_become_known_is_written_without_computing(tmp_path):
    model = ZooModel(name="fake:0", library="fake", family="f", domain="vision")
    asked = Sweep(networks=[model], machines=machines([], []))
    with Results(tmp_path) as results:
        results.add(fake_rows(asked.missing(results)[0]))
    dated = replace(asked, networks=[replace(model, year=2020)])
    summary = run_sweep(dated, tmp_path, workers=1, scheduler=None, progress=Progress())
    assert summary.computed == 0
    (row,) = read_rows(tmp_path)
    assert (row.year, row.status) == (2020, "done")


def fake_rows(task: NetworkTask) -> list[SweepRow]:
    """A row for each machine, done."""
    failed = [task.failed(machine, "") for machine in task.machines]
    return [replace(row, status="done", cycles=1, baseline_cycles=1, speedup=1.0) for row in failed]
