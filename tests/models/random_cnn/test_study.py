"""The gap of frozen random filters: a short training that shows it, and (full) the paper's claims on several seeds."""

from dataclasses import replace

import numpy as np
import pytest

from lanewise.models.random_cnn.config import DEFAULT, StudyConfig
from lanewise.models.random_cnn.recombined import Filters
from lanewise.models.random_cnn.study import Study, accuracies_of, difference, run_study
from lanewise.models.random_cnn.training import train

SEEDS = (0, 40)


def test_a_large_kernel_s_gap_is_wide_and_falls_with_the_expansion():
    config = StudyConfig(kernels=(7,), expansions=(1, 16), seeds=2, epochs=6)
    study = run_study(config, seed=SEEDS[0])
    wide, narrow = (study.gap(7, expansion) for expansion in config.expansions)
    assert wide.min() > 20  # of about 45 points; the standard deviation over seeds is about 7
    assert narrow.max() < wide.min()


def test_training_is_reproducible_and_depends_on_the_seed():
    config = StudyConfig(epochs=1)
    runs = [
        train(config, kernel=3, expansion=2, filters=Filters.GENERATED, seed=seed)
        .head.weight.detach()
        .numpy()
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def made(gap):
    """A study of which the gap at each kernel and expansion is as given, with a little spread."""
    config = StudyConfig(kernels=(3, 7), expansions=(1, 16), seeds=3)
    keys = [(k, e) for k in config.kernels for e in config.expansions]
    noise = np.array([-0.1, 0, 0.1])
    learned = {key: (95 + noise).tolist() for key in keys}
    frozen = {key: (95 - gap[key] + 0 * noise).tolist() for key in keys}
    return Study(config=config, learned=learned, frozen=frozen)


@pytest.mark.parametrize(
    ("gap", "holds"),
    [
        ({(3, 1): 20, (3, 16): 0, (7, 1): 40, (7, 16): 0}, (True, True, True)),
        ({(3, 1): 20, (3, 16): 0, (7, 1): 10, (7, 16): 0}, (True, True, False)),
        ({(3, 1): 20, (3, 16): 25, (7, 1): 60, (7, 16): 0}, (False, False, True)),
        ({(3, 1): 20, (3, 16): 5, (7, 1): 40, (7, 16): 5}, (True, False, True)),
    ],
)
def test_claims_hold_where_they_should(gap, holds):
    assert tuple(claim.holds for claim in made(gap).claims()) == holds


@pytest.mark.full
@pytest.mark.parametrize("seed", SEEDS)
def test_the_paper_s_claims(seed):
    study = run_study(DEFAULT, seed=seed)
    for claim in study.claims():
        assert claim.holds, f"{claim}; seed {seed}"


@pytest.mark.full
@pytest.mark.parametrize("kernel", [3, 7])
@pytest.mark.parametrize("seed", [100])
def test_int4_filters_of_the_generator_are_as_good_as_fp32(seed, kernel):
    """Of 10 networks of each kind; the tolerance is two standard errors of the difference, and a point."""
    config = replace(DEFAULT, seeds=10)
    found = {
        filters: accuracies_of(config, kernel, 16, filters, seed)
        for filters in (Filters.UNIFORM, Filters.GENERATED)
    }
    mean, error = difference(np.subtract(found[Filters.GENERATED], found[Filters.UNIFORM]))
    assert abs(mean) <= 1 + 2 * error, f"{mean} +- {error}: {found}; seed {seed}"
