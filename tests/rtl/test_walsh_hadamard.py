"""The Walsh-Hadamard unit's RTL: every element, every block, stalls, clocks, resets."""

import pytest

from lanewise.config import MachineConfig, OperandPathConfig
from lanewise.rtl.verilog import emit_verilog
from lanewise.rtl.walsh_hadamard import WalshHadamard
from lanewise.verify.benches.walsh_hadamard import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "8x64xfp16xbf16")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_walsh_hadamard(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("walsh_hadamard", case)}
    assert len(results) == 8
    formats = len(case.config.formats)
    assert results["every_element/p_stall=0.0"].values_compared == 5 * 65536 * formats
    assert results["every_element/p_stall=0.5"].values_compared == 65536 * formats
    assert results["clocks"].clocks_compared > 1000


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_walsh_hadamard_full(run_bench, case):
    run_bench("walsh_hadamard", case)


@pytest.mark.parametrize(("lanes", "delays"), [(8, 3), (32, 1), (64, 0)])
def test_levels_between_beats_are_those_that_lanes_leave(lanes, delays):
    text = emit_verilog(WalshHadamard(OperandPathConfig(lanes=lanes)), "wh")
    assert len(set(_instances(text, "delay_level"))) == delays
    assert len(_instances(text, "lane")) == lanes * (1 + delays)
    assert text.count("\nmodule wh_lane") == 1 + delays


def _instances(text, kind):
    return [line.split()[1] for line in text.splitlines() if line.startswith("  wh_") and f" {kind}_" in line]
