"""Pictures of the large-step symplectic networks: an orbit, its Jacobi constant, symplecticity against segments."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from lanewise.files import write_text
from lanewise.reports.plots import PALETTE, STYLE, svg
from lanewise.reports.workloads.picture import Picture
from lanewise.workload.result import WorkloadResult

_COLOURS = {
    "integrator": "#333333",
    "generating network": PALETTE[0],
    "plain MLP": PALETTE[1],
}


def draw(result: WorkloadResult, folder: Path) -> list[Picture]:
    """Write the pictures to ``folder``.

    Raises:
        UserError: It cannot be written.
    """
    made = [
        ("orbit.svg", _orbit(result.data), "One unseen resonant orbit in Neptune's rotating frame, the Sun at the origin (circle) and Neptune at (1, 0): "
         "our integrator of order 12, small steps of the generating network, and of a plain MLP. Below, the error of the Jacobi constant."),
        ("tables.svg", _tables(result.data["tables"]), "Symplecticity lost to piecewise tanh, against segments: above, the Jacobian of the tables' polynomials "
         "in FP32; below, loops with the hardware's FP32 bits. Matched tables of degree 2 keep it at any size. Matched steps (degree 1) have "
         "the identity for their Jacobian wherever there is one, and lose it in the loops."),
        ("large.svg", _large(result.data), "Median error of predictions on unseen orbits: one large step from the first partition, against the small steps "
         "that lead as far."),
    ]  # fmt: skip
    pictures = []
    for name, text, caption in made:
        write_text(folder / name, text)
        pictures.append(Picture(path=folder / name, caption=caption))
    return pictures


def _orbit(data: Any) -> str:
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(8.2, 5.6))
        grid = figure.add_gridspec(2, 3, height_ratios=(3, 2))
        for place, (name, points) in enumerate(data["orbits"].items()):
            axes = figure.add_subplot(grid[0, place])
            x, y = np.array(points).T
            axes.plot(x, y, lw=0.6, color=_COLOURS[name])
            axes.plot([0], [0], "o", mfc="none", color="#d9a441", ms=6)
            axes.plot([1], [0], "o", color="#3a7ca5", ms=4)
            axes.set_xlim(-1.6, 1.6)
            axes.set_ylim(-1.6, 1.6)
            axes.set_aspect("equal")
            axes.set_title(name, loc="left")
            axes.tick_params(labelsize=7)
        axes = figure.add_subplot(grid[1, :])
        for name, errors in data["jacobi"].items():
            times = data["step"] * np.arange(1, len(errors)) / (2 * np.pi)
            axes.plot(times, np.maximum(np.abs(errors[1:]), 1e-16), lw=0.8, color=_COLOURS[name], label=name)
        axes.set_yscale("log")
        axes.set_xlabel("time, Neptune's periods")
        axes.set_ylabel("|C_J - C_J(0)|")
        axes.legend(fontsize=8, ncols=3)
        figure.tight_layout()
        return svg(figure)


def _tables(rows: Any) -> str:
    kinds = {
        "square": "T fitted, 1 - T²",
        "separate": "T and D fitted apart",
        "matched": "T the integral of D",
    }
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(2, 1, figsize=(8.2, 5.2), sharex=True)
        for panel, key, label in zip(
            panels, ("jacobian", "loops"), ("|MᵀJM - J|", "change of a loop's area")
        ):
            for colour, (kind, title) in enumerate(kinds.items()):
                for degree, line in ((1, "--"), (2, "-")):
                    chosen = [row for row in rows if row["kind"] == kind and row["degree"] == degree]
                    panel.plot(
                        [row["segments"] for row in chosen], [max(row[key], 1e-9) for row in chosen], line, marker="o", ms=3.5, lw=1.3,
                        color=PALETTE[colour], label=f"{title}, degree {degree}",
                    )  # fmt: skip
            panel.axhline(1e-4, lw=0.8, color="#999999")
            panel.set_yscale("log")
            panel.set_xscale("log", base=2)
            panel.set_ylabel(label)
        ticks = sorted({row["segments"] for row in rows})
        panels[1].set_xticks(ticks, [str(tick) for tick in ticks])
        panels[1].set_xlabel("segments")
        panels[0].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return svg(figure)


def _large(data: Any) -> str:
    names = {"large": "one large step", "composed": "small steps", "plain": "plain MLP's small steps"}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 2.9))
        for colour, (key, label) in enumerate(names.items()):
            times = [row["steps"] * data["step"] / (2 * np.pi) for row in data["large"]]
            errors = [row[key] for row in data["large"]]
            axes.plot(
                times, errors, marker="o", ms=3.5, lw=1.3, color=PALETTE[(0, 2, 1)[colour]], label=label
            )
        axes.set_yscale("log")
        axes.set_xlabel("time ahead, Neptune's periods")
        axes.set_ylabel("median error")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return svg(figure)
