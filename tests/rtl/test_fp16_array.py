"""The FP16 array's RTL: bits without stalls, bits with random stalls, clocks; faults are seen."""

import dataclasses
import gc
import re

import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.fp16_array import Fp16Array
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify import runner
from lanewise.verify.benches.fp16_array import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(matrix=MatrixConfig(operand_bits=16)), "2x2", "3x5")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_fp16_array(run_bench, case):
    results = run_bench("fp16_array", case)
    assert sum(result.values_compared for result in results) > 0
    assert sum(result.clocks_compared for result in results) > 0


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_fp16_array_full(run_bench, case):
    run_bench("fp16_array", case)


FAULTS = {
    "no rest below the guard bits": (r"(assign rest) = [^;]*;", r"\1 = 1'h0;", "sums_near_each_other"),
    "no rounding": (r"(?m)^    up <= [^;]*;", "    up <= 1'h0;", "sums_near_each_other"),
    "no infinities": (
        r"(?m)^    special <= [^;]*;",
        "    special <= 1'h0;",
        "bits_and_clocks_without_stalls",
    ),
}


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if name == "no rounding" else pytest.mark.full) for name in FAULTS]
)
def test_a_fault_is_seen(fault, builds, monkeypatch):
    pattern, instead, test = FAULTS[fault]

    def faulty(component, top):
        text, count = re.subn(pattern, instead, emit_verilog(component, top))
        assert count == 1
        return text

    monkeypatch.setattr(runner, "emit_verilog", faulty)
    case = next(case for case in QUICK if case.label == "2x2")
    case = dataclasses.replace(case, label=f"fault-{fault.replace(' ', '_')}")
    results = runner.run_case("fp16_array", case, seed=1, folder=builds)
    assert not next(r for r in results if test in r.name).passed


def test_element_is_written_once():
    text = emit_verilog(Fp16Array(MatrixConfig(rows=3, columns=4, operand_bits=16)), "fp16_array")
    assert text.count("\nmodule ") == 5
    assert text.count("\n  fp16_array_pe pe_") == 12
    assert text.count("\n  fp16_array_rounder rounder_") == 4


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_integers_are_refused():
    with pytest.raises(ValueError, match=r"^operand_bits must be 16, not 4$"):
        Fp16Array(MatrixConfig())
    gc.collect()  # what was not finished warns when it goes; not in another test
