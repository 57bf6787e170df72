"""What the network is measured against: as many plain gradient steps, of the best fixed size."""

import torch

from lanewise.models.deconvolution.forward import Estimate, ForwardModel
from lanewise.models.deconvolution.network import without_mean_tilt

SIZES = tuple(10 ** (k / 6) for k in range(-12, 13))
"""Steps that are tried, times the scale of the gradient; six a decade."""


def descend(
    model: ForwardModel, spectra: torch.Tensor, size: float, steps: int, weights: torch.Tensor | None = None
) -> list[Estimate]:
    """``a <- a - size weights gradient - mean tip and tilt``, from 0.

    Args:
        weights: Of the modes, shape ``(modes,)``; ``None``: 1.

    Returns:
        Estimates before the first step and after each.
    """
    batch, frames = spectra.shape[:2]
    coefficients = spectra.real.new_zeros(batch, frames, model.config.modes)
    estimates = [model.estimate(coefficients, spectra)]
    factor = size if weights is None else size * weights
    for _ in range(steps):
        coefficients = without_mean_tilt(coefficients - factor * estimates[-1].gradient)
        estimates.append(model.estimate(coefficients, spectra))
    return estimates


def best_size(
    model: ForwardModel, spectra: torch.Tensor, steps: int, scale: float, weights: torch.Tensor | None = None
) -> float:
    """Of :data:`SIZES` times ``scale`` the one with the least mean loss after ``steps`` steps."""
    losses = {}
    for size in SIZES:
        loss = float(descend(model, spectra, size * scale, steps, weights)[-1].loss.mean())
        losses[size * scale] = loss if loss == loss else float("inf")
    return min(losses, key=lambda size: losses[size])
