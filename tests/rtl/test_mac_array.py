"""The MAC array's RTL: bits without stalls, bits with random stalls, clocks, wrap-around."""

import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.mac_array import MacArray, MacPe
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify.benches.mac_array import BENCH

from .quick import quick_and_full

QUICK, FULL = quick_and_full(BENCH, MachineConfig(), "4x4x4", "3x5x8", "2x2x8")
FULL += BENCH.drawn(1)[:2]


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_mac_array(run_bench, case):
    results = run_bench("mac_array", case)
    assert sum(result.values_compared for result in results) > 0
    assert sum(result.clocks_compared for result in results) > 0


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_mac_array_full(run_bench, case):
    run_bench("mac_array", case)


def test_element_is_written_once():
    text = emit_verilog(MacArray(MatrixConfig(rows=3, columns=4)), "mac_array")
    assert text.count("\nmodule ") == 2
    assert text.count("\n  mac_array_pe pe_") == 12


@pytest.mark.parametrize(("bits", "signs"), [(8, [(1, 1)]), (4, [(1, 1), (1, 0), (0, 1), (0, 0)])])
def test_biased_product_is_never_negative_and_fits(bits, signs):
    """The bound that lets the element extend no sign: -a*w <= bias, and a*w + bias fits 2 * bits."""
    for a_signed, w_signed in signs:
        a_low, w_low = -(a_signed << (bits - 1)), -(w_signed << (bits - 1))
        top = (1 << bits) - 1
        products = [a * w for a in (a_low, a_low + top) for w in (w_low, w_low + top)]
        bias = MacPe.bias(MatrixConfig(operand_bits=bits), a_signed=bool(a_signed), w_signed=bool(w_signed))
        assert min(products) + bias >= 0
        assert max(products) + bias < 1 << (2 * bits)
