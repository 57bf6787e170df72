"""The integrator's order, and the systems' vector fields against their energies."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from lanewise.models.lsnn.integrator import coefficients, integrate
from lanewise.models.lsnn.systems import SYSTEMS, RestrictedThreeBody

NAMES = sorted(SYSTEMS)


@pytest.mark.parametrize("name", NAMES)
def test_velocity_is_the_energys_gradient_turned(name):
    system = SYSTEMS[name]
    x = system.orbits(50, 3)
    small, gradient = 1e-5, np.empty_like(x)
    for k in range(4):
        moved = np.zeros(4)
        moved[k] = small
        gradient[:, k] = (system.energy(x + moved) - system.energy(x - moved)) / (2 * small)
    turned = np.concatenate([gradient[:, 2:], -gradient[:, :2]], axis=1)
    assert np.abs(system.velocity(x) - turned).max() < 1e-8


@pytest.mark.parametrize("stages", [2, 3, 4, 5, 6])
def test_order_is_twice_the_stages(stages):
    system = SYSTEMS["two-body"]
    x, time = system.orbits(5, 1), 4.0
    exact = integrate(system.velocity, x, step=time / 200, steps=200, stages=8)[-1]
    counts = {2: (64, 128), 3: (24, 48), 4: (8, 16), 5: (5, 10), 6: (4, 6)}[stages]
    coarse, fine = (
        np.abs(integrate(system.velocity, x, step=time / n, steps=n, stages=stages)[-1] - exact).max() for n in counts
    )  # fmt: skip
    order = np.log(coarse / fine) / np.log(counts[1] / counts[0])
    print(stages, coarse, fine, order)
    assert abs(order - 2 * stages) < 1.0


def test_the_references_step_is_exact_to_float64():
    """Order 12 with the step 0.1 against half of it; energies stay where they are."""
    for name in NAMES:
        system = SYSTEMS[name]
        x = system.orbits(10, 2)
        one = integrate(system.velocity, x, step=0.1, steps=94)
        other = integrate(system.velocity, x, step=0.05, steps=188)
        assert np.abs(one[-1] - other[-1]).max() < 3e-12
        assert np.abs(system.energy(one) - system.energy(x)).max() < 1e-13


def test_coefficients_integrate_polynomials():
    matrix, weights = coefficients(6)
    nodes = matrix.sum(1)
    for power in range(12):
        assert abs(weights @ nodes**power - 1 / (power + 1)) < 1e-13
    assert all(a < b for a, b in pairwise(nodes))


def test_a_step_that_is_too_long_is_refused():
    system = SYSTEMS["two-body"]
    with pytest.raises(ArithmeticError, match="step must be one for which the stages converge, not 40"):
        integrate(system.velocity, system.orbits(3, 0), step=40, steps=1)


def test_polar_coordinates_are_the_cartesian_problems():
    """Jacobi's constant from places and velocities in the rotating frame."""
    system = RestrictedThreeBody()
    x = torch.from_numpy(system.orbits(20, 5)).numpy()
    place = system.cartesian(x)
    radial, turning = x[:, 2], x[:, 3] / x[:, 0] - x[:, 0]
    sun = np.hypot(place[:, 0] + system.mu, place[:, 1])
    neptune = np.hypot(place[:, 0] - 1 + system.mu, place[:, 1])
    potential = 0.5 * (place**2).sum(1) + (1 - system.mu) / sun + system.mu / neptune
    assert np.abs(2 * potential - radial**2 - turning**2 - system.jacobi(x)).max() < 1e-12
