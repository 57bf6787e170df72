"""Matched tables: T's derivative is D, number by number, and its pieces meet."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from lanewise.models.lsnn.tables import table_pair
from lanewise.models.numbers import decode


@pytest.mark.parametrize("format", ["fp32", "fp16"])
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("segments", [8, 16, 32, 64])
def test_slope_is_the_derivative_of_value(segments, degree, format):
    pair = table_pair("matched", segments=segments, degree=degree, format=format)
    value, slope = (decode(table.coefficients, table.form) for table in (pair.value, pair.slope))
    assert np.array_equal(pair.value.breakpoints, pair.slope.breakpoints)
    powers = np.arange(1, degree + 1)
    assert np.array_equal(value[:, 1:] * powers, slope[:, :degree])
    assert (slope[:, degree] == 0).all()
    knots = decode(pair.value.breakpoints, pair.value.form)
    tolerance = {"fp32": 1e-6, "fp16": 4e-3}[format]
    jumps = [
        abs(np.polyval(value[k + 1, ::-1], knot) - np.polyval(value[k, ::-1], knot)) for k, knot in enumerate(knots)
    ]  # fmt: skip
    assert max(jumps) < tolerance
    if degree == 2:
        bends = [
            abs(np.polyval(slope[k + 1, ::-1], knot) - np.polyval(slope[k, ::-1], knot)) for k, knot in enumerate(knots)
        ]  # fmt: skip
        assert max(bends) < tolerance


def test_near_tanh():
    z = torch.linspace(-10, 10, 5001, dtype=torch.float64)
    exact = torch.tanh(z)
    errors = []
    for segments in (8, 16, 32, 64):
        value, slope = table_pair("matched", segments=segments, degree=2).reals().both(z)
        errors.append([float((value - exact).abs().max()), float((slope - (1 - exact**2)).abs().max())])
    print(errors)
    assert all(a > b for coarse, fine in pairwise(errors) for a, b in zip(coarse, fine))
    assert max(errors[2]) < 4e-3


@pytest.mark.parametrize("kind", ["square", "separate", "matched"])
def test_bits_are_the_reals_rounded(kind):
    pair = table_pair(kind, segments=16, degree=2)
    z = torch.linspace(-9, 9, 3001)
    for bits, real in zip(pair.bits().both(z), pair.reals().both(z.double())):
        assert bits.dtype == torch.float32
        assert (bits.double() - real).abs().max() < 3e-7


def test_unknown_kinds_and_formats_are_refused():
    with pytest.raises(ValueError, match="kind must be one of square, separate, matched"):
        table_pair("other", segments=8, degree=1)
    with pytest.raises(ValueError, match="format must be fp32 or fp16"):
        table_pair("matched", segments=8, degree=1, format="int8")
