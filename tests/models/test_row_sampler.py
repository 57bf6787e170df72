"""Probabilities against their definition, and what is kept against its probability."""

import numpy as np
import pytest

from lanewise.models.lfsr import lane_states, random_bits
from lanewise.models.row_sampler import probability_bits, row_probabilities, sample_rows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("total", [1, 20, 64, 99])
def test_probabilities_are_proportional_and_clipped(seed, total):
    norms = np.random.default_rng(seed).lognormal(0, 2, 100)
    p = row_probabilities(norms, total)
    assert p.sum() == pytest.approx(total)
    assert p.max() <= 1
    below = p < 1
    np.testing.assert_allclose(p[below] / norms[below], (p[below] / norms[below])[0])
    if below.any() and not below.all():  # what is certain would be beyond 1
        assert norms[~below].min() * (p[below] / norms[below])[0] >= 1 - 1e-9


@pytest.mark.parametrize("total", [3, 4, 100])
def test_rows_that_fit_are_certain(total):
    p = row_probabilities(np.array([1.0, 0, 1e-9, 5, 0]), total)
    assert probability_bits(p).tolist() == [65535, 0, 65535, 65535, 0]


def test_nothing_to_sample():
    assert row_probabilities(np.zeros(4), 2).tolist() == [0] * 4
    assert row_probabilities(np.zeros(0), 2).tolist() == []
    assert sample_rows(np.zeros(3, np.uint16), np.zeros(3, np.uint16)).tolist() == []


def test_bits_are_the_nearest_and_never_lose_a_row():
    p = np.array([0, 1e-12, 1 / 65536, 2.4 / 65536, 65534.4 / 65536, 65534.6 / 65536, 1])
    assert probability_bits(p).tolist() == [0, 1, 1, 2, 65534, 65535, 65535]


def test_rows_are_kept_as_often_as_their_probability_says():
    p = probability_bits(np.array([0.9, 0.5, 0.1, 0.01, 1, 0]))
    bits, _ = random_bits(lane_states(5, 1), 6 * 20000)
    kept = np.zeros(6)
    for random in bits[:, 0].reshape(-1, 6):
        kept[sample_rows(p, random)] += 1
    np.testing.assert_allclose(kept / 20000, [0.9, 0.5, 0.1, 0.01, 1, 0], atol=0.012)
