"""The matrix stream's RTL: bits, stalls, clocks."""

import gc

import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.matrix_stream import MatrixStream
from lanewise.verify.benches.matrix_stream import BENCH

QUICK = BENCH.cases(MachineConfig(), False)
FULL = [case for case in BENCH.cases(MachineConfig(), True) if case not in QUICK]


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_matrix_stream(run_bench, case):
    results = run_bench("matrix_stream", case)
    assert sum(result.values_compared for result in results) > 0
    assert sum(result.clocks_compared for result in results) > 0


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_matrix_stream_full(run_bench, case):
    run_bench("matrix_stream", case)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("bits", [8, 16])
def test_an_array_without_passes_is_refused(bits):
    with pytest.raises(ValueError, match=rf"^operand_bits must be 4, not {bits}$"):
        MatrixStream(MachineConfig(matrix=MatrixConfig(operand_bits=bits)))
    gc.collect()  # what was not finished warns when it goes; not in another test


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_beats_that_end_within_a_byte_are_refused():
    config = MachineConfig(matrix=MatrixConfig(rows=4, columns=5, output_lanes=3))
    with pytest.raises(ValueError, match=r"^output_lanes must be even, or all columns, not 3 of 5$"):
        MatrixStream(config)
    gc.collect()
