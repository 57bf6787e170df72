"""The forms of the spiking neuron's filter against each other, and the length of the transform."""

import pytest
import torch

from lanewise.models.spsn.claims import forms_claim, length_claim
from lanewise.models.spsn.filters import by_convolution, by_fft, by_scan, by_steps, kernel

SEEDS = (0, 1, 2)
DECAYS = ((0.8, 0.9), (0.5, 0.5), (0.95, 0.99))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("a", "b"), DECAYS)
@pytest.mark.parametrize("form", [by_fft, by_scan, by_convolution], ids=lambda form: form.__name__)
@pytest.mark.parametrize("steps", [1, 2, 37, 300])
def test_forms_are_equal(form, steps, a, b, seed):
    x = torch.randn(steps, 2, 3, generator=torch.Generator().manual_seed(seed))
    wanted = by_steps(x.double(), a, b)
    assert (form(x, a, b) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_the_kernel_is_the_response_to_a_single_spike():
    x = torch.zeros(50, 1, dtype=torch.float64)
    x[0] = 1
    torch.testing.assert_close(kernel(50, 0.8, 0.9, x), by_steps(x, 0.8, 0.9)[:, 0])


def test_claims_hold():
    assert forms_claim(SEEDS).holds
    assert length_claim(0).holds
