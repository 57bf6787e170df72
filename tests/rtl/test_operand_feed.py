"""The operand feed's RTL: bits, stalls, clocks."""

import gc

import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.operand_feed import OperandFeed
from lanewise.verify.benches.operand_feed import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "3x5by4")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_operand_feed(run_bench, case):
    results = run_bench("operand_feed", case)
    assert sum(result.values_compared for result in results) > 0
    assert sum(result.clocks_compared for result in results) > 0


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_operand_feed_full(run_bench, case):
    run_bench("operand_feed", case)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("bits", [8, 16])
def test_an_array_without_passes_is_refused(bits):
    with pytest.raises(ValueError, match=rf"^operand_bits must be 4, not {bits}$"):
        OperandFeed(MachineConfig(matrix=MatrixConfig(operand_bits=bits)))
    gc.collect()  # what was not finished warns when it goes; not in another test
