"""The report's pictures, as SVG text that needs no network and no script."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from lanewise.models.functions import FUNCTIONS
from lanewise.models.pwl import PwlFit

PALETTE = (
    "#2f6690",
    "#e07a3f",
    "#5b8e7d",
    "#bc4b51",
    "#8d6a9f",
    "#d9a441",
    "#6c757d",
    "#3a7ca5",
    "#9cc5a1",
    "#f2b5d4",
)
STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "lanewise", "figure.dpi": 100,
    "axes.titlesize": 10, "legend.frameon": False, "svg.fonttype": "none",
}  # fmt: skip


def svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def stacked_cycles(bars: Sequence[tuple[str, Mapping[str, int]]], title: str) -> str:
    """Horizontal stacked bars: one bar a machine, one colour a kind of operator; cycles in millions."""
    kinds = list(dict.fromkeys(kind for _, parts in bars for kind in parts))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 0.55 * len(bars) + 1.5))
        left = np.zeros(len(bars))
        for index, kind in enumerate(kinds):
            widths = np.array([parts.get(kind, 0) / 1e6 for _, parts in bars])
            axes.barh(
                range(len(bars)),
                widths,
                left=left,
                color=PALETTE[index % len(PALETTE)],
                label=kind,
                height=0.62,
            )
            left += widths
        for index, total in enumerate(left):
            axes.text(total, index, f" {total:.2f} M", va="center")
        axes.set_yticks(range(len(bars)), [name for name, _ in bars])
        axes.invert_yaxis()
        axes.set_xlabel("cycles, millions")
        axes.set_xlim(0, max(left) * 1.12 if len(left) and max(left) else 1)
        axes.set_title(title, loc="left")
        axes.legend(
            ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.42 / (0.35 * len(bars) + 0.6)), fontsize=8
        )
        return svg(figure)


def grouped_shares(groups: Mapping[str, Mapping[str, float]], title: str) -> str:
    """Vertical grouped bars of shares (0 to 1): one group a unit, one colour a machine."""
    names = list(groups)
    labels = list(next(iter(groups.values())))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 2.4))
        width = 0.8 / len(names)
        for index, name in enumerate(names):
            places = np.arange(len(labels)) + (index - (len(names) - 1) / 2) * width
            axes.bar(
                places,
                [100 * groups[name][label] for label in labels],
                width,
                label=name,
                color=PALETTE[index],
            )
        axes.set_xticks(range(len(labels)), [label.replace("_", "\n") for label in labels])
        axes.set_ylabel("busy, % of cycles")
        axes.set_ylim(0, 100)
        axes.set_title(title, loc="left")
        axes.legend(ncols=len(names), fontsize=8)
        return svg(figure)


def area_bars(areas: Mapping[str, float], title: str) -> str:
    """Horizontal bars of area in thousands of um2."""
    names = list(areas)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 0.36 * len(names) + 1.0))
        values = [areas[name] / 1e3 for name in names]
        axes.barh(range(len(names)), values, color=PALETTE[0], height=0.62)
        for index, value in enumerate(values):
            axes.text(value, index, f" {value:,.1f}", va="center")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.15 * max(values))
        axes.set_xlabel("area, thousand um2")
        axes.set_title(title, loc="left")
        return svg(figure)


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    x: str,
    y: str,
    log: bool = False,
) -> str:
    """Lines with markers; with ``log`` both axes are logarithmic (base 2 in x)."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 2.9))
        for index, (name, (horizontal, vertical)) in enumerate(series.items()):
            axes.plot(
                horizontal,
                vertical,
                marker="o",
                ms=3.5,
                lw=1.3,
                label=name,
                color=PALETTE[index % len(PALETTE)],
            )
        if log:
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            ticks = sorted({float(v) for horizontal, _ in series.values() for v in horizontal})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_title(title, loc="left")
        axes.legend(ncols=2, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return svg(figure)


def fitted_function(result: PwlFit) -> str:
    """A fitted table: the function with its breakpoints, and the error below."""
    low, high = result.range
    x = np.linspace(low, high, 4001)
    y = result.evaluate(x)
    inner = [b for b in result.breakpoints if low <= b <= high]
    title = f"{result.function}, {result.segments} segments of degree {result.degree}, {result.format}"
    with plt.rc_context(STYLE):
        figure, (above, below) = plt.subplots(2, 1, figsize=(7.0, 4.6), sharex=True, height_ratios=(3, 2))
        above.plot(x, y, lw=1.0, color=PALETTE[0])
        above.plot(inner, result.evaluate(np.array(inner)), "o", ms=2.5, color=PALETTE[1])
        above.set_title(
            f"{title}: MSE {result.mse:.3g}, largest error {result.max_error:.3g}", loc="left", fontsize=9
        )
        subject = FUNCTIONS.get(result.function)
        if subject is not None:
            below.plot(x, y - subject(x), lw=0.6, color=PALETTE[0])
            below.set_ylabel("error", fontsize=8)
        for breakpoint in inner:
            below.axvline(breakpoint, lw=0.3, color="#bbbbbb")
        below.set_xlabel("x", fontsize=8)
        figure.tight_layout()
        return svg(figure)


def error_curves(
    curves: Mapping[str, tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]]], title: str
) -> str:
    """Error of the returned bits against x, one small panel a function."""
    with plt.rc_context(STYLE):
        columns = 3
        rows = -(-len(curves) // columns)
        figure, panels = plt.subplots(rows, columns, figsize=(8.6, 1.75 * rows), squeeze=False)
        for panel in panels.flat[len(curves) :]:
            panel.set_visible(False)
        for panel, (name, (x, error)) in zip(panels.flat, curves.items()):
            panel.plot(x, 1e3 * error, lw=0.5, color=PALETTE[0])
            panel.axhline(0, lw=0.5, color="#999999")
            panel.set_title(name, loc="left", fontsize=9)
            panel.tick_params(labelsize=7)
        figure.supylabel("error x 1000", fontsize=8)
        figure.suptitle(title, fontsize=10, x=0.02, ha="left")
        figure.tight_layout()
        return svg(figure)
