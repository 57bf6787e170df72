"""Scales, biases and weights as integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.mapping.deploy.quantities import biases, inverse_step, multipliers, quantised_lines


@given(st.lists(st.floats(2.0**-40, 2.0**14), min_size=1, max_size=9))
def test_multipliers_are_within_half_a_step_of_the_largest(factors: list[float]) -> None:
    found, shift = multipliers(np.array(factors))
    assert 0 <= shift <= 63
    assert 1 << 15 <= found.max() < 1 << 16
    assert np.all(np.abs(found / 2.0**shift - factors) <= 0.5 / 2.0**shift)


@pytest.mark.parametrize("factors", [[1.0, 0.0], [-1.0], [np.inf], [np.nan], [2.0**16], [2.0**-60]])
def test_factors_that_no_multiplier_is_are_refused(factors: list[float]) -> None:
    with pytest.raises(ValueError, match="factors must be"):
        multipliers(np.array(factors))


def test_a_bias_is_in_units_of_the_sums_and_saturates() -> None:
    assert biases(np.array([1.0, -0.26, 1e12]), np.array([0.5, 0.1, 0.1])).tolist() == [2, -3, 2**31 - 1]


def test_weights_come_back_within_half_a_step_but_where_they_are_clipped() -> None:
    rng = np.random.default_rng(7)
    lines = rng.normal(0, 1, (5, 64)) * np.array([1e-3, 0.1, 1, 10, 1e3])[:, None]
    whole, scale = quantised_lines(lines, 4)
    assert whole.min() >= -8
    assert whole.max() <= 7
    inside = np.abs(lines / scale[:, None]) < 7.5
    assert inside.mean() > 0.9
    assert np.all(
        np.abs(whole * scale[:, None] - lines)[inside]
        <= 0.501 * np.broadcast_to(scale[:, None], lines.shape)[inside]
    )


def test_a_line_of_zeros_has_no_say_in_the_scales() -> None:
    lines = np.array([[0.0] * 8, [1.0, -7.0] * 4])
    whole, scale = quantised_lines(lines, 4)
    assert not whole[0].any()
    assert scale[0] == scale[1] > 0.5
    assert quantised_lines(lines[:1], 4)[1].tolist() == [1.0]


def test_the_inverse_step_is_fp16_and_fills_the_range() -> None:
    values = np.random.default_rng(3).normal(0, 2, 1000).astype(np.float16)
    inverse = inverse_step(values, 4)
    assert float(np.float16(inverse)) == inverse
    assert 3 < np.abs(values.astype(np.float64) * inverse).max() < 16
