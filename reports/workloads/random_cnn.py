"""Pictures of the workload ``random-cnn``."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from lanewise.files import write_text
from lanewise.reports.plots import PALETTE, STYLE, svg
from lanewise.reports.workloads.picture import Picture
from lanewise.workload.result import WorkloadResult


def draw(result: WorkloadResult, folder: Path) -> list[Picture]:
    """Accuracy over expansion; cycles and bytes with filters from memory and made on chip.

    Raises:
        UserError: ``folder`` cannot be written.
    """
    pictures = []
    for name, text, caption in (
        ("accuracy", _accuracy(result.data), "Test accuracy over the expansion E, a panel for each kernel: filters learned and frozen. Bars are "
         "the standard deviation over the seeds; digits of 8 x 8, 599 test images."),
        ("layers", _layers(result.data), f"ResNet-18d LCx1, batch 1, {result.data['narrow']} bytes a clock of external memory: clocks and loaded bytes of each "
         "recombined convolution, folded to one with its weights loaded, and as two with random filters made on chip."),
        ("crossing", _crossing(result.data), "ResNet-18d: cycles relative to the folded network, as two convolutions with filters made on chip throughout, and "
         "with each layer as it is faster."),
    ):  # fmt: skip
        path = folder / f"random_cnn_{name}.svg"
        write_text(path, text)
        pictures.append(Picture(path=path, caption=caption))
    return pictures


def _accuracy(data: Any) -> str:
    kernels = sorted({row["kernel"] for row in data["accuracies"]})
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            1, len(kernels), figsize=(2.3 * len(kernels) + 1, 2.9), sharey=True, squeeze=False
        )
        for axes, kernel in zip(panels[0], kernels, strict=True):
            rows = [row for row in data["accuracies"] if row["kernel"] == kernel]
            for name, colour, mark in (("learned", PALETTE[0], "o"), ("frozen", PALETTE[1], "s")):
                means = [np.mean(row[name]) for row in rows]
                spread = [np.std(row[name], ddof=1) for row in rows]
                axes.errorbar(
                    [row["expansion"] for row in rows], means, spread, color=colour, marker=mark, markersize=4, capsize=2, linewidth=1.3,
                    label=f"{name}, FP32",
                )  # fmt: skip
            made = [r for r in data["generated"] if r["kernel"] == kernel and r["filters"] == "generated"]
            if made:
                axes.plot(
                    [r["expansion"] for r in made], [np.mean(r["accuracies"]) for r in made], "x", color=PALETTE[3], label="frozen, generated INT4",
                )  # fmt: skip
            axes.set_xscale("log", base=2)
            axes.set_xticks([row["expansion"] for row in rows], [str(row["expansion"]) for row in rows])
            axes.minorticks_off()
            axes.set_title(f"k = {kernel}", loc="left")
            axes.set_xlabel("expansion E")
            axes.grid(axis="y", linewidth=0.4, alpha=0.5)
        panels[0][0].set_ylabel("test accuracy, %")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.tight_layout(rect=(0, 0, 1, 0.92))
        figure.legend(handles, labels, loc="upper right", ncols=3, fontsize=8)
        return svg(figure)


def _layers(data: Any) -> str:
    rows = data["layers"]
    places = np.arange(len(rows))
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(2, 1, figsize=(8.2, 5.0), sharex=True)
        for axes, what, unit in ((panels[0], "cycles", "clocks"), (panels[1], "bytes", "bytes loaded")):
            for shift, way, colour, label in (
                (-0.2, "folded", PALETTE[0], "folded"), (0.2, "made", PALETTE[1], "two convolutions, filters made on chip"),
            ):  # fmt: skip
                values = np.array([row[f"{way}_{what}"] for row in rows]) / 1e3
                axes.bar(places + shift, values, 0.38, color=colour, label=label)
            axes.set_ylabel(f"{unit}, thousands")
        panels[0].legend(loc="upper right")
        panels[1].set_xticks(
            places, [row["name"].replace("stages.", "") for row in rows], rotation=60, ha="right", fontsize=8
        )
        figure.tight_layout()
        return svg(figure)


def _crossing(data: Any) -> str:
    rows = data["crossing"]
    names = [f"E = {row['expansion']}, {row['bus']} B/clk, batch {row['batch']}" for row in rows]
    places = np.arange(len(rows))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 0.42 * len(rows) + 1.2))
        for shift, way, colour, label in (
            (-0.2, "made", PALETTE[1], "made on chip throughout"), (0.2, "mixed", PALETTE[2], "each layer as it is faster"),
        ):  # fmt: skip
            values = [row[way] / row["folded"] for row in rows]
            axes.barh(places + shift, values, 0.38, color=colour, label=label)
            for place, value in zip(places, values, strict=True):
                axes.text(value, place + shift, f" {value:.2f}", va="center", fontsize=8)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.set_xlabel("cycles, folded network = 1")
        axes.set_xlim(0, 1.12 * max(row["made"] / row["folded"] for row in rows))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        return svg(figure)
