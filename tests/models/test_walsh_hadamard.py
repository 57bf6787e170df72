"""The transform against a matrix product, fixed point against rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.linalg import hadamard

from lanewise.models.walsh_hadamard import BLOCKS, fixed_point, walsh_hadamard


@pytest.mark.parametrize("exponent", [-16, -3, 0, 5, 31])
def test_every_half_precision_number_is_rounded_to_even(exponent):
    bits = np.arange(65536, dtype=np.uint16)
    result = fixed_point(bits, exponent)
    assert result.dtype == np.int64
    for place in range(0, 65536, 7):
        value = float(bits.view(np.float16)[place])
        if np.isnan(value):
            expected = 0
        elif np.isinf(value):
            expected = 32767 if value > 0 else -32767
        else:
            expected = min(max(round(Fraction(value) * Fraction(2) ** exponent), -32767), 32767)
        assert result[place] == expected


@pytest.mark.parametrize("block", BLOCKS)
def test_turn_is_sylvesters_matrix(block):
    x = np.random.default_rng(1).integers(-32767, 32768, (5, 3, 2 * block))
    x[0] = 32767  # the largest sum
    expected = x.reshape(5, 3, 2, block) @ hadamard(block).astype(np.int64)
    np.testing.assert_array_equal(walsh_hadamard(x, block), expected.reshape(x.shape))
    np.testing.assert_array_equal(walsh_hadamard(walsh_hadamard(x, block), block), block * x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fixed_point(np.zeros(1, np.uint16), 32), r"^exponent must be -16 to 31, not 32$"),
        (lambda: walsh_hadamard(np.zeros((1, 4), int), 4), r"^block must be one of \(1, 8, 16, 32, 64\), not 4$"),
        (lambda: walsh_hadamard(np.zeros((1, 12), int), 8), r"^the last axis must be a multiple of 8 long, not 12$"),
    ],
)  # fmt: skip
def test_what_the_unit_cannot_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
