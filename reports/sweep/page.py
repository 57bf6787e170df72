"""From a sweep's folder to tables as CSV and JSON, and one HTML page that needs nothing else."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from lanewise import __version__
from lanewise.files import write_json, write_text
from lanewise.reports.page_template import page_template
from lanewise.reports.sweep import paper, pictures, relations
from lanewise.reports.sweep.results import SweepResults, load_results
from lanewise.reports.sweep.tables import (
    Table,
    by_column,
    by_domain,
    by_family,
    by_share,
    failures,
    networks,
    plain,
    unchanged,
    without_activation,
)  # fmt: skip

MOST = 15
"""Networks among the best and among the worst."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis:
    """All that a sweep tells, before it is drawn."""

    results: SweepResults
    done: pl.DataFrame
    """The networks that are spoken of: one row each (:meth:`SweepResults.reference`)."""
    tables: dict[str, Table]
    options: list[Table]
    correlation: relations.Correlation
    summary: dict[str, Any]


def analyse(results: SweepResults) -> Analysis:
    """Every table of a sweep. Of one without a done row, tables are empty and the summary says 0."""
    reference = results.reference()
    done = reference.filter(pl.col("status") == "done")
    machine = results.machines.get(results.reference_hash() or "")
    still, plainly = unchanged(done), without_activation(done)
    active = done.filter(pl.col("activation_share") > 0)
    reasons, failed = failures(results.rows)
    tables = [
        by_domain(done),
        paper.beside(done),
        paper.assumptions(machine),
        by_share(done),
        by_column(done, "dominant", name="functions", title="By dominant activation", heading="most elements<br>through", order="networks"),
        by_column(done, "year", name="years", title="By year of publication", heading="year",
                  note="The year in which the architecture was first published; networks of unknown year are left out."),
        by_family(done),
        networks(done, name="best", title=f"The {MOST} fastest", most=MOST),
        networks(active, name="worst", title=f"The {MOST} that gain least, of those with activations", most=MOST, best=False),
        networks(still, name="unchanged", title="Networks for which Flex-SFU does nothing"),
        networks(done, name="networks", title="Every network"),
        relations.by_machine(results),
        reasons,
        failed,
    ]  # fmt: skip
    correlation = relations.correlate(done)
    rows = results.rows
    summary = {
        "lanewise": __version__,
        "source": results.source,
        "rows": len(rows), "failed_rows": len(failed.rows), "duplicates": results.duplicates, "pending": results.pending,
        "sources": rows["source_hash"].n_unique(),
        "machines": rows["config_hash"].n_unique(),
        "config_hash": results.reference_hash(), "config_known": machine is not None,
        "networks": len(reference), "done": len(done), "failed": len(reference) - len(done),
        "options": dict(reference.group_by("options").len().sort("len", "options", descending=[True, False]).iter_rows()),
        "unchanged": len(still), "without_activation": len(plainly), "unmapped": int((done["unmapped"] > 0).sum()),
        "unknown_year": int(done["year"].null_count()),
        "cpu_seconds": float(rows["seconds"].sum() or 0), "trace_cpu_seconds": float(rows["trace_seconds"].sum() or 0),
        "median_seconds": rows["seconds"].median(), "peak_bytes": rows["peak_bytes"].max(),
        "headline": paper.headline(done), "correlation": dataclasses.asdict(correlation),
    }  # fmt: skip
    return Analysis(
        results=results, done=done, tables={table.name: table for table in tables}, options=relations.by_option(results.done()),
        correlation=correlation, summary=summary,
    )  # fmt: skip


def write_analysis(folder: Path, out: Path, *, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:  # fmt: skip
    """Write ``index.html``, ``analysis.json`` and a CSV file a table to ``out``; returns the summary.

    Raises:
        UserError: ``folder`` holds no sweep, or ``out`` cannot be written.
    """
    analysis = analyse(load_results(folder))
    progress("drawing")
    page = render(analysis)
    every = [*analysis.tables.values(), *analysis.options]
    for table in every:
        write_text(out / f"{table.name}.csv", table.csv())
    write_json(out / "analysis.json", {"summary": analysis.summary, "tables": plain(every)})
    write_text(out / "index.html", page)  # last: a page stands for a whole analysis
    return analysis.summary


def render(analysis: Analysis) -> str:
    """The page."""
    template = page_template("sweep.html", cell=cell, fixed=lambda value, digits=3: f"{value:,.{digits}f}")
    machine = analysis.results.machines.get(analysis.summary["config_hash"] or "")
    return template.render(
        s=analysis.summary, t=analysis.tables, options=analysis.options, c=analysis.correlation, pictures=_pictures(analysis),
        machine=paper.describe(machine) if machine is not None else [], source=paper.SOURCE, toml=machine.toml if machine is not None else "",
    )  # fmt: skip


def cell(value: Any, kind: str) -> str:
    """A value as the page shows it."""
    if value is None:
        return "–"
    if kind in ("text", "wrapped"):
        return str(value)
    return {
        "count": lambda: f"{value:,}", "speedup": lambda: f"{value:.3f}x", "percent": lambda: f"{100 * value:.1f} %", "ratio": lambda: f"{value:g}",
    }[kind]()  # fmt: skip


def _pictures(analysis: Analysis) -> dict[str, Any]:
    """Pictures by name; those that would show nothing are absent."""
    done = analysis.done
    drawn: dict[str, Any] = {}
    if len(done):
        everything = analysis.tables["speedup"].rows[0]
        drawn["histogram"] = pictures.histogram(done, everything["mean"], everything["median"])
        correlation = analysis.correlation
        if correlation.networks:
            known = [
                f"{name} {value:.2f}"
                for name, value in (("Pearson", correlation.pearson), ("Spearman", correlation.spearman))
                if value is not None
            ]
            drawn["scatter"] = pictures.scatter(done, f" ({', '.join(known)})" if known else "")
    years = done.filter(pl.col("year").is_not_null()).sort("year")
    if len(years):
        groups = {str(year): part["speedup"].to_list() for (year,), part in years.group_by("year", maintain_order=True)}  # fmt: skip
        drawn["years"] = pictures.boxes(groups, title="speedup by year of publication", x="year (networks)")
    functions = [row["dominant"] for row in analysis.tables["functions"].rows]
    if functions:
        groups = {name: done.filter(pl.col("dominant") == name)["speedup"].to_list() for name in functions}
        drawn["functions"] = pictures.boxes(groups, title="speedup by dominant activation", x="function that most elements go through (networks)")  # fmt: skip
    if len(analysis.tables["machines"].rows) > 1:
        drawn["machines"] = pictures.machines(analysis.tables["machines"])
    drawn["options"] = {table.name: pictures.option(table, next(iter(table.columns))) for table in analysis.options}  # fmt: skip
    return drawn
