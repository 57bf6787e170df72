"""The quantiser's RTL: every rounding, the limits' flag, stalls, new seeds, resets, clocks."""

import dataclasses

import pytest
from amaranth.hdl import Const

from lanewise.config import MachineConfig, OperandPathConfig
from lanewise.rtl.int4_quantiser import Int4Quantiser, _Lane
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify import run_case
from lanewise.verify.benches.int4_quantiser import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "8x64")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_int4_quantiser(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("int4_quantiser", case)}
    assert len(results) == 7
    assert results["every_rounding/p_stall=0.0"].values_compared == 6000 * 3 * case.config.lanes
    assert results["every_rounding/p_stall=0.0"].clocks_compared == 2 * 6000


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_int4_quantiser_full(run_bench, case):
    run_bench("int4_quantiser", case)


def test_lane_is_written_once():
    text = emit_verilog(Int4Quantiser(OperandPathConfig(lanes=16)), "quantiser")
    assert text.count("\n  quantiser_lane lane_") == 16
    assert text.count("\nmodule ") == 3  # the unit, its lane, the registers of random bits


def test_the_bench_finds_a_flag_that_forgets_the_lowest_bits(builds, monkeypatch):
    right = _Lane._within
    monkeypatch.setattr(_Lane, "_within", lambda lane, m, limited, _: right(lane, m, limited, Const(0)))
    case = dataclasses.replace(QUICK[0], label="fault", tests=("limits",))
    results = run_case("int4_quantiser", case, seed=1, folder=builds)
    assert len(results) == 2
    assert not any(result.passed for result in results)
