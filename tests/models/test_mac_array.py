"""The golden MAC array against torch and against its own definition."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lanewise.models.mac_array import mac_array


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
