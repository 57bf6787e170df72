"""A layer's bits against the golden models, and its derivatives against their definitions."""

import copy
import re
from math import sqrt

import numpy as np
import pytest
import torch
from torch import nn

from lanewise.errors import UserError
from lanewise.models.int4 import Int4Config, Int4Linear
from lanewise.models.int4.operand import first_step, minmax_operand, operand
from lanewise.models.int4_quantiser import QuantiserSettings, multiplier_of, quantise
from lanewise.models.mac_array import mac_array
from lanewise.models.walsh_hadamard import fixed_point, walsh_hadamard

SEED = 6


def layer(k, m, **options):
    torch.manual_seed(SEED)
    linear = Int4Linear.of(nn.Linear(k, m), Int4Config(seed=SEED, **options))
    return linear, torch.randn(5, 7, k)


def golden_operand(x, step, block):
    """INT4 integers and what 1 stands for, from reals, by the golden models alone."""
    half = x.detach().reshape(-1, x.shape[-1]).half().numpy()
    exponent = 15 - int(np.frexp(np.abs(half.astype(np.float64)).max())[1])
    multiplier, shift = multiplier_of(2.0**-exponent / sqrt(block) / step)
    y = walsh_hadamard(fixed_point(half.view(np.uint16), exponent), block)
    integers = quantise(y, QuantiserSettings(multiplier=multiplier, shift=shift))
    return integers, 2.0 ** (shift - exponent) / multiplier / sqrt(block)


@pytest.mark.parametrize(
    ("k", "m", "block"), [(64, 10, 32), (48, 33, 16), (24, 8, 8), (7, 5, 1), (128, 4, 32)]
)
@pytest.mark.parametrize("turned", [True, False])
def test_forward_is_the_golden_models(k, m, block, turned):
    linear, x = layer(k, m, hadamard=turned)
    y = linear(x).detach()
    block = block if turned else 1
    assert linear.int4.block == block
    left, step_x = golden_operand(x, float(linear.int4.step_x.detach()), block)
    right, step_w = golden_operand(linear.weight, float(linear.int4.step_weight.detach()), block)
    sums = torch.from_numpy(mac_array(left, right.T).astype(np.float32)) * (step_x * step_w)
    torch.testing.assert_close(y, sums.reshape(5, 7, m) + linear.bias.detach(), rtol=1e-6, atol=0)
    assert len(np.unique(left)) > 8
    error = (y - nn.functional.linear(x, linear.weight, linear.bias).detach()).norm() / y.norm()
    assert error < 0.4


def test_naive_reaches_seven():
    linear, x = layer(64, 10, naive=True)
    linear(x)
    peak = float(x.half().abs().max())
    left, _ = golden_operand(x, peak / 7, 1)
    np.testing.assert_array_equal(minmax_operand(x.reshape(-1, 64)).integers.numpy(), left)
    assert np.abs(left).max() == 7
    assert linear.int4.step_x == 0
    assert not linear.int4.step_x.requires_grad


def test_first_steps_are_lsqs():
    linear, x = layer(64, 10)
    linear(x)
    turned = (
        walsh_hadamard(np.rint(x.numpy().reshape(-1, 64) * 2**13).astype(np.int64), 32) / 2**13 / sqrt(32)
    )
    expected = 2 * np.abs(turned).mean() / sqrt(7)
    assert float(linear.int4.step_x.detach()) == pytest.approx(expected, rel=1e-3)
    linear(100 * x)
    assert float(linear.int4.step_x.detach()) == pytest.approx(expected, rel=1e-3)  # the first batch only
    assert first_step(torch.zeros(3, 8), 8) == 1


def test_derivatives_are_straight_through_and_lsqs():
    """FP32 backward, no transform: by the definitions."""
    linear, x = layer(24, 10, hadamard=False, backward=False)
    x = x.reshape(-1, 24).requires_grad_()
    with torch.no_grad():
        linear(x)
        linear.int4.step_x *= 0.3  # so that much is outside
        linear.int4.step_weight *= 0.3
    gradient = torch.randn(35, 10)
    linear(x).backward(gradient)
    left = operand(x.detach(), float(linear.int4.step_x.detach()), 1)
    right = operand(linear.weight.detach(), float(linear.int4.step_weight.detach()), 1)
    for real, mine, to, step in (
        (x, left, gradient @ right.integers * right.step, linear.int4.step_x),
        (linear.weight, right, gradient.T @ left.integers * left.step, linear.int4.step_weight),
    ):
        v = real.detach().half().double() / mine.step
        inside = (v >= -8) & (v <= 7)
        assert 0.5 < inside.double().mean() < 1
        torch.testing.assert_close(real.grad, torch.where(inside, to, 0.0))
        slope = torch.where(inside, v.round() - v, v.clamp(-8, 7).round())
        expected = (to.double() * slope).sum() / sqrt(real.numel() * 7)
        torch.testing.assert_close(step.grad.double(), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(linear.bias.grad, gradient.sum(0))


def test_the_transform_is_undone_in_the_gradient():
    """INT4's derivatives are near those of the real layer."""
    linear, x = layer(64, 40, sampling=False)
    exact = copy.deepcopy(linear)
    x = x.requires_grad_()
    gradient = torch.randn(5, 7, 40)
    linear(x).backward(gradient)
    ours = x.grad.clone()
    x.grad = None
    nn.functional.linear(x, exact.weight, exact.bias).backward(gradient)
    for mine, theirs in ((ours, x.grad), (linear.weight.grad, exact.weight.grad)):
        assert (mine - theirs).norm() / theirs.norm() < 0.35


@pytest.mark.parametrize(
    "options", [{}, {"sampling": False}, {"bit_splitting": False}, {"hadamard": False}, {"block": 8}]
)
def test_gradients_are_unbiased_but_for_saturation(options):
    """The mean of many backward passes is the FP32 backward pass of the same operands."""
    linear, x = layer(16, 8, **options)
    torch.manual_seed(SEED)
    gradient = torch.rand(5, 7, 8) * 2 - 1
    gradient[0, 0, 0] = 1.2  # only the largest saturates: 98 to 90
    linear(x)
    exact = copy.deepcopy(linear)
    exact.int4.config = Int4Config(backward=False, **options)
    means = []
    for network, draws in ((linear, 200), (exact, 1)):
        operand_x = x.clone().requires_grad_()
        for _ in range(draws):
            network(operand_x).backward(gradient)
        means.append((operand_x.grad / draws, network.weight.grad / draws))
    for mine, theirs in zip(*means):
        assert (mine - theirs).norm() / theirs.norm() < 0.05


def test_equal_seeds_give_equal_bits_and_states_resume():
    linear, x = layer(32, 16)
    other, _ = layer(32, 16)
    gradient = torch.randn(5, 7, 16)

    def weight_gradient(network):
        network.zero_grad()
        network(x).backward(gradient)
        return network.weight.grad.clone()

    first = weight_gradient(linear)
    torch.testing.assert_close(weight_gradient(other), first, rtol=0, atol=0)
    second = weight_gradient(linear)
    assert not torch.equal(first, second)
    resumed, _ = layer(32, 16)
    resumed.load_state_dict(other.state_dict())
    torch.testing.assert_close(weight_gradient(resumed), second, rtol=0, atol=0)
    elsewhere = Int4Linear.of(nn.Linear(32, 16), Int4Config(seed=SEED), place=1)
    assert not torch.equal(elsewhere.int4.generators, layer(32, 16)[0].int4.generators)


def test_types_and_shapes():
    linear, x = layer(32, 16)
    assert linear(x.double()).dtype == torch.float64
    assert linear(x[0, 0]).shape == (16,)
    empty = torch.zeros(0, 32, requires_grad=True)
    linear(empty).sum().backward()
    assert empty.grad.shape == (0, 32)
    for bad, text in ((x[..., :31], "float32 of shape (5, 7, 31)"), (x.long(), "int64 of shape (5, 7, 32)")):
        message = f"x must be floating-point, shape (..., 32), not {text}"
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            linear(bad)
