"""Training of spiking networks: cross-entropy, Adamax, and a regulariser of the firing rate."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lanewise.models.one_thread import one_thread
from lanewise.models.spsn.config import THETA, SpsnConfig
from lanewise.models.spsn.data import SpikingDigits, spiking_digits
from lanewise.models.spsn.filters import by_fft, by_scan
from lanewise.models.spsn.network import SpikingNetwork

SCANNED_STEPS = 512
"""Below so many steps a scan is faster on a processor than an FFT."""
STRENGTH = 1.0
"""Of the regulariser, on rates; ours: the source has no number."""
_TEST_SEED = 1_000_003


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network after training, and what it does on the test samples."""

    network: SpikingNetwork
    accuracy: float
    """Share of the test samples."""
    rates: tuple[float, ...]
    """Spikes of a neuron a step, by hidden layer."""
    losses: tuple[float, ...]
    """Mean of each epoch."""


def excess(hidden: list[Tensor], theta: float) -> Tensor:
    """``relu(sum of spikes - theta N)**2`` of each layer and sample, N the neurons times the steps, in units of N**2; summed over layers."""
    means = torch.stack([spikes.mean((0, 2)) for spikes in hidden])
    return torch.relu(means - theta).square().sum(0).mean()


def held_out(config: SpsnConfig, seed: int) -> SpikingDigits:
    """What :func:`train` tests on."""
    return spiking_digits(config, config.test, seed + _TEST_SEED)


def train(
    config: SpsnConfig, kind: str, seed: int, *, regularise: bool = False, theta: float | None = None
) -> Trained:
    """Train on samples of the seed, test on others.

    Reproducible: one thread, all random numbers of the seed.

    Args:
        kind: One of :data:`~lanewise.models.spsn.config.KINDS`.
        regularise: Whether the loss has :func:`excess`.
        theta: The firing rate from which it counts; ``None``: the paper's.
    """
    with one_thread():
        samples = spiking_digits(config, config.train, seed)
        form = by_scan if config.steps < SCANNED_STEPS else by_fft
        network = SpikingNetwork(config, kind, seed, form)
        optimiser = torch.optim.Adamax(network.parameters(), lr=config.rate)
        order = torch.Generator().manual_seed(seed)
        limit = THETA[kind] if theta is None else theta
        losses = []
        for _ in range(config.epochs):
            total = 0.0
            for chosen in torch.split(torch.randperm(config.train, generator=order), config.batch):
                scores, hidden = network(samples.spikes[chosen])
                loss = torch.nn.functional.cross_entropy(scores, samples.labels[chosen])
                total += float(loss.detach()) * len(chosen)
                if regularise:
                    loss = loss + STRENGTH * excess(hidden, limit)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            losses.append(total / config.train)
        accuracy, rates = evaluate(network, held_out(config, seed))
    return Trained(network=network, accuracy=accuracy, rates=rates, losses=tuple(losses))


def evaluate(network: SpikingNetwork, samples: SpikingDigits) -> tuple[float, tuple[float, ...]]:
    """Accuracy, and the firing rate of each hidden layer."""
    right, rates = 0, torch.zeros(len(network.config.hidden))
    with torch.no_grad():
        for spikes, labels in zip(
            torch.split(samples.spikes, 200), torch.split(samples.labels, 200), strict=True
        ):
            scores, hidden = network(spikes)
            right += int((scores.argmax(1) == labels).sum())
            rates += torch.tensor([float(layer.mean()) for layer in hidden]) * len(labels)
    return right / len(samples.labels), tuple((rates / len(samples.labels)).tolist())
