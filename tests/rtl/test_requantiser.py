"""The output path's RTL: bits without stalls, bits with random stalls, clocks, reloads."""

import dataclasses

import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.requantiser import Requantiser
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify.benches.requantiser import BENCH

from .quick import quick_and_full

MACHINE = MachineConfig(matrix=MatrixConfig(rows=4, columns=8, output_lanes=4))
QUICK, FULL = quick_and_full(BENCH, MACHINE, "5by3", "1by1")
THREE_BEATS = dataclasses.replace(
    QUICK[0], label="5by2", config=dataclasses.replace(QUICK[0].config, output_lanes=2)
)
"""A count of beats that does not wrap by itself."""
QUICK.append(THREE_BEATS)


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_requantiser(run_bench, case):
    results = run_bench("requantiser", case)
    assert sum(result.values_compared for result in results) > 0
    assert sum(result.clocks_compared for result in results) > 0


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_requantiser_full(run_bench, case):
    run_bench("requantiser", case)


def test_lane_is_written_once():
    text = emit_verilog(Requantiser(MACHINE.matrix), "requantiser")
    assert text.count("\nmodule ") == 3
    assert text.count("\n  requantiser_lane lane_") == 4
