"""``lanewise sweep`` on the command line."""

import json

import pytest

from lanewise.cli import main
from lanewise.mapping.simulate import simulate
from lanewise.mapping.trace import trace_model
from lanewise.sweep.machines import machines
from lanewise.sweep.results import Results, read_rows


def test_networks_go_through_workers_into_one_table(capsys, tmp_path):
    out = tmp_path / "out"
    arguments = [
        "sweep",
        "timm:test_vit",
        "timm:test_resnet",
        "--vary",
        "vector.lanes=4,8",
        "--workers",
        "1",
        "--out",
        str(out),
    ]
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    rows = {(row.model, row.config): row for row in read_rows(out)}
    assert (values["networks"], values["rows"], values["computed"], values["done"]) == (2, 4, 4, 4)
    assert values["failed"] == []
    assert values["path"] == str(out / "results.parquet")
    assert "4 of 4: 4 done, 0 failed" in captured.err
    for model in ("timm:test_vit", "timm:test_resnet"):
        for machine in machines([], ["vector.lanes=4,8"]):
            row = rows[model, machine.label]
            result = simulate(trace_model(model), machine.config)
            assert (row.cycles, row.baseline_cycles) == (result.machine.cycles, result.baseline.cycles)
            assert (out / "machines" / f"{machine.hash}.toml").read_text() == machine.config.toml
    speedups = [rows[model, label].speedup for model, label in rows]
    product = speedups[0] * speedups[1] * speedups[2] * speedups[3]
    assert values["geometric_mean_speedup"] == pytest.approx(product**0.25)
    assert main(arguments) == 0  # and now nothing is left to do
    captured = capsys.readouterr()
    assert "2 networks, 4 rows, 0 of them new, 0 failed" in captured.out
    assert "vector.lanes=4" in captured.out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["timm:resnet19"], "timm:resnet19: unknown network; expected timm:NAME"),
        (["timm:nothing*"], "timm:nothing*: fits no network"),
        (["--models", "absent"], "absent: cannot be read: No such file or directory"),
        (["--config", "absent.toml"], "absent.toml: cannot be read"),
        (["--vary", "vector.lanes=3"], "--vary vector.lanes=3: vector.lanes must be"),
        (["--timeout", "0"], "--timeout: must be more than 0 seconds, not 0"),
        (["--memory", "-1"], "--memory: must be more than 0 GiB, not -1"),
        (["--workers", "0"], "--workers"),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "expected it or --scheduler, not both"),
        (["timm:test_vit", "--scheduler", "nowhere"], "--scheduler nowhere: cannot be reached"),
    ],
)
def test_bad_arguments_are_refused_in_a_line_before_anything_begins(capsys, tmp_path, arguments, line):
    out = tmp_path / "out"
    assert main(["sweep", "--out", str(out), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert line in captured.err
    assert "--scheduler" in arguments or not out.exists()


def test_a_folder_that_another_sweep_has_is_refused(capsys, tmp_path):
    with Results(tmp_path):
        assert main(["sweep", "timm:test_vit", "--out", str(tmp_path)]) == 2
    assert "another sweep writes there" in capsys.readouterr().err
