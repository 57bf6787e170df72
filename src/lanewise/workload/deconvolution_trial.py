"""Networks trained for the deconvolution workload, tried on held-out bursts beside plain gradient steps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanewise.models.deconvolution.bursts import Bursts
    from lanewise.models.deconvolution.network import UnrolledNetwork

HELD_OUT = 10_000
"""Seeds from here on are held-out bursts."""

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How much a run does."""

    networks: int
    """Trained, each with a seed of its own."""
    iterations: int
    sets: int
    """Of held-out bursts, each with a seed of its own, for each network."""
    bursts: int
    """Of a set."""


FULL = Effort(networks=2, iterations=400, sets=2, bursts=16)
SHORT = Effort(networks=1, iterations=150, sets=2, bursts=8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A network on a set of held-out bursts."""

    network: "UnrolledNetwork"
    data: "Bursts"
    losses: dict[str, list[float]]
    """Mean loss before the first step and after each, of ``unrolled`` and ``plain``."""
    mean_db: float
    """Mean PSNR of the mean frames, and of what"""
    restored_db: float
    """the network and"""
    plain_db: float
    """the gradient steps restore."""

    @property
    def gain_db(self) -> float:
        """Of the network over the mean frame."""
        return self.restored_db - self.mean_db


def trials_of(seed: int, effort: Effort, progress: Progress) -> list[Trial]:
    """Networks trained and tried on held-out bursts, in 32 x 32 pixels."""
    from lanewise.models.deconvolution.bursts import bursts
    from lanewise.models.deconvolution.config import SMALL
    from lanewise.models.deconvolution.training import TrainingConfig, train

    trials = []
    for number in range(effort.networks):
        its_seed = seed * effort.networks + number
        network = train(SMALL, TrainingConfig(iterations=effort.iterations), its_seed, progress)
        for place in range(effort.sets):
            data = bursts(SMALL, effort.bursts, HELD_OUT + its_seed * effort.sets + place)
            trials.append(trial(network, data))
    return trials


def trial(network: "UnrolledNetwork", data: "Bursts") -> Trial:
    """The network beside as many plain steps, whose size is the best for these very bursts."""
    from lanewise.models.deconvolution.descent import best_size, descend
    from lanewise.models.deconvolution.psnr import psnr_db

    model, steps, spectra = network.model, network.config.steps, data.spectra
    size = best_size(model, spectra, steps, float(network.gradient_scale))
    plain, unrolled = descend(model, spectra, size, steps), network(spectra)

    def decibels(images: Any) -> float:
        return float(psnr_db(images, data.truth).mean())

    losses = {name: [float(e.loss.mean()) for e in made] for name, made in (("unrolled", unrolled), ("plain", plain))}  # fmt: skip
    return Trial(
        network=network, data=data, losses=losses, mean_db=decibels(data.frames.mean(1)), restored_db=decibels(unrolled[-1].object),
        plain_db=decibels(plain[-1].object),
    )  # fmt: skip
