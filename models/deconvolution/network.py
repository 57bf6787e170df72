"""The unrolled network: a step a network of convolutions over time that corrects the coefficients."""

import torch
from torch import nn

from lanewise.models.deconvolution.config import DeconvolutionConfig
from lanewise.models.deconvolution.forward import Estimate, ForwardModel


class StepNetwork(nn.Module):
    """Correction of the coefficients from themselves and the gradient: four convolutions over time, kernel 3, GELU between.

    At 44 modes 88-88-88-88-44 channels, 81,620 parameters.
    """

    def __init__(self, modes: int) -> None:
        super().__init__()
        wide = 2 * modes
        self.layers = nn.Sequential(
            nn.Conv1d(wide, wide, 3, padding=1), nn.GELU(),
            nn.Conv1d(wide, wide, 3, padding=1), nn.GELU(),
            nn.Conv1d(wide, wide, 3, padding=1), nn.GELU(),
            nn.Conv1d(wide, modes, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape ``(batch, 2 modes, frames)`` to ``(batch, modes, frames)``."""
        corrected: torch.Tensor = self.layers(x)
        return corrected


class UnrolledNetwork(nn.Module):
    """``a <- rho_k (a + Net_k[a; gradient] - mean tip and tilt)``, from 0, with weights of its own for each step.

    The gradient is given times ``gradient_scale``, a constant of the data, so that its numbers are about 1.

    Source: Asensio Ramos et al., arXiv 2306.12078.
    """

    gradient_scale: torch.Tensor

    def __init__(self, config: DeconvolutionConfig, gradient_scale: float = 1.0) -> None:
        super().__init__()
        self.config = config
        self.model = ForwardModel(config)
        self.networks = nn.ModuleList(StepNetwork(config.modes) for _ in range(config.steps))
        self.rho = nn.Parameter(torch.ones(config.steps))
        self.register_buffer("gradient_scale", torch.tensor(gradient_scale))

    def layers(self, step: int) -> nn.Sequential:
        """Of a step's network."""
        layers = self.networks[step].get_submodule("layers")
        assert isinstance(layers, nn.Sequential)
        return layers

    def update(self, step: int, coefficients: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Coefficients after a step, shape ``(batch, frames, modes)``."""
        seen = torch.cat([coefficients, gradient * self.gradient_scale], -1).transpose(1, 2)
        moved = coefficients + self.networks[step](seen).transpose(1, 2)
        return self.rho[step] * without_mean_tilt(moved)

    def forward(self, spectra: torch.Tensor) -> list[Estimate]:
        """Estimates before the first step and after each, ``steps`` + 1 in all."""
        batch, frames = spectra.shape[:2]
        coefficients = spectra.real.new_zeros(batch, frames, self.config.modes)
        estimates = [self.model.estimate(coefficients, spectra)]
        for step in range(self.config.steps):
            coefficients = self.update(step, coefficients, estimates[-1].gradient)
            estimates.append(self.model.estimate(coefficients, spectra))
        return estimates


def without_mean_tilt(coefficients: torch.Tensor) -> torch.Tensor:
    """Coefficients whose first two modes, tip and tilt, have mean 0 over the frames: only the picture's place depends on it."""
    tilt = coefficients[..., :2]
    return torch.cat([tilt - tilt.mean(-2, keepdim=True), coefficients[..., 2:]], -1)
