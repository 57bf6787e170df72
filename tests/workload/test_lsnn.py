"""A whole small run: claims, cases, fidelity, pictures."""

import pytest

from lanewise.config import MachineConfig
from lanewise.reports.workloads.lsnn import draw
from lanewise.reports.workloads.page import render
from lanewise.workload.lsnn import run


@pytest.mark.full
def test_small_run(tmp_path):
    said = []
    result = run(MachineConfig(), seed=0, small=True, progress=said.append)
    for claim in result.claims:
        print(claim.name, claim.holds, claim.measured)
    assert {claim.name for claim in result.claims if not claim.holds} <= {"energy, pcr3bp"}
    assert all(case.cycles <= case.baseline_cycles for case in result.cases)
    assert result.restored(result.stored()) == result
    pictures = draw(result, tmp_path)
    assert all(picture.path.read_text(encoding="utf-8").startswith("<svg") for picture in pictures)
    assert "symplectic" in render(result)
    assert said
