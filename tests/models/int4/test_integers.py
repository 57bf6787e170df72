"""Fast integers against the golden models', bit for bit."""

import numpy as np
import pytest
import torch

from lanewise.config import HADAMARD_BLOCKS, Rounding
from lanewise.models.int4.integers import (
    Scaling,
    gradient_scaling,
    inside,
    nearest,
    quantised_gradient,
    scaled_values,
    split,
    stochastic,
    turned_integers,
)
from lanewise.models.int4_quantiser import QuantiserSettings, quantise
from lanewise.models.int4_quantiser import inside as golden_inside
from lanewise.models.int4_quantiser import split as golden_split
from lanewise.models.walsh_hadamard import fixed_point, walsh_hadamard

SEED = 4


def tensor(kind):
    """FP16 of shape (40, 64): ordinary, with outliers, of every size, or with what is no number."""
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(40, 64, generator=generator)
    if kind == "outliers":
        x[:, ::16] *= 50
    if kind == "sizes":
        x = x * 2.0 ** torch.randint(-24, 16, x.shape, generator=generator)
    if kind == "tiny":
        x *= 1e-7
    if kind == "special":
        x[0, :3], x[1, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf]), 65504
    return x.half()


def settings(scaling, rounding):
    return QuantiserSettings(multiplier=scaling.multiplier, shift=scaling.shift, rounding=rounding)


def golden(half, scaling):
    integers = fixed_point(half.numpy().view(np.uint16), scaling.exponent)
    return walsh_hadamard(integers, scaling.block)


@pytest.mark.parametrize("kind", ["ordinary", "outliers", "sizes", "tiny", "special"])
@pytest.mark.parametrize("block", HADAMARD_BLOCKS)
def test_integers_are_the_golden_models(kind, block):
    half = tensor(kind)
    peak = float(half[half.isfinite()].abs().max())
    random = np.random.default_rng(SEED).integers(0, 65536, half.shape).astype(np.uint16)
    drawn = torch.from_numpy(random.astype(np.int32))
    for units in (7 / peak, 20 / peak, 98 / peak, 5000 / peak):
        scaling = Scaling.of(peak, block, units)
        y = golden(half, scaling)
        turned = turned_integers(half, scaling)
        np.testing.assert_array_equal(turned.numpy(), y)
        values = scaled_values(turned, scaling)
        to_nearest, by_chance, in_two = (settings(scaling, rounding) for rounding in Rounding)
        np.testing.assert_array_equal(nearest(values).numpy(), quantise(y, to_nearest))
        np.testing.assert_array_equal(inside(values).numpy(), golden_inside(y, to_nearest))
        np.testing.assert_array_equal(stochastic(values, drawn).numpy(), quantise(y, by_chance, random))
        for ours, words in zip(split(values, drawn), golden_split(y, in_two, random)):
            np.testing.assert_array_equal(ours.numpy(), words)


@pytest.mark.parametrize("block", HADAMARD_BLOCKS)
def test_units_are_what_was_asked_for(block):
    for peak in (1e-6, 0.37, 1.0, 1.999, 60000.0):
        scaling = Scaling.of(peak, block, 7 / peak)
        assert scaling.units == pytest.approx(7 / peak, rel=2**-15)
        assert peak * 2.0**scaling.exponent <= 32768


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1.0, 1e6, 1e30])
def test_a_gradient_of_any_size_is_two_words(size):
    """The loss scale takes FP16's range out of it."""
    gradient = torch.randn(30, 16, generator=torch.Generator().manual_seed(SEED)) * size
    random = np.random.default_rng(SEED).integers(0, 65536, gradient.shape).astype(np.uint16)
    result = quantised_gradient(gradient, splits=True, random=torch.from_numpy(random.astype(np.int32)))
    (worth, hi), (unit, lo) = result.words
    assert (worth, unit) == (14, 1)
    peak = gradient.abs().max()
    assert result.units * peak == pytest.approx(98, rel=1e-3)
    error = (14 * hi + lo) / result.units - gradient
    limit = torch.where(gradient.abs() * 98 / peak > 90, 8.1, 2.1)  # the largest saturate, as in the paper
    assert (error.abs() * 98 / peak <= limit).all()
    half, scaling, _ = gradient_scaling(gradient, 98)
    words = golden_split(golden(half, scaling), settings(scaling, Rounding.SPLIT), random)
    np.testing.assert_array_equal(hi.numpy(), words[0])
    np.testing.assert_array_equal(lo.numpy(), words[1])


def test_gradients_that_are_nothing_or_no_number():
    zero = quantised_gradient(torch.zeros(3, 8), splits=False)
    assert not zero.words[0][1].any()
    odd = torch.ones(1, 8)
    odd[0, 0], odd[0, 1] = torch.nan, 0.5
    assert quantised_gradient(odd, splits=False).words[0][1].tolist() == [[0, 4, 7, 7, 7, 7, 7, 7]]
    with pytest.raises(ValueError, match=r"^random must be given for a split, not None$"):
        quantised_gradient(odd, splits=True)
