"""The weight generator's RTL: bits, with and without gaps between commands, clocks, resets."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify.benches.weight_generator import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "4bytes17k")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_weight_generator(run_bench, case):
    results = run_bench("weight_generator", case)
    assert sum(result.values_compared for result in results) > 50_000
    assert sum(result.clocks_compared for result in results) >= 600


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_weight_generator_full(run_bench, case):
    run_bench("weight_generator", case)
