"""The address decoder's RTL: every FP16 element, tables of every kind, stalls, clocks."""

import pytest

from lanewise.config import MachineConfig
from lanewise.verify.benches.address_decoder import BENCH
from lanewise.verify.sfu_tables import WIDE_ELEMENTS

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "4x4", "64x2-all-degree2-double")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_address_decoder(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("address_decoder", case)}
    forms = case.config.number_formats
    elements = sum(
        2 * min(1 << form.bits, WIDE_ELEMENTS if form.bits == 32 else 1 << 16) for form in forms
    )  # x and segment
    assert results["every_table"].values_compared == 8 * elements
    assert results["every_table"].clocks_compared > 8 * elements // 32
    assert results["stalls"].values_compared == elements
    assert results["reload_behind_beats"].values_compared > 0


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_address_decoder_full(run_bench, case):
    run_bench("address_decoder", case)


def test_the_smallest_and_the_largest_tree_are_tried():
    assert {case.config.segments for case in QUICK} == {4, 64}
