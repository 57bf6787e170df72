"""The row sampler's RTL: lists, stalls, new seeds, resets, clocks."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify.benches.row_sampler import BENCH

QUICK = BENCH.cases(MachineConfig(), False)
FULL = [case for case in BENCH.cases(MachineConfig(), True) if case not in QUICK]


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_row_sampler(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("row_sampler", case)}
    assert len(results) == 6
    assert results["lists/p_stall=0.0"].clocks_compared > 1000
    assert results["lists/p_stall=0.5"].values_compared > 1000
    assert results["powers"].values_compared > 2 * 65_535


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_row_sampler_full(run_bench, case):
    run_bench("row_sampler", case)
