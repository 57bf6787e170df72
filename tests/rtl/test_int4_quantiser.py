"""The quantiser's RTL: every rounding, stalls, new seeds, resets, clocks."""

import pytest

from lanewise.config import MachineConfig, OperandPathConfig
from lanewise.rtl.int4_quantiser import Int4Quantiser
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify.benches.int4_quantiser import BENCH

QUICK = BENCH.cases(MachineConfig(), False)
FULL = [case for case in BENCH.cases(MachineConfig(), True) if case not in QUICK]


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_int4_quantiser(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("int4_quantiser", case)}
    assert len(results) == 5
    assert results["every_rounding/p_stall=0.0"].values_compared == 6000 * 2 * case.config.lanes
    assert results["every_rounding/p_stall=0.0"].clocks_compared == 2 * 6000


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_int4_quantiser_full(run_bench, case):
    run_bench("int4_quantiser", case)


def test_lane_is_written_once():
    text = emit_verilog(Int4Quantiser(OperandPathConfig(lanes=16)), "quantiser")
    assert text.count("\n  quantiser_lane lane_") == 16
    assert text.count("\nmodule ") == 3  # the unit, its lane, the registers of random bits
