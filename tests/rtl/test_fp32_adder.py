"""The FP32 adder's RTL against numpy's float32."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify.benches.fp32_adder import BENCH

(QUICK,) = BENCH.cases(MachineConfig(), False)
(FULL,) = BENCH.cases(MachineConfig(), True)


def test_fp32_adder(run_bench):
    results = run_bench("fp32_adder", QUICK)
    assert len(results) == 5
    assert sum(result.values_compared for result in results) > 190_000


@pytest.mark.full
def test_fp32_adder_full(run_bench):
    run_bench("fp32_adder", FULL)
