"""The cells of a range on which a function's derivatives are taken: equal ones, or finer where the function bends."""

from dataclasses import dataclass

import numpy as np

from lanewise.models.functions import Function, Reals
from lanewise.models.pwl_pieces import CELLS, Weight, corners_within, midpoints, uniform_weight

_CONCENTRATED = 1 / 8
"""Equal cells do where nine tenths of the density fill more than this share of the range."""
_FAR = 128.0
"""A range longer than this may hide a bend between equal cells: around 0 they are finer."""
_HEAVY = 1 / 1024
"""A cell with a larger share of the density is split."""
_PARTS = 8
_ROUNDS = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Ascending cells that fill a range, and the best free knots' density in each, up to a factor."""

    edges: Reals
    middles: Reals
    widths: Reals
    density: Reals
    even: bool
    """All of the same width."""
    largest: float
    """Largest magnitude of the function that was seen."""
    diverging: bool = False
    """The finer the cells became, the larger the function: as beside a pole whose square has no integral."""

    @property
    def mass(self) -> Reals:
        """Integral of the density over each cell."""
        return self.density * self.widths

    def divided(self, parts: int) -> tuple[Reals, Reals]:
        """Middles and widths of as many equal parts of each cell."""
        offsets = (np.arange(parts) + 0.5) / parts
        middles = self.edges[:-1, None] + self.widths[:, None] * offsets
        return middles.reshape(-1), np.repeat(self.widths / parts, parts)


def cells_of(
    subject: Function,
    low: float,
    high: float,
    degree: int = 1,
    weight: Weight = uniform_weight,
    *,
    fine: bool = True,
) -> Cells:
    """The cells of [low, high]: :data:`~lanewise.models.pwl_pieces.CELLS` equal ones where the density is spread over the
    range, or none is to be ``fine``; else those, and more where it sits."""
    grid = midpoints(low, high, CELLS)
    widths = np.full(CELLS, (high - low) / CELLS)
    edges = np.linspace(low, high, CELLS + 1)
    values, largest = _density(subject, low, high, grid, widths, degree, weight, uneven=False)
    spread = high - low <= _FAR and not _concentrated(values) and not _jumps(weight(grid))
    if spread or not fine:
        return Cells(edges=edges, middles=grid, widths=widths, density=values, even=True, largest=largest)
    edges = np.union1d(edges, _around_zero(low, high))
    seen: list[float] = []
    for _ in range(_ROUNDS):
        widths = np.diff(edges)
        values, largest = _density(subject, low, high, edges[:-1] + widths / 2, widths, degree, weight)
        seen.append(largest)
        mass = values * widths
        room = widths > np.maximum(4e-15 * np.abs(edges[:-1]), 1e-16 * (high - low))
        heavy = (mass > _HEAVY * mass.sum()) & room
        if not heavy.any():
            break
        inner = edges[:-1][heavy, None] + widths[heavy, None] * np.arange(1, _PARTS) / _PARTS
        edges = np.union1d(edges, inner)
    widths = np.diff(edges)
    grid = edges[:-1] + widths / 2
    values, largest = _density(subject, low, high, grid, widths, degree, weight)
    return Cells(
        edges=edges, middles=grid, widths=widths, density=values, even=False, largest=largest,
        diverging=len(seen) > 3 and seen[-1] > 20 * seen[-4],
    )  # fmt: skip


def _concentrated(values: Reals) -> bool:
    total = np.cumsum(np.sort(values)[::-1])
    return bool(total[-1] > 0 and np.searchsorted(total, 0.9 * total[-1]) + 1 < _CONCENTRATED * values.size)


def _jumps(weights: Reals) -> bool:
    """Whether the weight begins or ends somewhere inside."""
    low, high = weights < 1e-6 * weights.max(), weights > 0.1 * weights.max()
    return bool((low[1:] & high[:-1]).any() or (low[:-1] & high[1:]).any())


def _around_zero(low: float, high: float) -> Reals:
    """Places that come closer and closer to 0."""
    steps = np.arange(np.log(max(abs(low), abs(high)) * 128 + 1) / np.log(1.05))
    places = np.concatenate([[0.0], 1.05**steps / 128])
    places = np.union1d(-places, places)
    return places[(places > low) & (places < high)]


def _density(
    subject: Function, low: float, high: float, grid: Reals, widths: Reals, degree: int, weight: Weight,
    uneven: bool = True,
) -> tuple[Reals, float]:  # fmt: skip
    """(w |f^(d+1)|^2)^(1/(2d+3)) at the middles of cells, and the largest magnitude of the function.

    Source: de Boor, A Practical Guide to Splines, chapter XII, for the exponent.
    """
    order = degree + 1
    # a third difference of close points would be rounding alone
    step = np.minimum(widths * (1 if degree == 1 else 8), (high - low) / 8)
    reach = step * order / 2
    centres = np.clip(grid, low + reach, high - reach)  # a function may not exist outside
    # each side of a corner by itself: a derivative's jump is no density
    for corner in corners_within(subject, low, high):
        near = np.abs(centres - corner) < reach
        centres[near] = np.where(grid < corner, corner - reach, corner + reach)[near]
    places = centres[:, None] + step[:, None] * (np.arange(order + 1) - order / 2)
    values = subject(np.clip(places, low, high))
    differences = np.diff(values, order)[:, 0]
    noise = np.minimum(np.ptp(values), 1 + np.abs(centres)) if uneven else np.ptp(values)
    rounding = 2.0**-50 * 2**order * np.abs(values).max(axis=1) + 1e-15 * noise
    differences[np.abs(differences) < rounding] = 0.0  # no curvature
    derivative = np.abs(differences) / step**order
    power = 1 / (2 * degree + 3)
    large = derivative.max() > 1e150  # its square is no number
    w = weight(grid)
    result = w**power * derivative ** (2 * power) if large else (w * derivative**2) ** power
    return np.asarray(result), float(np.abs(values).max())
