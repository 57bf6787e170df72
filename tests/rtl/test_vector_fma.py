"""The vector unit's multiply-add unit: every instruction on special, exhaustive and random values, latency, control fields."""

import gc

import pytest

from lanewise.config import MachineConfig
from lanewise.isa.operations import OPERATIONS, Unit
from lanewise.rtl.vector_fma import CONTROL, VectorFma, control_of
from lanewise.verify.benches.vector_fma import BENCH, SETTINGS

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "8")
OWN = [operation for operation in OPERATIONS.values() if operation.unit is Unit.FMA]


@pytest.mark.parametrize("case", QUICK, ids=lambda case: f"{case.label}_lanes")
def test_vector_fma(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("vector_fma", case)}
    assert results["every_instruction"].values_compared > (
        3_000_000 if case.parameters["share"] == 1 else 200_000
    )
    assert results["latency"].clocks_compared == len(SETTINGS) > 200


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: f"{case.label}_lanes")
def test_vector_fma_full(run_bench, case):
    run_bench("vector_fma", case)


def test_every_instruction_has_settings():
    assert {setting.operation.mnemonic for setting in SETTINGS} == {operation.mnemonic for operation in OWN}


def test_control_fields_fit_and_tell_instructions_apart():
    words = set()
    for operation in OWN:
        fields = control_of(operation)
        assert fields.keys() == CONTROL.members.keys()
        assert all(0 <= fields[name] < 1 << CONTROL[name].width for name in fields)
        words.add(tuple(fields.values()))
    assert len(words) == len(OWN)


def test_another_unit_has_no_control():
    with pytest.raises(ValueError, match=r"^operation must be of unit vector_fma, not vadd.vv$"):
        control_of(OPERATIONS["vadd.vv"])


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_no_lanes_are_refused():
    with pytest.raises(ValueError, match=r"^lanes must be at least 1, not 0$"):
        VectorFma(lanes=0)
    gc.collect()  # what was not finished warns when it goes; not in another test
