"""Pictures of the workload ``spsn``: spikes of a sample, accuracy, and the ratio of times against the length of the sequence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from lanewise.files import write_text
from lanewise.reports.plots import PALETTE, STYLE, svg
from lanewise.reports.workloads.picture import Picture
from lanewise.workload.result import WorkloadResult

RASTER = (
    "One sample of class {label}: its spikes, and those of the first hidden layer of each network. A dot is a spike; a stochastic neuron "
    "fires by chance, half of the time without an input."
)
ACCURACY = (
    "Accuracy on samples that were not learned from (a dot a seed, the bar is their mean), and spikes of a neuron a step, without and with "
    "the regulariser."
)
RATIO = (
    "LIF's time over SPSN's. On this processor (one layer, one thread) it grows with T where neurons are few. On the core (whole network, "
    "cycles) it grows only against LIF that is run operator by operator, step by step; our best LIF kernel keeps its state in registers and "
    "takes as long as SPSN."
)
LAYERS = (
    "Cycles a step of one layer at T = 10,000, batch 1. LIF waits for its own loop however few neurons and many lanes there are; "
    "SPSN cuts time into segments that run side by side, so fewer neurons cost less, until DMA's short runs bound it."
)
NAMES = {"lif": "LIF", "sb": "SPSN, SB", "gs": "SPSN, GS"}
COLOURS = {"lif": PALETTE[0], "sb": PALETTE[1], "gs": PALETTE[2]}


def draw(result: WorkloadResult, folder: Path) -> list[Picture]:
    """Write the pictures to ``folder``."""
    data = result.data
    drawn = (
        ("raster", _raster(data["raster"]), RASTER.format(label=data["raster"]["label"])),
        ("accuracy", _accuracy(data), ACCURACY),
        ("ratio", _ratio(data), RATIO),
        ("layers", _layers(data["cycles"]), LAYERS),
    )
    pictures = []
    for name, text, caption in drawn:
        write_text(folder / f"{name}.svg", text)
        pictures.append(Picture(path=folder / f"{name}.svg", caption=caption))
    return pictures


def _raster(data: Mapping[str, Any]) -> str:
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, 4, figsize=(9.2, 2.9))
        shown = [("inputs", "input", PALETTE[6], "channel", data["channels"])]
        shown += [(kind, NAMES[kind], COLOURS[kind], "neuron", data["neurons"]) for kind in NAMES]
        for axes, (key, name, colour, what, most) in zip(panels, shown, strict=True):
            axes.scatter(
                [t for t, _ in data[key]],
                [n for _, n in data[key]],
                s=min(6.0, 220 / most),
                color=colour,
                linewidths=0,
            )
            axes.set(title=name, xlabel="step", ylabel=what, xlim=(-1, data["steps"]), ylim=(-1, most))
        figure.tight_layout()
        return svg(figure)


def _accuracy(data: Mapping[str, Any]) -> str:
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.1), width_ratios=(1.7, 1))
        for group, network in enumerate(data["accuracies"]):
            for place, kind in enumerate(NAMES):
                values = [100 * value for value in network["accuracy"][kind]]
                x = group + (place - 1) * 0.26
                mean = sum(values) / len(values)
                left.bar(
                    x, mean, 0.23, color=COLOURS[kind], label=NAMES[kind] if group == 0 else None, alpha=0.8
                )
                left.scatter([x] * len(values), values, s=10, color="black", zorder=3)
                left.text(x, 2, f"{mean:.1f}", ha="center", color="white", fontsize=8)
        left.set_xticks(
            range(len(data["accuracies"])), [network["network"] for network in data["accuracies"]]
        )
        left.set(ylabel="accuracy, %", ylim=(0, 105))
        left.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.17))
        for place, (kind, rates) in enumerate(data["regularised"].items()):
            for offset, rate, alpha in zip((-0.17, 0.17), rates, (0.45, 1.0), strict=True):
                right.bar(place + offset, rate, 0.3, color=COLOURS[kind], alpha=alpha)
                right.text(place + offset, rate, f"{rate:.2f}", ha="center", va="bottom", fontsize=8)
        right.set_xticks(
            range(len(data["regularised"])), [f"{NAMES[kind]}\nwithout, with" for kind in data["regularised"]]
        )
        right.set(ylabel="spikes a step", title="regulariser")
        figure.tight_layout()
        return svg(figure)


def _ratio(data: Mapping[str, Any]) -> str:
    cpu, cycles = data["cpu"], data["cycles"]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, 3.6))
        for (neurons, ratios), style in zip(cpu["ratios"].items(), ("o:", "o-"), strict=True):
            axes.plot(
                cpu["lengths"],
                ratios,
                style,
                color=PALETTE[6],
                label=f"this processor, {neurons} neurons: LIF / SPSN by FFT",
            )
        spsn = cycles["networks"]["SPSN"]
        for name, style, colour in (
            ("LIF, operator by operator", "s--", PALETTE[3]), ("LIF", "s-", PALETTE[0]),
        ):  # fmt: skip
            values = [own / other for own, other in zip(cycles["networks"][name], spsn, strict=True)]
            label = "the core: " + ("our best LIF kernel / SPSN" if name == "LIF" else f"{name} / SPSN")
            axes.plot(cycles["lengths"], values, style, color=colour, label=label)
        axes.axhline(1, color=PALETTE[6], linewidth=0.6, linestyle=":")
        axes.set(xscale="log", yscale="log", xlabel="T, steps", ylabel="times as long as SPSN")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.3), ncols=2)
        figure.tight_layout()
        return svg(figure)


def _layers(cycles: Mapping[str, Any]) -> str:
    steps = cycles["lengths"][-1]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, 3.4))
        lanes = sorted({one["lanes"] for one in cycles["layers"]})
        for place, count in enumerate(lanes):
            own = [one for one in cycles["layers"] if one["lanes"] == count]
            widths = [one["neurons"] for one in own]
            for model, name, style in (("lif", "LIF", "s-"), ("spsn", "SPSN", "o--")):
                axes.plot(
                    widths,
                    [one[model] / steps for one in own],
                    style,
                    color=PALETTE[place],
                    label=f"{name}, {count} lanes",
                )
        axes.set(xscale="log", yscale="log", xlabel="neurons", ylabel="cycles a step")
        axes.set_yticks((2, 5, 10, 20), ("2", "5", "10", "20"))
        axes.set_xticks(widths, [str(width) for width in widths])
        axes.minorticks_off()
        axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.2))
        figure.tight_layout()
        return svg(figure)
