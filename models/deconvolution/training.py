"""Unsupervised training: the loss of the burst itself, no truth."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lanewise.models.deconvolution.bursts import Bursts, bursts
from lanewise.models.deconvolution.config import DeconvolutionConfig
from lanewise.models.deconvolution.forward import ForwardModel
from lanewise.models.deconvolution.network import UnrolledNetwork

POOL = 256
"""Bursts that are made; batches are drawn from them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How long, and with what."""

    iterations: int = 400
    batch: int = 12
    rate: float = 2e-3
    """Adam's, falling to 0 along a cosine."""
    pool: int = POOL


def gradient_scale(config: DeconvolutionConfig, data: Bursts) -> float:
    """One over the standard deviation of the gradient where all coefficients are 0."""
    model = ForwardModel(config)
    zero = torch.zeros(len(data.frames), config.frames, config.modes)
    return 1 / float(model.estimate(zero, data.spectra).gradient.std())


def train(
    config: DeconvolutionConfig,
    training: TrainingConfig,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> UnrolledNetwork:
    """A network trained on bursts of ``seed``; call it with one thread of PyTorch, for sums to have one order.

    What is minimised is the mean over the bursts of log L after each step, the later the more. The logarithm makes a burst in good seeing count
    like one in bad. Gradients flow through the coefficients and through the analytic gradient's own dependence on them.
    """
    data = bursts(config, training.pool, seed)
    torch.manual_seed(seed)
    network = UnrolledNetwork(config, gradient_scale(config, data))
    with torch.no_grad():
        for step in range(config.steps):
            last = network.layers(step)[-1]
            last.get_parameter("weight").mul_(0.1)  # begin near no correction
            last.get_parameter("bias").zero_()
    optimiser = torch.optim.Adam(network.parameters(), training.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.iterations)
    weights = torch.arange(1, config.steps + 1) / (config.steps * (config.steps + 1) / 2)
    spectra = data.spectra
    for iteration in range(training.iterations):
        chosen = torch.randint(len(spectra), (training.batch,))
        losses = torch.stack([e.loss.log().mean() for e in network(spectra[chosen])[1:]])
        loss = (weights * losses).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (iteration + 1) % 50 == 0:
            progress(
                f"iteration {iteration + 1}: loss {float(losses[-1].detach().exp()):.3g} after the last step"
            )
    return network.eval().requires_grad_(False)
