"""The deconvolution workload: its cases, its pictures, and, in full, its claims on several seeds."""

import json
from dataclasses import replace

import pytest

from lanewise.config import MachineConfig
from lanewise.reports.workloads.deconvolution import draw
from lanewise.workload import deconvolution
from lanewise.workload.result import Case, WorkloadResult


def test_cases():
    cases, shares = deconvolution.cases_of(MachineConfig())
    named = {(case.name, case.shape.partition(",")[0]): case for case in cases}
    headline = cases[0]
    assert headline.shape == "64 x 64, 12 frames, 44 modes, 10 steps"
    assert 1 < headline.speedup < 1.1
    whole = shares["64 x 64, FP32"]
    assert sum(whole.values()) == headline.cycles
    assert whole["transform"] > 0.6 * headline.cycles
    half = named["burst, FP16 transforms", "64 x 64"]
    assert 0.5 < half.cycles / headline.cycles < 0.7
    grid = "12 x 64^2"
    by_columns = named["complex transform by columns, FP32", grid]
    assert (
        by_columns.cycles < 0.8 * named["complex transform by rows, FP32, turning not counted", grid].cycles
    )
    assert named["a step's network, INT4", "12 frames"].speedup > 1.4


def test_claims_without_training():
    assert deconvolution.gradient_claim(3).holds
    assert deconvolution.parameter_claim().holds


def test_pictures(tmp_path):
    image = [[0.1 * x + 0.01 * y for x in range(8)] for y in range(8)]
    names = ("one frame", "mean frame", "restored, PyTorch", "restored, hardware", "truth")
    data = {
        "images": dict.fromkeys(names, image), "psnr_db": dict.fromkeys(names[:-1], 17.25), "losses": {"plain": [3e-4, 2e-4], "unrolled": [3e-4, 1e-4]},
        "psf": {"true, frame 1": image, "found, frame 1": image}, "shares": {"64 x 64, FP32": {"transform": 5, "complex": 2}},
    }  # fmt: skip
    case = Case(
        name="a",
        shape="1",
        machine="default",
        cycles=7,
        baseline_cycles=7,
        macs=0,
        loaded_bytes=0,
        stored_bytes=0,
    )
    result = WorkloadResult(
        name="deconvolution", title="t", seed=0, small=True, config_hash="h", claims=(), cases=(case,), fidelity=(), data=data
    )  # fmt: skip
    pictures = draw(result, tmp_path)
    assert len(pictures) == 4
    text = pictures[0].path.read_text()
    assert "17.2 dB" in text
    assert "restored, hardware" in text
    assert replace(result, data=json.loads(json.dumps(data))) == result


@pytest.mark.full
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_claims(seed):
    result = deconvolution.run(MachineConfig(), seed=seed, small=True, progress=print)
    for claim in result.claims:
        print(claim)
    assert all(claim.holds for claim in result.claims)
    json.dumps(result.stored(), allow_nan=False)
    measures = {measure.setting: measure.hardware for measure in result.fidelity if measure.unit == "dB"}
    assert len(measures) == 5
