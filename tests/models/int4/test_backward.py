"""A whole backward pass again by the golden models alone: random bits, split, scores, kept rows, INT32 sums, factors."""

from math import frexp, sqrt

import numpy as np
import pytest
import torch
from torch import nn

from lanewise.config import Rounding
from lanewise.models.int4 import Int4Config, Int4Linear
from lanewise.models.int4.operand import operand
from lanewise.models.int4.sampling import row_weights
from lanewise.models.int4_quantiser import QuantiserSettings, multiplier_of, split
from lanewise.models.lfsr import lane_states, random_bits
from lanewise.models.mac_array import mac_array
from lanewise.models.row_sampler import ALWAYS, leverage_probabilities, probability_bits, row_sampler
from lanewise.models.walsh_hadamard import fixed_point

LANES = 16


def exponent_of(peak):
    return 15 - frexp(float(peak))[1]


def words_of(gradient, seed):
    """hi and lo of a gradient, shape ``(n, m)``, and what 1.0 became."""
    scale = 14 - frexp(float(np.abs(gradient).max()))[1]
    half = np.ldexp(gradient.astype(np.float64), scale).astype(np.float16)
    peak = np.abs(half.astype(np.float64)).max()
    exponent = exponent_of(peak)
    multiplier, shift = multiplier_of(98 / peak * 2.0**-exponent)
    beats = -(-gradient.size // LANES)
    bits, _ = random_bits(lane_states(seed, LANES + 1)[:LANES], beats)
    random = bits.reshape(-1)[: gradient.size].reshape(gradient.shape)
    y = fixed_point(half.view(np.uint16), exponent)
    settings = QuantiserSettings(multiplier=multiplier, shift=shift, rounding=Rounding.SPLIT)
    return split(y, settings, random), multiplier * 2.0 ** (exponent + scale - shift)


def sampled(scores, n, random):
    bits = probability_bits(leverage_probabilities(scores, n))
    kept = row_sampler(bits, random)
    return kept, bits[kept], random[kept]


def norms(integers):
    return np.sqrt((integers**2).sum(1).astype(np.float64))


@pytest.mark.parametrize(
    ("n", "k", "m", "block"), [(70, 64, 12, 32), (33, 24, 40, 8), (5, 7, 3, 1), (1, 16, 9, 16)]
)
@pytest.mark.parametrize("size", [1.0, 1e-7])
def test_backward_is_the_golden_models(n, k, m, block, size):
    seed = 21
    torch.manual_seed(seed)
    layer = Int4Linear.of(nn.Linear(k, m), Int4Config(seed=seed, lanes=LANES))
    x = torch.randn(n, k, requires_grad=True)
    gradient = torch.randn(n, m) * torch.rand(n, 1) ** 4 * size
    layer(x).backward(gradient)

    left = operand(x.detach(), float(layer.int4.step_x.detach()), block)
    right = operand(layer.weight.detach(), float(layer.int4.step_weight.detach()), block)
    xq, wq = (part.integers.numpy().astype(np.int64) for part in (left, right))
    words, units = words_of(gradient.numpy(), seed)
    rows, after = random_bits(lane_states(seed, LANES + 1)[LANES:], 2 * n)
    scores = np.concatenate([14 * norms(words[0]), norms(words[1])])

    kept, p, _ = sampled(scores, n, rows[:, 0])
    to_x = np.zeros((n, k))
    for row, probability in zip(kept, p):
        worth = (14, 1)[row // n] * (1 if probability == ALWAYS else 65536 / probability)
        to_x[row % n] += worth * mac_array(words[row // n][[row % n]], wq)[0]

    rows, _ = random_bits(after, 2 * n)
    kept, p, r = sampled(scores * np.tile(norms(xq), 2), n, rows[:, 0])
    to_w = np.zeros((m, k))
    for row, worth in zip(kept, row_weights(p, r)):
        to_w += (14, 1)[row // n] * worth * np.outer(words[row // n][row % n], xq[row % n])

    for grad, sums, mine, other in ((x.grad, to_x, left, right), (layer.weight.grad, to_w, right, left)):
        masked = torch.from_numpy(sums / units * other.step) * mine.inside
        turned = walsh(masked, block) / sqrt(block)
        torch.testing.assert_close(grad.double(), turned, rtol=1e-4, atol=1e-6 * float(turned.abs().max()))


def walsh(values, block):
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < block:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return (values.reshape(-1, block) @ matrix).reshape(values.shape)
