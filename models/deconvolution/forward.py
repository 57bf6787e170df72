"""From coefficients to point spread functions, the object, the loss and its gradient, in PyTorch.

With A = P exp(i phi), W = FFT2(A), psf = |W|**2 / sum, S = FFT2(psf) and frames I:

* object O = mask sum conj(S_j) I_j / D, with D = sigma + sum |S_j|**2;
* loss L = mean over frames and pixels of (IFFT2(O S_j) - i_j)**2.

The gradient is that of L as a function of the coefficients alone, O's own change with them included. By Parseval dL = -c sum_u Re(G_j dS_j), with
G_j = (1 + t) O conj(I_j) - (1 + 2 t) |O|**2 conj(S_j), t = sigma / D: where sigma is 0 O minimises L, and t is what it misses.
Then dL/dpsf = -c Re FFT2(G_j), and dL/dphi = -2 Im(A FFT2(conj(W) dL/dpsf)) / sum |W|**2, the transforms being symmetric matrices.
"""

from dataclasses import dataclass

import torch

from lanewise.models.deconvolution.config import DeconvolutionConfig
from lanewise.models.deconvolution.modes import pupil

Tensor = torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """What coefficients say of a burst."""

    loss: Tensor
    """Shape ``(batch,)``."""
    object: Tensor
    """Restored image, deviation from the mean intensity, shape ``(batch, pixels, pixels)``."""
    gradient: Tensor
    """Of the loss by the coefficients, shape ``(batch, frames, modes)``."""


class ForwardModel(torch.nn.Module):
    """Images of an object through a pupil with phases; all methods take ``(batch, frames, ...)``.

    Source: Asensio Ramos et al., arXiv 2306.12078; the loss is that of Paxman, Schulz and Fienup, JOSA A 9, 1072 (1992), in the image domain.
    """

    aperture: Tensor
    modes: Tensor
    mask: Tensor

    def __init__(self, config: DeconvolutionConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        optics = pupil(config)
        self.register_buffer("aperture", torch.tensor(optics.aperture, dtype=dtype))
        self.register_buffer("modes", torch.tensor(optics.modes, dtype=dtype))
        frequency = torch.fft.fftfreq(config.pixels, dtype=torch.float64) * config.pixels
        radius = torch.hypot(frequency[:, None], frequency[None, :])
        self.register_buffer("mask", (radius <= config.cutoff * config.pupil).to(dtype))
        self.power = config.pixels**2 * float(optics.aperture.sum())
        """Sum of |W|**2, whatever the phase (Parseval)."""

    def phase(self, coefficients: Tensor) -> Tensor:
        """Phase on the pupil's box in rad, shape ``(batch, frames, box, box)``."""
        return torch.einsum("bjk,kyx->bjyx", coefficients, self.modes)

    def field(self, phase: Tensor) -> Tensor:
        """A = P exp(i phi), complex."""
        return torch.polar(self.aperture.expand_as(phase), phase)

    def wave(self, field: Tensor) -> Tensor:
        """W: the field at the detector, shape ``(batch, frames, pixels, pixels)``."""
        made: Tensor = torch.fft.fft2(field, s=(self.config.pixels, self.config.pixels))
        return made

    def psf(self, phase: Tensor) -> Tensor:
        """Point spread function, sum 1, its middle at pixel 0."""
        wave = self.wave(self.field(phase))
        return (wave.real**2 + wave.imag**2) / self.power

    def restored(self, transfer: Tensor, spectra: Tensor) -> Tensor:
        """O of transfer functions S and spectra I of the frames, shape ``(batch, pixels, pixels)``, complex."""
        numerator = (transfer.conj() * spectra).sum(1)
        return self.mask * numerator / self.denominator(transfer)

    def denominator(self, transfer: Tensor) -> Tensor:
        """D of transfer functions."""
        return self.config.sigma + (transfer.real**2 + transfer.imag**2).sum(1)

    def loss(self, coefficients: Tensor, frames: Tensor) -> Tensor:
        """L of each burst, shape ``(batch,)``; what autograd is asked for the gradient."""
        transfer, spectra = torch.fft.fft2(self.psf(self.phase(coefficients))), torch.fft.fft2(frames)
        seen = torch.fft.ifft2(self.restored(transfer, spectra)[:, None] * transfer).real
        made: Tensor = ((seen - frames) ** 2).mean((1, 2, 3))
        return made

    def estimate(self, coefficients: Tensor, spectra: Tensor) -> Estimate:
        """Loss, object and analytic gradient, of four transforms a frame.

        Args:
            coefficients: Shape ``(batch, frames, modes)``.
            spectra: FFT2 of the frames' deviation from the mean intensity, shape ``(batch, frames, pixels, pixels)``.
        """
        loss, restored, by_phase = self._slopes(coefficients, spectra)
        gradient = torch.einsum("bjyx,kyx->bjk", by_phase, self.modes)
        return Estimate(loss=loss, object=torch.fft.ifft2(restored).real, gradient=gradient)

    def phase_slope(self, coefficients: Tensor, spectra: Tensor) -> Tensor:
        """The loss's slope by the phase, shape ``(batch, frames, box, box)``."""
        return self._slopes(coefficients, spectra)[2]

    def _slopes(self, coefficients: Tensor, spectra: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, object's transform, slope by the phase."""
        field = self.field(self.phase(coefficients))
        wave = self.wave(field)
        transfer = torch.fft.fft2((wave.real**2 + wave.imag**2) / self.power)
        restored, denominator = self.restored(transfer, spectra), self.denominator(transfer)
        residual = restored[:, None] * transfer - spectra
        count = spectra.shape[1] * self.config.pixels**4  # frames, pixels, and Parseval's
        loss = (residual.real**2 + residual.imag**2).sum((1, 2, 3)) / count
        along, across = self.sensitivities(restored, denominator)
        slope = along[:, None] * spectra.conj() - across[:, None] * transfer.conj()
        by_psf = torch.fft.fft2(slope).real
        back = torch.fft.fft2(by_psf * wave.conj())[..., : self.config.box, : self.config.box]
        by_phase = (field.real * back.imag + field.imag * back.real) * (4 / (count * self.power))
        return loss, restored, by_phase

    def sensitivities(self, restored: Tensor, denominator: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of conj(I_j) and of conj(S_j) in G_j."""
        missed = self.config.sigma / denominator
        power = restored.real**2 + restored.imag**2
        return (1 + missed) * restored, (1 + 2 * missed) * power
