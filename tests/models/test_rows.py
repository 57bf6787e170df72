"""Golden softmax and norms against float64."""

import numpy as np
import pytest

from lanewise.models.reduction import normal_reciprocal, normal_rsqrt, reduced
from lanewise.models.reduction_tables import reduction_table
from lanewise.models.rows import layer_norm_bits, rms_norm_bits, softmax_bits

SEED = 9


def rows(count, length, scale=3.0):
    return np.random.default_rng(SEED).normal(0, scale, (count, length)).astype(np.float16)


def exponential(segments):
    table = reduction_table("exp_nonpositive", segments=segments)
    return lambda d: reduced("exp_nonpositive", d, table)


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize(("segments", "relative"), [(16, 3.4e-2), (32, 4.5e-3), (64, 3.5e-3)])
@pytest.mark.parametrize("length", [5, 300, 1000])
def test_every_weight_of_softmax_is_relatively_accurate(length, segments, relative):
    x = rows(20, length, 1.5)
    got = softmax_bits(x.view(np.uint16), exponential(segments)).view(np.float16).astype(float)
    shifted = (x - x.max(-1, keepdims=True)).astype(
        np.float16
    )  # what the kernel's subtraction rounds, it rounds
    exact = softmax(shifted.astype(float))
    large = exact > 2**-14
    assert np.abs(got / exact - 1)[large].max() < relative
    assert np.all(np.abs(got - exact)[~large] < 2**-23 + relative * exact[~large])


def test_masked_scores_get_no_weight():
    x = rows(3, 40)
    x[:, 10:] = -np.inf
    got = softmax_bits(x.view(np.uint16), exponential(32)).view(np.float16)
    assert not got[:, 10:].any()
    assert np.array_equal(
        got[:, :10], softmax_bits(x[:, :10].copy().view(np.uint16), exponential(32)).view(np.float16)
    )


@pytest.mark.parametrize("length", [1, 40, 3000])
def test_a_row_that_is_all_masked_has_no_weights(length):
    x = rows(2, length)
    x[0] = -np.inf
    got = softmax_bits(x.view(np.uint16), exponential(32)).view(np.float16)
    assert not got[0].any()
    assert np.isfinite(got).all()


def test_a_constant_row_is_normalised_to_zero_however_small_epsilon_is():
    x = np.full((1, 96), 0.1, np.float16).view(np.uint16)
    assert not layer_norm_bits(x, epsilon=1e-12).view(np.float16).any()
    assert not rms_norm_bits(np.zeros_like(x), epsilon=1e-12).view(np.float16).any()


def test_a_nan_spoils_its_row():
    x = rows(2, 96)
    x[0, 3] = np.nan
    for norm in (layer_norm_bits, rms_norm_bits):
        got = norm(x.view(np.uint16)).view(np.float16)
        assert np.isnan(got[0]).all()
        assert np.isfinite(got[1]).all()


@pytest.mark.parametrize("length", [4, 384, 2000])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1000.0])
def test_norms_of_small_and_large_numbers(length, scale):
    x = rows(10, length, scale)
    wide = x.astype(float)
    got = rms_norm_bits(x.view(np.uint16)).view(np.float16).astype(float)
    exact = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5)
    assert np.abs(got - exact).max() < 1.2e-3 * np.abs(exact).max()
    got = layer_norm_bits(x.view(np.uint16)).view(np.float16).astype(float)
    centred = wide - wide.mean(-1, keepdims=True)
    exact = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    assert np.abs(got - exact).max() < 2e-3 * np.abs(exact).max()


def test_looked_up_scalars_serve_as_well():
    x = rows(10, 100)
    tables = {name: reduction_table(name, format="fp32") for name in ("reciprocal", "rsqrt")}
    by_estimate = softmax_bits(x.view(np.uint16), exponential(32)).view(np.float16).astype(float)
    looked_up = softmax_bits(
        x.view(np.uint16), exponential(32), reciprocal=lambda t: normal_reciprocal(t, tables["reciprocal"])
    )
    assert np.allclose(looked_up.view(np.float16).astype(float), by_estimate, rtol=2e-3, atol=2**-23)
    by_estimate = rms_norm_bits(x.view(np.uint16)).view(np.float16).astype(float)
    looked_up = rms_norm_bits(x.view(np.uint16), rsqrt=lambda t: normal_rsqrt(t, tables["rsqrt"]))
    assert np.allclose(looked_up.view(np.float16).astype(float), by_estimate, rtol=2e-3, atol=0)


def test_the_order_of_a_long_row_s_sum_depends_on_the_registers():
    x = rows(1, 1024)
    narrow, wide = (softmax_bits(x.view(np.uint16), exponential(64), vlen_bits=bits) for bits in (256, 2048))
    difference = narrow.view(np.float16).astype(float) - wide.view(np.float16).astype(float)
    assert np.abs(difference).max() < 2e-3 * wide.view(np.float16).astype(float).max()


def test_weight_without_bias_is_refused():
    x = rows(1, 4).view(np.uint16)
    with pytest.raises(ValueError, match="weight and bias must both be given or neither, not one"):
        layer_norm_bits(x, weight=x[0])
    with pytest.raises(TypeError, match="x must be a uint16 array"):
        softmax_bits(x.view(np.float16), exponential(32))
