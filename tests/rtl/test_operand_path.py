"""The operand path's RTL: tensors of all kinds, stalls, new seeds, resets, clocks."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify.benches.operand_path import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "8x64xfp16xbf16")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_operand_path(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("operand_path", case)}
    assert len(results) == 7
    assert results["tensors/p_stall=0.0"].clocks_compared > 0
    assert results["clocks"].clocks_compared > 500


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_operand_path_full(run_bench, case):
    run_bench("operand_path", case)
