"""A sweep's folder is read as it is, or refused in one line."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lanewise.cli import main
from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.reports.sweep.results import load_results


def test_what_is_read(made):
    results = made.load([
        made.row("timm:a1", 10, 20, activations={"gelu": 3, "exp": 9}, unmapped=["x", "y"]),
        made.failed("timm:b1", "no kernel"),
        made.row("timm:c1", 7, 7),
    ])  # fmt: skip
    assert (
        results.rows["dominant"].to_list() == ["exp", "none", "none"] or results.rows["status"][1] == "failed"
    )
    first = results.rows.row(0, named=True)
    assert (first["dominant"], first["unmapped"], first["speedup"]) == ("exp", 2, 2.0)
    assert results.done()["model"].to_list() == ["timm:a1", "timm:c1"]
    assert results.duplicates == 0


@pytest.mark.parametrize("form", ["struct", "json"])
def test_counts_in_other_forms(made, form):
    folder = made.write(made.folder / "s", [made.row("timm:a1", 10, 20)])
    table = pq.read_table(folder / "results.parquet")
    counts = [{"silu": 4, "gelu": None, "tanh": 5}]
    column = pa.array(counts) if form == "struct" else pa.array([json.dumps(each) for each in counts])
    place = table.column_names.index("activations")
    pq.write_table(table.set_column(place, "activations", column), folder / "results.parquet")
    assert load_results(folder).rows["dominant"].to_list() == ["tanh"]


def test_a_row_that_is_there_twice_counts_once(made):
    results = made.load([made.row("timm:a1", 10, 20), made.row("timm:a1", 10, 30), made.row("timm:a2", 10, 20)])  # fmt: skip
    assert results.duplicates == 1
    assert results.rows["speedup"].to_list() == [3.0, 2.0]


def test_machines_are_those_of_the_files(made):
    wide = made.machine(vector={"lanes": 16})
    rows = [made.row("timm:a1", 10, 20), made.row("timm:a1", 9, 10, config_hash=wide.hash), made.row("timm:a1", 9, 10, config_hash="unknown")]  # fmt: skip
    results = made.load(rows, [wide])
    assert results.machines == {MachineConfig().hash: MachineConfig(), wide.hash: wide}
    assert results.reference_hash() == MachineConfig().hash


def test_reference_without_the_default_machine_is_that_of_the_most_rows(made):
    rows = [made.row(f"timm:a{i}", 10, 20, config_hash="one") for i in range(2)]
    rows += [made.row(f"timm:a{i}", 10, 30, config_hash="two") for i in range(3)]
    results = made.load(rows)
    assert results.reference_hash() == "two"
    assert results.reference()["speedup"].to_list() == [3.0] * 3


def test_reference_has_one_row_a_network_with_the_usual_options(made):
    rows = [made.row(f"timm:a{i}", 10, 20) for i in range(3)]
    rows += [made.row("timm:a1", 10, 40, options="batch=8"), made.row("timm:b1", 10, 50, options="batch=8")]
    reference = made.load(rows).reference()
    assert dict(zip(reference["model"], reference["options"])) == {
        "timm:a0": "batch=1", "timm:a1": "batch=1", "timm:a2": "batch=1", "timm:b1": "batch=8",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "perhaps"}, "status must be done or failed"),
        ({"speedup": None}, "speedup above 0"),
        ({"speedup": float("nan")}, "speedup above 0"),
        ({"speedup": -1.0}, "speedup above 0"),
        ({"cycles": 0}, "cycles above 0"),
        ({"baseline_cycles": None}, "cycles above 0"),
        ({"activation_share": 1.5}, "activation_share must be 0 to 1"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(made, changes, message):
    with pytest.raises(UserError, match=f"timm:bad1: .*{message}"):
        made.load([made.row("timm:a1", 10, 20), replace(made.row("timm:bad1", 10, 20), **changes)])


@pytest.mark.parametrize("kind", ["absent", "text", "truncated", "folder", "other columns", "wrong type"])
def test_what_is_no_sweep_is_one_line_and_status_2(made, capsys, kind):
    folder = made.write(made.folder / "s", [made.row("timm:a1", 10, 20)])
    path = folder / "results.parquet"
    whole = path.read_bytes()
    if kind in ("absent", "folder"):
        path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("model,speedup\n")
    elif kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "other columns":
        pq.write_table(pa.table({"model": ["a"]}), path)
    elif kind == "wrong type":
        table = pq.read_table(path)
        place = table.column_names.index("speedup")
        pq.write_table(table.set_column(place, "speedup", pa.array(["fast"])), path)
    assert main(["analyse", str(folder), "--out", str(made.folder / "out")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "results.parquet" in message
    assert "expected" in message
    assert not (made.folder / "out").exists()
