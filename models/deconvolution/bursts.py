"""Synthetic bursts: granulation seen through moving Kolmogorov phase screens, with noise. Everything follows from a seed.

* Object: the modulus of Gaussian noise filtered to a band of scales, bright cells between dark lanes, plus weaker fine structure; periodic.
* Screens: Gaussian noise with Kolmogorov's spectrum ``0.023 r0**(-5/3) f**(-11/3)`` on a grid of eight pupils, with Lane's subharmonics (Lane, Glindemann
  and Dainty, Waves in Random Media 2, 209, 1992), blown across the pupil. All of the phase degrades the frames, not the modes alone. The
  burst's mean tip and tilt are taken out, for they only move the picture.
* Frames: circular convolution with the point spread function, then white noise.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lanewise.models.deconvolution.config import DeconvolutionConfig
from lanewise.models.deconvolution.forward import ForwardModel
from lanewise.models.deconvolution.modes import pupil

Float = npt.NDArray[np.float64]

PUPILS = 8
"""Edge of a screen, in pupil diameters."""
SUBHARMONICS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Bursts:
    """Frames and what they are of; intensities are deviations from the mean."""

    frames: torch.Tensor
    """Shape ``(batch, frames, pixels, pixels)``."""
    truth: torch.Tensor
    """Shape ``(batch, pixels, pixels)``."""
    psf: torch.Tensor
    """Of each frame, shape as ``frames``, its middle at pixel 0."""

    @property
    def spectra(self) -> torch.Tensor:
        """FFT2 of the frames."""
        made: torch.Tensor = torch.fft.fft2(self.frames)
        return made


def granulation(config: DeconvolutionConfig, rng: np.random.Generator) -> Float:
    """An object, mean 0, standard deviation ``contrast``; shape ``(pixels, pixels)``."""
    n = config.pixels
    frequency = np.fft.fftfreq(n) * n
    radius = np.hypot(frequency[:, None], frequency[None, :])
    cells = n / 16  # waves of the noise; its modulus has a granule where that has half a wave
    band = np.exp(-((radius - cells) ** 2) / (2 * (0.35 * cells) ** 2))
    fine = (1 + radius / cells) ** -1.5 * (radius <= 0.8 * config.pupil)

    def filtered(shape: Float) -> Float:
        made = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, n))) * shape).real
        return np.asarray((made - made.mean()) / made.std())

    cell = np.sqrt(filtered(band) ** 2 + 0.02)
    made = (cell - cell.mean()) / cell.std() + 0.3 * filtered(fine)
    made -= made.mean()
    return np.asarray(config.contrast * made / made.std())


def screen(config: DeconvolutionConfig, rng: np.random.Generator) -> Float:
    """A periodic phase screen in rad, shape ``(edge, edge)``, of :data:`PUPILS` diameters; a pixel is the pupil's."""
    edge = round(PUPILS * config.pupil)
    fried = config.pupil / config.strength
    frequency = np.fft.fftfreq(edge)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    radius[0, 0] = np.inf
    density = 0.0229 * fried ** (-5 / 3) * radius ** (-11 / 3)
    noise = rng.normal(size=(2, edge, edge))
    made = (np.fft.ifft2((noise[0] + 1j * noise[1]) * np.sqrt(density) / edge) * edge**2).real
    place = np.arange(edge) / edge
    y, x = np.meshgrid(place, place, indexing="ij")
    for level in range(1, SUBHARMONICS + 1):
        step = 3.0**-level
        for p in (-1, 0, 1):
            for q in (-1, 0, 1):
                if p == q == 0:
                    continue
                low = 0.0229 * fried ** (-5 / 3) * (step * np.hypot(p, q) / edge) ** (-11 / 3)
                a, b = rng.normal(size=2) * np.sqrt(low) * step / edge
                wave = 2 * np.pi * step * (p * y + q * x)
                made += a * np.cos(wave) - b * np.sin(wave)
    return made


def phases(config: DeconvolutionConfig, rng: np.random.Generator) -> Float:
    """Phase of each frame on the pupil's box, without the burst's mean tip and tilt; shape ``(frames, box, box)``."""
    whole, box = screen(config, rng), config.box
    step = config.wind * config.pupil
    if (config.frames - 1) * step + box > len(whole):
        raise ValueError(
            f"wind must keep {config.frames} frames on a screen of {len(whole)}, not {config.wind}"
        )
    starts = [round(j * step) for j in range(config.frames)]
    first = int(rng.integers(0, len(whole) - box))
    seen = np.stack([whole[first : first + box, s : s + box] for s in starts])
    optics = pupil(config)
    inside = optics.aperture > 0
    pistons = seen[:, inside].mean(1)
    seen = (seen - pistons[:, None, None]) * optics.aperture
    tilts = optics.modes[:2][:, inside]
    mean = np.linalg.lstsq(tilts.T, seen[:, inside].mean(0), rcond=None)[0]
    moved: Float = seen - np.einsum("k,kyx->yx", mean, optics.modes[:2])
    return moved


def bursts(config: DeconvolutionConfig, count: int, seed: int) -> Bursts:
    """``count`` bursts, each of an object and a screen of its own."""
    rng = np.random.default_rng([seed, config.pixels])
    truth = torch.tensor(np.stack([granulation(config, rng) for _ in range(count)]), dtype=torch.float32)
    phase = torch.tensor(np.stack([phases(config, rng) for _ in range(count)]), dtype=torch.float32)
    psf = ForwardModel(config).psf(phase)
    frames = torch.fft.ifft2(torch.fft.fft2(truth)[:, None] * torch.fft.fft2(psf)).real
    noise = rng.normal(0, config.noise, frames.shape)
    return Bursts(frames=frames + torch.tensor(noise, dtype=torch.float32), truth=truth, psf=psf)
