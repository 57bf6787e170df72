"""The transposer's RTL: bits, clocks, stalls, gaps, resets."""

import gc

import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.transposer import Transposer
from lanewise.verify.benches.transposer import BENCH

from .quick import quick_and_full

MACHINE = MachineConfig(matrix=MatrixConfig(rows=4, columns=4))
QUICK, FULL = quick_and_full(BENCH, MACHINE, "2x1of1bits", "5x3of3bits")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_transposer(run_bench, case):
    results = run_bench("transposer", case)
    assert sum(result.values_compared for result in results) > 0
    assert sum(result.clocks_compared for result in results) > 0


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_transposer_full(run_bench, case):
    run_bench("transposer", case)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize(("size", "bits", "parts"), [(1, 4, 1), (4, 0, 1), (4, 4, 0)])
def test_shapes_that_make_no_square_are_refused(size, bits, parts):
    with pytest.raises(ValueError, match="size must be at least 2"):
        Transposer(size=size, bits=bits, parts=parts)
    gc.collect()  # what was not finished warns when it goes; not in another test
