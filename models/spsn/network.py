"""Networks of spiking layers; the last layer does not fire and is averaged over time (Yarga and Wood 2023, arXiv 2306.12666)."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from lanewise.models.spsn.config import KINDS, SpsnConfig
from lanewise.models.spsn.filters import by_fft, by_scan
from lanewise.models.spsn.neurons import bernoulli, gumbel, lif

Filter = Callable[[Tensor, float, float], Tensor]


class SpikingNetwork(nn.Module):
    """Linear layers without bias, each followed by neurons of one kind.

    Args:
        config: Sizes and decays.
        kind: One of :data:`~lanewise.models.spsn.config.KINDS`.
        seed: Of the weights, normal with a variance of 1 / fan-in times a gain of ours, and of the random bits.
        form: The filter of neurons without a reset.

    Raises:
        ValueError: There is no such kind.
    """

    def __init__(self, config: SpsnConfig, kind: str, seed: int, form: Filter = by_fft) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        self.config, self.kind, self.form = config, kind, form
        self.random = torch.Generator().manual_seed(seed)
        sizes = config.sizes
        self.weights = nn.ParameterList(
            torch.randn(own, before, generator=self.random) * (GAINS[kind] if own != sizes[-1] else 1.0) / before**0.5
            for before, own in pairwise(sizes)
        )  # fmt: skip

    def forward(self, spikes: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Outputs and spikes.

        Args:
            spikes: Of the inputs, bool or numbers, shape ``(batch, steps, channels)``.

        Returns:
            Scores, shape ``(batch, classes)``, and the spikes of each hidden layer, shape ``(steps, batch, neurons)``.
        """
        a, b = self.config.current_decay, self.config.voltage_decay
        x, hidden = spikes.transpose(0, 1).to(torch.float32), []
        for weight in list(self.weights)[:-1]:
            x = self.fire(x @ weight.T, a, b)
            hidden.append(x)
        return by_scan(x @ self.weights[-1].T, a, b).mean(0), hidden

    def fire(self, x: Tensor, a: float, b: float) -> Tensor:
        """Spikes of a layer's inputs, both of shape ``(steps, ...)``."""
        if self.kind == "lif":
            return lif(x, a, b)
        return (bernoulli if self.kind == "sb" else gumbel)(self.form(x, a, b), self.random)


GAINS = {"lif": 3.0, "sb": 3.0, "gs": 2.0}
"""Of the weights before spiking layers: inputs are sparse, and a LIF neuron that never reaches its threshold has no gradient."""
