"""The row norms' RTL: rows, stalls, sums that wrap, resets, clocks."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify.benches.row_norms import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "8")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_row_norms(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("row_norms", case)}
    assert len(results) == 8
    assert results["clocks"].clocks_compared > 500
    assert results["rows/p_stall=0.5"].values_compared > 300


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_row_norms_full(run_bench, case):
    run_bench("row_norms", case)
