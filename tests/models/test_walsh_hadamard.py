"""The golden Walsh-Hadamard unit against exact fractions, scipy's matrices and the transform's own laws."""

import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard

from lanewise.config import FIXED_POINT_EXPONENTS, HADAMARD_BLOCKS
from lanewise.formats import FORMATS
from lanewise.models.walsh_hadamard import fixed_point, walsh_hadamard

ALL = np.arange(1 << 16, dtype=np.uint16)


def _exact(bits, form):
    """A finite number from its fields, or ``inf``, ``-inf``, ``nan``."""
    sign = -1 if bits >> 15 else 1
    exponent, fraction = divmod(bits & 0x7FFF, 1 << form.fraction_bits)
    if exponent == (1 << form.exponent_bits) - 1:
        return float("nan") if fraction else sign * float("inf")
    significand = fraction + (1 << form.fraction_bits if exponent else 0)
    return sign * significand * Fraction(2) ** (max(exponent, 1) - form.bias - form.fraction_bits)


@pytest.mark.parametrize("name", ["fp16", "bf16"])
@pytest.mark.parametrize("exponent", [*FIXED_POINT_EXPONENTS, 0, 5, 15])
def test_fixed_point_of_every_element_is_the_exact_fraction_rounded(name, exponent):
    form = FORMATS[name]
    expected = []
    for bits in range(1 << 16):
        value = _exact(bits, form)
        if value != value:
            expected.append(0)
        elif isinstance(value, float):
            expected.append(32767 if value > 0 else -32767)
        else:
            scaled = value * Fraction(2) ** exponent
            expected.append(max(-32767, min(32767, round(scaled))))  # round: ties to even
    np.testing.assert_array_equal(fixed_point(ALL, exponent, form), expected)


@pytest.mark.parametrize("block", HADAMARD_BLOCKS)
def test_equals_scipys_and_torchs_matrix_product(block):
    x = np.random.default_rng(block).integers(-32767, 32768, size=(5, 3 * block))
    matrix = hadamard(block)
    expected = (x.reshape(-1, block) @ matrix.T).reshape(x.shape)
    np.testing.assert_array_equal(walsh_hadamard(x, block), expected)
    by_torch = torch.from_numpy(x).reshape(-1, block) @ torch.from_numpy(matrix.astype(np.int64))
    np.testing.assert_array_equal(walsh_hadamard(x, block), by_torch.reshape(x.shape).numpy())


@given(st.sampled_from(HADAMARD_BLOCKS), st.integers(0, 2**32))
def test_twice_is_block_times_the_input_and_energy_is_kept(block, seed):
    x = np.random.default_rng(seed).integers(-32767, 32768, size=(2, 2 * block))
    y = walsh_hadamard(x, block)
    np.testing.assert_array_equal(walsh_hadamard(y, block), block * x)
    assert (y**2).sum() == block * (x**2).sum()
    assert abs(y).max() <= block * 32767


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fixed_point(ALL, 32), "exponent must be -16 to 31, not 32"),
        (lambda: walsh_hadamard(ALL, 4), "block must be 1, 8, 16, 32 or 64, not 4"),
        (lambda: walsh_hadamard(ALL[:12], 8), "the last axis must be a multiple of block = 8, not (12,)"),
    ],
)
def test_bad_operands_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
