"""The scratchpad's RTL: every client, alignment, and order of reads and writes."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify.benches.scratchpad import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "2lanes32bytes16k")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_scratchpad(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("scratchpad", case)}
    assert len(results) == 2
    assert results["fill"].values_compared > 3000
    assert results["all_at_once"].values_compared > 10_000


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_scratchpad_full(run_bench, case):
    run_bench("scratchpad", case)
