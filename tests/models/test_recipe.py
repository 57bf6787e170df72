"""Recipes: a fused multiply-add that is the golden one's, and what is pruned."""

import numpy as np
import pytest

from lanewise.models.recipe import KINDS, Recipe, fused
from lanewise.models.vector import fused_multiply_add

SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("bits", [16, 32])
def test_fused_is_the_golden_multiply_add(bits, seed):
    rng = np.random.default_rng(seed)
    limits, kind = np.finfo(KINDS[bits]), KINDS[bits]
    size = 3000
    exponents = rng.uniform(limits.minexp - 12, limits.maxexp, (3, size)) * rng.choice(
        [0.05, 0.5, 1], (3, size)
    )
    with np.errstate(over="ignore"):
        a, b, c = (rng.choice([-1, 1], (3, size)) * 2.0**exponents).astype(kind)
        near = (-a[:1000].astype(np.float64) * b[:1000] * (1 + rng.choice([0, limits.eps], 1000))).astype(
            kind
        )
    c[:1000] = near  # cancellations
    for x in (a, b, c):
        places = rng.integers(1000, size, 200)
        x[places] = rng.choice(np.array([*SPECIAL, limits.max, limits.smallest_subnormal], kind), 200)
    got, wanted = fused(a, b, c), fused_multiply_add(a, b, c)
    unsigned = np.uint16 if bits == 16 else np.uint32
    assert np.array_equal(got.view(unsigned), wanted.view(unsigned))


def test_pruned_of_what_nobody_stores():
    recipe = Recipe()
    a, b = recipe.load("a"), recipe.load("b")
    recipe.store(recipe.add(a, a), "out")
    recipe.multiply(a, b)
    assert [step.name for step in recipe.pruned().steps] == ["load", "add", "store"]


def test_zeros_cost_nothing():
    recipe = Recipe()
    a = recipe.load("a")
    assert recipe.add(a, None) == recipe.subtract(a, None) == recipe.add_times(a, 2.0, None) == a
    assert recipe.add(None, None) is None
    assert len(recipe.steps) == 1
