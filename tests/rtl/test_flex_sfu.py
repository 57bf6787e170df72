"""Flex-SFU's RTL: every FP16 element, reloads and resets in mid-run, the simulator's clocks; lint."""

import subprocess
from dataclasses import replace

import pytest

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.rtl.address_decoder import AddressDecoder
from lanewise.rtl.coefficient_table import CoefficientTable
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.rtl.fp16_fma import Fp16Fma
from lanewise.rtl.toolchain import verilator_environment
from lanewise.rtl.verilog import emit_verilog
from lanewise.verify.benches.flex_sfu import BENCH
from lanewise.verify.sfu_tables import sfu_cases

QUICK = BENCH.cases(MachineConfig(flex_sfu=FlexSfuConfig(lanes=8)), False)
FULL = [case for case in BENCH.cases(MachineConfig(), True) if case not in QUICK]

WAIVERS = {
    "WIDTHEXPAND": "Amaranth leaves operands at their own width; Verilog extends them the same way",
    "UNUSEDSIGNAL": "Amaranth declares a wire for every field of every port, read or not",
    "CASEINCOMPLETE": "an address without a table entry changes nothing",
    "PROCASSINIT": "registers have initial values besides their assignment",
    "DECLFILENAME": "one file holds all modules",
}


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.label)
def test_flex_sfu(run_bench, case):
    results = {result.name.partition("].")[2]: result for result in run_bench("flex_sfu", case)}
    assert len(results) == 6
    assert results["every_table"].values_compared == 7 * 65_536
    assert results["stalls"].values_compared == 65_536
    assert results["clocks"].clocks_compared == 24
    assert results["reload_in_mid_run/p_stall=0.0"].clocks_compared == 12
    assert results["reset_in_mid_run"].values_compared == 30 * case.config.lanes * case.config.latency_clk


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=lambda case: case.label)
def test_flex_sfu_full(run_bench, case):
    run_bench("flex_sfu", case)


def test_a_machine_without_the_unit_still_verifies_it():
    machine = MachineConfig().baseline()
    assert sfu_cases(machine, False)[0].config == replace(machine.flex_sfu, enabled=True)


@pytest.mark.parametrize("segments", [4, 32, 64])
@pytest.mark.parametrize("part", [AddressDecoder, CoefficientTable, FlexSfu, Fp16Fma])
def test_lint(part, segments, tmp_path):
    config = FlexSfuConfig(segments=segments, lanes=2)
    component = part(lanes=2) if part is Fp16Fma else part(config)
    (tmp_path / "top.v").write_text(emit_verilog(component, "top"))
    command = ["verilator", "--lint-only", "-Wall", *(f"-Wno-{name}" for name in WAIVERS), "top.v"]
    with verilator_environment():
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
