"""Rows say what fits say, and the page of fits says what rows say."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lanewise.models.fit import fit
from lanewise.models.fit_table import PAPER_AAE2, fit_rows, geometric_mean, uniform_pieces_mse
from lanewise.models.functions import FUNCTIONS

PAGE = Path(__file__).parents[2] / "docs" / "fits.md"


def test_rows_are_the_fits():
    rows = fit_rows(["tanh", "exp"], [8, 16], [1, 2], ["real", "bf16"], pin_tails=[True, False])
    names = ("function", "degree", "segments", "format", "pin_tails")
    assert len({tuple(row[key] for key in names) for row in rows}) == len(rows) == 32
    for row in rows:
        result = fit(
            row["function"], segments=row["segments"], degree=row["degree"], format=row["format"],
            pin_tails=row["pin_tails"],
        )  # fmt: skip
        assert row["mse"] == result.mse
        assert row["gain"] == result.uniform_mse / result.mse
        assert row["gain_over_pieces"] == row["uniform_pieces_mse"] / result.mse
        assert row["paper_aae2"] == PAPER_AAE2.get((row["function"], row["segments"], row["degree"]))


@pytest.mark.parametrize("degree", [1, 2])
def test_uniform_pieces_are_the_best_on_equal_segments(degree):
    """Against numpy's polynomial fit of one segment after another, on other points; and as the meeting ones, or better."""
    function = FUNCTIONS["silu"]
    edges, total = np.linspace(*function.range, 17), 0.0
    for low, high in pairwise(edges):
        x = np.linspace(low, high, 20_001)
        total += np.mean((np.polyval(np.polyfit(x - low, function(x), degree), x - low) - function(x)) ** 2)
    ours = uniform_pieces_mse("silu", 16, degree)
    assert ours == pytest.approx(total / 16, rel=1e-2)
    assert ours <= fit("silu", segments=16, degree=degree, format="real").uniform_mse * 1.01


def test_free_knots_gain_more_than_the_paper_says_of_its_own():
    """Geometric mean over the paper's functions, against the stronger uniform rival; both kinds of tails."""
    names = ["gelu", "silu", "sigmoid", "tanh", "mish", "softplus", "exp"]
    for pin in (True, False):
        rows = fit_rows(names, [32], [1], ["real"], pin_tails=[pin])
        assert geometric_mean(row["gain_over_pieces"] for row in rows) > 22.3


def test_an_exact_fit_has_no_gain():
    (row,) = fit_rows(["hardsigmoid"], [16], [1], ["real"])
    assert row["gain"] is row["gain_over_pieces"] is None


@pytest.mark.parametrize("name", ["gelu", "sigmoid"])
def test_the_page_is_what_the_fits_give(name):
    """Limit, MSE and ratios with 32 segments of the first table, digit by digit."""
    found = re.search(rf"^\| {name}, 32 \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, "run python benchmarks/fit.py --write docs/fits.md"
    free, pinned = (fit(name, segments=32, format="real", pin_tails=pin) for pin in (False, True))
    expected = [
        f"{free.limit_mse:.2e}", f"{free.mse:.2e}", f"{free.limit_ratio:.3f}", f"{pinned.mse:.2e}", f"{pinned.limit_ratio:.3f}",
    ]  # fmt: skip
    assert found[1].split(" | ")[:5] == expected
