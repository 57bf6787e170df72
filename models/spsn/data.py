"""Spikes like those of spoken digits through a cochlea: synthetic, in the shape of SHD (700 channels, 20 classes).

A class is three tracks, smooth paths of a centre through the channels, two sinusoids each, as formants are; half of the classes have
their tracks backwards in time of the other half's, so that counting spikes without their time does not tell them apart. A sample shifts
the tracks a little in time and in frequency and stretches them; each channel then fires by chance, more often the nearer a track is, and
now and then for no reason. Everything follows from the seed; the classes from the sizes alone.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lanewise.models.spsn.config import SpsnConfig

TRACKS = 3
WIDTH = 0.02
"""Of a track, as a share of the channels."""
PEAK = 0.5
"""Probability of a spike in the middle of a track, a step."""
NOISE = 0.005
"""Probability anywhere."""
TIME_SHIFT, CHANNEL_SHIFT, STRETCH = 0.08, 0.03, 0.15
"""Largest shares that a sample moves and stretches its tracks by, either way."""
_CLASSES_SEED = 1


@dataclass(frozen=True, kw_only=True)
class SpikingDigits:
    """Samples and their classes."""

    spikes: Tensor
    """bool, shape ``(samples, steps, channels)``."""
    labels: Tensor
    """int64, shape ``(samples,)``."""


def spiking_digits(config: SpsnConfig, samples: int, seed: int) -> SpikingDigits:
    """So many samples, their classes drawn at random."""
    rng = np.random.default_rng([seed, samples])
    labels = rng.integers(0, config.classes, samples)
    shapes = np.random.default_rng(_CLASSES_SEED).uniform(-1, 1, ((config.classes + 1) // 2, TRACKS, 5))
    time = np.linspace(0, 1, config.steps)
    places = np.linspace(0, 1, config.channels)
    spikes = np.empty((samples, config.steps, config.channels), np.bool_)
    for number, label in enumerate(labels):
        shift, tone, stretch = rng.uniform(-1, 1, 3) * (TIME_SHIFT, CHANNEL_SHIFT, STRETCH)
        own = (time - 0.5) * (1 + stretch) + 0.5 + shift
        if label % 2:
            own = 1 - own
        chance = np.zeros((config.steps, config.channels))
        for track in shapes[label // 2]:
            distance = (places - (_centre(track, own) + tone)[:, None]) / WIDTH
            chance = np.maximum(chance, np.exp(-0.5 * distance**2))
        spikes[number] = rng.random(chance.shape) < PEAK * chance + NOISE
    return SpikingDigits(spikes=torch.from_numpy(spikes), labels=torch.from_numpy(labels))


def _centre(track: npt.NDArray[np.float64], time: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Place of a track from 0.1 to 0.9: a level, a slow wave and a faster one."""
    level, slow, phase, fast, other = track
    wave = 0.2 * slow * np.sin(np.pi * (2 * time + phase)) + 0.1 * fast * np.sin(np.pi * (4 * time + other))
    centre: npt.NDArray[np.float64] = np.clip(0.5 + 0.3 * level + wave, 0.1, 0.9)
    return centre
