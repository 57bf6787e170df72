"""How good the fits are, what holds for every one of them, and what is refused."""

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lanewise.config import SEGMENT_COUNTS
from lanewise.errors import UserError
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.functions import FUNCTIONS

# For 32 segments, integrated independently of this project
LIMITS = {
    "gelu": 3.88e-8, "silu": 1.68e-7, "sigmoid": 3.11e-8, "tanh": 8.31e-8, "mish": 9.37e-8,
    "softplus": 8.72e-8, "exp": 1.43e-8,
}  # fmt: skip
EVERY = np.arange(1 << 16, dtype=np.uint16)
NUMBERS = EVERY.view(np.float16).astype(np.float64)


@pytest.mark.parametrize("name", LIMITS)
def test_limit_is_the_known_one(name):
    assert fit(name, segments=32, format="real").limit_mse == pytest.approx(LIMITS[name], rel=0.01)


@pytest.mark.parametrize(
    "name", ["gelu", "silu", "sigmoid", "tanh", "exp", "mish", "erf", "hardswish", "elu"]
)
def test_real_fit_is_near_the_limit(name):
    assert fit(name, segments=32, format="real").limit_ratio < 1.3


@pytest.mark.parametrize(
    "name", ["gelu", "silu", "tanh", "exp", "mish", "erf", "softplus", "hardswish", "elu"]
)
@pytest.mark.parametrize("segments", [8, 16, 32])
def test_free_knots_beat_uniform_ones(name, segments):
    result = fit(name, segments=segments, format="real")
    assert result.mse < result.uniform_mse / 4


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("segments", [8, 32])
def test_fp16_costs_little_more_than_its_rounding(name, segments):
    """Rounding of the result is unavoidable; the table may cost a tenth more, and the offsets a little."""
    real, half = fit(name, segments=segments, format="real"), fit(name, segments=segments)
    assert half.mse < 1.1 * (real.mse + half.rounding_mse) + 1.2e-8


def test_more_segments_are_better():
    for name in ("gelu", "sigmoid", "exp"):
        errors = [fit(name, segments=n, format="real").mse for n in SEGMENT_COUNTS]
        assert all(b < a for a, b in pairwise(errors)), (name, errors)


def test_fits_are_quick_and_repeatable():
    first = fit("gelu", segments=32, range=(-7.5, 7.5))
    assert first.seconds < 10  # under 1 s on a free core
    assert fit("gelu", segments=32, range=(-7.5, 7.5)) is first
    again = fit(torch.nn.functional.gelu, segments=32, range=(-7.5, 7.5))
    other = fit(torch.nn.functional.gelu, segments=32, range=(-7.5, 7.5))
    assert again.breakpoints == other.breakpoints
    assert again.coefficients == other.coefficients


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(FUNCTIONS)),
    segments=st.sampled_from([4, 8, 16]),
    left=st.floats(0, 0.4),
    right=st.floats(0, 0.4),
)
def test_every_fit(name, segments, left, right):
    """Ascending breakpoints, continuity (in real numbers), tails on the asymptotes, no worse than uniform."""
    function = FUNCTIONS[name]
    low, high = function.range
    low, high = low + left * (high - low), high - right * (high - low)
    real = fit(name, segments=segments, format="real", range=(low, high))
    x = np.array(real.breakpoints)
    assert len(x) == segments - 1
    assert (np.diff(x) > 0).all()
    lines = np.array(real.coefficients)
    jumps = (lines[1:, 0] + lines[1:, 1] * x) - (lines[:-1, 0] + lines[:-1, 1] * x)
    scale = 1 + np.abs(lines[1:, 1] * x) + np.abs(lines[1:, 0])
    assert (np.abs(jumps) < 1e-9 * scale).all()
    half = fit(name, segments=segments, range=(low, high))
    assert (np.diff(half.breakpoints) >= 0).all()
    for result in (real, half):
        for tail, line in (
            (function.left, result.coefficients[0]),
            (function.right, result.coefficients[-1]),
        ):
            if tail is not None:
                assert line == (tail[1], tail[0])
    if function.left is None or function.right is None or (left < 0.1 and right < 0.1 and segments > 4):
        # a range cut far inside the bend leaves the pinned tails useless: two segments fewer than uniform has
        assert real.mse <= real.uniform_mse * 1.001 + 1e-15


@pytest.mark.parametrize("segments", SEGMENT_COUNTS)
def test_exp_suits_softmax(segments):
    """Over every finite x <= 0: not negative, 0 far below, and from 16 segments on 1 at 0 to 2**-9."""
    table = fit("exp", segments=segments).table()
    x = EVERY[(NUMBERS <= 0) & np.isfinite(NUMBERS)]
    x = x[np.argsort(x.view(np.float16).astype(np.float64), kind="stable")]
    y = flex_sfu(x, table).view(np.float16).astype(np.float64)
    assert y.min() == 0
    assert not y[x.view(np.float16) < -12].any()
    assert y[-1] == pytest.approx(1, abs=0.02 if segments < 16 else 2**-9)


def test_identity_tail_is_exact():
    """GELU of a large number is that number, whatever its size."""
    table = fit("gelu", segments=32).table()
    x = EVERY[(NUMBERS > 8) & np.isfinite(NUMBERS)]
    np.testing.assert_array_equal(flex_sfu(x, table), x)


def test_function_of_ones_own():
    result = fit(lambda x: torch.sin(x), segments=16, range=(-3.0, 3.0), format="real")
    x = np.linspace(-3, 3, 1001)
    assert np.abs(result.evaluate(x) - np.sin(x)).max() < 0.02
    outside = np.array([-3.5, 3.5])  # the tails continue the outermost lines
    inside = result.evaluate(np.array([-3.0, -2.99, 2.99, 3.0]))
    expected = [inside[0] - 50 * (inside[1] - inside[0]), inside[3] + 50 * (inside[3] - inside[2])]
    np.testing.assert_allclose(result.evaluate(outside), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": "gleu"}, "function 'gleu' is unknown; expected one of gelu, "),
        ({"segments": 33}, "segments must be 4, 8, 16, 32 or 64, not 33"),
        ({"segments": True}, "segments must be 4, 8, 16, 32 or 64, not True"),
        ({"segments": 32.0}, "segments must be 4, 8, 16, 32 or 64, not 32.0"),
        ({"degree": 2}, "degree must be 1 in this version, not 2"),
        ({"format": "fp8"}, "format must be fp16 or real, not 'fp8'"),
        ({"range": (1, 1)}, "range must be two finite numbers, the smaller first, not 1.0 1.0"),
        ({"range": (2, 1)}, "range must be two finite numbers, the smaller first, not 2.0 1.0"),
        ({"range": (0, float("nan"))}, "range must be two finite numbers, the smaller first, not 0.0 nan"),
        ({"range": (0, float("inf"))}, "range must be two finite numbers, the smaller first, not 0.0 inf"),
        ({"range": (0, 1, 2)}, "range must be two numbers, not (0, 1, 2)"),
        ({"range": ("a", "b")}, "range must be two numbers, not ('a', 'b')"),
        ({"range": (0, 1e5)}, "range must lie in FP16's [-65504, 65504], not 0.0 100000.0"),
        ({"range": (1, 1.01)}, "range must hold at least 32 FP16 numbers, not as few as 1.0 to 1.01 does"),
        (
            {"function": "reciprocal", "range": (-1, 1)},
            "function reciprocal is not finite everywhere in [-1.0, 1.0]",
        ),
        ({"function": "rsqrt", "range": (-1, 1)}, "function rsqrt is not finite everywhere in [-1.0, 1.0]"),
        (
            {"function": "exp", "range": (0, 20)},
            "function exp reaches 4.85165e+08 in [0.0, 20.0]; expected FP16's",
        ),
        ({"function": torch.exp}, "range is missing; expected one with a function of your own"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}") as caught:
        fit(**{"function": "gelu", "segments": 32} | arguments)
    assert "\n" not in str(caught.value)
