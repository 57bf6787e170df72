"""What a fit is measured against: the error of the best free knots for many segments, and that of equal segments."""

import numpy as np

from lanewise.models.functions import Function, Reals
from lanewise.models.pwl_pieces import CELLS, Pieces, Weight, corners_within, midpoints, uniform_weight

LIMIT_CONSTANTS = {1: 720, 2: 100_800}
"""Of :func:`limit_mse`, by degree."""


def density(
    subject: Function, low: float, high: float, degree: int = 1, weight: Weight = uniform_weight
) -> Reals:
    """(w |f^(d+1)|^2)^(1/(2d+3)) at the midpoints of :data:`CELLS` cells: the best free knots' density, up to a factor.

    Source: de Boor, A Practical Guide to Splines, chapter XII, for the exponent.
    """
    width = (high - low) / CELLS
    order = degree + 1
    step = width * (1 if degree == 1 else 8)  # a third difference of close points would be rounding alone
    reach = step * order / 2
    grid = midpoints(low, high, CELLS)
    centres = np.clip(grid, low + reach, high - reach)  # a function may not exist outside
    # each side of a corner by itself: a derivative's jump is no density
    for corner in corners_within(subject, low, high):
        near = np.abs(centres - corner) < reach
        centres[near] = np.where(grid[near] < corner, corner - reach, corner + reach)
    values = subject(centres[:, None] + step * (np.arange(order + 1) - order / 2))
    differences = np.diff(values, order)[:, 0]
    rounding = 2.0**-50 * 2**order * np.abs(values).max(axis=1) + 1e-15 * np.ptp(values)
    differences[np.abs(differences) < rounding] = 0.0  # no curvature
    derivative = np.abs(differences) / step**order
    return np.asarray((weight(grid) * derivative**2) ** (1 / (2 * degree + 3)))


def limit_mse(
    subject: Function,
    segments: int,
    low: float,
    high: float,
    degree: int = 1,
    weight: Weight = uniform_weight,
) -> float:
    """Asymptotic MSE of the best n free-knot pieces of degree d: (integral of the density)^(2d+3) / (C_d n^(2d+2) (b-a)).

    The best polynomial of degree d on a segment of width h errs by f^(d+1)/(d+1)! times the monic Legendre
    polynomial, whose square integrates to (h/2)^(2k+1) 2/(2k+1) (2^k k!^2 / (2k)!)^2, k = d+1: f''^2 h^5/720 and
    f'''^2 h^7/100800. Hoelder's inequality gives the best widths. n counts both tails, as the hardware does,
    although a pinned tail helps only as far as the function has reached its asymptote inside the range; so for a
    few segments the best pinned table lies above the limit.
    """
    values = density(subject, low, high, degree, weight)
    centres = weight(midpoints(low, high, CELLS))
    integral = values.sum() * (high - low) / CELLS
    total = centres.mean() * (high - low)
    return float(
        integral ** (2 * degree + 3) / (LIMIT_CONSTANTS[degree] * segments ** (2 * degree + 2) * total)
    )


def uniform_mse(
    subject: Function,
    segments: int,
    low: float,
    high: float,
    degree: int = 1,
    weight: Weight = uniform_weight,
) -> float:
    """MSE of the best table on equal segments: for degree 1 the best continuous function, as earlier units have it;
    for degree 2 the best parabola of each segment."""
    grid = midpoints(low, high, CELLS)
    values, w = subject(grid), weight(grid)
    w = w / w.sum()
    if degree == 2:
        knots = np.linspace(low, high, segments + 1)
        return float(
            Pieces(subject, weight, degree).errors(knots[:-1], knots[1:]).sum() / _total(weight, low, high)
        )
    place = (grid - low) / (high - low) * segments
    segment = np.minimum(place.astype(np.int64), segments - 1)
    place -= segment

    def total(weight_: Reals) -> Reals:
        return np.bincount(segment, weight_ * w, segments).astype(np.float64)

    rest = 1 - place
    gram = np.diag(np.append(total(rest * rest), 0) + np.append(0, total(place * place)))
    gram += np.diag(total(rest * place), 1) + np.diag(total(rest * place), -1)
    y = np.linalg.solve(gram, np.append(total(rest * values), 0) + np.append(0, total(place * values)))
    return float(w @ (y[segment] * rest + y[segment + 1] * place - values) ** 2)


def _total(weight: Weight, low: float, high: float) -> float:
    return float(weight(midpoints(low, high, CELLS)).mean() * (high - low))
