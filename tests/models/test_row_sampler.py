"""Leverage probabilities by their laws; the sampler by its statistics."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lanewise.models.lfsr import lane_states, random_bits
from lanewise.models.row_sampler import (
    leverage_probabilities,
    probability_bits,
    row_powers,
    row_sampler,
    row_weights,
)

norms = arrays(
    np.float64, st.integers(1, 60), elements=st.floats(0, 1e6) | st.sampled_from([0.0, 1.0, 1e300])
)
scalable_norms = arrays(  # that a factor of 1/1024 does not round
    np.float64, st.integers(1, 60), elements=st.floats(1e-290, 1e6) | st.sampled_from([0.0, 1.0, 1e300])
)


@given(norms, st.floats(0.01, 1.0))
def test_probabilities_add_up_are_at_most_1_and_keep_the_order(values, share):
    kept = share * values.size
    p = leverage_probabilities(values, kept)
    scaled = values / values.max() if values.max() > 0 else values
    assert ((p >= 0) & (p <= 1)).all()
    assert p.sum() == pytest.approx(min(kept, np.count_nonzero(p)), rel=1e-9)
    assert (p[values == 0] == 0).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(p[order]) >= -1e-12).all()
    inner = (p < 1) & (p > 1e-9) & (scaled > 1e-12)  # those that are not clipped are in the norms' ratio
    if inner.sum() > 1:
        ratio = p[inner] / scaled[inner]
        assert np.ptp(ratio) <= 1e-9 * ratio.max()


@given(scalable_norms)
def test_scale_of_the_norms_does_not_matter(values):
    kept = max(1, values.size // 2)
    np.testing.assert_allclose(
        leverage_probabilities(values / 1024, kept),
        leverage_probabilities(values, kept),
        rtol=1e-12,
        atol=1e-300,
    )


def test_sampled_sum_is_unbiased_and_as_long_as_asked():
    rng = np.random.default_rng(1)
    values = rng.gamma(0.3, size=256)
    p = probability_bits(leverage_probabilities(values, 128))
    weights = row_weights(p)
    draws, _ = random_bits(lane_states(1, 256), 4000)  # a lane a row: 4000 lists at once
    sums, counts = [], []
    for draw in draws:
        rows = row_sampler(p, draw)
        sums.append((weights[rows] * values[rows]).sum())
        counts.append(len(rows))
    real = np.where(p == 65535, 1.0, p / 65536)
    exact = values[real > 0].sum()
    variance = (values**2 * (1 - real))[real > 0] / real[real > 0]
    assert abs(np.mean(sums) - exact) < 4 * np.sqrt(variance.sum() / 4000)
    assert abs(np.mean(counts) - real.sum()) < 4 * np.sqrt((real * (1 - real)).sum() / 4000)


def test_certain_rows_are_kept_and_impossible_ones_never():
    draws, _ = random_bits(lane_states(2, 1), 70_000)
    bits = np.resize(np.array([0, 65535], np.uint16), 70_000)
    np.testing.assert_array_equal(row_sampler(bits, draws[:, 0]), np.arange(1, 70_000, 2))


def test_powers_are_those_of_plain_integers():
    """All probabilities, at the ends of what keeps a row and on both sides of the threshold."""
    for k in range(4):
        expected, draws = [], []
        for p in range(1, 65535):
            power = 16 - (p - 1).bit_length()
            threshold = (65536 >> power) - p
            random = min((0, threshold, max(threshold - 1, 0), p - 1)[k], p - 1)
            draws.append(random)
            expected.append(power + (random < threshold))
        p = np.arange(1, 65536, dtype=np.uint16)
        found = row_powers(p, np.array([*draws, 0], np.uint16))
        np.testing.assert_array_equal(found, [*expected, 0])
        assert (found.min(), found.max()) == (0, 16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: leverage_probabilities(np.array([1.0]), 2), "kept must be above 0 and at most 1, not 2"),
        (lambda: leverage_probabilities(np.array([-1.0]), 1), "norms must be finite and at least 0"),
        (
            lambda: leverage_probabilities(np.ones((2, 2)), 1),
            "norms must have the shape (rows,), at least one, not (2, 2)",
        ),
        (lambda: probability_bits(np.array([1.5])), "probabilities must be 0 to 1"),
        (
            lambda: row_sampler(np.zeros(2, np.uint16), np.zeros(3, np.uint16)),
            "random must have the shape (2,), not (3,)",
        ),
        (
            lambda: row_powers(np.ones(2, np.uint16), np.zeros(3, np.uint16)),
            "random must have the shape (2,), not (3,)",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
