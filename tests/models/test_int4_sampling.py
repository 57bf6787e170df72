"""What is counted is what the sampler kept, and counting changes no bit."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from lanewise.errors import UserError
from lanewise.models.int4 import Int4Config, Int4Linear
from lanewise.models.int4.integers import quantised_gradient
from lanewise.models.int4.operand import operand
from lanewise.models.int4.sampling import KeptRows, row_norms, row_weights, sampled_rows
from lanewise.models.int4_sampling import SamplingRecorder, recorded, sampling_statistics
from lanewise.models.int4_tasks import TASKS
from lanewise.models.one_thread import one_thread

SEED, N, K, M = 17, 40, 32, 24


def layer():
    torch.manual_seed(SEED)
    return Int4Linear.of(nn.Linear(K, M), Int4Config(seed=SEED)), torch.randn(N, K), torch.randn(N, M)


def gradients(network, x, gradient):
    x = x.clone().requires_grad_()
    network.zero_grad()
    network(x).backward(gradient)
    return x.grad, network.weight.grad


def test_a_recorded_product_is_what_the_sampler_kept():
    network, x, gradient = layer()
    gradient *= torch.rand(N, 1) ** 3
    with one_thread():
        expected = gradients(network, x, gradient)
        network, *_ = layer()
        recorder = SamplingRecorder()
        with recorded(network, recorder):
            for ours, theirs in zip(gradients(network, x, gradient), expected):
                assert torch.equal(ours, theirs)
        assert network.int4.observer is None

        twin, *_ = layer()
        drawn = torch.from_numpy(twin.int4.element_bits(N * M).astype(np.int32)).reshape(N, M)
        words = quantised_gradient(gradient, splits=True, random=drawn).words
        norms = [worth * row_norms(word) for worth, word in words]
        kept_x, *_ = sampled_rows(np.concatenate(norms), N, twin.int4.row_bits)
        left = operand(x, float(network.int4.step_x.detach()), 32)
        scores = np.concatenate([row * row_norms(left.integers) for row in norms])
        kept_w, *chances = sampled_rows(scores, N, twin.int4.row_bits)
    worths = row_weights(*chances)
    measured = recorder.measured()
    told = measured.statistics
    assert (measured.products, measured.rows) == (2, N)
    assert (told.dx_hi, told.dx_lo) == ((kept_x < N).sum() / N, (kept_x >= N).sum() / N)
    for shares, powers, mine in (
        (told.dw_hi, measured.dw_powers[0], worths[kept_w < N]),
        (told.dw_lo, measured.dw_powers[1], worths[kept_w >= N]),
    ):
        assert shares == {int(worth): (mine == worth).sum() / N for worth in np.unique(mine)}
        assert powers == len(shares)


def test_products_count_alike():
    recorder = SamplingRecorder()
    for rows, hi, lo in ((4, [1, 1, 2], [4]), (8, [1], [1, 1])):
        for product in ("dx", "dw"):
            recorder(KeptRows(product=product, rows=rows, worths=(np.array(hi), np.array(lo))))
    recorder(KeptRows(product="dw", rows=0, worths=(np.array([]), np.array([]))))
    measured = recorder.measured()
    told = measured.statistics
    assert (told.dx_hi, told.dx_lo) == ((3 / 4 + 1 / 8) / 2, (1 / 4 + 2 / 8) / 2)
    assert told.dw_hi == {1: (2 / 4 + 1 / 8) / 2, 2: 1 / 8}
    assert told.dw_lo == {1: 1 / 8, 4: 1 / 8}
    assert (measured.dw_powers, measured.products, measured.rows) == ((1.5, 1), 4, 6)
    with pytest.raises(ValueError, match=r"^products of dx and dw must be at least 1 each, not "):
        SamplingRecorder().measured()


def test_a_training_is_measured():
    first, again = (sampling_statistics(TASKS["text"](), seeds=[0], steps=3) for _ in range(2))
    assert first == again
    assert first.products == 3 * 2 * 8  # steps, dX and dW, layers
    told = first.statistics
    assert 0.9 < told.dx_hi + told.dx_lo < 1.1
    assert 0.9 < sum(told.dw_kept) < 1.1
    assert all(1 <= powers < 8 for powers in first.dw_powers)


@pytest.mark.parametrize(
    "variant", ["FP32", "INT4, no sampling", "INT4, no bit splitting", "naive INT4", "INT3"]
)
def test_what_samples_nothing(variant):
    message = f"variant must be one that samples gradients, as INT4, not {variant!r}"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        sampling_statistics(TASKS["text"](), variant)
