"""The RTL of the vector unit's loads and stores, on a scratchpad."""

import pytest

from lanewise.config import MachineConfig
from lanewise.isa.operations import OPERATIONS, Unit
from lanewise.rtl.vector_memory import CONTROL, control_of
from lanewise.verify.benches.vector_memory import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "2lanes32bytes16k")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_vector_memory(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("vector_memory", case)}
    assert len(results) == 4
    assert results["accesses/p_gap=0.0"].values_compared > 3000
    assert results["accesses/p_gap=0.4"].clocks_compared > 3000
    assert results["store_edge"].values_compared == 200


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_vector_memory_full(run_bench, case):
    run_bench("vector_memory", case)


def test_every_memory_operation_has_a_control():
    names = {name for name, operation in OPERATIONS.items() if operation.unit is Unit.MEMORY}
    assert CONTROL.keys() == names
    arithmetic = OPERATIONS["vadd.vv"]
    with pytest.raises(ValueError, match=r"^operation must be of unit vector_memory, not 'vadd.vv'$"):
        control_of(arithmetic)
