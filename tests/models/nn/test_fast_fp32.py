"""The fast FP32 way gives the golden model's bits, in doubtful places above all."""

import numpy as np
import pytest

from lanewise.models.fit import fit
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.nn.fast_fp32 import FastFp32

SEED = 13


def bits(x):
    return np.asarray(x, np.float32).view(np.uint32)


def elements(table):
    """Of all sizes, near the breakpoints, in the range, and special ones."""
    rng = np.random.default_rng(SEED)
    knots = table.breakpoints.astype(np.int64)[:, None] + np.arange(-300, 301)
    return np.concatenate([
        rng.integers(0, 1 << 32, 30_000, dtype=np.uint32), bits(rng.uniform(-9, 9, 30_000)), bits(rng.integers(-64, 64, 300) / 8),
        np.clip(knots, 0, (1 << 32) - 1).astype(np.uint32).reshape(-1),
        bits([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38]),
    ])  # fmt: skip


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("name", ["gelu", "tanh", "exp"])
def test_fits(name, degree):
    table = fit(name, segments=32, degree=degree, format="fp32").table()
    x = elements(table)
    np.testing.assert_array_equal(FastFp32(table)(x), flex_sfu(x, table))


@pytest.mark.parametrize("degree", [1, 2])
def test_tables_of_random_bits(degree):
    rng = np.random.default_rng(SEED)
    for _ in range(5):
        knots = np.sort(rng.normal(size=7) * 2.0 ** rng.integers(-130, 120, 7))
        knots[rng.integers(7)] = 0
        scale = 2.0 ** rng.integers(-140, 120, (8, degree + 1))
        coefficients = rng.choice([1, 1, 0], (8, degree + 1)) * rng.normal(size=(8, degree + 1)) * scale
        table = SfuTable(format="fp32", breakpoints=bits(np.sort(knots)), coefficients=bits(coefficients))
        x = elements(table)
        np.testing.assert_array_equal(FastFp32(table)(x), flex_sfu(x, table))


def test_middles_of_two_numbers():
    """1.5 x has half a last place where x is odd; the offset that decides is beyond float64."""
    for sign in (-1, 1):
        coefficients = np.tile(bits([sign * 2.0**-60, 1.5]), (4, 1))
        table = SfuTable(format="fp32", breakpoints=bits([-1, 0, 1]), coefficients=coefficients)
        x = bits(1 + np.arange(1, 2000, 2) * 2.0**-23)
        expected = flex_sfu(x, table)
        np.testing.assert_array_equal(FastFp32(table)(x), expected)
        twice = (1.5 * x.view(np.float32).astype(np.float64) + sign * 2.0**-60).astype(np.float32)
        assert (twice.view(np.uint32) != expected).any()


def test_shape_is_kept_and_other_formats_are_refused():
    table = fit("tanh", segments=8, format="fp32").table()
    assert FastFp32(table)(np.zeros((0, 3), np.uint32)).shape == (0, 3)
    assert FastFp32(table)(np.zeros((2, 1, 3), np.uint32)).shape == (2, 1, 3)
    with pytest.raises(ValueError, match=r"^table must be of fp32, not fp16$"):
        FastFp32(fit("tanh", segments=8).table())
