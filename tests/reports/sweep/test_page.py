"""The page: whole, without a network, and honest about what is missing."""

import csv
import json
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lanewise.cli import main
from lanewise.reports.sweep.markdown import results_part
from lanewise.reports.sweep.page import analyse, render, write_analysis
from lanewise.reports.sweep.results import load_results

VOID = {"meta", "br", "path", "use", "rect", "link"}


class Page(HTMLParser):
    """Checks that tags are closed, and gathers rows of tables and whatever is loaded from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.loaded = [], 0, []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.rows += tag == "tr"
        self.loaded += [
            v for k, v in attributes if k in ("src", "href", "xlink:href") and not v.startswith("#")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_page_and_files_of_a_sweep(made, capsys):
    machines = [made.machine(vector={"lanes": 4}, flex_sfu={"lanes": 4})]
    folder = made.write(made.folder / "s", made.sweep(60, seed=3, machines=machines), machines)
    out = made.folder / "out"
    assert main(["analyse", str(folder), "--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["networks"], summary["done"], summary["failed"], summary["machines"]) == (60, 52, 8, 2)
    stored = json.loads((out / "analysis.json").read_text())
    assert stored["summary"] == summary
    for name, rows in stored["tables"].items():
        with (out / f"{name}.csv").open() as stream:
            assert len(list(csv.DictReader(stream))) == len(rows), name
    assert len(stored["tables"]["networks"]) == 52
    text = (out / "index.html").read_text()
    page = Page(text)
    assert page.loaded == []
    assert page.rows > 52
    assert text.count("<svg") == 5
    for title in ("distribution of the speedup", "speedup against activation share", "speedup by year", "median and quartiles"):  # fmt: skip
        assert title in text


def test_pages_of_equal_sweeps_are_equal(made):
    rows = made.sweep(40, seed=4)
    assert render(analyse(made.load(rows))) == render(analyse(made.load(rows[::-1])))


@pytest.mark.parametrize("case", ["empty", "all failed", "one", "one unchanged", "no years", "no shares", "unknown machine"])  # fmt: skip
def test_sweeps_with_little_in_them(made, case):
    row, failed = made.row, made.failed
    rows = {
        "empty": [],
        "all failed": [failed("timm:a1"), failed("timm:a2", "killed")],
        "one": [row("timm:a1", 10, 20)],
        "one unchanged": [row("timm:a1", 10, 10)],
        "no years": [row(f"timm:a{i}", 10, 20 + i, year=None) for i in range(3)],
        "no shares": [row(f"timm:a{i}", 10, 20 + i, activation_share=None) for i in range(3)],
        "unknown machine": [row("timm:a1", 10, 20, config_hash="gone")],
    }[case]
    said = {
        "empty": "The sweep has no rows yet.",
        "all failed": "No network is done: 2 of 2 rows failed",
        "one": "A correlation needs three networks",
        "one unchanged": "1 of 1 networks (100.0 %) take the same cycles",
        "no years": "No network's year is known.",
        "no shares": "No row says which share",
        "unknown machine": "The configuration of machine gone is not in the sweep's folder",
    }[case]  # fmt: skip
    folder = made.write(made.folder / "s", rows)
    write_analysis(folder, made.folder / "out")
    text = (made.folder / "out" / "index.html").read_text()
    Page(text)
    assert said in text


def test_names_are_text_not_markup(made):
    rows = [made.row("timm:<b>a</b>", 10, 20), made.failed("timm:b1", "<script>alert(1)</script>")]
    text = render(analyse(made.load(rows)))
    assert "<b>a" not in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_a_share_that_cannot_be_right_is_said(made):
    text = render(analyse(made.load([made.row("timm:a1", 10, 20, activation_share=0.1)])))
    assert "1 networks are faster than Amdahl" in text


def test_an_unfinished_sweep_of_two_versions_says_so(made):
    folder = made.write(made.folder / "s", [made.row("timm:a1", 10, 20), made.row("timm:a2", 10, 20)])
    (folder / "rows.log").write_text("{}\n{}\n{}\n")
    path = folder / "results.parquet"
    table = pq.read_table(path)
    if "source_hash" in table.column_names:
        table = table.drop_columns(["source_hash"])
    pq.write_table(table.append_column("source_hash", pa.array(["one", "two"])), path)
    text = render(analyse(load_results(folder)))
    assert "3 more rows are in rows.log" in text
    assert "2 versions of lanewise" in text
    assert "**The rows come from 2 versions of the code.**" in results_part(analyse(load_results(folder)))


def test_markdown_has_the_figures_of_the_page(made):
    analysis = analyse(made.load(made.sweep(60, seed=3)))
    text = results_part(analysis)
    row = analysis.tables["speedup"].rows[0]
    assert f"| all | 52 | {row['mean']:.3f}x | {row['geometric_mean']:.3f}x |" in text
    assert f"Pearson {analysis.correlation.pearson:.3f}" in text
    assert "No network is done; 1 of 1 rows failed." in results_part(
        analyse(made.load([made.failed("timm:a1")]))
    )
