"""What a fit is measured against: the error of the best free knots for many segments, and that of equal segments."""

import numpy as np

from lanewise.models.functions import Function, Reals
from lanewise.models.pwl_cells import cells_of
from lanewise.models.pwl_pieces import Weight, uniform_weight
from lanewise.models.pwl_real import pieces_of

LIMIT_CONSTANTS = {1: 720, 2: 100_800}
"""Of :func:`limit_mse`, by degree."""


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
    cells = cells_of(subject, low, high, degree, weight)
    integral, total = cells.mass.sum(), cells.widths @ weight(cells.middles)
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
    cells = cells_of(subject, low, high, degree, weight)
    grid = cells.middles
    w = weight(grid) * cells.widths
    if degree == 2:
        knots = np.linspace(low, high, segments + 1)
        pieces = pieces_of(subject, cells, degree, weight)
        return float(pieces.errors(knots[:-1], knots[1:]).sum() / w.sum())
    values, w = subject(grid), w / w.sum()
    place = (grid - low) / (high - low) * segments
    segment = np.minimum(place.astype(np.int64), segments - 1)
    place -= segment

    def total(weight_: Reals) -> Reals:
        return np.bincount(segment, weight_ * w, segments).astype(np.float64)

    rest = 1 - place
    gram = np.diag(np.append(total(rest * rest), 0) + np.append(0, total(place * place)))
    gram += np.diag(total(rest * place), 1) + np.diag(total(rest * place), -1)
    right_side = np.append(total(rest * values), 0) + np.append(0, total(place * values))
    try:
        y = np.linalg.solve(gram, right_side)
    except np.linalg.LinAlgError:  # segments that nothing weighs
        y = np.linalg.lstsq(gram, right_side, rcond=None)[0]
    return float(w @ (y[segment] * rest + y[segment + 1] * place - values) ** 2)
