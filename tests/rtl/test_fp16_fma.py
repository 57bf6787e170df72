"""The FP16 multiply-add's RTL: special values cubed, millions of random triples, stalls, clocks."""

import gc

import pytest

from lanewise.config import MachineConfig
from lanewise.rtl.fp16_fma import Fp16Fma
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify.benches.fp16_fma import BENCH


def test_fp16_fma(run_bench):
    (case,) = BENCH.cases(MachineConfig(), False)
    results = {result.name.partition("].")[2]: result for result in run_bench("fp16_fma", case)}
    assert len(results) == 4
    for p_stall in ("0.0", "0.5"):
        assert results[f"special_values/p_stall={p_stall}"].values_compared >= 60**3
    assert results["random_values/p_stall=0.0"].values_compared >= 2_000_000
    assert results["random_values/p_stall=0.0"].clocks_compared > 100_000
    assert results["random_values/p_stall=0.5"].values_compared >= 200_000


@pytest.mark.full
def test_fp16_fma_full(run_bench):
    (case,) = BENCH.cases(MachineConfig(), True)
    run_bench("fp16_fma", case)


def test_lane_is_written_once():
    text = emit_verilog(Fp16Fma(lanes=5), "fma")
    assert text.count("\nmodule ") == 2
    assert text.count("\n  fma_lane lane_") == 5


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_lanes_must_be_positive():
    with pytest.raises(ValueError, match=r"^lanes must be at least 1, not 0$"):
        Fp16Fma(lanes=0)
    gc.collect()  # what was not finished warns when it goes; not in another test
