"""The matrix unit's RTL: bits without stalls, bits with random stalls, clocks, all INT4 products, long sums."""

import gc

import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.matrix_unit import MatrixUnit
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify.benches.matrix_unit import BENCH

from .quick import quick_and_full

MACHINE = MachineConfig(matrix=MatrixConfig(rows=8, columns=8))
QUICK, FULL = quick_and_full(BENCH, MACHINE, "3x5by3")
FULL += BENCH.drawn(1)[:2]


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_matrix_unit(run_bench, case):
    results = run_bench("matrix_unit", case)
    assert sum(result.values_compared for result in results) > 0
    assert sum(result.clocks_compared for result in results) > 0


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_matrix_unit_full(run_bench, case):
    run_bench("matrix_unit", case)


def test_elements_and_lanes_are_written_once():
    text = emit_verilog(MatrixUnit(MatrixConfig(rows=3, columns=4, output_lanes=2)), "matrix_unit")
    assert text.count("\n  matrix_unit_pe pe_") == 12
    assert text.count("\n  matrix_unit_lane lane_") == 2


def test_an_int8_machine_has_no_passes_to_try():
    assert all(
        case.config.splits for case in BENCH.cases(MachineConfig(matrix=MatrixConfig(operand_bits=8)), True)
    )


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_fp16_operands_are_refused():
    message = r"^operand_bits must be 4 or 8 for the output path of integer sums, not 16$"
    with pytest.raises(ValueError, match=message):
        MatrixUnit(MatrixConfig(operand_bits=16))
    gc.collect()  # what was not finished warns when it goes; not in another test
