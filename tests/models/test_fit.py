"""How good the fits are, what holds for every one of them, and what is refused."""

import math
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
from lanewise.models.pwl_real import best_on_grid

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


def steep(x):
    """A step, almost: slopes that integers can hardly hold."""
    return torch.tanh(200 * x)


TARGETS = ["gelu", "silu", "sigmoid", "tanh", "mish", "softplus", "exp", "erf"]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("segments", "most"), [(32, 1.10), (64, 1.05)])
def test_real_fit_reaches_the_limit(name, segments, most):
    """With the tails free, so that all the segments serve the range, as the limit has it."""
    assert fit(name, segments=segments, format="real", pin_tails=False).limit_ratio < most


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("segments", [32, 64])
def test_pinned_tails_cost_what_they_must(name, segments):
    """No table with pinned tails is better: dynamic programming over another grid, a global search, finds none."""
    function = FUNCTIONS[name]
    ours = fit(name, segments=segments, format="real").mse
    best = best_on_grid(function, segments, *function.range, candidates=700)
    assert ours < best * 1.005
    assert best < ours * 1.06, "the grid is fine enough to tell"


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("name", ["gelu", "tanh", "exp", "hardswish"])
def test_degree_and_segments(name, degree):
    """The limit's power of n, and parabolas that beat lines."""
    errors = [fit(name, segments=n, format="real", degree=degree, pin_tails=False).mse for n in (16, 32)]
    if name != "hardswish":  # three parabolas are all of it
        assert errors[0] / errors[1] == pytest.approx(2 ** (2 * degree + 2), rel=0.25)
    lines = fit(name, segments=16, format="real", pin_tails=False).mse
    assert degree == 1 or errors[0] < lines / 20


@pytest.mark.parametrize(("name", "degree"), [("hardsigmoid", 1), ("hardsigmoid", 2), ("hardswish", 2)])
@pytest.mark.parametrize("segments", SEGMENT_COUNTS)
@pytest.mark.parametrize("pin_tails", [False, True])
def test_piecewise_polynomials_are_exact(name, degree, segments, pin_tails):
    result = fit(name, segments=segments, format="real", degree=degree, pin_tails=pin_tails)
    assert result.mse < 1e-28
    assert result.limit_mse == 0
    assert result.limit_ratio is None


@pytest.mark.parametrize("name", ["elu", "selu", "softsign"])
def test_a_corner_costs_no_more_than_a_knot(name):
    """Against each side by itself, with half of the segments."""
    function = FUNCTIONS[name]
    sides = [
        fit(name, segments=32, format="real", range=part, pin_tails=False).mse / 2
        for part in ((-8.0, 0.0), (0.0, 8.0))
    ]
    assert function.corners == (0.0,)
    assert fit(name, segments=64, format="real", pin_tails=False).mse < 1.001 * sum(sides)


def test_limit_of_degree_2_is_the_error_of_many_segments():
    result = fit("sin", segments=64, format="real", degree=2)
    assert result.limit_ratio == pytest.approx(1, abs=0.02)
    # integral of exp(2 x / 7) to the seventh power, over 100800 n^6 (b - a)
    exact = (3.5 * (math.exp(0.1 * 2 / 7) - math.exp(-20 / 7))) ** 7 / (100_800 * 64**6 * 10.1)
    assert fit("exp", segments=64, format="real", degree=2).limit_mse == pytest.approx(exact, rel=1e-3)


def test_paper_s_optimiser_works_and_is_beaten():
    for name in ("gelu", "sigmoid"):
        theirs = fit(name, segments=8, format="real", method="paper")
        ours = fit(name, segments=8, format="real")
        assert ours.mse <= theirs.mse * 1.001
        assert theirs.mse < theirs.uniform_mse / 3
        assert theirs.method == "paper"


@pytest.mark.parametrize("name", ["gelu", "sigmoid", "tanh", "softplus", "erf"])
@pytest.mark.parametrize("number_format", ["real", "fp16", "bf16"])
@pytest.mark.parametrize("degree", [1, 2])
def test_symmetric_tables_mirror(name, number_format, degree):
    result = fit(name, segments=16, format=number_format, degree=degree, symmetric=True)
    plain = fit(name, segments=16, format=number_format, degree=degree)
    x = np.array(result.breakpoints)
    np.testing.assert_allclose(x, -x[::-1], rtol=0.01, atol=1e-12)  # one step of the format aside
    assert result.mse < (1.25 if number_format == "real" else 2) * plain.mse  # 1 - slope is rounded, too
    points = np.linspace(0.01, 7, 500)
    if name in ("tanh", "erf"):
        np.testing.assert_allclose(result.evaluate(-points), -result.evaluate(points), atol=1e-12)


def test_relative_error_serves_small_values():
    plain = fit("exp", segments=32, format="real")
    relative = fit("exp", segments=32, format="real", relative=True)
    x = np.linspace(-6.5, 0, 2000)

    def worst(result):
        return np.abs(result.evaluate(x) / np.exp(x) - 1).max()

    assert worst(relative) < worst(plain) / 3
    assert relative.limit_ratio < 1.6


def test_weights_serve_where_inputs_are():
    rng = np.random.default_rng(3)
    samples = rng.normal(0, 0.7, 20_000)
    plain, weighted = (
        fit("gelu", segments=8, format=f, weights=w) for f, w in (("real", None), ("real", samples))
    )
    fresh = rng.normal(0, 0.7, 20_000)
    errors = [
        np.mean((result.evaluate(fresh) - FUNCTIONS["gelu"](fresh)) ** 2) for result in (plain, weighted)
    ]
    assert errors[1] < errors[0] / 2
    density = fit("gelu", segments=8, format="real", weights=lambda x: np.exp(-0.5 * (x / 0.7) ** 2))
    assert np.mean((density.evaluate(fresh) - FUNCTIONS["gelu"](fresh)) ** 2) < errors[0] / 2


@pytest.mark.parametrize("name", ["gelu", "sigmoid", "tanh", "exp", "silu", "softplus"])
@pytest.mark.parametrize("number_format", ["int8", "int16", "int32", "fp8e4m3", "fp8e5m2", "bf16", "fp32"])
@pytest.mark.parametrize("degree", [1, 2])
def test_every_format_nears_its_rounding(name, number_format, degree):
    """FP8's and INT16's Horner steps round as coarsely as their results, so a few roundings add up."""
    result = fit(name, segments=32, format=number_format, degree=degree)
    real = fit(name, segments=32, format="real", degree=degree).mse
    roundings = 3 if degree == 1 else {"int16": 60, "fp8e5m2": 9}.get(number_format, 5)
    assert result.mse < 1.3 * real + roundings * result.rounding_mse
    np.testing.assert_array_equal(result.table().breakpoints, fit(
        name, segments=32, format=number_format, degree=degree
    ).table().breakpoints)  # fmt: skip


@pytest.mark.parametrize("name", ["gelu", "sigmoid", "exp"])
@pytest.mark.parametrize("number_format", ["int8", "fp8e4m3", "fp8e5m2"])
@pytest.mark.parametrize("degree", [1, 2])
def test_many_segments_of_an_8_bit_format_leave_only_the_rounding(name, number_format, degree):
    """Some of the 64 segments hold one operand, whose result must be right, too."""
    result = fit(name, segments=64, format=number_format, degree=degree)
    assert result.mse < 1.05 * result.rounding_mse


def test_callables_of_every_kind():
    tables = [
        fit(function, segments=8, range=(-2.0, 2.0), format="real").coefficients
        for function in (torch.sin, np.sin, math.sin)
    ]
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-12)
    np.testing.assert_allclose(tables[0], tables[2], atol=1e-12)


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
    assert half.mse < 1.15 * (real.mse + half.rounding_mse) + 1.2e-8


@pytest.mark.parametrize("name", TARGETS)
def test_fp16_is_within_half_of_the_best(name):
    """Of what the best real table and the rounding of the result would leave together."""
    half = fit(name, segments=32)
    assert half.mse < 1.5 * (half.limit_mse + half.rounding_mse)


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
    """Ascending breakpoints, tails on the asymptotes, no worse than uniform."""
    function = FUNCTIONS[name]
    low, high = function.range
    low, high = low + left * (high - low), high - right * (high - low)
    real = fit(name, segments=segments, format="real", range=(low, high))
    x = np.array(real.breakpoints)
    assert len(x) == segments - 1
    assert (np.diff(x) >= 0).all()
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


def test_by_default_a_steep_function_gets_results_as_coarse_as_its_pieces_need():
    result = fit(steep, segments=32, format="int8", range=(-8, 8))
    scale = result.as_dict()["output_scale"]
    assert scale == pytest.approx(16 / 127)
    assert result.max_error <= scale


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": "gleu"}, "function 'gleu' is unknown; expected one of gelu, "),
        ({"segments": 33}, "segments must be 4, 8, 16, 32 or 64, not 33"),
        ({"segments": True}, "segments must be 4, 8, 16, 32 or 64, not True"),
        ({"segments": 32.0}, "segments must be 4, 8, 16, 32 or 64, not 32.0"),
        ({"degree": 3}, "degree must be 1 or 2, not 3"),
        (
            {"format": "fp8"},
            "format must be one of int8, int16, int32, fp8e4m3, fp8e5m2, fp16, bf16, fp32, real, not 'fp8'",
        ),
        ({"method": "sgd"}, "method must be optimal or paper, not 'sgd'"),
        (
            {"method": "paper", "relative": True},
            "method 'paper' has pinned tails and plain errors; expected no other",
        ),
        ({"input_scale": 0.1}, "input_scale must be left out for fp16, not 0.1: only integers have scales"),
        ({"format": "int8", "output_scale": -1.0}, "output_scale must be a positive number, not -1.0"),
        (
            {"format": "int8", "output_scale": 1e-3},
            "output_scale must be at least 0.0629921 for int8, whose numbers end at 127, not 0.001: the function gelu reaches 8",
        ),
        (
            {"format": "int8", "input_scale": 1e-3},
            "input_scale must be at least 0.0629921 for int8, whose numbers end at 127, not 0.001: the range reaches 8",
        ),
        (
            {"function": steep, "format": "int8", "range": (-8, 8), "output_scale": 1 / 127},
            "output_scale must be at least 16 times as large for int8: a piece is too steep",
        ),
        (
            {"function": "exp", "symmetric": True},
            "function exp must be odd or even about -4.95, but for a straight line",
        ),
        ({"weights": [1.0, 2.0]}, "weights must have at least 100 samples in [-8.0, 8.0], not 2"),
        (
            {"weights": lambda x: x},
            "weights must give finite numbers of at least 0, some above it, one for each x",
        ),
        (
            {"function": "softsign", "format": "fp8e4m3", "range": (-500, 500)},
            "range must lie in FP8E4M3's [-448, 448], not",
        ),
        (
            {"function": lambda x, y: x + y, "range": (0, 1)},
            "function <lambda> must take tensors, arrays or floats in [0.0, 1.0] and give as many numbers",
        ),
        ({"range": (1, 1)}, "range must be two finite numbers, the smaller first, not 1.0 1.0"),
        ({"range": (2, 1)}, "range must be two finite numbers, the smaller first, not 2.0 1.0"),
        ({"range": (0, float("nan"))}, "range must be two finite numbers, the smaller first, not 0.0 nan"),
        ({"range": (0, float("inf"))}, "range must be two finite numbers, the smaller first, not 0.0 inf"),
        ({"range": (0, 1, 2)}, "range must be two numbers, not (0, 1, 2)"),
        ({"range": ("a", "b")}, "range must be two numbers, not ('a', 'b')"),
        ({"range": (0, 1e5)}, "range must lie in FP16's [-65504, 65504], not 0.0 100000.0"),
        ({"range": (1, 1.005)}, "range must hold at least 8 FP16 numbers, not as few as 1.0 to 1.005 does"),
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
