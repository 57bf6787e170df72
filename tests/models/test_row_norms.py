"""The golden row norms against torch and against sums of Python integers, and the path's own."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lanewise.models.int4.sampling import row_norms as norms_in_training
from lanewise.models.operand_path import word_norms
from lanewise.models.row_norms import row_norms


@pytest.mark.parametrize("columns", [1, 16, 1000, 65_536])
def test_training_has_the_roots_of_the_same_sums(columns):
    x = np.random.default_rng(columns).integers(-8, 8, (9, columns))
    x[0], x[1] = -8, 0
    expected = norms_in_training(torch.from_numpy(x.astype(np.float32)))
    np.testing.assert_array_equal(np.sqrt(row_norms(x).astype(np.float64)), expected)


@given(st.lists(st.integers(-8, 7), min_size=1, max_size=40))
def test_is_the_sum_of_squares(row):
    assert row_norms(np.array([row])).tolist() == [sum(x * x for x in row)]


def test_numbers_of_any_width_are_squared_exactly():
    assert row_norms(np.full((1, 3), -8, np.int8)).tolist() == [192]


def test_wraps_at_2_to_the_24():
    assert row_norms(np.full((1, 1 << 18), -8)).tolist() == [0]
    assert row_norms(np.full((1, (1 << 18) - 1), -8)).tolist() == [(1 << 24) - 64]


def test_both_words_of_the_path_s_rows():
    rng = np.random.default_rng(1)
    hi, lo = rng.integers(0, 16, (2, 12, 8), dtype=np.uint8)
    for row_beats in (1, 3, 12):
        numbers = [
            np.where(word > 7, word.astype(int) - 16, word).reshape(-1, 8 * row_beats) for word in (lo, hi)
        ]
        expected = np.stack([(word**2).sum(axis=1) for word in numbers], axis=1)
        np.testing.assert_array_equal(word_norms(hi, lo, row_beats), expected)
    assert word_norms(hi, lo, 0).shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: row_norms(np.zeros(3, int)), "x must have the shape (rows, columns), not (3,)"),
        (lambda: row_norms(np.array([[8, 0]])), "x must be -8 to 7, not 0 to 8"),
        (lambda: row_norms(np.array([[-9, 7]])), "x must be -8 to 7, not -9 to 7"),
        (
            lambda: word_norms(*np.zeros((2, 5, 8), np.uint8), 2),
            "row_beats must be 0 or divide the 5 beats, not 2",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
