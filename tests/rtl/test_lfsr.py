"""The random generator's RTL: bits without stalls, bits with random stalls, clocks."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify.benches.lfsr import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "1", "5")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_lfsr(run_bench, case):
    results = run_bench("lfsr", case)
    assert sum(result.values_compared for result in results) > 0
    assert sum(result.clocks_compared for result in results) > 0


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_lfsr_full(run_bench, case):
    run_bench("lfsr", case)
