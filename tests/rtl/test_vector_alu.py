"""The vector ALU's RTL: every instruction, all 16-bit operands of the estimates, latency."""

import gc

import pytest

from lanewise.config import MachineConfig
from lanewise.isa.operations import OPERATIONS, Latency, Unit
from lanewise.rtl.vector_alu import VectorAlu, control_of
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify.benches.vector_alu import BENCH
from lanewise.verify.vector_alu_beats import ONE_CLOCK, settings

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "8lanes")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_vector_alu(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("vector_alu", case)}
    assert len(results) == (5 if case.config.lanes >= 8 else 4)
    combinations = sum(len(settings(operation)) for operation in ONE_CLOCK)
    assert results["every_instruction"].values_compared > 240 * combinations
    if case.config.lanes >= 8:
        assert results["every_pair_of_8_bits"].values_compared > 20 * 65536
    assert results["every_16_bit_operand"].values_compared >= 2 * (3 * 65536 + 4096)
    assert results["instructions_beat_by_beat"].values_compared >= 8 * combinations
    assert results["latency"].clocks_compared > 100


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_vector_alu_full(run_bench, case):
    run_bench("vector_alu", case)


def test_lane_is_written_once():
    text = emit_verilog(VectorAlu(4), "alu")
    assert text.count("\n  alu_lane lane_") == 4
    assert text.count("\nmodule alu_lane(") == 1


@pytest.mark.parametrize("operation", ONE_CLOCK, ids=lambda operation: operation.mnemonic)
def test_control_names_one_result(operation):
    control = control_of(operation)
    results = ("total", "both", "differ", "pick", "right", "left", "estimate", "slide")
    chosen = [name for name in results if control[name]]
    assert len(chosen) == 1 or chosen == ["both", "differ"]


def test_other_instructions_have_no_control():
    others = [operation for operation in OPERATIONS.values() if operation not in ONE_CLOCK]
    assert any(operation.unit is Unit.ALU and operation.latency is Latency.REDUCE for operation in others)
    for operation in others:
        with pytest.raises(KeyError, match=operation.mnemonic):
            control_of(operation)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("lanes", [0, 3, 128])
def test_other_numbers_of_lanes_are_refused(lanes):
    with pytest.raises(ValueError, match=f"^lanes must be a power of two, 1 to 64, not {lanes}$"):
        VectorAlu(lanes)
    gc.collect()  # what was not finished warns when it goes; not in another test
