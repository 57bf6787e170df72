"""A workload's result goes to JSON and back, is kept by what it depends on, and is drawn."""

import json
from dataclasses import replace

import pytest

from lanewise.cli import main
from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.mapping.simulate import simulate
from lanewise.mapping.user import trace
from lanewise.models.claim import Claim
from lanewise.workload.registry import WORKLOADS, find
from lanewise.workload.result import Case, Fidelity, WorkloadResult

CLAIM = Claim(name="one", claim="1 + 1 = 2", paper="no figure", measured="2", holds=True)
CASE = Case(
    name="linear", shape="64 x 32", machine="default", cycles=10, baseline_cycles=25, macs=2048, loaded_bytes=7, stored_bytes=5,
)  # fmt: skip
RESULT = WorkloadResult(
    name="spsn", title="Neurons", seed=3, small=True, config_hash="abc", claims=(CLAIM,), cases=(CASE, replace(CASE, name="other")),
    fidelity=(Fidelity(name="accuracy", setting="fp16", reference=0.9, hardware=0.8, unit=""),), findings=("less",), data={"x": [1, 2.5]},
)  # fmt: skip


def test_json_and_back():
    stored = json.loads(json.dumps(RESULT.stored(), allow_nan=False))
    assert WorkloadResult.restored(stored) == RESULT
    assert stored["speedup"] == 2.5
    assert "data" not in RESULT.as_dict()


def test_what_is_no_result():
    with pytest.raises(ValueError, match="cases must hold the headline at least, not nothing"):
        replace(RESULT, cases=())
    with pytest.raises(ValueError, match="claims must have names of their own"):
        replace(RESULT, claims=(CLAIM, CLAIM))


def test_case_of_a_simulation():
    import torch

    graph = trace(torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.GELU()), torch.zeros(8, 64))
    simulation = simulate(graph, MachineConfig())
    case = Case.of(simulation, name="two", shape="8 x 64")
    assert (case.cycles, case.baseline_cycles) == (simulation.machine.cycles, simulation.baseline.cycles)
    assert case.speedup == simulation.speedup > 1
    assert case.macs == 8 * 64 * 32
    assert case.loaded_bytes + case.stored_bytes == simulation.machine.bytes


def test_names(capsys):
    assert find("workload:lsnn") is WORKLOADS["lsnn"]
    with pytest.raises(UserError, match="sps: unknown workload; expected spsn, deconvolution"):
        find("sps")
    assert main(["workload", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("lanewise: nothing: unknown workload; expected")
    assert main(["workload", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["workloads"]] == list(WORKLOADS)
