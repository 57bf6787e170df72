"""The workload random-cnn from end to end: claims, cases, pictures."""

import json

import pytest

from lanewise.config import MachineConfig
from lanewise.reports.workloads.page import render
from lanewise.workload.random_cnn import run
from lanewise.workload.result import WorkloadResult


@pytest.mark.full
@pytest.mark.parametrize("seed", [0, 7])
def test_small(seed):
    result = run(MachineConfig(), seed=seed, small=True, progress=lambda _: None)
    held = {claim.name: claim.holds for claim in result.claims}
    assert held["folding"]
    assert held["no_weight_traffic"]
    assert WorkloadResult.restored(json.loads(json.dumps(result.stored(), allow_nan=False))) == result
    by_name = {(case.name, case.shape, case.machine): case for case in result.cases}
    assert len(by_name) == len(result.cases)
    assert all(case.cycles > 0 and case.loaded_bytes > 0 for case in result.cases)
    page = render(result)
    assert page.count("<svg") == 3
    assert "k = 7" in page
