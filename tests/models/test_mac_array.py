"""The golden MAC array against torch and against its own definition."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lanewise.models.mac_array import Steps, mac_array, split_int8, steps


@given(
    m=st.integers(1, 9),
    k=st.integers(1, 70),
    n=st.integers(1, 9),
    bits=st.sampled_from([4, 8]),
    seed=st.integers(0, 2**32),
)
def test_equals_torch_integer_matmul(m, k, n, bits, seed):
    half = 1 << (bits - 1)
    rng = np.random.default_rng(seed)
    a, w = rng.integers(-half, half, (m, k)), rng.integers(-half, half, (k, n))
    expected = torch.from_numpy(a.astype(np.int32)) @ torch.from_numpy(w.astype(np.int32))
    result = mac_array(a, w, bits)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, expected.numpy())


@pytest.mark.parametrize(("steps", "expected"), [(2**17 - 1, 2**31 - 2**14), (2**17, -(2**31)), (2**18, 0)])
def test_sums_wrap_at_32_bits(steps, expected):
    low = np.full((1, steps), -128)
    assert mac_array(low, low.T, 8).item() == expected


def test_no_step_gives_zeros():
    np.testing.assert_array_equal(
        mac_array(np.zeros((2, 0), int), np.zeros((0, 3), int)), np.zeros((2, 3), int)
    )


@pytest.mark.parametrize(
    ("a", "w", "bits", "message"),
    [
        ([[8]], [[0]], 4, "a must be in [-8, 7], not 8 to 8"),
        ([[0]], [[-9]], 4, "w must be in [-8, 7], not -9 to -9"),
        ([[-129]], [[0]], 8, "a must be in [-128, 127], not -129 to -129"),
        ([[1, 2]], [[1]], 4, "a and w must share k, not (1, 2) and (1, 1)"),
        ([1], [[1]], 4, "a must have 2 dimensions, not 1"),
    ],
)
def test_bad_operands_are_refused(a, w, bits, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        mac_array(np.array(a), np.array(w), bits)


def test_halves_make_the_whole():
    x = np.arange(-128, 128)
    upper, lower = split_int8(x)
    np.testing.assert_array_equal(16 * upper + lower, x)
    assert (upper.min(), upper.max(), lower.min(), lower.max()) == (-8, 7, 0, 15)
    with pytest.raises(ValueError, match=re.escape("x must be in [-128, 127], not 128 to 128")):
        split_int8(np.array([128]))


@pytest.mark.parametrize(("a_bits", "w_bits"), [(8, 8), (8, 4), (4, 8), (4, 4)])
def test_every_product_in_passes(a_bits, w_bits):
    a = np.arange(-(1 << (a_bits - 1)), 1 << (a_bits - 1))[:, None]
    w = np.arange(-(1 << (w_bits - 1)), 1 << (w_bits - 1))[None]
    np.testing.assert_array_equal(steps(a, w, a_bits, w_bits).sums, a * w)


@given(
    m=st.integers(1, 5), k=st.integers(1, 40), n=st.integers(1, 5),
    a_bits=st.sampled_from([4, 8]), w_bits=st.sampled_from([4, 8]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_passes_are_the_product(m, k, n, a_bits, w_bits, seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(-(1 << (a_bits - 1)), 1 << (a_bits - 1), (m, k))
    w = rng.integers(-(1 << (w_bits - 1)), 1 << (w_bits - 1), (k, n))
    made = steps(a, w, a_bits, w_bits)
    np.testing.assert_array_equal(made.sums, mac_array(a, w, a_bits, w_bits))
    assert len(made.shift) == k * a_bits * w_bits // 16
    assert made.shift.sum() == (a_bits + w_bits) // 4 - 2


def test_passes_wrap_as_the_sums_do():
    low = np.full((1, 2**17), -128)
    assert steps(low, low.T, 8, 8).sums.item() == -(2**31)


@given(count=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_sums_of_any_steps_are_horner_s(count, seed):
    rng = np.random.default_rng(seed)
    a, w = rng.integers(-8, 16, (2, count)), rng.integers(-8, 16, (count, 3))
    shift = rng.random(count) < 0.3
    made = Steps(a=a, w=w, a_signed=shift, w_signed=shift, shift=shift)
    total = np.zeros((2, 3), object)
    for step in range(count):
        total = total * (16 if shift[step] else 1) + np.outer(a[:, step], w[step]).astype(object)
    np.testing.assert_array_equal(made.sums, (total & 0xFFFFFFFF).astype(np.uint32).view(np.int32))
