"""Free-knot piecewise-polynomial least squares in real numbers: the best breakpoints and the best pieces.

The hardware does not ask neighbouring pieces to meet, so each piece is its segment's own least-squares polynomial
and the error depends on the knots alone. Dynamic programming over a grid of candidates finds the best choice among
them, whatever the shape of the function; Newton's method then moves the knots off the grid: at the optimum both
pieces beside a knot err equally there.
"""

from dataclasses import dataclass

import numpy as np

from lanewise.models.functions import Function, Reals, Tail
from lanewise.models.pwl_cells import Cells, cells_of
from lanewise.models.pwl_pieces import Pieces, Weight, corners_within, uniform_weight
from lanewise.models.pwl_wide import WidePieces

_CANDIDATES = 384
"""Places at which dynamic programming may put a knot, at least."""
_STEPS = 60


@dataclass(frozen=True, kw_only=True)
class RealFit:
    """Breakpoints, shape ``(segments - 1,)``, and coefficients, shape ``(segments, degree + 1)``, lowest power first."""

    breakpoints: Reals
    coefficients: Reals


def fit_real(
    subject: Function,
    segments: int,
    low: float,
    high: float,
    *,
    degree: int = 1,
    weight: Weight = uniform_weight,
    pin: tuple[bool, bool] = (True, True),
    limit: float | None = None,
    fine: bool = True,
) -> RealFit:
    """The best table with ``segments`` segments, tails included.

    Args:
        pin: Whether the left and the right tail lie on the function's asymptote, where it has one. A tail that
            does not continues the outermost piece.
        limit: What no coefficient may exceed in magnitude.
        fine: Whether cells are finer where the function bends.
    """
    tails = (subject.left if pin[0] else None, subject.right if pin[1] else None)
    cells = cells_of(subject, low, high, degree, weight, fine=fine)
    pieces = pieces_of(subject, cells, degree, weight, limit)
    candidates = _candidates(subject, cells, max(_CANDIDATES, 10 * segments))
    problem = _Problem(pieces, low, high, segments, tails)
    knots = problem.refined(problem.best_of(candidates))
    return problem.result(knots)


def best_on_grid(
    subject: Function,
    segments: int,
    low: float,
    high: float,
    *,
    degree: int = 1,
    pin: tuple[bool, bool] = (True, True),
    candidates: int = _CANDIDATES,
) -> float:
    """MSE of the best table whose knots lie on a grid of candidates, by dynamic programming: a global optimum.

    No table with knots anywhere is much better than this if the grid is fine: how a fit is held to be the best.
    """
    tails = (subject.left if pin[0] else None, subject.right if pin[1] else None)
    cells = cells_of(subject, low, high, degree)
    problem = _Problem(pieces_of(subject, cells, degree), low, high, segments, tails)
    grid = _candidates(subject, cells, candidates)
    return problem.error(problem.best_of(grid)) / (high - low)


def pieces_of(
    subject: Function,
    cells: Cells,
    degree: int,
    weight: Weight = uniform_weight,
    limit: float | None = None,
) -> Pieces:
    """Least squares over segments of the range: by a few points of each, or of each group of cells of uneven ones."""
    if cells.even:
        return Pieces(subject, weight, degree, limit=limit)
    panels = _candidates(subject, cells, 4 * _CANDIDATES)
    return WidePieces(subject, weight, degree, panels, limit=limit)


def _candidates(subject: Function, cells: Cells, count: int) -> Reals:
    """Places that share the density out equally, and the range a little; the cells, too, where they are uneven."""
    low, high = cells.edges[0], cells.edges[-1]
    if cells.even:
        values = cells.density + 0.15 * cells.density.mean() + 1e-300
    else:
        mass = cells.mass
        values = mass + mass.sum() * (0.15 * cells.widths / (high - low) + 0.1 / mass.size) + 1e-300
    total = np.append(0, np.cumsum(values))
    share = np.linspace(0, total[-1], count + 1)
    places = np.interp(share, total, cells.edges)
    # no density says how much a corner needs a knot
    return np.union1d(places, corners_within(subject, float(low), float(high)))


class _Problem:
    """Where to put the knots between ``low`` and ``high``.

    Knots are the ends of the fitted pieces. A pinned tail ends at the outermost knot, which then moves; without
    one the outermost knot is the range's end.
    """

    def __init__(
        self, pieces: Pieces, low: float, high: float, segments: int, tails: tuple[Tail | None, Tail | None]
    ) -> None:
        self.pieces, self.low, self.high, self.tails = pieces, low, high, tails
        self.count = segments - sum(tail is not None for tail in tails)

    def best_of(self, grid: Reals) -> Reals:
        """The best knots among ``grid``, by dynamic programming; shape ``(count + 1,)``."""
        size = grid.size
        cost = self.pieces.pair_errors(grid)
        left, right = self.tails
        low, high = np.full(size, self.low), np.full(size, self.high)
        best = np.where(np.arange(size) == 0, 0.0, np.inf)
        if left is not None:
            best = self.pieces.tail_errors(left, low, grid)
        choices = []
        for _ in range(self.count):
            total = best[:, None] + cost
            choices.append(np.argmin(total, axis=0))
            best = np.take_along_axis(total, choices[-1][None], 0)[0]
        if right is not None:
            best = best + self.pieces.tail_errors(right, grid, high)
            end = int(np.argmin(best))
        else:
            end = size - 1
        places = [end]
        for choice in reversed(choices):
            places.append(int(choice[places[-1]]))
        return grid[places[::-1]]

    def error(self, knots: Reals) -> float:
        """Weighted integral of the squared error."""
        total = float(self.pieces.errors(knots[:-1], knots[1:]).sum())
        left, right = self.tails
        if left is not None:
            total += float(self.pieces.tail_errors(left, np.array([self.low]), knots[:1])[0])
        if right is not None:
            total += float(self.pieces.tail_errors(right, knots[-1:], np.array([self.high]))[0])
        return total

    def gradient(self, knots: Reals) -> Reals:
        """Derivative of :meth:`error` by each knot: squared error at its left less that at its right; 0 for fixed ones."""
        coefficients = self.pieces.solve(knots[:-1], knots[1:])[0]
        values = self.pieces.subject(knots)
        signs = (-1.0) ** np.arange(self.pieces.degree + 1)
        at_left, at_right = coefficients @ signs, coefficients.sum(1)  # of each piece, at its two ends
        before = np.append(self._tail_error(0, knots[0], values[0]), (at_right - values[1:]) ** 2)
        after = np.append((at_left - values[:-1]) ** 2, self._tail_error(1, knots[-1], values[-1]))
        result = self.pieces.weight(knots) * (before - after)
        for end, tail in ((0, self.tails[0]), (-1, self.tails[1])):
            if tail is None:
                result[end] = 0.0
        return np.asarray(result)

    def _tail_error(self, side: int, x: float, value: float) -> float:
        tail = self.tails[side]
        return 0.0 if tail is None else (tail[0] * x + tail[1] - value) ** 2

    def refined(self, knots: Reals) -> Reals:
        """Newton's method on the knots, damped so that the error falls; the Jacobian is tridiagonal.

        Knots on corners stay there: the error has no second derivative to follow.
        """
        smallest = min((self.high - self.low) * 1e-6, float(np.diff(knots).min()) * 1e-3)
        error, damping = self.error(knots), 1e-3
        size = knots.size
        fixed = np.isin(knots, corners_within(self.pieces.subject, self.low, self.high))
        fixed[0] |= self.tails[0] is None
        fixed[-1] |= self.tails[1] is None
        for _ in range(_STEPS):
            gradient = np.where(fixed, 0.0, self.gradient(knots))
            width = np.minimum(np.append(np.diff(knots), np.inf), np.insert(np.diff(knots), 0, np.inf))
            step = 1e-4 * width
            jacobian = np.zeros((size, size))
            for colour in range(3):  # knots three apart do not meet in one equation
                moved = np.arange(colour, size, 3)
                shifted, other = knots.copy(), knots.copy()
                shifted[moved] += step[moved]
                other[moved] -= step[moved]
                change = self.gradient(shifted) - self.gradient(other)
                for column in moved:
                    rows = slice(max(column - 1, 0), column + 2)
                    jacobian[rows, column] = change[rows] / (2 * step[column])
            jacobian = np.where(fixed | fixed[:, None], 0.0, (jacobian + jacobian.T) / 2)
            jacobian[fixed, fixed] = 1.0
            free = jacobian[~fixed, ~fixed]
            scale = np.abs(np.diag(jacobian)) + 1e-12 * np.abs(free).max(initial=0.0) + 1e-300
            before = error
            while damping < 1e8:
                try:
                    move = np.linalg.solve(jacobian + damping * np.diag(scale), -gradient)
                except np.linalg.LinAlgError:  # knots that nothing weighs
                    return knots
                closing = -np.diff(move)
                room = np.maximum(0.7 * np.diff(knots), 0)
                part = float(np.min(np.where(closing > room, room / np.maximum(closing, 1e-300), 1.0)))
                trial = np.clip(knots + part * move, self.low, self.high)
                if np.all(np.diff(trial) > smallest):
                    trial_error = self.error(trial)
                    if trial_error < error:
                        break
                damping = max(4 * damping, 1e-6)
            else:
                break
            knots, error, damping = trial, trial_error, damping / 8
            if error > before * (1 - 1e-7):
                break
        return knots

    def result(self, knots: Reals) -> RealFit:
        """The table for these knots."""
        coefficients = self.pieces.powers(knots[:-1], knots[1:])
        breakpoints = knots
        left, right = self.tails
        if left is None:
            breakpoints = breakpoints[1:]
        else:
            coefficients = np.concatenate([self._line(left), coefficients])
        if right is None:
            breakpoints = breakpoints[:-1]
        else:
            coefficients = np.concatenate([coefficients, self._line(right)])
        return RealFit(breakpoints=breakpoints, coefficients=coefficients)

    def _line(self, tail: Tail) -> Reals:
        line = np.zeros((1, self.pieces.degree + 1))
        line[0, :2] = tail[1], tail[0]
        return line
