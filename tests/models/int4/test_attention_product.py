"""QK^T and PV in INT8: bits of the golden operand path and array, forward and backward, and what they mean."""

import copy
from math import frexp

import numpy as np
import pytest
import torch
from torch import nn

from lanewise.config import Rounding
from lanewise.models.int4 import Int4Config, quantize
from lanewise.models.int4.attention_product import attention_product, exact_product, int8_operand
from lanewise.models.int4.product import Int4Product
from lanewise.models.int4_quantiser import QuantiserSettings, multiplier_of
from lanewise.models.lfsr import lane_states
from lanewise.models.mac_array import mac_array
from lanewise.models.operand_path import OperandSettings, from_nibbles, operand_path

SEED, LANES = 12, 16
SHAPES = [((2, 3, 8, 16), (2, 3, 16, 8)), ((5, 7), (7, 4)), ((1, 2, 1, 33), (1, 2, 33, 3))]


def owner(**options):
    """A layer whose generators round; its weight is of no matter."""
    return Int4Product(torch.ones(2, 2), Int4Config(seed=SEED, lanes=LANES, attention_bits=8, **options))


def golden_int8(half, rounding, states):
    """INT8 integers of FP16, what 1.0 becomes, and the states after, by the golden operand path alone."""
    peak = np.abs(half.astype(np.float64)).max()
    exponent = 15 - frexp(peak)[1]
    multiplier, shift = multiplier_of(127 / peak * 2.0**-exponent)
    quantiser = QuantiserSettings(multiplier=multiplier, shift=shift, rounding=rounding, bits=8)
    settings = OperandSettings(block=1, exponent=exponent, quantiser=quantiser)
    beats = np.zeros(-(-half.size // LANES) * LANES, np.uint16)
    beats[: half.size] = half.view(np.uint16).reshape(-1)
    hi, lo, _, after = operand_path(beats.reshape(-1, LANES), settings, states)
    integers = from_nibbles(hi, lo).reshape(-1)[: half.size].reshape(half.shape)
    return integers, multiplier * 2.0 ** (exponent - shift), after


def golden_product(a, b):
    """Exact INT32 sums of the array, matrix by matrix."""
    left, right = (part.reshape(-1, *part.shape[-2:]) for part in (a, b))
    sums = np.stack([mac_array(x, y, 8) for x, y in zip(left, right)])
    return torch.from_numpy(sums.reshape(*a.shape[:-1], b.shape[-1]).astype(np.float64))


def operands(shapes, kind="ordinary"):
    generator = torch.Generator().manual_seed(SEED)
    x, y = (torch.randn(shape, generator=generator) for shape in shapes)
    if kind == "softmax":
        x = torch.softmax(5 * x, -1)
    if kind == "outliers":
        x[..., 0] *= 1000
    return x.requires_grad_(), y.requires_grad_()


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["ordinary", "softmax", "outliers"])
@pytest.mark.parametrize("size", [1.0, 1e-9])
def test_both_ways_are_the_golden_models(shapes, kind, size):
    layer, (x, y) = owner(), operands(shapes, kind)
    z = attention_product(x, y, layer)
    gradient = torch.randn(z.shape, generator=torch.Generator().manual_seed(1)) * size
    z.backward(gradient)

    states = lane_states(SEED, LANES + 1)[:LANES]
    halves = [part.detach().half().numpy() for part in (x, y)]
    (xq, x_units, _), (yq, y_units, _) = (golden_int8(half, Rounding.NEAREST, states) for half in halves)
    for real, integers in ((x, xq), (y, yq)):
        np.testing.assert_array_equal(int8_operand(real.detach()).integers.numpy(), integers)
        assert np.abs(integers).max() == 127
    scale = 14 - frexp(float(gradient.abs().max()))[1]
    scaled = np.ldexp(gradient.numpy().astype(np.float64), scale).astype(np.float16)
    gq, g_units, after = golden_int8(scaled, Rounding.STOCHASTIC, states)
    g_units *= 2.0**scale
    np.testing.assert_array_equal(layer.generators[:LANES].numpy(), after)
    for ours, sums, units in (
        (z.detach(), golden_product(xq, yq), x_units * y_units),
        (x.grad, golden_product(gq, yq.swapaxes(-1, -2)), g_units * y_units),
        (y.grad, golden_product(xq.swapaxes(-1, -2), gq), g_units * x_units),
    ):
        torch.testing.assert_close(ours.double(), sums / units, rtol=3e-7, atol=0)


def test_long_sums_are_exact():
    """Where FP32 no longer holds the sums: the largest that an odd number of products gives, and random ones."""
    rng = np.random.default_rng(SEED)
    for k in (1024, 1025, 4099):
        a, b = rng.integers(-128, 128, (2, 3, k)), rng.integers(-128, 128, (2, k, 2))
        a[0], b[0] = -128, -128
        a[1, 0], b[1, :, 0] = 127, 127
        sums = exact_product(*(torch.from_numpy(part.astype(np.float32)) for part in (a, b)))
        np.testing.assert_array_equal(sums.numpy(), golden_product(a, b).numpy().astype(np.float32))


def test_a_gradient_is_near_the_real_one_and_unbiased():
    """One is off by its quantisation; the mean over seeds is the gradient of the quantised operands."""
    x, y = operands(SHAPES[0])
    gradient = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    layer, draws = owner(), 300
    quantised = [part.integers * part.step for part in (int8_operand(x.detach()), int8_operand(y.detach()))]
    exact = (gradient @ quantised[1].mT, quantised[0].mT @ gradient)
    real = (gradient @ y.detach().mT, x.detach().mT @ gradient)
    once, total = None, [torch.zeros_like(x), torch.zeros_like(y)]
    for place in range(draws):
        layer.generators.copy_(torch.from_numpy(lane_states(place, LANES + 1).astype(np.int64)))
        result = torch.autograd.grad(attention_product(x, y, layer), (x, y), gradient)
        total = [a + b for a, b in zip(total, result)]
        once = once or result
    for one, mean, wanted, theirs in zip(once, total, exact, real):
        error = (one - theirs).norm() / theirs.norm()
        assert 0.002 < error < 0.03
        assert (mean / draws - wanted).norm() / wanted.norm() < 0.002  # 1 / sqrt(300) of an error of 0.02


def test_the_error_is_within_the_rounding():
    """Each product of the sum is off by half a step of either operand, FP16's rounding aside."""
    x, y = operands(SHAPES[0])
    z = attention_product(x, y, owner()).detach()
    half_x, half_y = (float(part.detach().abs().max()) / 254 * 1.1 for part in (x, y))
    x, y = x.detach(), y.detach()
    bound = (
        half_x * y.abs().sum(-2, keepdim=True) + half_y * x.abs().sum(-1, keepdim=True) + 16 * half_x * half_y
    )
    assert ((z - x @ y).abs() < bound).all()


@pytest.mark.parametrize(("options", "limit"), [({"backward": False}, 1e-6), ({"naive": True}, 0.03)])
def test_other_backward_passes_draw_nothing(options, limit):
    layer, (x, y) = owner(**options), operands(SHAPES[0])
    before = layer.generators.clone()
    gradient = torch.randn(2, 3, 8, 8)
    attention_product(x, y, layer).backward(gradient)
    right = int8_operand(y.detach())
    wanted = gradient @ (right.integers * right.step).mT
    assert (x.grad - wanted).norm() / wanted.norm() < limit
    assert torch.equal(layer.generators, before)


def test_nothing_and_what_is_no_number():
    layer = owner()
    for x, y in (
        (torch.zeros(2, 3), torch.ones(3, 2)),
        (torch.zeros(0, 3), torch.ones(3, 2)),
        (torch.zeros(2, 0), torch.ones(0, 2)),
    ):
        x.requires_grad_()
        z = attention_product(x, y, layer)
        z.sum().backward()
        assert not z.detach().any()
        assert x.grad.shape == x.shape
    odd = torch.tensor([[torch.nan, 1.0, torch.inf]])
    assert int8_operand(odd).integers[0, [0, 2]].tolist() == [0, 127]
    assert attention_product(odd.double(), torch.ones(3, 1).double(), layer).dtype == torch.float64


def attention(**options):
    torch.manual_seed(SEED)
    exact = nn.MultiheadAttention(32, 4, batch_first=True)
    return quantize(exact, exclude=["out_proj"], seed=SEED, sampling=False, **options)


def run(network, x, gradient, **options):
    network.zero_grad()
    y = network(x, x, x, need_weights=False, **options)[0]
    y.backward(gradient)
    return y.detach(), network.in_proj_weight.grad.clone()


@pytest.mark.parametrize("low", [-1e4, -1e30, torch.finfo(torch.float32).min, -torch.inf])
def test_attention_is_near_the_real_one_under_masks(low):
    x, gradient = torch.randn(3, 6, 32), torch.randn(3, 6, 32)
    mask = torch.full((6, 6), low).triu(1)
    ours, theirs = (
        run(attention(**options), x, gradient, attn_mask=mask) for options in ({"attention_bits": 8}, {})
    )
    for mine, other, limit in zip(ours, theirs, (0.05, 0.15)):
        assert 0 < (mine - other).norm() / other.norm() < limit


def test_equal_seeds_give_equal_bits_and_states_resume():
    x, gradient = torch.randn(3, 6, 32), torch.randn(3, 6, 32)
    first, other = attention(attention_bits=8), attention(attention_bits=8)
    assert set(first.state_dict()) == set(attention().state_dict())
    one = run(first, x, gradient)[1]
    torch.testing.assert_close(run(other, x, gradient)[1], one, rtol=0, atol=0)
    state = copy.deepcopy(first.state_dict())
    two = run(first, x, gradient)[1]
    assert not torch.equal(one, two)
    resumed = attention(attention_bits=8)
    resumed.load_state_dict(state)
    torch.testing.assert_close(run(resumed, x, gradient)[1], two, rtol=0, atol=0)
