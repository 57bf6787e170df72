"""The core's RTL: bits of every instruction, and every instruction's start and end, with an ideal memory and with one that pauses."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify.benches.core import BENCH

QUICK = BENCH.cases(MachineConfig(), False)
FULL = [case for case in BENCH.cases(MachineConfig(), True) if case.label not in {c.label for c in QUICK}]
LONG = [case for case in BENCH.cases(MachineConfig(), True) if case.label in {c.label for c in QUICK}]
QUICK_CLOCKS = 100_000
"""At least so many are compared."""


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_core(run_bench, case):
    results = run_bench("core", case)
    assert {result.name.rpartition(".")[2] for result in results} == {
        "every_instruction", "random_programs", "hesitant_memory", "hesitant_host", "resets", "kernels", "network",
    }  # fmt: skip
    assert sum(result.clocks_compared for result in results) >= QUICK_CLOCKS
    assert sum(result.programs_compared for result in results) > 600
    assert sum(result.values_compared for result in results) > 0


@pytest.mark.full
@pytest.mark.parametrize("case", [*LONG, *FULL], ids=lambda case: case.label)
def test_core_full(run_bench, case):
    results = run_bench("core", case)
    assert sum(result.clocks_compared for result in results) >= 1_000_000
