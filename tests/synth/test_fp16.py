"""The FP16 arrays beside an INT4 array."""

import dataclasses
import re

import pytest

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.arrays import array_of
from lanewise.rtl.fp16_array import Fp16Array
from lanewise.synth import Synthesiser, compare_fp16, load_liberty
from lanewise.synth.equal_area import candidates
from lanewise.synth.machine import synthesise

CONFIG = MachineConfig(matrix=MatrixConfig(rows=8, columns=4))


@pytest.fixture(scope="module")
def run(cache):
    return Synthesiser(liberty=load_liberty(), clock_ns=CONFIG.clock_ns, cache=cache)


def test_equal_area_is_the_largest_that_fits(cache, run):
    int4_um2 = run(array_of(CONFIG.matrix), "mac_array").area_um2
    comparison = compare_fp16(CONFIG, budget_um2=int4_um2, cache=cache)
    areas = {
        rows: run(
            Fp16Array(MatrixConfig(rows=rows, columns=(rows + 1) // 2, operand_bits=16)), "fp16_array"
        ).area_um2
        for rows in range(1, 9)
    }
    assert comparison.same_shape == MatrixConfig(rows=8, columns=4, operand_bits=16)
    assert comparison.same_shape_area_um2 == areas[8]
    assert comparison.equal_area.rows == max(rows for rows, area_um2 in areas.items() if area_um2 <= int4_um2)
    assert comparison.equal_area_area_um2 == areas[comparison.equal_area.rows] <= int4_um2 < areas[8]
    values = comparison.as_dict()
    assert values["budget_um2"] == int4_um2
    assert values["fp16_equal_area"]["area_um2"] == comparison.equal_area_area_um2
    assert values["fp16_same_shape"]["operand_bits"] == 16


def test_a_larger_budget_gives_a_larger_array_than_the_machine_s(cache, run):
    matrix = MatrixConfig(rows=2, columns=2, operand_bits=16)
    config = dataclasses.replace(CONFIG, matrix=dataclasses.replace(matrix, operand_bits=4))
    budget_um2 = run(Fp16Array(dataclasses.replace(matrix, rows=3, columns=3)), "fp16_array").area_um2
    comparison = compare_fp16(config, budget_um2=budget_um2, cache=cache)
    assert (comparison.equal_area.rows, comparison.equal_area.columns) == (3, 3)
    assert comparison.equal_area_area_um2 == budget_um2


def test_no_array_fits(cache):
    with pytest.raises(ValueError, match=r"^budget_um2 must be at least \d+, of 1 x 1, not 100$"):
        compare_fp16(CONFIG, budget_um2=100, cache=cache)


def test_candidates_end_at_64():
    last = candidates(MatrixConfig(rows=8, columns=16), 16, up_to=64)[-1]
    assert (last.rows, last.columns) == (32, 64)


def test_every_stage_of_the_element_meets_the_clock(run):
    """2 ns, by the mapper's estimate, at no more than 2,300 um2."""
    synthesis = run(Fp16Array(MatrixConfig(rows=2, columns=2, operand_bits=16)), "fp16_array")
    assert all((block.abc_delay_ps or 0) <= 2000 for block in synthesis.blocks)
    assert synthesis.block("pe").area_each_um2 < 2300


def test_a_machine_of_fp16_operands_has_this_array(cache):
    config = dataclasses.replace(CONFIG, matrix=MatrixConfig(rows=2, columns=2, operand_bits=16))
    blocks = [block.path for block in synthesise(config, cache=cache).blocks]
    assert "mac_array/rounder" in blocks
    assert not any(re.match("matrix_unit", path) for path in blocks)
