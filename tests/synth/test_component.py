import dataclasses
import json
import os
import signal

import pytest

from lanewise.errors import UserError
from lanewise.synth import Synthesiser, SynthesisError, load_liberty
from lanewise.synth import yosys as yosys_module
from lanewise.synth.yosys import run_yosys, script

from .designs import Accumulate, Delay, Foreign, Nest


@pytest.fixture(scope="module")
def library():
    return load_liberty()


@pytest.fixture(scope="module")
def synthesiser(library, cache):
    return Synthesiser(liberty=library, clock_ns=2.0, cache=cache)


def test_flip_flops_alone_have_the_librarys_area(synthesiser, library):
    result = synthesiser(Delay(bits=7, stages=3), "delay")
    (block,) = result.blocks
    assert (block.flip_flops, block.cells, block.instances) == (21, 21, 1)
    assert (
        block.area_um2
        == block.own_area_um2
        == block.sequential_area_um2
        == round(21 * library.cells["DFF_X1"].area_um2, 3)
    )
    assert block.abc_delay_ps is None


def test_blocks_follow_the_hierarchy_and_add_up(synthesiser, library):
    result = synthesiser(Nest(), "nest")
    blocks = {block.path: block for block in result.blocks}
    assert list(blocks) == ["nest", "nest/delay", "nest/outer", "nest/outer/inner"]
    assert {path: block.instances for path, block in blocks.items()} == {
        "nest": 1, "nest/delay": 4, "nest/outer": 1, "nest/outer/inner": 1,
    }  # fmt: skip
    assert blocks["nest/delay"].flip_flops == 4 * (3 * 2 + 5)
    assert blocks["nest/outer/inner"].flip_flops == 10
    assert blocks["nest"].flip_flops == 54
    assert blocks["nest"].sequential_area_um2 == round(54 * library.cells["DFF_X1"].area_um2, 3)
    assert sum(block.own_area_um2 for block in result.blocks) == pytest.approx(result.area_um2, abs=1e-6)
    assert blocks["nest/outer"].area_um2 == blocks["nest/outer/inner"].area_um2
    assert blocks["nest/outer"].own_area_um2 == 0
    assert blocks["nest/outer/inner"].abc_delay_ps > 0
    assert result.block("outer", "inner") == blocks["nest/outer/inner"]
    with pytest.raises(KeyError, match="nest/inner"):
        result.block("inner")


def test_repeated_module_costs_what_it_costs_alone(synthesiser):
    alone = synthesiser(Accumulate(4), "accumulate")
    assert synthesiser(Nest(), "nest").block("outer", "inner").area_um2 == alone.area_um2


def test_two_runs_are_bit_identical(library, tmp_path):
    results = []
    for run in ("one", "two"):
        result = Synthesiser(liberty=library, clock_ns=2.0, cache=tmp_path / run)(Nest(), "nest")
        assert not result.cached
        results.append((result.blocks, result.netlist.name, result.netlist.read_bytes()))
    assert results[0] == results[1]


def test_result_is_found_again_and_a_damaged_one_is_not_believed(library, tmp_path):
    lines = []
    run = Synthesiser(liberty=library, clock_ns=2.0, cache=tmp_path, progress=lines.append)
    first = run(Delay(3, 1), "delay")
    entry = first.netlist.with_suffix(".json")
    assert lines == ["delay: synthesising to NangateOpenCellLibrary"]
    again = run(Delay(3, 1), "delay")
    assert again.cached
    assert again.blocks == first.blocks
    assert lines[1:] == [f"delay: area found in {entry}"]
    good = entry.read_text()
    for damaged in ("", good[:40], good.replace('"key": "', '"key": "0'), good.replace('"cells"', '"sells"')):
        entry.write_text(damaged)
        repeated = run(Delay(3, 1), "delay")
        assert not repeated.cached
        assert repeated.blocks == first.blocks
        assert entry.read_text() == good
    first.netlist.unlink()
    assert not run(Delay(3, 1), "delay").cached
    assert {path.suffix for path in entry.parent.iterdir()} == {".json", ".log", ".v"}, "nothing else is left"


def test_what_the_area_depends_on_makes_another_result(library, tmp_path, cut_library):
    run = Synthesiser(liberty=library, clock_ns=2.0, cache=tmp_path)
    slow = run(Accumulate(3), "accumulate")
    fast = dataclasses.replace(run, clock_ns=0.05)(Accumulate(3), "accumulate")
    assert not fast.cached
    assert fast.area_um2 > slow.area_um2, "a clock out of reach makes the mapper spend area"
    few = ("INV_X1", "NAND2_X1", "NOR2_X1", "BUF_X1", "DFF_X1")
    areas = []
    for area_um2 in (4.522, 9.0):
        other = load_liberty(cut_library(*few, area_um2={"DFF_X1": area_um2}))
        result = dataclasses.replace(run, liberty=other)(Accumulate(3), "accumulate")
        assert not result.cached
        assert result.blocks[0].sequential_area_um2 == round(8 * area_um2, 3)
        areas.append(result.area_um2)
    assert areas[1] - areas[0] == pytest.approx(8 * (9.0 - 4.522))
    assert areas[0] > slow.area_um2, "fewer kinds of cells to choose from"


def test_failed_run_names_its_log_and_keeps_it(synthesiser):
    with pytest.raises(
        SynthesisError, match=r"^yosys ended with status 1 at synthesis: .*nobody_wrote_this.* \(log: .+\)$"
    ) as caught:
        synthesiser(Foreign(), "foreign")
    (log,) = (synthesiser.cache / "synth").glob("foreign-*.log")
    assert str(log) in str(caught.value)
    assert "nobody_wrote_this" in log.read_text()
    assert not log.with_suffix(".json").exists()


@pytest.mark.parametrize("ending", [signal.SIGSEGV, signal.SIGKILL])
def test_crash_of_yosys_is_an_error_not_ours_to_die_of(synthesiser, tmp_path, monkeypatch, ending):
    crash = tmp_path / "crash.py"
    crash.write_text(
        f"import os; print('lanewise: mapping', flush=True); os.kill(os.getpid(), {int(ending)})"
    )
    monkeypatch.setattr(yosys_module, "_PROCESS", crash)
    with pytest.raises(SynthesisError, match=f"^yosys was ended by signal {int(ending)} at mapping: "):
        synthesiser(Delay(2, 6), "crashing")


def test_latch_is_refused(library, tmp_path):
    verilog = "module latch(input e, input d, output reg q);\nalways @* if (e) q = d;\nendmodule\n"
    with pytest.raises(SynthesisError, match="atch"):
        run_yosys(verilog, script("latch", ["latch"], 2.0), ["latch"], library, log=tmp_path / "latch.log")


def test_undriven_wire_is_refused(library, tmp_path):
    verilog = "module open(input a, output y);\nwire w;\nassign y = a & w;\nendmodule\n"
    with pytest.raises(SynthesisError, match=r"at synthesis: Found 1 problems in 'check -assert'"):
        run_yosys(verilog, script("open", ["open"], 2.0), ["open"], library, log=tmp_path / "open.log")


def test_library_without_usable_logic_is_the_users_error(cut_library, tmp_path):
    path = cut_library("INV_X1", "DFF_X1")
    with pytest.raises(
        UserError, match=r"cut\.lib: the mapper cannot use it: .*; expected timed logic cells"
    ):
        Synthesiser(liberty=load_liberty(path), clock_ns=2.0, cache=tmp_path)(Accumulate(2), "accumulate")


def test_library_that_yosys_cannot_read_is_the_users_error(cut_library, tmp_path):
    path = cut_library("INV_X1", "NAND2_X1", "DFF_X1")
    path.write_text(path.read_text().replace("cell (NAND2_X1) {", "cell (NAND2_X1) { pin = 3 + ;", 1))
    with pytest.raises(UserError, match=r"cut\.lib: yosys cannot read it: .*; expected a Liberty file"):
        Synthesiser(liberty=load_liberty(path), clock_ns=2.0, cache=tmp_path)(Accumulate(2), "accumulate")


def test_folder_that_cannot_be_written_is_the_users_error(library, tmp_path):
    (tmp_path / "synth").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        Synthesiser(liberty=library, clock_ns=2.0, cache=tmp_path)(Delay(1, 1), "delay")


def test_clock_must_be_positive(library, tmp_path):
    with pytest.raises(ValueError, match=r"^clock_ns must be positive, not 0$"):
        Synthesiser(liberty=library, clock_ns=0, cache=tmp_path)


def test_environment_does_not_matter(library, tmp_path, monkeypatch):
    design, name = Accumulate(4), "accumulate"
    plain = Synthesiser(liberty=library, clock_ns=2.0, cache=tmp_path / "a")(design, name)
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    monkeypatch.chdir(os.sep)
    other = Synthesiser(liberty=library, clock_ns=2.0, cache=tmp_path / "b c")(Accumulate(4), name)
    assert plain.netlist.read_bytes() == other.netlist.read_bytes()
    assert json.loads(other.netlist.with_suffix(".json").read_text())["blocks"]
