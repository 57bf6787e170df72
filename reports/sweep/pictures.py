"""A sweep's pictures, as SVG text in the report's style."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from lanewise.reports.plots import PALETTE, STYLE, svg
from lanewise.reports.sweep.tables import DOMAIN_GROUPS, Table

COLOURS = dict(zip(DOMAIN_GROUPS, (PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[6])))
_BAND = "#c9d9e6"


def _groups(done: pl.DataFrame) -> dict[str, pl.DataFrame]:
    parts = {name: done.filter(pl.col("domain").is_in(domains)) for name, domains in DOMAIN_GROUPS.items()}
    return {name: part for name, part in parts.items() if len(part)}


def histogram(done: pl.DataFrame, mean: float, median: float) -> str:
    """Networks by speedup, stacked by domain; mean and median marked."""
    parts = _groups(done)
    top = max(float(done["speedup"].max() or 1), 1.05)  # type: ignore[arg-type]
    low = min(float(done["speedup"].min() or 1), 1.0)  # type: ignore[arg-type]
    edges = np.linspace(low, top, 41)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 2.9))
        axes.hist(
            [part["speedup"].to_numpy() for part in parts.values()], bins=edges, stacked=True, label=list(parts),
            color=[COLOURS[name] for name in parts],
        )  # fmt: skip
        for value, label, line in ((mean, "mean", "-"), (median, "median", "--")):
            axes.axvline(value, color="#1d2733", lw=1.0, ls=line, label=f"{label} {value:.3f}")
        axes.set_xlabel("speedup with Flex-SFU")
        axes.set_ylabel("networks")
        axes.set_title("distribution of the speedup", loc="left")
        axes.legend(fontsize=8)
        return svg(figure)


def boxes(groups: Mapping[str, Sequence[float]], *, title: str, x: str) -> str:
    """A box plot a group: quartiles, whiskers to 1.5 interquartile ranges, the rest as dots, and how many there are."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 2.9))
        axes.boxplot(
            list(groups.values()), widths=0.55, patch_artist=True, medianprops={"color": PALETTE[1], "lw": 1.6},
            boxprops={"facecolor": _BAND, "edgecolor": PALETTE[0]}, whiskerprops={"color": PALETTE[0]}, capprops={"color": PALETTE[0]},
            flierprops={"marker": ".", "markersize": 3, "markerfacecolor": PALETTE[6], "markeredgecolor": PALETTE[6]},
        )  # fmt: skip
        labels = [f"{name}\n({len(values)})" for name, values in groups.items()]
        wide = max(map(len, groups), default=0) > 6 and len(groups) > 8
        axes.set_xticks(range(1, len(groups) + 1), labels, fontsize=8, rotation=40 if wide else 0)
        axes.axhline(1, lw=0.6, color="#999999", zorder=0)
        axes.set_xlabel(x)
        axes.set_ylabel("speedup")
        axes.set_title(title, loc="left")
        return svg(figure)


def scatter(done: pl.DataFrame, caption: str) -> str:
    """Speedup against activation share, coloured by domain, below Amdahl's bound."""
    known = done.filter(pl.col("activation_share").is_not_null())
    top = max(float(known["speedup"].max() or 1), 1.05) if len(known) else 1.05  # type: ignore[arg-type]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 3.6))
        limit = max(float(known["activation_share"].max() or 0), 0.05) if len(known) else 0.05  # type: ignore[arg-type]
        share = np.linspace(0, min(1.05 * limit, 0.99), 300)
        axes.plot(
            100 * share, 1 / (1 - share), color="#1d2733", lw=1.0, label="Amdahl's bound 1 / (1 - share)"
        )
        for name, part in _groups(known).items():
            axes.scatter(
                100 * part["activation_share"].to_numpy(), part["speedup"].to_numpy(), s=11, alpha=0.65, lw=0,
                color=COLOURS[name], label=name,
            )  # fmt: skip
        axes.set_ylim(min(0.98, float(known["speedup"].min() or 1)) if len(known) else 0.98, 1.08 * top)  # type: ignore[arg-type]
        axes.set_xlabel("tasks with activations, % of the baseline's cycles")
        axes.set_ylabel("speedup")
        axes.set_title(f"speedup against activation share{caption}", loc="left")
        axes.legend(fontsize=8, loc="upper left")
        return svg(figure)


def machines(table: Table) -> str:
    """Median and quartiles of the speedup against MACs a clock per lane; a line an array, so that along it the lanes change."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 3.4))
        arrays = sorted({row["array"] for row in table.rows}, key=lambda name: (len(name), name))
        for index, array in enumerate(arrays):
            own = [row for row in table.rows if row["array"] == array]
            _whiskers(
                axes, [row["ratio"] for row in own], own, PALETTE[index % len(PALETTE)], f"{array} array"
            )
        means = sorted((row["ratio"], row["mean"]) for row in table.rows)
        axes.plot(*zip(*means), ls="none", marker="_", ms=11, color=PALETTE[3], label="mean")
        axes.set_xscale("log", base=2)
        ticks = sorted({row["ratio"] for row in table.rows})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.axhline(1, lw=0.6, color="#999999", zorder=0)
        axes.set_xlabel("MACs a clock for each 32-bit lane of the vector unit")
        axes.set_ylabel("speedup")
        axes.set_title("speedup against the machine's ratio: median and quartiles", loc="left")
        axes.legend(fontsize=8)
        return svg(figure)


def option(table: Table, key: str) -> str:
    """Median and quartiles of the speedup against one number of the inputs."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 2.7))
        values = [row[key] for row in table.rows]
        _whiskers(axes, values, table.rows, PALETTE[0], f"{table.rows[0]['networks']} networks")
        axes.set_xscale("log", base=2)
        axes.set_xticks(values, [f"{value:,}" for value in values])
        axes.minorticks_off()
        axes.set_xlabel(key)
        axes.set_ylabel("speedup")
        axes.set_title(f"speedup against {key}: median and quartiles", loc="left")
        axes.legend(fontsize=8)
        return svg(figure)


def _whiskers(
    axes: Any, x: Sequence[float], rows: Sequence[Mapping[str, Any]], colour: str, label: str
) -> None:
    median = np.array([row["median"] for row in rows])
    low = median - np.array([row["quartile_1"] for row in rows])
    high = np.array([row["quartile_3"] for row in rows]) - median
    axes.errorbar(
        x, median, yerr=[np.maximum(low, 0), np.maximum(high, 0)], marker="o", ms=4, lw=1.3, elinewidth=1.0, capsize=4, color=colour, label=label,
    )  # fmt: skip
