"""Pictures of the deconvolution workload: a burst before and after, loss by step, point spread functions, where the clocks go."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from lanewise.files import write_text
from lanewise.reports.plots import PALETTE, STYLE, stacked_cycles, svg
from lanewise.reports.workloads.picture import Picture
from lanewise.workload.result import WorkloadResult

_CAPTIONS = {
    "burst": "A held-out burst, the middle one of its set by gain: one frame, the mean of all, what five steps restore in PyTorch and in the "
    "hardware's arithmetic, and the truth, with their PSNR. All have one grey scale.",
    "loss": "Mean loss of a held-out set after each step: the unrolled network against gradient steps of the best fixed size for that very set.",
    "psf": "Point spread functions of three frames of that burst: what degraded them, all of the screen, and what the network found with its modes "
    "in the hardware's arithmetic. Square-root scale.",
    "clocks": "Clocks of a whole burst by kind of operator.",
}


def draw(result: WorkloadResult, folder: Path) -> list[Picture]:
    """Write the pictures to ``folder``."""
    drawn = (("burst", _burst), ("loss", _losses), ("psf", _psf), ("clocks", _clocks))
    pictures = []
    for name, make in drawn:
        path = folder / f"deconvolution-{name}.svg"
        write_text(path, make(result))
        pictures.append(Picture(path=path, caption=_CAPTIONS[name]))
    return pictures


def _burst(result: WorkloadResult) -> str:
    images = {name: np.array(image) for name, image in result.data["images"].items()}
    truth = images["truth"]
    with plt.rc_context(STYLE):
        figure, every = plt.subplots(1, len(images), figsize=(2.1 * len(images), 2.6))
        for axes, (name, image) in zip(every, images.items(), strict=True):
            axes.imshow(image, cmap="gray", vmin=truth.min(), vmax=truth.max(), interpolation="nearest")
            quality = result.data["psnr_db"].get(name)
            axes.set_title(name if quality is None else f"{name}\n{quality:.1f} dB", fontsize=9)
            axes.set_axis_off()
        return svg(figure)


def _losses(result: WorkloadResult) -> str:
    names = {"plain": "gradient steps, best fixed size", "unrolled": "unrolled network"}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.6, 2.8))
        for colour, (name, label) in zip(PALETTE, names.items()):
            losses = result.data["losses"][name]
            axes.plot(range(len(losses)), losses, marker="o", markersize=4, color=colour, label=label)
        axes.set_yscale("log")
        axes.set_xticks(range(len(losses)))
        axes.set_xlabel("step")
        axes.set_ylabel("loss, mean square residual")
        axes.legend()
        return svg(figure)


def _psf(result: WorkloadResult) -> str:
    shown = {name: np.sqrt(np.maximum(np.array(psf), 0)) for name, psf in result.data["psf"].items()}
    with plt.rc_context(STYLE):
        figure, every = plt.subplots(1, len(shown), figsize=(1.75 * len(shown), 2.1))
        for axes, (name, psf) in zip(every, shown.items(), strict=True):
            quarter = len(psf) // 4
            axes.imshow(psf[quarter:-quarter, quarter:-quarter], cmap="magma", interpolation="nearest")
            axes.set_title(name, fontsize=8)
            axes.set_axis_off()
        return svg(figure)


def _clocks(result: WorkloadResult) -> str:
    return stacked_cycles(list(result.data["shares"].items()), "A burst on the machine with Flex-SFU")
