"""Flex-SFU's RTL: every FP16 element, reloads and resets in mid-run, the simulator's clocks; lint."""

import subprocess
from dataclasses import replace

import pytest

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.rtl.address_decoder import AddressDecoder
from lanewise.rtl.coefficient_table import CoefficientTable
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.rtl.multiply_add import MultiplyAdd
from lanewise.rtl.toolchain import verilator_environment
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify import Case
from lanewise.verify.benches.flex_sfu import BENCH
from lanewise.verify.sfu_tables import ALL_FORMATS, WIDE_ELEMENTS, label, sfu_cases

from .quick import EVERYTHING, quick_and_full

SMALLEST, FULL = quick_and_full(BENCH, MachineConfig(), "4x4")
QUICK = [*SMALLEST, Case(label=label(EVERYTHING), config=EVERYTHING)]

WAIVERS = {
    "WIDTHEXPAND": "Amaranth leaves operands at their own width; Verilog extends them the same way",
    "UNUSEDSIGNAL": "Amaranth declares a wire for every field of every port, read or not",
    "CASEINCOMPLETE": "an address without a table entry changes nothing",
    "PROCASSINIT": "registers have initial values besides their assignment",
    "DECLFILENAME": "one file holds all modules",
    "WIDTHTRUNC": "! of a number is yosys' way to write == 0",
}


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_flex_sfu(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("flex_sfu", case)}
    config, forms = case.config, case.config.number_formats
    assert len(results) == 6 + 2 * config.double_buffered
    elements = sum(WIDE_ELEMENTS if form.bits == 32 else 1 << form.bits for form in forms)
    assert results["every_table"].values_compared == 7 * elements
    assert results["stalls"].values_compared == elements
    assert results["clocks"].clocks_compared == 24 * len(forms)
    assert results["reload_in_mid_run/p_stall=0.0"].clocks_compared == 12
    wide = sum(config.elements_per_clk(form.bits) for form in forms)
    assert results["reset_in_mid_run"].values_compared == 30 * wide * config.latency_clk
    if config.double_buffered:
        assert results["two_tables/p_stall=0.0"].clocks_compared > 10 * 2 * config.segments


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_flex_sfu_full(run_bench, case):
    run_bench("flex_sfu", case)


def test_a_machine_without_the_unit_still_verifies_it():
    machine = MachineConfig().baseline()
    assert sfu_cases(machine, False)[0].config == replace(machine.flex_sfu, enabled=True)


LINTED = [
    pytest.param(part, segments, formats, marks=() if segments == 4 else pytest.mark.full)
    for part in (AddressDecoder, CoefficientTable, FlexSfu, MultiplyAdd)
    for segments in ((4,) if part is MultiplyAdd else (4, 32, 64))
    for formats in (("fp16",), ALL_FORMATS)
]  # fmt: skip
"""The unit and its parts; a larger tree is more of the same modules."""


@pytest.mark.parametrize(("part", "segments", "formats"), LINTED)
def test_lint(part, segments, formats, tmp_path):
    several = len(formats) > 1
    config = FlexSfuConfig(
        segments=segments, lanes=2, formats=formats, degree=1 + several, double_buffered=several
    )
    component = part(lanes=2, formats=config.number_formats) if part is MultiplyAdd else part(config)
    (tmp_path / "top.v").write_text(emit_verilog(component, "top"))
    command = ["verilator", "--lint-only", "-Wall", *(f"-Wno-{name}" for name in WAIVERS), "top.v"]
    with verilator_environment():
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
