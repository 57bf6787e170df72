"""A run is kept, and read from where it is kept only while nothing that it depends on has changed."""

import sys
from types import ModuleType

import pytest

from lanewise.config import MachineConfig
from lanewise.workload import run as runner
from lanewise.workload.registry import WORKLOADS
from lanewise.workload.result import Case, WorkloadResult


@pytest.fixture
def workload(monkeypatch, tmp_path):
    """A workload that counts its runs."""
    monkeypatch.setenv("LANEWISE_CACHE", str(tmp_path))
    found = WORKLOADS["spsn"]
    module = ModuleType(found.module)
    module.runs = []

    def run(config, *, seed, small, progress):
        module.runs.append(seed)
        progress("half")
        case = Case(
            name="a", shape="1", machine="default", cycles=seed + 1, baseline_cycles=9, macs=0, loaded_bytes=0, stored_bytes=0
        )  # fmt: skip
        return WorkloadResult(
            name=found.name, title="t", seed=seed, small=small, config_hash=config.hash, claims=(), cases=(case,), fidelity=(),
        )  # fmt: skip

    module.run = run
    monkeypatch.setitem(sys.modules, found.module, module)
    return found, module


def test_kept_by_what_it_depends_on(workload, monkeypatch, tmp_path, capsys):
    found, module = workload
    said = []
    first = runner.run(found, MachineConfig(), seed=4, progress=said.append)
    assert said[0] == "half"
    assert runner.run(found, MachineConfig(), seed=4) == first
    assert module.runs == [4]
    runner.run(found, MachineConfig(), seed=5)
    runner.run(found, MachineConfig(), seed=4, small=True)
    runner.run(found, MachineConfig(clock_ns=1.0), seed=4)
    assert module.runs == [4, 5, 4, 4]
    monkeypatch.setattr(runner, "source_hash", lambda _: "another version")
    runner.run(found, MachineConfig(), seed=4)
    assert module.runs == [4, 5, 4, 4, 4]
    for path in (tmp_path / "workloads").iterdir():
        path.write_text("{")
    assert runner.run(found, MachineConfig(), seed=4) == first
    assert "cannot be read" in capsys.readouterr().err
