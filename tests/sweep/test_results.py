"""A sweep's folder: what is written is there, whatever ends the process in between."""

import os
import subprocess
import sys

import pytest

from lanewise.errors import UserError
from lanewise.sweep.results import LOG, TABLE, Results, read_rows
from lanewise.sweep.row import SweepRow


def row(name: str, **changes) -> SweepRow:
    values = {
        "model": f"timm:{name}", "library": "timm", "family": "f", "domain": "vision", "year": 2015, "options": "batch=1",
        "config_hash": "c", "config": "", "status": "done", "cycles": 7, "baseline_cycles": 8, "speedup": 8 / 7,
        "activations": {"gelu": 5, "exp": 2**40}, "busy_clk": {"matrix": 3}, "unmapped": ["a", "b"], "seconds": 0.1,
    }  # fmt: skip
    return SweepRow(**(values | changes))


def test_rows_come_back_as_they_were(tmp_path):
    failed = row(
        "b", status="failed", reason="operator x has no kernel", cycles=None, speedup=None, activations={}
    )
    with Results(tmp_path) as results:
        results.add([row("a")])
        results.add([failed])
    assert read_rows(tmp_path) == [row("a"), failed]
    assert (tmp_path / LOG).read_bytes() == b""
    import polars as pl  # not in the processes that end

    table = pl.read_parquet(tmp_path / TABLE)
    assert table["speedup"].to_list() == [8 / 7, None]
    assert table["activations"].to_list()[0] == {"gelu": 5, "exp": 2**40}


def test_a_row_takes_the_place_of_one_with_its_key(tmp_path):
    with Results(tmp_path) as results:
        results.add([row("a"), row("b")])
    with Results(tmp_path) as results:
        results.add([row("a", cycles=9)])
        assert results.get(("timm:a", "batch=1", "c")) == row("a", cycles=9)
    assert read_rows(tmp_path) == [row("a", cycles=9), row("b")]


def killed_after(folder, steps: str) -> None:
    """Run ``steps`` on a folder's results in a process that ends without a goodbye."""
    code = (
        "import os, sys\n"
        f"sys.path.insert(0, {os.path.dirname(__file__)!r})\n"  # noqa: PTH120
        "from pathlib import Path\nimport lanewise.sweep.results as module\nfrom test_results import row\n"
        f"results = module.Results(Path({str(folder)!r})).__enter__()\n{steps}\nos._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9


def test_what_was_added_is_there_after_a_kill(tmp_path):
    killed_after(tmp_path, "results.add([row('a')]); results.add([row('b')])")
    assert read_rows(tmp_path) == []  # not merged yet, and yet a whole file
    with Results(tmp_path):
        assert read_rows(tmp_path) == [row("a"), row("b")]


def test_a_kill_between_table_and_log_duplicates_nothing(tmp_path):
    killed_after(
        tmp_path, "results.add([row('a')]); module._sync_folder = lambda folder: os._exit(9); results.merge()"
    )
    assert read_rows(tmp_path) == [row("a")]
    assert (tmp_path / LOG).read_bytes()
    with Results(tmp_path) as results:
        results.add([row("b")])
    assert read_rows(tmp_path) == [row("a"), row("b")]


def test_a_kill_while_the_table_is_written_leaves_the_old_one(tmp_path):
    killed_after(
        tmp_path,
        "results.add([row('a')]); results.merge(); results.add([row('b')])\n"
        "module.pq.write_table = lambda table, stream: (stream.write(b'half'), stream.flush(), os._exit(9))\nresults.merge()",
    )
    assert read_rows(tmp_path) == [row("a")]
    assert len(list(tmp_path.glob(f".{TABLE}.*"))) == 1
    with Results(tmp_path):
        pass
    assert read_rows(tmp_path) == [row("a"), row("b")]
    assert not list(tmp_path.glob(f".{TABLE}.*"))


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_line_that_was_not_finished_goes(tmp_path, kept):
    killed_after(tmp_path, "results.add([row('a')]); results.add([row('b')])")
    log = tmp_path / LOG
    first, second = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(first + second[:kept])
    with Results(tmp_path) as results:
        results.add([row("c")])
    assert read_rows(tmp_path) == [row("a"), row("c")]


def test_a_second_sweep_is_refused(tmp_path):
    with (
        Results(tmp_path),
        pytest.raises(UserError, match=f"another sweep writes there \\(process {os.getpid()}\\)"),
    ):
        Results(tmp_path).__enter__()
    with Results(tmp_path):
        pass


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        (TABLE, b"no table", "results.parquet: cannot be read: "),
        (LOG, b'{"model": "x"}\n', "rows.log: line 1 is no row of a sweep"),
        (LOG, b"x\n", "rows.log: line 1 is no row of a sweep"),
    ],
)
def test_what_is_no_sweep_is_refused_in_a_line_and_left(tmp_path, name, content, line):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=line):
        Results(tmp_path).__enter__()
    assert (tmp_path / name).read_bytes() == content
    with pytest.raises(UserError, match=line):  # and not because it is locked
        Results(tmp_path).__enter__()


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        Results(tmp_path / "file" / "x").__enter__()
    with pytest.raises(UserError, match=r"results.parquet: is not there"):
        read_rows(tmp_path)
