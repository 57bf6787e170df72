"""The coefficient table's RTL: reads, reloads, stalls, clocks."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify.benches.coefficient_table import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "64x2-all-degree2-double")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_coefficient_table(run_bench, case):
    unstalled, stalled, reloaded = run_bench("coefficient_table", case)
    assert unstalled.values_compared == stalled.values_compared > 90_000
    assert unstalled.clocks_compared > 5_000
    assert reloaded.values_compared >= 3 * 20 * case.config.elements_per_clk()


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_coefficient_table_full(run_bench, case):
    run_bench("coefficient_table", case)
