"""A trained network on the hardware: integer convolutions, Flex-SFU's GELU, FP16 between, gradients of :class:`HardwareModel`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from lanewise.models.deconvolution.bursts import Bursts
from lanewise.models.deconvolution.hardware import Arithmetic, HardwareModel, flex_sfu_values
from lanewise.models.deconvolution.network import UnrolledNetwork, without_mean_tilt
from lanewise.models.nn.lookup import look_up
from lanewise.models.quantise import best_scale, quantise

Tensor = torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Restoration:
    """What the hardware makes of bursts."""

    coefficients: tuple[Tensor, ...]
    """Before the first step and after each, shape ``(bursts, frames, modes)``."""
    images: Tensor
    """Shape ``(bursts, pixels, pixels)``."""


class HardwareNetwork:
    """Steps and objects with the hardware's arithmetic.

    Args:
        network: Trained.
        arithmetic: Formats.
        data: Bursts that fix the steps of integers; not those that it is tried on.
    """

    def __init__(self, network: UnrolledNetwork, arithmetic: Arithmetic, data: Bursts) -> None:
        self.network, self.arithmetic = network, arithmetic
        self.hardware = HardwareModel(network.config, arithmetic)
        self.gelu = flex_sfu_values("gelu", arithmetic.segments)
        self.scales: list[list[Tensor]] = []
        self.peaks: list[float] = []
        with torch.no_grad():
            self._calibrate(data)

    def _calibrate(self, data: Bursts) -> None:
        network = self.network
        spectra = data.spectra
        coefficients = torch.zeros(*data.frames.shape[:2], network.config.modes)
        for step in range(network.config.steps):
            estimate = network.model.estimate(coefficients, spectra)
            self.peaks.append(float(network.model.phase_slope(coefficients, spectra).abs().max()))
            scales: list[Tensor] = []

            def measured(layer: nn.Conv1d, x: Tensor, scales: list[Tensor] = scales) -> Tensor:
                scales.append(self._scale(x))
                made: Tensor = layer(x)
                return made

            self._apply(step, coefficients, estimate.gradient, measured)
            self.scales.append(scales)
            coefficients = network.update(step, coefficients, estimate.gradient)

    def _scale(self, x: Tensor) -> Tensor:
        return best_scale(x.reshape(1, -1), self.arithmetic.weight_bits or 8)[0, 0]

    def restore(self, data: Bursts) -> Restoration:
        """Coefficients and images of bursts."""
        hardware, config = self.hardware, self.network.config
        with torch.no_grad(), np.errstate(all="ignore"):
            spectra = hardware.spectra(data.frames)
            coefficients = torch.zeros(*data.frames.shape[:2], config.modes)
            made = [coefficients]
            for step in range(config.steps):
                gradient = hardware.gradient(
                    coefficients.numpy().astype(np.float64), spectra, self.peaks[step]
                )
                coefficients = self.update(step, coefficients, torch.tensor(gradient, dtype=torch.float32))
                made.append(coefficients)
            images = hardware.restored(coefficients.numpy().astype(np.float64), spectra)
        return Restoration(coefficients=tuple(made), images=torch.tensor(images, dtype=torch.float32))

    def update(self, step: int, coefficients: Tensor, gradient: Tensor) -> Tensor:
        """One step's coefficients, FP16 numbers."""
        scales = iter(self.scales[step])
        moved = self._apply(
            step, coefficients, gradient, lambda layer, x: self._convolution(layer, x, next(scales))
        )
        return _half(self.network.rho[step] * _half(without_mean_tilt(moved)))

    def _apply(
        self,
        step: int,
        coefficients: Tensor,
        gradient: Tensor,
        convolution: Callable[[nn.Conv1d, Tensor], Tensor],
    ) -> Tensor:
        x = _half(torch.cat([coefficients, gradient * self.network.gradient_scale], -1).transpose(1, 2))
        for layer in self.network.layers(step):
            x = _half(convolution(layer, x)) if isinstance(layer, nn.Conv1d) else look_up(self.gelu, x)
        return _half(coefficients + x.transpose(1, 2))

    def _convolution(self, layer: nn.Conv1d, x: Tensor, scale: Tensor) -> Tensor:
        bits = self.arithmetic.weight_bits
        if not bits:
            exact: Tensor = layer(x)
            return exact
        weight = layer.weight.flatten(1)
        step = best_scale(weight, bits)
        integers = quantise(weight, step, bits).reshape(layer.weight.shape)
        sums = nn.functional.conv1d(
            quantise(x, scale, bits).double(), integers.double(), padding=layer.padding[0]
        )
        made = sums * (step * scale).double()
        assert layer.bias is not None
        return made.float() + layer.bias[:, None]


def _half(x: Tensor) -> Tensor:
    return x.half().float()
