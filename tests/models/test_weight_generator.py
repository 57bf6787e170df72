"""The weight generator's golden bits against single steps of the register, and what the weights are like."""

import numpy as np
import pytest

from lanewise.models.lfsr import TAPS
from lanewise.models.weight_generator import (
    VARIANCE,
    block_seed,
    generated_bytes,
    generated_filters,
    generated_weights,
    raw_bytes,
)


@pytest.mark.parametrize("state", [1, 0x80000000, 0xFFFFFFFF, 0x12345678])
@pytest.mark.parametrize("size", [0, 1, 3, 4, 33, 131])
def test_the_bits_are_those_that_fall_out_step_by_step(state, size):
    register, bits = state, []
    for _ in range(8 * size):
        bits.append(register & 1)
        register = register >> 1 ^ (TAPS if register & 1 else 0)
    raw = raw_bytes(state, size)
    assert np.array_equal(np.unpackbits(raw, bitorder="little"), bits)
    codes = np.array(bits, int).reshape(-1, 4) @ [1, 2, 4, -8]
    assert np.array_equal(generated_weights(state, size), np.where(codes == -8, 0, codes))


def test_weights_are_uniform_symmetric_and_uncorrelated():
    """120 layers' worth of blocks; tolerances are five standard errors of independent draws."""
    filters = generated_filters(3, 4096, 288).astype(float)
    count = filters.size
    frequencies = np.bincount((filters + 8).astype(int).reshape(-1), minlength=16) / count
    expected = np.array([0, *[1 / 16] * 7, 2 / 16, *[1 / 16] * 7])
    assert np.abs(frequencies - expected).max() < 5 * np.sqrt(0.11 / count)
    assert abs(filters.mean()) < 5 * np.sqrt(VARIANCE / count)
    assert np.mean(filters**2) == pytest.approx(VARIANCE, rel=5 / np.sqrt(count))
    for distance in (1, 2, 7, 9, 32):  # between neighbours in a filter, and between filters
        along = np.mean(filters[:, distance:] * filters[:, :-distance]) / VARIANCE
        between = np.mean(filters[distance:] * filters[:-distance]) / VARIANCE
        assert abs(along) < 5 / np.sqrt(count)
        assert abs(between) < 5 / np.sqrt(count)
    gram = filters[:512] @ filters[:512].T / (288 * VARIANCE)
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 7 / np.sqrt(288)


def test_any_block_alone():
    whole = generated_filters(8, 100, 25, lines=32)
    assert np.array_equal(generated_filters(8, 32, 25, lines=32, first=2), whole[64:96])
    alone = generated_bytes(block_seed(8, 3), 4 * 13)
    assert np.array_equal(alone, generated_bytes(block_seed(8, 3), 32 * 13)[: 4 * 13])


def test_what_is_no_seed():
    for call, words in (
        (lambda: raw_bytes(0, 4), "state must be 1 to"), (lambda: raw_bytes(1, -1), "size must be at least 0"),
        (lambda: block_seed(1, -1), "number must be at least 0"), (lambda: block_seed(1 << 32, 0), "seed must be 0 to"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            call()
