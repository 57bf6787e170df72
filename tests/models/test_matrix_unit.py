"""The golden matrix unit: composed of its parts, and a product of real numbers within half a unit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.config import MatrixConfig
from lanewise.models.lfsr import lane_states, random_bits
from lanewise.models.matrix_unit import matrix_tile, tile_random


@given(m=st.integers(1, 6), k=st.integers(1, 60), n=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_dequantised_result_is_within_half_a_unit(m, k, n, seed):
    """Scales of rows and columns undone: what INT8 does not saturate is the real product, rounded once."""
    rng = np.random.default_rng(seed)
    a, w = rng.integers(-128, 128, (m, k)), rng.integers(-8, 8, (k, n))
    row, column = rng.integers(1 << 15, 1 << 16, m), rng.integers(1 << 15, 1 << 16, n)
    bias = rng.integers(-1000, 1000, n)
    got = matrix_tile(
        a, w, a_bits=8, bias=bias, row_multiplier=row, column_multiplier=column, shift=40, form="int8"
    )
    real = ((a @ w) + bias) * (row[:, None] / 2.0**20) * (column / 2.0**20)
    inside = np.abs(real) < 127
    assert np.all(np.abs(got - real)[inside] <= 0.5)


def test_random_bits_are_in_the_order_in_which_results_leave():
    config = MatrixConfig(rows=2, columns=5, output_lanes=3)
    bits, states = tile_random(lane_states(9, 3), 2, config)
    run, after = random_bits(lane_states(9, 3), 8)
    for beat in range(8):
        tile, row, half = beat // 4, beat // 2 % 2, beat % 2
        columns = slice(0, 3) if half == 0 else slice(3, 5)
        np.testing.assert_array_equal(bits[tile, row, columns], run[beat, : 3 if half == 0 else 2])
    np.testing.assert_array_equal(states, after)


def test_operands_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"^w must be in \[-8, 7\], not 8 to 8$"):
        matrix_tile(
            np.array([[1]]), np.array([[8]]), bias=[0], row_multiplier=[1], column_multiplier=[1], shift=0,
            form="int8",
        )  # fmt: skip
