"""The reductions' RTL: operations, lengths, gaps, resets, clocks; which levels can share an adder."""

import pytest

from lanewise.config import FP32_ADDER_LATENCY_CLK, MachineConfig
from lanewise.rtl.reduction_levels import shared_levels
from lanewise.verify.benches.vector_reduction import BENCH

QUICK = BENCH.cases(MachineConfig(), False)
FULL = [case for case in BENCH.cases(MachineConfig(), True) if case not in QUICK]


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_vector_reduction(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("vector_reduction", case)}
    assert len(results) == 8
    assert results["short_vectors/p_gap=0.0"].clocks_compared == 750
    assert results["operations"].values_compared > 300


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_vector_reduction_full(run_bench, case):
    run_bench("vector_reduction", case)
