"""The unrolled network: its size, what training brings, and the same twice."""

import pytest
import torch

from lanewise.models.deconvolution.bursts import bursts
from lanewise.models.deconvolution.config import PAPER, SMALL, DeconvolutionConfig
from lanewise.models.deconvolution.descent import best_size, descend
from lanewise.models.deconvolution.network import StepNetwork, UnrolledNetwork, without_mean_tilt
from lanewise.models.deconvolution.psnr import psnr_db
from lanewise.models.deconvolution.training import TrainingConfig, train
from lanewise.models.one_thread import one_thread

TINY = DeconvolutionConfig(pixels=16, frames=4, modes=8, steps=3, pupil=7.5, strength=3.0)


def test_parameters_of_a_step():
    network = StepNetwork(PAPER.modes)
    assert sum(p.numel() for p in network.parameters()) == 81_620
    channels = [layer.in_channels for layer in network.layers if isinstance(layer, torch.nn.Conv1d)]
    assert channels == [88, 88, 88, 88]
    assert network(torch.zeros(1, 88, 12)).shape == (1, 44, 12)
    assert sum(p.numel() for p in UnrolledNetwork(PAPER).parameters()) == 10 * (81_620 + 1)


def test_mean_tilt_is_taken_out():
    a = without_mean_tilt(torch.randn(2, 5, 7))
    assert float(a[..., :2].mean(1).abs().max()) < 1e-6
    assert float(a[..., 2:].mean(1).abs().max()) > 1e-2


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in (1, 2))])
def test_training_beats_as_many_gradient_steps(seed):
    """A short training; the workload's own is in tests/workload/test_deconvolution.py."""
    with one_thread():
        network = train(SMALL, TrainingConfig(iterations=80, batch=8, pool=96), seed)
        data = bursts(SMALL, 6, 10_000 + seed)
        size = best_size(network.model, data.spectra, SMALL.steps, float(network.gradient_scale))
        plain = descend(network.model, data.spectra, size, SMALL.steps)
        unrolled = network(data.spectra)
    losses = [float(made[-1].loss.mean()) for made in (unrolled, plain)]
    gain = psnr_db(unrolled[-1].object, data.truth) - psnr_db(data.frames.mean(1), data.truth)
    print(seed, losses, float(gain.mean()))
    assert losses[0] < losses[1] < float(plain[0].loss.mean())
    assert float(gain.mean()) >= 2


def test_training_is_reproducible():
    with one_thread():
        first, second = (train(TINY, TrainingConfig(iterations=2, batch=2, pool=4), 5) for _ in range(2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_gradient_steps_of_the_modes_lose_less_with_each():
    data = bursts(SMALL, 4, 0)
    network = UnrolledNetwork(SMALL)
    scale = 1 / float(
        network.model.estimate(torch.zeros(4, SMALL.frames, SMALL.modes), data.spectra).gradient.std()
    )
    losses = [float(e.loss.mean()) for e in descend(network.model, data.spectra, 0.01 * scale, 3)]
    assert losses == sorted(losses, reverse=True)
