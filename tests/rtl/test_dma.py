"""DMA's RTL on a scratchpad: bytes, protocol, the simulator's clocks."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify.benches.dma import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "2lanes32bytes16k")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_dma(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("dma", case)}
    assert len(results) == 13
    ideal = [result for name, result in results.items() if name.startswith("ideal")]
    assert sum(result.clocks_compared for result in ideal) > 2000
    assert all(result.values_compared > 80_000 for result in ideal)


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_dma_full(run_bench, case):
    run_bench("dma", case)
