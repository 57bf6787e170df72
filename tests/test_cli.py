"""The command line as a user meets it: exit status, one JSON object, one line for bad input."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from lanewise.cli import main


def run(capsys, *arguments):
    status = main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bogus"], "No such command 'bogus'."),
        (["simulate"], "Missing argument 'MODEL'."),
        (["simulate", "resnet50"], "resnet50"),
        (["simulate", "timm:resnet5"], "resnet50"),
        (["simulate", "hf:bort"], "bert"),
        (["simulate", "timm:resnet50", "--batch", "x"], "--batch"),
        (["simulate", "timm:resnet50", "--batch", "0"], "--batch"),
        (
            ["simulate", "timm:resnet50", "--config", "absent.toml"],
            "absent.toml: cannot be read: No such file or directory; expected a TOML file",
        ),
        (["fit", "gelo"], "expected one of gelu"),
        (["fit", "gelu", "--segments", "33"], "segments must be 4, 8, 16, 32 or 64, not 33"),
        (["fit", "gelu", "--degree", "3"], "degree must be 1 or 2, not 3"),
        (
            ["fit", "gelu", "--range", "3", "1"],
            "range must be two finite numbers, the smaller first, not 3.0 1.0",
        ),
        (["fit", "reciprocal", "--range", "-1", "2"], "function reciprocal is not finite everywhere"),
        (
            ["fit", "gelu", "--range", "-1e300", "1e300", "--format", "real"],
            "range must lie in [-1e+60, 1e+60], not -1e+300 1e+300",
        ),
        (
            ["fit", "gelu", "--range", "0", "1e-300", "--format", "real", "--json"],
            "range must be at least 1e-44 wide",
        ),
        (["verify", "flex"], "flex_sfu"),
        (["synth", "--liberty", "absent.lib"], "absent.lib"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, arguments, line):
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("lanewise: ")
    assert line in last


def test_verify_says_in_one_line_that_it_cannot_write(capsys, tmp_path, monkeypatch):
    (tmp_path / "build").touch()
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "verify", "mac_array")
    assert (status, out) == (2, "")
    assert "build/verify: cannot be written" in err
    assert len(err.splitlines()) == 1


def test_an_operator_without_a_kernel_stops_the_run_by_name(capsys, tmp_path):
    class Gamma(torch.nn.Module):
        def forward(self, x):
            return torch.lgamma(x) + x

    path = tmp_path / "gamma.pt2"
    torch.export.save(torch.export.export(Gamma(), (torch.zeros(4, 8),)), path)
    status, out, err = run(capsys, "simulate", f"pt2:{path}")
    assert (status, out) == (2, "")
    assert "lgamma" in err
    assert "--allow-unmapped" in err
    status, out, _ = run(capsys, "simulate", f"pt2:{path}", "--allow-unmapped", "--json")
    assert status == 0
    assert any("lgamma" in name for name in json.loads(out)["unmapped"])


def test_simulate_writes_a_listing(capsys, tmp_path):
    path = tmp_path / "minilm.s"
    status, _, _ = run(capsys, "simulate", "hf:minilm", "--sequence", "32", "--json", "--listing", str(path))
    text = path.read_text()
    assert status == 0
    for part in (
        "vsetvli zero, a0, e16",
        ".insn r 43",
        "# dma.load @in.0 <- in",
        "# loop ",
        ".insn r 11, 0",
        "# mm.tile @middle.0",
    ):
        assert part in text
    assert "# priced only: " not in text  # every instruction of the network can be executed


def test_simulate_prints_one_json_object(capsys, tmp_path):
    trace = tmp_path / "trace.json"
    status, out, _ = run(capsys, "simulate", "hf:minilm", "--sequence", "32", "--json", "--trace", str(trace))
    values = json.loads(out)
    assert status == 0
    assert values["speedup"] == pytest.approx(values["baseline_cycles"] / values["cycles"])
    assert sum(row["cycles"] for row in values["operators"]) == values["cycles"]
    assert sum(row["baseline_cycles"] for row in values["operators"]) == values["baseline_cycles"]
    for key in ("model", "config_hash", "macs", "bytes", "unmapped", "utilisation"):
        assert key in values
    events = json.loads(trace.read_text())["traceEvents"]
    ends = [e["ts"] + e["dur"] for e in events if e["ph"] == "X" and e["pid"] == 1]
    assert max(ends) == values["cycles"]
    assert sum(e["ph"] == "X" and e["pid"] == 1 and e["tid"] > 0 for e in events) == values["instructions"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--trace", "{folder}"], "cannot be written: Is a directory"),
        (["--trace", "{folder}/file/trace.json"], "cannot be written"),
        (
            ["--trace", "{folder}/t.json", "--trace-operator", "sofmax"],
            "sofmax: is no operator of hf:minilm; expected one such as",
        ),
        (["--trace", "{folder}/t.json", "--trace-limit", "-1"], "--trace-limit"),
        (["--listing", "{folder}"], "cannot be written: Is a directory"),
        (
            ["--trace-operator", "softmax"],
            "--trace-operator: says what --trace FILE holds; expected that as well",
        ),
    ],
)
def test_simulate_refuses_a_trace_that_cannot_be(capsys, tmp_path, options, problem):
    (tmp_path / "file").write_text("")
    options = [option.format(folder=tmp_path) for option in options]
    status, out, err = run(capsys, "simulate", "hf:minilm", "--sequence", "32", *options)
    assert (status, out) == (2, "")
    assert problem in err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_simulate_says_where_a_trace_was_cut(capsys, tmp_path):
    trace = tmp_path / "t.json"
    arguments = ("simulate", "hf:minilm", "--sequence", "32", "--trace", str(trace), "--trace-limit", "10")
    status, _, err = run(capsys, *arguments)
    assert status == 0
    assert "has the first 10 of" in err
    events = json.loads(trace.read_text())["traceEvents"]
    assert sum(e["ph"] == "X" and e["pid"] == 1 and e["tid"] > 0 for e in events) == 10


def test_simulate_prints_tables(capsys):
    status, out, _ = run(capsys, "simulate", "hf:minilm", "--sequence", "32")
    assert status == 0
    assert "flex_sfu" in out
    assert "softmax" in out


SMALL_MATRIX_SIDE = "[matrix]\nrows = 8\ncolumns = 8\n[operand_path]\nlanes = 8\nlargest_block = 8\n"


def test_a_training_step_is_set_beside_fp16_arrays(capsys, tmp_path):
    config = tmp_path / "small.toml"
    config.write_text(SMALL_MATRIX_SIDE)
    arguments = ("simulate", "hf:minilm", "--sequence", "32", "--training", "--config", str(config))
    status, out, _ = run(capsys, *arguments, "--json")
    values = json.loads(out)
    assert status == 0
    assert (
        values["cycles"] == sum(values["cycles_by_part"].values()) == sum(values["cycles_by_phase"].values())
    )
    equal = values["baselines"]["FP16 array of equal area"]
    assert equal["speedup"] == pytest.approx(equal["cycles"] / values["cycles"])
    assert values["areas"]["fp16_equal_area"]["area_um2"] <= values["areas"]["budget_um2"]
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    assert "backward matmul" in out


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        ("[matrix]\noperand_bits = 8\n", [], "matrix.operand_bits must be 4 for --training, not 8"),
        (
            "",
            ["--trace", "x.json"],
            "--trace: is for a network without --training; expected one or the other",
        ),
        ("", ["--allow-unmapped"], "--allow-unmapped: is for a network without --training"),
        (
            "[scratchpad]\nsize_kib = 16\nbanks = 16\n",
            [],
            "does not fit the machine: scratchpad.banks must hold",
        ),
    ],
)
def test_a_training_step_that_cannot_be_is_refused_in_a_line(capsys, tmp_path, text, options, line):
    config = tmp_path / "machine.toml"
    config.write_text(text)
    arguments = ("simulate", "hf:minilm", "--sequence", "32", "--training", "--config", str(config), *options)
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert line in err.splitlines()[-1]


def test_fit_prints_the_keys_of_the_contract(capsys):
    status, out, _ = run(capsys, "fit", "gelu", "--segments", "8", "--format", "real", "--json")
    values = json.loads(out)
    assert status == 0
    assert len(values["breakpoints"]) == 7
    assert len(values["coefficients"]) == 8
    for key in (
        "function",
        "segments",
        "degree",
        "format",
        "range",
        "mse",
        "aae2",
        "max_error",
        "limit_mse",
        "uniform_mse",
        "seconds",
    ):
        assert key in values


@pytest.mark.parametrize(
    "arguments",
    [
        ["exp", "--range", "0", "11"],
        ["gelu", "--range", "-1e20", "1e20", "--format", "real"],
        ["log", "--range", "1e-40", "1", "--format", "fp32"],
    ],
)
def test_fits_of_extreme_ranges_are_finite_and_quiet(capsys, arguments):
    status, out, err = run(capsys, "fit", *arguments, "--json")
    assert (status, err) == (0, "")
    values = json.loads(out)
    assert values["max_error"] < 1000


def test_complex_samples_are_refused(capsys, tmp_path):
    path = tmp_path / "samples.npy"
    np.save(path, np.ones(200) * 1j)
    status, out, err = run(capsys, "fit", "gelu", "--samples", str(path))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "is no file of real numbers" in err


def test_version(capsys):
    assert run(capsys, "--version")[1].startswith("lanewise ")


def test_a_report_that_cannot_be_written_or_has_no_sentences_is_refused_at_once(capsys, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    status, _, err = run(capsys, "report", "hf:minilm", "--out", str(blocked))
    assert (status, "cannot be written" in err) == (2, True)
    status, _, err = run(capsys, "report", "hf:minilm", "--out", str(tmp_path / "out"), "--sentences", "3000")
    assert (status, "sentences" in err) == (2, True)
    status, _, err = run(capsys, "generate", "--out", "/")
    assert (status, err.count("\n")) == (2, 1)


def test_an_interruption_is_said_and_has_its_own_status(tmp_path):
    command = [sys.executable, "-m", "lanewise.cli", "synth"]
    environment = {**os.environ, "LANEWISE_CACHE": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "synthesising" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "lanewise: interrupted" in err
    assert "Traceback" not in err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".json"]
