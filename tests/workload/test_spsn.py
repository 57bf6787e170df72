"""The workload `spsn`: its cycles and claims on the core, its whole small run, its pictures."""

import pytest

from lanewise.config import MachineConfig
from lanewise.reports.workloads.page import write_page
from lanewise.workload.registry import WORKLOADS
from lanewise.workload.run import run
from lanewise.workload.spsn_cases import core_claims, core_findings, curves, simulated_cases

MACHINE = MachineConfig()


def test_cycles_and_what_they_say():
    cases, drawn = simulated_cases(MACHINE), curves(MACHINE)
    headline = cases[0]
    assert headline.shape == "700-128-128-128-20, T = 10,000, batch 1"
    assert headline.speedup > 1.5
    lif = next(case for case in cases if case.name == "LIF")
    assert lif.cycles == lif.baseline_cycles
    assert lif.macs == headline.macs
    assert drawn["networks"]["SPSN"][-1] == headline.cycles
    target, grows = core_claims(cases, drawn)
    assert not target.holds  # no kernel can, says the bound; docs/workloads/spsn.md
    assert grows.holds
    assert "1.0x for 128, 88x for one neuron" in core_findings(MACHINE, drawn)[0]


@pytest.mark.full
def test_small_run(tmp_path, monkeypatch):
    monkeypatch.setenv("LANEWISE_CACHE", str(tmp_path / "cache"))
    result = run(WORKLOADS["spsn"], MACHINE, seed=0, small=True)
    claims = {claim.name: claim.holds for claim in result.claims}
    assert claims.pop("cycle-ratio") is False
    for name in ("forms", "fft-length", "regulariser", "time-ratio", "cycle-ratio-grows", "hardware"):
        assert claims[name], name
    write_page(result, tmp_path / "page")
    assert (tmp_path / "page" / "index.html").read_text().count("<svg") == 4
