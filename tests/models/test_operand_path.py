"""The golden operand path against the same in float64 with torch, and what the transform does to outliers."""

import re

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard

from lanewise.config import Rounding
from lanewise.formats import FORMATS
from lanewise.models.int4_quantiser import QuantiserSettings
from lanewise.models.lfsr import lane_states, random_bits
from lanewise.models.numbers import decode, encode
from lanewise.models.operand_path import (
    OperandSettings,
    from_nibbles,
    operand_path,
    quantiser_scale,
    signed_nibbles,
)

FP16 = FORMATS["fp16"]


def _settings(block, step, exponent=10, **quantiser):
    multiplier, shift = quantiser_scale(step, block, exponent)
    kinds = QuantiserSettings(multiplier=multiplier, shift=shift, **quantiser)
    return OperandSettings(block=block, exponent=exponent, quantiser=kinds)


@pytest.mark.parametrize("block", [1, 8, 16, 32, 64])
def test_equals_the_transform_and_rounding_of_real_numbers(block):
    """Within the fixed point's own error: away from a rounding threshold the same integers."""
    x = encode(np.random.default_rng(block).normal(size=(64, 16)), FP16)
    _, lo, _, _ = operand_path(x, _settings(block, 0.3), lane_states(1, 16))
    matrix = torch.from_numpy(hadamard(block) / np.sqrt(block))
    real = (torch.from_numpy(decode(x, FP16)).reshape(-1, block) @ matrix.T).reshape(x.shape).numpy() / 0.3
    away = abs(real - np.floor(real) - 0.5) > 0.02
    assert away.mean() > 0.9
    expected = np.clip(np.rint(real), -8, 7)
    np.testing.assert_array_equal(signed_nibbles(lo)[away], expected[away])


def test_split_is_the_gradient_on_average():
    gradient = np.random.default_rng(2).normal(size=(1, 32)) * 0.2
    x = np.repeat(encode(gradient, FP16), 4000, axis=0)
    largest = abs(decode(x, FP16)).max()
    step = 2 * largest / 196
    hi, lo, _, _ = operand_path(x, _settings(1, step, 13, rounding=Rounding.SPLIT), lane_states(3, 32))
    restored = (14 * signed_nibbles(hi) + signed_nibbles(lo)).mean(axis=0) * step
    inside = abs(decode(x[0], FP16)) < 90 * step
    inside &= abs(restored / step) < 75  # lo is clipped only there, and at 6 or 7 above each 14 hi
    assert abs(restored - decode(x[0], FP16))[inside].max() < 1.1 * step


def test_transform_spreads_an_outlier():
    """One channel 50 times as large as the others: INT4's error falls with the block."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(256, 64))
    x[:, 5] *= 50
    bits = encode(x, FP16)
    errors = []
    for block in (1, 16, 64):
        matrix = hadamard(block) / np.sqrt(block)
        best = np.inf
        for step in np.geomspace(0.3, 30, 15):
            _, lo, _, _ = operand_path(bits, _settings(block, step, 8), lane_states(1, 64))
            restored = ((signed_nibbles(lo) * step).reshape(-1, block) @ matrix).reshape(x.shape)
            best = min(best, ((restored - x) ** 2).mean())
        errors.append(best)
    assert errors[0] > errors[1] > errors[2]


def test_random_bits_are_taken_by_each_beat_whatever_the_rounding():
    x = np.zeros((5, 8), np.uint16)
    *_, after = operand_path(x, _settings(8, 1.0), lane_states(1, 8))
    np.testing.assert_array_equal(after, random_bits(lane_states(1, 8), 5)[1])


def test_bytes_are_the_int8():
    x = encode(np.linspace(-300, 300, 64).reshape(8, 8), FP16)
    hi, lo, _, _ = operand_path(x, _settings(1, 1.0, 6, bits=8), lane_states(1, 8))
    expected = np.clip(np.rint(np.rint(decode(x, FP16) * 64) / 64), -128, 127)
    np.testing.assert_array_equal(from_nibbles(hi, lo), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantiser_scale(0, 8, 1), "step must be positive, not 0"),
        (
            lambda: operand_path(np.zeros((2, 8), np.uint16), _settings(8, 1.0), lane_states(1, 16)),
            "x must have the shape (beats, 16), not (2, 8)",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
