"""Noll's numbers, the modes, and the analytic gradient against autograd."""

import numpy as np
import pytest
import torch

from lanewise.models.deconvolution.bursts import bursts, phases
from lanewise.models.deconvolution.config import PAPER, SMALL, DeconvolutionConfig
from lanewise.models.deconvolution.forward import ForwardModel
from lanewise.models.deconvolution.modes import pupil
from lanewise.models.deconvolution.zernike import covariance, zernike

NOLL = {3: 0.134, 4: 0.111, 6: 0.0648, 10: 0.0401, 21: 0.0208}
"""Residual variance after the first J polynomials, (D / r0)**(5/3); of none but piston 1.0299 (Noll, table IV)."""


def test_covariance_is_nolls():
    variances = covariance(21).diagonal()
    for count, residual in NOLL.items():
        assert 1.0299 - variances[: count - 1].sum() == pytest.approx(residual, abs=2.5e-3)


def test_polynomials_are_orthonormal():
    axis = np.linspace(-1, 1, 401)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    inside = np.hypot(x, y) <= 1
    made = np.stack([zernike(j, x[inside], y[inside]) for j in range(1, 16)])
    assert np.abs(made @ made.T / inside.sum() - np.eye(15)).max() < 0.02


@pytest.mark.parametrize("config", [SMALL, PAPER], ids=["small", "paper"])
def test_modes_are_independent_and_the_most_first(config):
    optics = pupil(config)
    assert optics.modes.shape == (config.modes, config.box, config.box)
    assert (np.diff(optics.variances) <= 1e-12).all()
    flat = optics.modes[:2].reshape(2, -1)
    axis = np.arange(config.box) - (config.box - 1) / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    tilts = np.stack([(v * optics.aperture).ravel() for v in (x, y)])
    share = [np.linalg.norm(np.linalg.lstsq(tilts.T, mode, rcond=None)[0] @ tilts) / np.linalg.norm(mode) for mode in flat]  # fmt: skip
    assert min(share) > 0.98


def test_screens_have_the_modes_variances():
    optics, config = pupil(SMALL), SMALL
    inside = optics.aperture > 0
    modes = optics.modes[:, inside]
    seen = [phases(config, np.random.default_rng(seed))[:, inside] for seed in range(16)]
    found = np.linalg.lstsq(modes.T, np.concatenate(seen).T, rcond=None)[0].T
    ratios = found.var(0)[2:12] / (optics.variances[2:12] * config.strength ** (5 / 3))
    assert (ratios > 0.6).all()
    assert (ratios < 1.6).all()
    assert 0.85 < ratios.mean() < 1.15


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in (1, 2))])
@pytest.mark.parametrize("config", [SMALL, PAPER], ids=["small", "paper"])
def test_analytic_gradient_is_autograds(config, seed):
    data, model = bursts(config, 1, seed), ForwardModel(config)
    torch.manual_seed(seed)
    coefficients = (0.5 * torch.randn(1, config.frames, config.modes)).requires_grad_()
    loss = model.loss(coefficients, data.frames)
    (automatic,) = torch.autograd.grad(loss.sum(), coefficients)
    estimate = model.estimate(coefficients.detach(), data.spectra)
    assert float(estimate.loss) == pytest.approx(float(loss.detach()), rel=1e-4)
    assert float((estimate.gradient - automatic).norm()) <= 1e-4 * float(automatic.norm())


def test_a_perfect_estimate_restores_the_object():
    config = DeconvolutionConfig(
        pixels=32, frames=8, modes=20, steps=1, pupil=14.5, noise=0.0, sigma=1e-8, cutoff=0.8
    )
    data, model = bursts(config, 1, 0), ForwardModel(config)
    restored = model.restored(torch.fft.fft2(data.psf), data.spectra)
    wanted = model.mask * torch.fft.fft2(data.truth)
    assert float((restored - wanted).abs().max()) < 2e-2 * float(wanted.abs().max())


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"pupil must be 4 to pixels / 2 = 16.0, not 20"):
        DeconvolutionConfig(pixels=32, frames=8, modes=20, steps=5, pupil=20)
    with pytest.raises(ValueError, match="modes must be at least 3, not 2"):
        DeconvolutionConfig(pixels=32, frames=8, modes=2, steps=5, pupil=14)
    wide = DeconvolutionConfig(pixels=32, frames=90, modes=3, steps=5, pupil=14)
    with pytest.raises(ValueError, match="wind must keep 90 frames on a screen of 112"):
        phases(wide, np.random.default_rng(0))
