"""The multiply-add's RTL: special values cubed, random triples of every format, stalls, clocks."""

import gc

import pytest

from lanewise.config import MachineConfig
from lanewise.formats import FORMATS
from lanewise.rtl.multiply_add import MultiplyAdd
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify.benches.multiply_add import BENCH
from lanewise.verify.operands import special_values

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "8-all")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_multiply_add(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("multiply_add", case)}
    assert len(results) == 5
    special = sum(special_values(form).size ** 3 for form in case.config.number_formats)
    random = case.parameters["random"] * len(case.config.formats)
    assert results["special_values/p_stall=0.0"].values_compared >= special
    assert results["special_values/p_stall=0.5"].values_compared >= special // 8
    assert results["random_values/p_stall=0.0"].values_compared >= random
    assert results["random_values/p_stall=0.0"].clocks_compared > 100_000
    assert results["random_values/p_stall=0.5"].values_compared >= random // 10
    assert results["formats_beat_by_beat"].values_compared > 20_000


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_multiply_add_full(run_bench, case):
    run_bench("multiply_add", case)


def test_slot_is_written_once():
    text = emit_verilog(MultiplyAdd(lanes=5, formats=(FORMATS["fp16"],)), "fma")
    assert text.count("\nmodule ") == 3
    assert text.count("\n  fma_lane lane_") == 5
    assert text.count("\n  fma_slot slot_") == 2


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize(
    ("lanes", "formats", "message"),
    [
        (0, ("fp16",), r"^lanes must be at least 1, not 0$"),
        (1, (), r"^formats must be at least one, not none$"),
    ],
)
def test_what_is_no_multiply_add_is_refused(lanes, formats, message):
    with pytest.raises(ValueError, match=message):
        MultiplyAdd(lanes=lanes, formats=[FORMATS[name] for name in formats])
    gc.collect()  # what was not finished warns when it goes; not in another test
