"""Softmax and norms on tensors give the golden model's bits."""

import numpy as np
import pytest
import torch

from lanewise.models import rows as golden
from lanewise.models.nn import rows
from lanewise.models.nn.activation import nonpositive_exponential
from lanewise.models.nn.config import ApproximateConfig

SEED = 5
LENGTHS = [1, 3, 64, 200, 513, 1300]


def halves(*shape, scale=10.0, special=True):
    x = (scale * np.random.default_rng(SEED).normal(size=shape)).astype(np.float16)
    if special and shape[-1] > 2:
        x[0, 1], x[1, 2], x[2, 0] = -np.inf, np.nan, np.inf
        x[3], x[4] = 0, 60000  # of which the squares' mean leaves FP16's range
        x[5] = -np.inf  # a row that is all masked
    return x


def assert_same_bits(result, expected):
    """A NaN's payload is lost on the way through PyTorch."""
    result, expected = result.half().numpy(), expected.view(np.float16)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(result.view(np.uint16)[known], expected.view(np.uint16)[known])


@pytest.mark.parametrize("vlen_bits", [256, 1024])
@pytest.mark.parametrize("length", LENGTHS)
def test_softmax(length, vlen_bits):
    for exponential in ("reduced", "direct"):
        power = nonpositive_exponential(ApproximateConfig(exponential=exponential))
        x = halves(7, length)
        expected = golden.softmax_bits(x.view(np.uint16), power, vlen_bits=vlen_bits)
        result = rows.softmax(torch.from_numpy(x).float(), -1, power, vlen_bits)
        assert_same_bits(result, expected)
        across = rows.softmax(torch.from_numpy(x).float().T.contiguous(), 0, power, vlen_bits)
        assert_same_bits(across.T, expected)


@pytest.mark.parametrize("vlen_bits", [256, 1024])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("epsilon", [1e-3, 1e-12])
def test_norms(length, vlen_bits, epsilon):
    x = halves(7, length)
    weight, bias = halves(2, length, scale=1.0, special=False)
    tensor, w, b = (torch.from_numpy(v).float() for v in (x, weight, bias))
    bits = {"weight": weight.view(np.uint16), "bias": bias.view(np.uint16)}
    assert_same_bits(
        rows.layer_norm(tensor, w, b, epsilon, vlen_bits),
        golden.layer_norm_bits(x.view(np.uint16), **bits, epsilon=epsilon, vlen_bits=vlen_bits),
    )
    assert_same_bits(
        rows.layer_norm(tensor, None, None, epsilon, vlen_bits),
        golden.layer_norm_bits(x.view(np.uint16), epsilon=epsilon, vlen_bits=vlen_bits),
    )
    assert_same_bits(
        rows.rms_norm(tensor, w, epsilon, vlen_bits),
        golden.rms_norm_bits(x.view(np.uint16), weight=bits["weight"], epsilon=epsilon, vlen_bits=vlen_bits),
    )


def test_multiply_add_of_weights_rounds_once():
    """1.5 n is often the middle of two FP16 numbers; FP32 would lose the bias that decides."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(400, 64)).astype(np.float16)
    weight, bias = np.full(64, 1.5, np.float16), np.full(64, 2**-24, np.float16)
    result = rows.layer_norm(*(torch.from_numpy(v) for v in (x, weight, bias)), 1e-5)
    expected = golden.layer_norm_bits(
        x.view(np.uint16), weight=weight.view(np.uint16), bias=bias.view(np.uint16)
    )
    assert_same_bits(result, expected)
    normalised = rows.layer_norm(torch.from_numpy(x), None, None, 1e-5).numpy().astype(np.float64)
    twice = (
        (normalised * weight.astype(np.float64) + bias.astype(np.float64))
        .astype(np.float32)
        .astype(np.float16)
    )
    assert (twice.view(np.uint16) != expected).any()


def test_group_norm_is_a_layer_norm_of_each_group():
    x = torch.from_numpy(halves(3, 6 * 10, special=False)).float().reshape(3, 6, 2, 5)
    weight, bias = torch.randn(2, 6, generator=torch.Generator().manual_seed(SEED))
    result = rows.group_norm(x, 2, weight, bias, 1e-5)
    for group in range(2):
        channels = slice(3 * group, 3 * group + 3)
        expected = rows.layer_norm(
            x[:, channels].reshape(3, 30), weight[channels].repeat_interleave(10), bias[channels].repeat_interleave(10), 1e-5
        )  # fmt: skip
        assert torch.equal(result[:, channels].reshape(3, 30), expected)
    torch.testing.assert_close(result, torch.group_norm(x, 2, weight, bias), rtol=0, atol=0.01)


def test_softmax_of_a_number():
    power = nonpositive_exponential(ApproximateConfig())
    assert rows.softmax(torch.tensor(3.0), 0, power).item() == 1
