"""Flex-SFU's RTL with fitted tables: exhaustive over the narrow formats, for every size and degree in the full set."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify import Case
from lanewise.verify.benches.flex_sfu_functions import BENCH, FUNCTIONS
from lanewise.verify.sfu_tables import WIDE_ELEMENTS, label

from .quick import EVERYTHING

QUICK = [Case(label=label(EVERYTHING), config=EVERYTHING, parameters={"functions": ["gelu", "exp"]})]
FULL = BENCH.cases(MachineConfig(), True)


def values(case):
    """Elements of all formats: 256, 65,536, or those that stand for a 32-bit one."""
    forms = case.config.number_formats
    return sum(WIDE_ELEMENTS if form.bits == 32 else 1 << form.bits for form in forms)


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_functions(run_bench, case):
    functions, stalled = run_bench("flex_sfu_functions", case)
    assert functions.values_compared == len(case.parameters["functions"]) * values(case)
    assert stalled.values_compared == values(case)


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_functions_full(run_bench, case):
    functions, stalled = run_bench("flex_sfu_functions", case)
    assert functions.values_compared == len(FUNCTIONS) * values(case)
    assert stalled.values_compared == values(case)


def test_the_full_set_is_the_whole_matrix():
    assert len(FULL) == 10
    assert len(FUNCTIONS) >= 12
    assert all(len(case.config.formats) == 8 for case in FULL)
