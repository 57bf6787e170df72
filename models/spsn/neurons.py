"""Spiking neurons with gradients: leaky integrate-and-fire, and stochastic ones without a reset.

Source: Yarga and Wood 2023 (arXiv 2306.12666). LIF: ``S = [V > 1]``, ``V <- V (1 - S)``, surrogate ``1 / (100 |V - 1| + 1)**2``. SB:
``S ~ Bernoulli(sigmoid(V))``, whose gradient is taken times the probability. GS: Gumbel-softmax of ``(V, -V)`` at temperature 1, hard, straight
through. The forward pass of GS is Bernoulli(sigmoid(2 V)).
"""

from typing import Any

import torch
from torch import Tensor

from lanewise.models.spsn.filters import scan

SHARPNESS = 100.0


class _Threshold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, voltage: Tensor) -> Tensor:
        ctx.save_for_backward(voltage)
        return (voltage > 1).to(voltage.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (voltage,) = ctx.saved_tensors
        slope: Tensor = 1 / (SHARPNESS * (voltage - 1).abs() + 1) ** 2
        return gradients[0] * slope


class _Bernoulli(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probability: Tensor, random: Tensor) -> Tensor:
        ctx.save_for_backward(probability)
        return (random < probability).to(probability.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (probability,) = ctx.saved_tensors
        return gradients[0] * probability, None


def lif(x: Tensor, a: float, b: float) -> Tensor:
    """Spikes of inputs, both of shape ``(steps, ...)``; the currents, which know no reset, by a scan, and only the voltages step by step."""
    voltage = torch.zeros_like(x[0])
    spikes = []
    for current in ((1 - b) * scan(x, a)).unbind():
        voltage = b * voltage + current
        fired: Tensor = _Threshold.apply(voltage)  # type: ignore[no-untyped-call]
        voltage = voltage * (1 - fired)
        spikes.append(fired)
    return torch.stack(spikes)


def bernoulli(voltage: Tensor, generator: torch.Generator) -> Tensor:
    """SB: spikes of voltages, any shape."""
    random = torch.rand(voltage.shape, generator=generator, dtype=voltage.dtype)
    fired: Tensor = _Bernoulli.apply(torch.sigmoid(voltage), random)  # type: ignore[no-untyped-call]
    return fired


def gumbel(voltage: Tensor, generator: torch.Generator) -> Tensor:
    """GS: the first of two classes with logits V and -V; of two, the softmax is a sigmoid of the difference, Gumbel's noise a logistic one."""
    uniform = torch.rand(voltage.shape, generator=generator, dtype=voltage.dtype).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid(2 * voltage + torch.logit(uniform))
    return (soft > 0.5).to(voltage.dtype) + soft - soft.detach()
