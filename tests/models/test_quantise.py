"""Integer products against exact integer arithmetic, and scales against exhaustive search."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from lanewise.models.mac_array import mac_array
from lanewise.models.nn import Fp16Results
from lanewise.models.quantise import (
    ActivationQuantiser,
    IntegerLinear,
    IntegerMatmuls,
    QuantiseConfig,
    best_scale,
    calibrate_matmuls,
    hadamard,
    integer_matmul,
    quantise,
    quantise_linears,
    turn,
)

SEED = 11


def generator():
    return torch.Generator().manual_seed(SEED)


def integers(bits, *shape):
    limit = 2 ** (bits - 1)
    return torch.randint(-limit, limit, shape, generator=generator())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("k", [1, 7, 384, 1536, 5000])
def test_product_is_the_arrays(bits, k):
    a, w = integers(bits, 9, k), integers(bits, k, 5)
    a[0], w[:, 0] = -(2 ** (bits - 1)), -(2 ** (bits - 1))  # the largest sum
    result = integer_matmul(a.float(), w.float(), bits)
    expected = a @ w  # torch's int64 matmul
    np.testing.assert_array_equal(mac_array(a.numpy(), w.numpy(), bits), expected.numpy())
    np.testing.assert_array_equal(result.numpy(), expected.numpy().astype(np.float32))


def test_product_that_could_wrap_is_refused():
    with pytest.raises(ValueError, match=r"^k must be below 131072, not 131072: INT32 sums wrap$"):
        integer_matmul(torch.zeros(1, 131072), torch.zeros(131072, 1), 8)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("turned", [True, False])
def test_linear_by_integers(bits, bias, turned):
    """The whole layer again in numpy: quantise, INT64 product, FP32 fused scale and bias, FP16."""
    torch.manual_seed(SEED)
    linear, x = nn.Linear(96, 40, bias=bias), torch.randn(3, 7, 96)
    config = QuantiseConfig(bits=bits, hadamard=turned)
    layer = IntegerLinear(linear, ActivationQuantiser.calibrated(turn(x) if turned else x, config), config)
    inverse, limit = layer.quantiser.inverse.numpy(), 2 ** (bits - 1)
    operand = x.half().float()
    operand = (turn(operand) if turned else operand).numpy().astype(np.float16)
    quantised = np.clip(np.rint((operand * inverse).astype(np.float64)), -limit, limit - 1).astype(np.int64)
    np.testing.assert_array_equal(layer.integers(x).numpy(), quantised)
    weight = layer.weight.numpy().astype(np.int64)
    assert np.array_equal(weight, layer.weight.numpy())
    assert weight.min() >= -limit
    assert weight.max() < limit
    total = mac_array(quantised.reshape(-1, 96), weight.T, bits).astype(np.float32).astype(np.float64)
    offset = linear.bias.detach().numpy().astype(np.float64) if bias else 0.0
    expected = (total * layer.scale.numpy().astype(np.float64) + offset).astype(np.float32).astype(np.float16)
    with torch.no_grad():
        result = layer(x)
    assert result.dtype == x.dtype
    np.testing.assert_array_equal(result.numpy().reshape(-1, 40).astype(np.float16), expected)
    error = (result - linear(x)).norm() / linear(x).norm()
    assert error < (0.03 if bits == 8 else 0.35)


def test_sums_are_not_rounded_by_the_context():
    """A sum beyond FP16's 65504 is an integer inside the array, not a tensor of the network."""
    linear = nn.Linear(1536, 4, bias=False)
    nn.init.constant_(linear.weight, 0.01)
    config, x = QuantiseConfig(bits=8), torch.ones(2, 1536)
    layer = IntegerLinear(linear, ActivationQuantiser.calibrated(x, config), config)
    with torch.no_grad(), Fp16Results():
        result = layer(x)
    torch.testing.assert_close(result, torch.full((2, 4), 15.36), rtol=2e-3, atol=0)


@pytest.mark.parametrize("bits", [4, 8])
def test_scale_has_nearly_the_least_error(bits):
    """Against 4,000 candidates, on a distribution with outliers."""
    x = torch.randn(3, 2000, generator=generator())
    x[:, :4] *= 12

    def error(scale):
        return (quantise(x, scale, bits) * scale - x).square().sum(1, keepdim=True)

    peak = x.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    least = torch.stack([error(peak * k / 4000) for k in range(1, 4001)]).amin(0)
    assert (error(best_scale(x, bits)) <= 1.05 * least).all()
    torch.testing.assert_close(best_scale(x, bits, clip=False), peak)


def test_zeros_have_a_scale():
    scale = best_scale(torch.zeros(2, 5), 4)
    assert (scale > 0).all()
    assert not quantise(torch.zeros(2, 5), scale, 4).any()


def test_quantiser_saturates():
    quantiser = ActivationQuantiser(inverse=torch.tensor(100.0, dtype=torch.float16), bits=4)
    x = torch.tensor([0.0, 0.005, 0.015, 0.0249, 1.0, -1.0, 60000.0, -60000.0])
    assert quantiser(x).tolist() == [0, 0, 2, 2, 7, -8, 7, -8]  # ties to even


@pytest.mark.parametrize("size", [1, 2, 32])
def test_hadamard_is_orthonormal(size):
    matrix = hadamard(size)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size))
    torch.testing.assert_close(matrix.abs(), torch.full((size, size), size**-0.5))
    x = torch.randn(4, 2 * size, generator=generator())
    torch.testing.assert_close(turn(turn(x, size), size), x)  # its own inverse


def test_hadamard_helps_against_outliers():
    torch.manual_seed(SEED)
    linear, x = nn.Linear(128, 64), torch.randn(200, 128)
    x[:, ::32] *= 10  # one channel in each block
    errors = []
    for turned in (False, True):
        config = QuantiseConfig(hadamard=turned)
        layer = quantise_linears(nn.Sequential(linear), config, lambda module: module(x))
        with torch.no_grad():
            errors.append((layer(x) - linear(x)).norm().item())
    assert errors[1] < 0.6 * errors[0]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last, self.unused = nn.Linear(32, 32), nn.Linear(32, 8), nn.Linear(3, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def test_quantise_linears_replaces_all_but_the_skipped():
    torch.manual_seed(SEED)
    network, x = Network(), torch.randn(50, 32)
    result = quantise_linears(network, QuantiseConfig(bits=8), lambda module: module(x), skip=["unused"])
    kinds = [type(part).__name__ for part in result.children()]
    assert kinds == ["IntegerLinear", "IntegerLinear", "Linear"]
    assert all(isinstance(part, nn.Linear) for part in network.children())
    with torch.no_grad():
        torch.testing.assert_close(result(x), network(x), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("config", "skip", "message"),
    [
        (QuantiseConfig(), [], "calibrate must run every linear layer, not leave out 'unused'"),
        (
            QuantiseConfig(hadamard=True),
            ["unused", "first"],
            "in_features of last must be a multiple of 32, not 33",
        ),
    ],
)
def test_uncalibrated_layers_are_refused(config, skip, message):
    network, x = Network(), torch.randn(5, 32)
    if config.hadamard:
        network.first, network.last = nn.Linear(32, 33), nn.Linear(33, 8)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        quantise_linears(network, config, lambda module: module(x), skip=skip)


def test_attention_products():
    torch.manual_seed(SEED)
    query, key, value = torch.randn(3, 2, 4, 6, 8)

    def attend():
        return torch.softmax(query @ key.mT, -1) @ value

    def calibrate(recorder):
        with recorder():
            attend()

    quantisers = calibrate_matmuls(calibrate, QuantiseConfig(bits=4))
    assert len(quantisers) == 2
    with IntegerMatmuls(quantisers):
        scores = query @ key.mT
    left, right = quantisers[0]
    expected = torch.empty(2, 4, 6, 6)
    for batch in range(2):
        for head in range(4):
            a, w = left(query[batch, head]).numpy(), right(key[batch, head].mT).numpy()
            expected[batch, head] = torch.from_numpy(
                mac_array(a.astype(np.int64), w.astype(np.int64)).astype(np.float32)
            )
    expected = (expected * (left.scale * right.scale)).half().float()
    torch.testing.assert_close(scores, expected, rtol=0, atol=0)
    with IntegerMatmuls(quantisers):
        result = attend()
    assert 0.01 < (result - attend()).norm() / attend().norm() < 0.5


def test_more_products_than_calibrated_are_refused():
    message = r"^products must be at most the 0 that were calibrated, not more$"
    with IntegerMatmuls([]), pytest.raises(ValueError, match=message):
        torch.bmm(torch.ones(1, 2, 3), torch.ones(1, 3, 2))


@pytest.mark.parametrize("bits", [0, 3, 16])
def test_widths(bits):
    with pytest.raises(ValueError, match=f"^bits must be 4 or 8, not {bits}$"):
        QuantiseConfig(bits=bits)


def test_hadamard_sizes():
    with pytest.raises(ValueError, match=r"^size must be a power of two, not 12$"):
        hadamard(12)
