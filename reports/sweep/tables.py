"""Tables of a sweep: the distribution of the speedup over groups of networks, the best, the worst, and what failed."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import polars as pl

from lanewise.reports.sweep.results import NO_ACTIVATION

GAIN = 1.01
"""A speedup above this counts as one."""
SHARE_EDGES = (0.0, 0.05, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60)
"""Edges of the classes of activation share; the first class is exactly 0."""
DOMAIN_GROUPS = {
    "vision": ("vision",), "language": ("language",), "audio and multimodal": ("audio", "multimodal"), "other": ("other",),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows with the same keys, and how a page shows them."""

    name: str
    """Of its CSV file."""
    title: str
    columns: dict[str, tuple[str, str]]
    """Of each key: the heading, and ``text``, ``count``, ``speedup``, ``percent``, ``seconds`` or ``ratio``."""
    rows: list[dict[str, Any]]
    note: str = ""

    def csv(self) -> str:
        """The rows below their keys, which are there even where no row is; what is unknown is left empty."""
        buffer = io.StringIO()
        names = list(self.rows[0]) if self.rows else list(self.columns)
        writer = csv.DictWriter(buffer, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return buffer.getvalue()


DISTRIBUTION = {
    "networks": ("networks", "count"), "mean": ("mean", "speedup"), "geometric_mean": ("geometric<br>mean", "speedup"),
    "minimum": ("min", "speedup"), "quartile_1": ("1st<br>quartile", "speedup"), "median": ("median", "speedup"),
    "quartile_3": ("3rd<br>quartile", "speedup"), "maximum": ("max", "speedup"),
    "share_above": (f"above<br>{GAIN}x", "percent"), "unchanged": ("unchanged", "count"),
}  # fmt: skip
"""Columns of every table of distributions."""
NARROW = {key: DISTRIBUTION[key] for key in ("networks", "mean", "geometric_mean", "quartile_1", "median", "quartile_3", "maximum")}  # fmt: skip
"""Of those, what a page shows where there are others beside; the CSV files have all."""


def distribution() -> list[pl.Expr]:
    """Statistics of the column ``speedup``; quartiles interpolate between neighbours."""
    speedup = pl.col("speedup")
    return [
        pl.len().alias("networks"),
        speedup.mean().alias("mean"),
        speedup.log().mean().exp().alias("geometric_mean"),
        speedup.min().alias("minimum"),
        speedup.quantile(0.25, "linear").alias("quartile_1"),
        speedup.quantile(0.5, "linear").alias("median"),
        speedup.quantile(0.75, "linear").alias("quartile_3"),
        speedup.max().alias("maximum"),
        (speedup > GAIN).mean().alias("share_above"),
        (pl.col("cycles") == pl.col("baseline_cycles")).sum().alias("unchanged"),
    ]


def by_domain(done: pl.DataFrame) -> Table:
    """All networks, and each domain that has any."""
    parts = {"all": done} | {
        name: done.filter(pl.col("domain").is_in(domains)) for name, domains in DOMAIN_GROUPS.items()
    }
    rows = [
        {"group": name} | part.select(distribution()).to_dicts()[0]
        for name, part in parts.items()
        if len(part)
    ]
    return Table(
        name="speedup",
        title="Speedup by domain",
        columns={"group": ("networks of", "text")} | DISTRIBUTION,
        rows=rows,
    )


def by_column(
    done: pl.DataFrame, key: str, *, name: str, title: str, heading: str, order: str | None = None, note: str = "",
) -> Table:  # fmt: skip
    """One row for each value of ``key``, in its own order or by descending ``order``; networks without a value are left out."""
    groups = done.filter(pl.col(key).is_not_null()).group_by(key).agg(distribution())
    groups = groups.sort(key) if order is None else groups.sort([order, key], descending=[True, False])
    return Table(
        name=name, title=title, columns={key: (heading, "text")} | DISTRIBUTION, rows=groups.to_dicts(), note=note
    )  # fmt: skip


def by_family(done: pl.DataFrame) -> Table:
    """One row a family, the largest geometric mean first, with the years and the best network of it."""
    groups = (
        done.sort("speedup", "model", descending=[True, False])
        .group_by("library", "family", maintain_order=True)
        .agg(
            pl.col("year").min().alias("first_year"),
            pl.col("activation_share").median().alias("activation_share"),
            pl.col("model").first().alias("best"),
            *distribution(),
        )
        .sort("geometric_mean", "family", descending=[True, False])
    )
    columns = (
        {"library": ("library", "text"), "family": ("family", "text"), "first_year": ("from", "text")}
        | NARROW
        | {"activation_share": ("activation<br>share", "percent"), "best": ("best network", "text")}
    )
    return Table(name="families", title="Every family", columns=columns, rows=groups.to_dicts())


def by_share(done: pl.DataFrame) -> Table:
    """Classes of the share of the baseline's cycles in tasks with activations."""
    share, bins = pl.col("activation_share"), []
    edges = [*SHARE_EDGES, 1.0]
    bins.append(("0 %", share == 0))
    for low, high in pairwise(edges):
        bins.append((f"{100 * low:.0f} to {100 * high:.0f} %", (share > low) & (share <= high)))
    rows = []
    for label, condition in bins:
        part = done.filter(condition)
        if len(part):
            rows.append({"share": label} | part.select(distribution()).to_dicts()[0])
    columns = {"share": ("activation share<br>of baseline cycles", "text")} | DISTRIBUTION
    return Table(name="shares", title="By activation share", columns=columns, rows=rows)


NETWORK = {
    "model": ("network", "text"), "family": ("family", "text"), "domain": ("domain", "text"), "year": ("year", "text"),
    "dominant": ("most elements<br>through", "text"), "activation_share": ("activation<br>share", "percent"),
    "cycles": ("cycles", "count"), "baseline_cycles": ("baseline<br>cycles", "count"), "speedup": ("speedup", "speedup"),
}  # fmt: skip
"""Columns of every table of networks."""


def networks(done: pl.DataFrame, *, name: str, title: str, note: str = "", most: int | None = None, best: bool = True) -> Table:  # fmt: skip
    """Networks by speedup, the largest first, or the smallest with ``best`` false; at most ``most`` of them."""
    rows = done.sort("speedup", "model", descending=[best, False]).select(list(NETWORK))
    return Table(
        name=name, title=title, columns=NETWORK, rows=rows.head(most or len(rows)).to_dicts(), note=note
    )


def unchanged(done: pl.DataFrame) -> pl.DataFrame:
    """Networks that take the same cycles with and without Flex-SFU."""
    return done.filter(pl.col("cycles") == pl.col("baseline_cycles"))


def without_activation(done: pl.DataFrame) -> pl.DataFrame:
    """Networks without a function that Flex-SFU has a table for: ReLU and the like alone."""
    return done.filter(pl.col("dominant") == NO_ACTIVATION)


def failures(rows: pl.DataFrame) -> tuple[Table, Table]:
    """Reasons with how often, and every row that failed."""
    failed = rows.filter(pl.col("status") == "failed")
    kinds = [general(*pair) for pair in failed.select("reason", "model").iter_rows()]
    reasons = (
        failed.with_columns(pl.Series("reason", kinds, dtype=pl.String)).group_by("reason")
        .agg(
            pl.len().alias("rows"), pl.col("model").n_unique().alias("networks"), pl.col("model").min().alias("example")
        )
        .sort("rows", "reason", descending=[True, False])
    )  # fmt: skip
    columns = {
        "reason": ("reason", "wrapped"), "networks": ("networks", "count"), "rows": ("rows", "count"), "example": ("such as", "text"),
    }  # fmt: skip
    every = failed.sort(["model", "options", "config"]).select("model", "options", "config", "reason")
    each = {"model": ("network", "text"), "options": ("options", "text"), "config": ("machine", "text"), "reason": ("reason", "wrapped")}  # fmt: skip
    return (
        Table(name="failures", title="Failures by reason", columns=columns, rows=reasons.to_dicts()),
        Table(name="failed", title="Every failed row", columns=each, rows=every.to_dicts()),
    )


def general(reason: str, model: str) -> str:
    """A reason without the names of the network and of its operator, so that equal ones are counted together.

    >>> general("UserError: hf:ibert: operator embeddings.cumsum (reduce cumsum) has no kernel", "hf:ibert")
    'UserError: operator (reduce cumsum) has no kernel'
    """
    return re.sub(r"\boperator \S+ \(", "operator (", (reason or "").replace(f"{model}: ", ""))


def plain(tables: Sequence[Table]) -> dict[str, list[dict[str, Any]]]:
    """Tables by name, as JSON holds them."""
    return {table.name: table.rows for table in tables}
