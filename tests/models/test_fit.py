"""How good the fits are, what holds for every one of them, and what is refused."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lanewise.config import SEGMENT_COUNTS
from lanewise.errors import UserError
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.functions import FUNCTIONS
from lanewise.models.pwl_format import operands
from lanewise.models.pwl_pieces import uniform_weight
from lanewise.models.pwl_real import best_on_grid

# For 32 segments, integrated independently of this project
LIMITS = {
    "gelu": 3.88e-8, "silu": 1.68e-7, "sigmoid": 3.11e-8, "tanh": 8.31e-8, "mish": 9.37e-8,
    "softplus": 8.72e-8, "exp": 1.43e-8,
}  # fmt: skip
QUICK = ("gelu", "exp")
"""Functions that `make test` fits where there are many fits: a smooth bend between two asymptotes, and one that has none on its right."""
EVERY = np.arange(1 << 16, dtype=np.uint16)
NUMBERS = EVERY.view(np.float16).astype(np.float64)


def some(values, quick):
    """Parameters, of which `make test` has the ``quick`` ones."""
    return [pytest.param(value, marks=() if value in quick else pytest.mark.full) for value in values]


@pytest.mark.parametrize("name", LIMITS)
def test_limit_is_the_known_one(name):
    assert fit(name, segments=32, format="real").limit_mse == pytest.approx(LIMITS[name], rel=0.01)


def steep(x):
    """A step, almost: slopes that integers can hardly hold."""
    return torch.tanh(200 * x)


TARGETS = ["gelu", "silu", "sigmoid", "tanh", "mish", "softplus", "exp", "erf"]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("segments", "most"), [(32, 1.10), pytest.param(64, 1.05, marks=pytest.mark.full)])
def test_real_fit_reaches_the_limit(name, segments, most):
    """With the tails free, so that all the segments serve the range, as the limit has it."""
    assert fit(name, segments=segments, format="real", pin_tails=False).limit_ratio < most


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("segments", some([32, 64], [32]))
def test_pinned_tails_cost_what_they_must(name, segments):
    """No table with pinned tails is better: dynamic programming over another grid, a global search, finds none."""
    function = FUNCTIONS[name]
    ours = fit(name, segments=segments, format="real").mse
    best = best_on_grid(function, segments, *function.range, candidates=700)
    assert ours < best * 1.005
    assert best < ours * 1.06, "the grid is fine enough to tell"


def searched_mse(function, tail, x):
    """Mean square error on [-8, 8] of 30 lines between the knots ``x`` and tails beside them, and its gradient: both
    from :func:`numpy.polyfit` on 60 points of each line, nothing else."""
    places = (np.arange(60) + 0.5) / 60
    ends = np.concatenate([[-8.0], x, [8.0]])
    total, squares = 0.0, np.empty((32, 2))  # of the errors at both ends of a segment
    for k, (a, b) in enumerate(pairwise(ends)):
        centre, points = (a + b) / 2, a + (b - a) * places
        line = np.polyfit(points - centre, function(points), 1) if 0 < k < 31 else None
        there = np.array([a, b])
        if line is None:
            error, edge = function(points) - tail[k > 0](points), function(there) - tail[k > 0](there)
        else:
            error = function(points) - np.polyval(line, points - centre)
            edge = function(there) - np.polyval(line, there - centre)
        total += (b - a) * np.mean(error**2) / 16
        squares[k] = edge**2
    return total, (squares[:-1, 1] - squares[1:, 0]) / 16


@pytest.mark.parametrize("name", some(["silu", "sigmoid", "softplus"], ["silu"]))
def test_no_other_optimiser_finds_better_knots(name):
    """SciPy's L-BFGS from random knots, with an error and functions of its own."""
    function, tail = {
        "silu": (lambda x: x / (1 + np.exp(-x)), (lambda x: 0 * x, lambda x: x)),
        "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), (lambda x: 0 * x, lambda x: 0 * x + 1)),
        "softplus": (lambda x: np.log1p(np.exp(x)), (lambda x: 0 * x, lambda x: x)),
    }[name]
    ours = fit(name, segments=32, format="real").mse
    rng = np.random.default_rng(1)
    found = []

    def cost(u):
        widths = np.exp(u - u.max())
        widths *= 16 / widths.sum()
        error, gradient = searched_mse(function, tail, -8 + np.cumsum(widths)[:-1])
        slope = np.append(np.cumsum(gradient[::-1])[::-1], 0.0)
        return math.log(error), widths * (slope - slope @ widths / 16) / error

    for _ in range(3):
        u = np.log(rng.uniform(0.2, 0.6, 32))
        found.append(math.exp(minimize(cost, u, jac=True, method="L-BFGS-B", options={"maxiter": 150}).fun))
    assert ours < 1.01 * min(found)
    assert min(found) < 1.1 * ours, "the search comes near enough to tell"


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
@pytest.mark.parametrize("number_format", some(["real", "fp16", "bf16"], ["real", "fp16"]))
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


@pytest.mark.parametrize("name", some(["gelu", "sigmoid", "tanh", "exp", "silu", "softplus"], QUICK))
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


@pytest.mark.parametrize("name", some(["gelu", "sigmoid", "exp"], ["sigmoid"]))
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
@pytest.mark.parametrize("segments", some([8, 32], [32]))
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
@example(name="selu", segments=4, left=0.0, right=0.0)
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
    for result, kind in ((real, np.float64), (half, np.float16)):
        for tail, line in (
            (function.left, result.coefficients[0]),
            (function.right, result.coefficients[-1]),
        ):
            if tail is not None:
                assert line == (kind(tail[1]), kind(tail[0]))
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


def minus_cube(x):
    """Of magnitude 64,000 at 40, where FP16 ends at 65,504."""
    return -(x**3)


@pytest.mark.parametrize(
    ("function", "interval", "number_format", "degree", "segments", "most"),
    [
        ("exp", (0, 9.6), "fp16", 1, 32, 100),
        ("exp", (0, 10), "fp16", 1, 32, 700),
        ("exp", (0, 11), "fp16", 1, 32, 2.3e4),
        ("exp", (0, 11), "fp16", 1, 64, 5e3),
        ("exp", (0, 11), "fp16", 2, 32, 100),
        ("exp", (-10, 11), "fp16", 1, 32, 1.2e4),
        ("exp", (-10, 11), "fp16", 1, 4, 1.5e6),
        ("exp", (0, 85), "fp32", 1, 32, 5e66),
        ("exp", (-80, 88.7), "fp32", 1, 32, 2e71),
        ("reciprocal", (1e-4, 1), "fp16", 1, 32, 15),
        (minus_cube, (-40, 40), "fp16", 1, 32, 1.2e4),
        (minus_cube, (-40, 40), "fp16", 2, 4, 2.5e4),
    ],
)
def test_coefficients_beyond_the_format_are_made_up_for_by_the_others(
    function, interval, number_format, degree, segments, most
):
    """A tangent far from 0 has an offset that no number holds; the pieces that can be held come near their own best."""
    result = fit(function, segments=segments, degree=degree, format=number_format, range=interval)
    assert result.mse < most
    x = np.linspace(*interval, 20_001)
    y = result.evaluate(x)
    assert np.isfinite(y).all()
    exact = FUNCTIONS[function](x) if isinstance(function, str) else function(x)
    assert np.abs(y - exact).max() < 100 * math.sqrt(most)


@pytest.mark.parametrize("name", ["gelu", "silu", "sigmoid"])
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("reach", some([20, 1000, 60_000], [20, 60_000]))
def test_wide_ranges_are_served_as_well_as_a_function_s_own(name, degree, reach):
    own, function = fit(name, segments=32, degree=degree), FUNCTIONS[name]
    wide = fit(name, segments=32, degree=degree, range=(-reach, reach))
    _, x, share = operands(wide.scaling, -reach, reach, uniform_weight)
    assert wide.mse == pytest.approx(share @ (wide.evaluate(x) - function(x)) ** 2, rel=1e-9)
    assert wide.mse <= share @ (own.evaluate(x) - function(x)) ** 2
    real = fit(name, segments=32, degree=degree, format="real", range=(-reach, reach))
    assert real.mse < 1.1 * real.limit_mse
    assert real.limit_mse < real.uniform_mse / 100
    x = np.linspace(-30, 30, 400_001)
    inside = np.mean((real.evaluate(x) - function(x))[np.abs(x) < reach] ** 2) * min(30, reach) / reach
    assert real.mse == pytest.approx(inside, rel=0.01)


def test_wide_ranges_of_a_function_without_asymptotes():
    """Nothing says where it bends but its values."""
    result = fit(lambda x: torch.nn.functional.gelu(x - 3), segments=32, format="real", range=(-3000, 5000))
    assert result.mse < 1.1 * result.limit_mse
    x = np.linspace(-30, 30, 100_001)
    assert np.abs(result.evaluate(x) - FUNCTIONS["gelu"](x - 3)).max() < 2e-3
    for number_format in ("fp32", "bf16"):
        far = fit("sigmoid", segments=32, format=number_format, range=(-1e37, 1e37))
        assert far.max_error < 5e-3
    lines = fit("gelu", segments=32, degree=2, format="int8", range=(-1e30, 1e30))
    assert lines.max_error <= lines.scaling.output_scale


@pytest.mark.parametrize("degree", [1, 2])
def test_densities_that_are_zero_somewhere(degree):
    """All the segments serve the rest."""
    tables = [
        fit("gelu", segments=16, degree=degree, format="real", weights=weights)
        for weights in (lambda x: (x > 0) * 1.0, lambda x: x > 0)
    ]
    assert tables[0].coefficients == tables[1].coefficients
    assert tables[0].mse < 2 * tables[0].limit_mse
    half = fit("gelu", segments=16, degree=degree, format="real", range=(0, 8))
    assert tables[0].mse < 1.5 * half.mse
    assert fit("gelu", segments=16, degree=degree, weights=lambda x: x > 0).mse < 1.5e-7


@pytest.mark.parametrize("number_format", ["real", "fp16", "int8"])
@pytest.mark.parametrize("relative", [False, True])
def test_nothing_is_fitted_exactly(number_format, relative):
    result = fit(lambda x: 0 * x, segments=8, range=(-1, 1), format=number_format, relative=relative)
    assert (result.mse, result.max_error) == (0, 0)


def test_modules_with_parameters_of_any_width():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(0.75))

        def forward(self, x):
            return self.gain * torch.sigmoid(x)

    expected = fit(lambda x: 0.75 * torch.sigmoid(x), segments=8, range=(-4, 4), format="real")
    modules = (
        Scaled(),
        Scaled().double(),
        Scaled().half(),
        torch.nn.Sequential(Scaled(), torch.nn.Dropout(0.5)),
    )
    for module in modules:
        result = fit(module, segments=8, range=(-4, 4), format="real")
        np.testing.assert_allclose(result.coefficients, expected.coefficients, atol=1e-9)
    assert fit(Scaled(), segments=8, range=(-4, 4)).function == "Scaled"
    weight = torch.tensor([0.25])
    assert fit(lambda x: torch.nn.functional.prelu(x, weight), segments=8, range=(-4, 4)).mse < 1e-7
    assert fit(lambda x: torch.sigmoid(x).half(), segments=8, range=(-4, 4), format="real").max_error < 0.01
    assert fit(torch.nn.PReLU(), segments=8, range=(-4, 4), format="real").mse < 1e-20


def test_callables_may_have_state_and_no_hash():
    class Gain:
        __hash__ = None
        gain = 1.0

        def __call__(self, x):
            return self.gain * x * x

    function = Gain()
    first = fit(function, segments=8, range=(0, 1), format="real")
    function.gain = 5.0
    second = fit(function, segments=8, range=(0, 1), format="real")
    np.testing.assert_allclose(5 * np.array(first.coefficients), second.coefficients, atol=1e-9)


def test_a_function_that_is_steep_beside_its_domain_s_end():
    for number_format in ("fp32", "real"):
        result = fit("log", segments=32, range=(1e-40, 1), format=number_format)
        assert result.mse < 2 * result.limit_mse


@pytest.mark.parametrize("number_format", ["int8", "int16"])
@pytest.mark.parametrize(("name", "reach"), [("tanh", 8), ("tanh", 1), ("erf", 8), ("atan", 4)])
@pytest.mark.parametrize(
    ("segments", "degree"), [(8, 1), pytest.param(64, 1, marks=pytest.mark.full), (64, 2)]
)
def test_odd_tables_of_integers_are_odd(name, number_format, reach, segments, degree):
    """By default to the bit; if results saturate, because a scale was asked for, to one unit."""
    arguments = {"segments": segments, "degree": degree, "format": number_format, "range": (-reach, reach)}
    result = fit(name, symmetric=True, **arguments)
    _, x, _ = operands(result.scaling, -reach, reach, uniform_weight)
    x = x[x != 0]
    np.testing.assert_array_equal(result.evaluate(-x), -result.evaluate(x))
    assert result.max_error < 1.5 * fit(name, **arguments).max_error + result.scaling.output_scale
    largest = float(FUNCTIONS[name](np.array([float(reach)]))[0])
    scale = largest / {"int8": 127, "int16": 32767}[number_format]
    tight = fit(name, symmetric=True, output_scale=scale, **arguments)
    assert np.abs(tight.evaluate(-x) + tight.evaluate(x)).max() <= 1.001 * scale


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("segments", [8, 64])
def test_the_largest_integer_is_no_tail_of_its_own(symmetric, degree, segments):
    """The range ends there, far from the asymptote, and so does the last segment."""
    result = fit("tanh", segments=segments, degree=degree, format="int8", range=(-1, 1), symmetric=symmetric)
    assert result.max_error < 2 * result.scaling.output_scale + 0.02 * (segments == 8)


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
        ({"degree": 1.0}, "degree must be 1 or 2, not 1.0"),
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
        ({"format": "int8", "input_scale": "a"}, "input_scale must be a positive number, not 'a'"),
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
        ({"weights": "abc"}, "weights must be a density or real numbers, not 'abc'"),
        ({"weights": np.ones(200) * 1j}, "weights must be a density or real numbers, not array("),
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
        (
            {"function": "reciprocal", "range": (-1, 2)},
            "function reciprocal is not finite everywhere in [-1.0, 2.0]",
        ),
        (
            {"function": "reciprocal", "range": (-1, 2), "format": "int8"},
            "function reciprocal is not finite everywhere in [-1.0, 2.0]",
        ),
        (
            {"function": lambda x: 1 / (x - 1 / 3), "range": (0, 1), "format": "real"},
            "function <lambda> is not finite everywhere in [0.0, 1.0]",
        ),
        (
            {"function": torch.tan, "range": (0, 3), "format": "real"},
            "function tan is not finite everywhere in [0.0, 3.0]",
        ),
        (
            {"range": (-1e300, 1e300), "format": "real"},
            "range must lie in [-1e+60, 1e+60], not -1e+300 1e+300",
        ),
        ({"range": (0, 1e-300), "format": "real"}, "range must be at least 1e-44 wide, not 0.0 1e-300"),
        (
            {"range": (1, 1.0000000000000002), "format": "real"},
            "range must be at least 1e-09 wide, not 1.0 1.0000000000000002",
        ),
        (
            {"function": "exp", "range": (0, 700), "format": "real"},
            "function exp reaches 1.01423e+304 in [0.0, 700.0]; expected at most 1e+100",
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
