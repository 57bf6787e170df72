"""The FP16 arrays beside an INT4 array."""

import dataclasses

import pytest

from lanewise.config import MachineConfig, MatrixConfig, OperandPathConfig
from lanewise.rtl.arrays import array_of
from lanewise.rtl.fp16_array import Fp16Array
from lanewise.synth import Synthesiser, compare_fp16, equal_area_fp16, load_liberty
from lanewise.synth.equal_area import candidates
from lanewise.synth.matrix_side import matrix_side

CONFIG = MachineConfig(matrix=MatrixConfig(rows=8, columns=4))


@pytest.fixture(scope="module")
def run(cache):
    return Synthesiser(liberty=load_liberty(), clock_ns=CONFIG.clock_ns, cache=cache)


def test_equal_area_is_the_largest_that_fits(cache, run):
    int4_um2 = run(array_of(CONFIG.matrix), "mac_array").area_um2
    comparison = compare_fp16(CONFIG, budget_um2=int4_um2, cache=cache)
    matrix = comparison.equal_area
    assert comparison.same_shape == MatrixConfig(rows=8, columns=4, operand_bits=16)
    assert comparison.equal_area_area_um2 == run(Fp16Array(matrix), "fp16_array").area_um2 <= int4_um2
    shapes = [(r, c) for r in range(1, 9) for c in range(1, 9) if max(r, c) <= 2 * min(r, c)]
    least = min(r * c for r, c in shapes if r * c > matrix.macs_per_clk)
    for rows, columns in (shape for shape in shapes if shape[0] * shape[1] == least):
        larger = run(Fp16Array(MatrixConfig(rows=rows, columns=columns, operand_bits=16)), "fp16_array")
        assert larger.area_um2 > int4_um2
    values = comparison.as_dict()
    assert values["budget_um2"] == int4_um2
    assert values["fp16_equal_area"]["area_um2"] == comparison.equal_area_area_um2
    assert values["fp16_same_shape"]["operand_bits"] == 16


def test_the_budget_is_all_that_the_array_takes_the_place_of(cache, run):
    config = dataclasses.replace(CONFIG, operand_path=OperandPathConfig(lanes=8, largest_block=8))
    comparison = equal_area_fp16(config, cache=cache)
    parts = matrix_side(config)
    assert list(parts) == ["matrix_unit", "operand_path", "row_sampler"]
    side_um2 = sum(run(component, name).area_um2 for name, component in parts.items())
    assert comparison.budget_um2 == pytest.approx(side_um2, abs=0.01)


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


def test_a_machine_of_fp16_operands_has_this_array(run):
    config = dataclasses.replace(CONFIG, matrix=MatrixConfig(rows=2, columns=2, operand_bits=16))
    (name,) = parts = matrix_side(config)
    assert name == "fp16_array"
    assert "fp16_array/rounder" in [block.path for block in run(parts[name], name).blocks]
