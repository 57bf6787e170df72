"""Sampled products: mean, size, and bits."""

import numpy as np
import pytest
import torch

from lanewise.models.int4.integers import Gradient
from lanewise.models.int4.sampling import input_product, row_norms, row_weights, sampled_rows, weight_product
from lanewise.models.lfsr import lane_states, random_bits
from lanewise.models.mac_array import mac_array
from lanewise.models.row_sampler import ALWAYS, leverage_probabilities, probability_bits, row_sampler

N, M, K = 48, 24, 16


class Bits:
    """A row sampler's generator."""

    def __init__(self, seed=1):
        self.states = lane_states(seed, 1)

    def __call__(self, rows):
        bits, self.states = random_bits(self.states, rows)
        return bits[:, 0]


def gradient(seed=0):
    rng = np.random.default_rng(seed)
    scale = rng.lognormal(0, 1, (N, 1))
    hi = np.clip(np.rint(rng.normal(0, 1, (N, M)) * scale), -6, 6)
    lo = np.clip(np.rint(rng.normal(0, 3, (N, M)) * scale), -6, 6)
    hi[:5], lo[3:6] = 0, 0  # rows that are nothing
    words = [torch.from_numpy(word.astype(np.float32)) for word in (hi, lo)]
    return Gradient(words=((14.0, words[0]), (1.0, words[1])), units=3.0)


def operand(rows, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(-8, 8, (rows, K)).astype(np.float32))


def exact(integers):
    return sum(worth * word for worth, word in integers.words) / integers.units


@pytest.mark.parametrize("p", [1, 2, 3, 100, 4096, 21846, 32767, 32768, 32769, 40000, 65534])
def test_the_mean_worth_of_a_row_is_one(p):
    """Over all 65,536 random numbers, exactly."""
    random = np.arange(p, dtype=np.uint16)
    weights = row_weights(np.full(p, p, np.uint16), random)
    assert weights.sum() == 65536
    assert all(weight & (weight - 1) == 0 for weight in weights.tolist())
    assert weights.max() <= 2 * weights.min()


def test_a_certain_row_is_worth_one():
    assert row_weights(np.full(2, ALWAYS, np.uint16), np.array([0, 65535], np.uint16)).tolist() == [1, 1]


def test_without_sampling_products_are_exact():
    g, w, x = gradient(), operand(M), operand(N)
    torch.testing.assert_close(input_product(g, w), exact(g) @ w, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(weight_product(g, x), exact(g).T @ x, rtol=1e-5, atol=1e-3)


def test_sampled_products_are_unbiased():
    """Over 1,000 draws, within five standard errors, and not exact."""
    g, w, x, bits, draws = gradient(), operand(M), operand(N), Bits(), 1000
    for product, whole in (
        (lambda: input_product(g, w, bits), exact(g) @ w),
        (lambda: weight_product(g, x, bits), exact(g).T @ x),
    ):
        total, squares = torch.zeros(whole.shape, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        for _ in range(draws):
            error = product().double() - whole.double()
            total += error
            squares = squares + error.square()
        assert squares.mean() > 0
        deviation = (squares / draws).sqrt() / draws**0.5
        assert (total.abs() / draws <= 5 * deviation + 1e-4).all()


def test_about_half_of_the_rows_are_kept():
    g, bits = gradient(), Bits()
    scores = np.concatenate([worth * row_norms(word) for worth, word in g.words])
    counts = [len(sampled_rows(scores, N, bits)[0]) for _ in range(200)]
    assert np.mean(counts) == pytest.approx(N, rel=0.03)
    assert max(counts) < 1.4 * N < 2 * N


def test_products_are_the_arrays_of_the_golden_rows():
    """The whole of it again in integers: probabilities, kept rows, INT32 sums, factors."""
    g, w, x = gradient(), operand(M), operand(N)
    words = [word.numpy().astype(np.int64) for _, word in g.words]
    norms = np.concatenate([14 * np.sqrt((words[0] ** 2).sum(1)), np.sqrt((words[1] ** 2).sum(1))])
    random = Bits(9)(2 * N)
    p = probability_bits(leverage_probabilities(norms, N))
    kept = row_sampler(p, random)
    result = np.zeros((N, K), np.float32)
    for place, worth in enumerate((14, 1)):
        rows = kept[kept // N == place]
        sums = mac_array(words[place][rows - place * N], w.numpy().astype(np.int64))
        factors = np.where(p[rows] == ALWAYS, 1, 65536 / p[rows]).astype(np.float32)
        result[rows - place * N] += sums.astype(np.float32) * (factors * np.float32(worth / 3.0))[:, None]
    np.testing.assert_array_equal(input_product(g, w, Bits(9)).numpy(), result)

    x_norms = np.sqrt((x.numpy().astype(np.int64) ** 2).sum(1))
    p = probability_bits(leverage_probabilities(norms * np.tile(x_norms, 2), N))
    kept = row_sampler(p, random)
    total = torch.zeros(M, K)
    for place, worth in enumerate((14, 1)):
        rows = kept[kept // N == place]
        weights = row_weights(p[rows], random[rows])
        for weight in sorted(set(weights.tolist())):
            chosen = rows[weights == weight] - place * N
            sums = mac_array(words[place][chosen].T, x.numpy().astype(np.int64)[chosen])
            total.add_(torch.from_numpy(sums.astype(np.float32)), alpha=worth * weight / 3.0)
    np.testing.assert_array_equal(weight_product(g, x, Bits(9)).numpy(), total.numpy())


def test_a_gradient_of_zeros():
    zero = Gradient(words=((14.0, torch.zeros(N, M)), (1.0, torch.zeros(N, M))), units=1.0)
    assert not input_product(zero, operand(M), Bits()).any()
    assert not weight_product(zero, operand(N), Bits()).any()
