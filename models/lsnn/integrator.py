"""Gauss-Legendre collocation: symplectic, of order ``2 stages``, in float64. The reference that makes the data.

Source: Hairer, Lubich, Wanner, Geometric Numerical Integration, II.1.3: nodes of the shifted Legendre polynomial, weights by integrating
the Lagrange polynomials of the nodes.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from lanewise.models.functions import Reals

STAGES = 6
"""Order 12."""
_MOST = 60
_STILL = 1e-15


@cache
def coefficients(stages: int) -> tuple[Reals, Reals]:
    """Butcher's matrix ``(stages, stages)`` and weights ``(stages,)``.

    >>> matrix, weights = coefficients(1)
    >>> matrix.tolist(), weights.tolist()
    ([[0.5]], [1.0])
    """
    nodes = (np.polynomial.legendre.leggauss(stages)[0] + 1) / 2
    powers = np.arange(1, stages + 1)
    inverse = np.linalg.inv(np.vander(nodes, increasing=True))
    integrals = nodes[:, None] ** powers / powers
    return integrals @ inverse, (1 / powers) @ inverse


def integrate(
    velocity: Callable[[Reals], Reals], x: Reals, *, step: float, steps: int, stages: int = STAGES
) -> Reals:
    """States after each of ``steps`` steps.

    Args:
        velocity: Of states of shape ``(..., n)``.
        x: Initial states, shape ``(batch, n)``.
        step: Time of a step.
        steps: How many.
        stages: Of the collocation.

    Returns:
        Shape ``(steps + 1, batch, n)``, the initial states first.

    Raises:
        ArithmeticError: The stages' fixed point is not reached: the step is too long.
    """
    matrix, weights = coefficients(stages)
    states = [np.asarray(x, np.float64)]
    slopes = np.broadcast_to(velocity(states[0]), (stages, *states[0].shape))
    lost = np.zeros_like(states[0])
    for _ in range(steps):
        now = states[-1]
        for _ in range(_MOST):
            found = velocity(now + step * np.tensordot(matrix, slopes, 1))
            change = float(np.abs(found - slopes).max())
            slopes = found
            if change <= _STILL * max(1.0, float(np.abs(found).max())):
                break
        else:
            if not change < 1e-12:
                raise ArithmeticError(f"step must be one for which the stages converge, not {step}")
        increment = step * np.tensordot(weights, slopes, 1) + lost
        following = now + increment  # compensated: the increments' last bits are kept
        lost = increment - (following - now)
        states.append(following)
    return np.stack(states)
