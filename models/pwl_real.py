"""Free-knot piecewise-linear least squares in real numbers.

Knots and ordinates move together by Levenberg-Marquardt on the mean square error. The continuous function is a sum of
hats, so the normal equations need only five moments of each segment: an iteration costs one pass over the
grid and one small solve.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lanewise.models.functions import Function, Reals

Index = npt.NDArray[np.int64]

CELLS = 1 << 13
"""Midpoints on which the error is integrated."""

_ITERATIONS = 150
_STARTS = (0.5, 1.0, 2.0)
"""Where the tails begin at first, in mean segments of |f''|^(2/5) from the range's ends; the best result is kept."""


@dataclass(frozen=True, kw_only=True)
class _Knots:
    """Ends of the segments between the tails, and the function's values there. Shapes ``(knots,)``."""

    x: Reals
    y: Reals

    @property
    def slopes(self) -> Reals:
        return np.diff(self.y) / np.diff(self.x)


def midpoints(low: float, high: float, cells: int) -> Reals:
    """Middles of ``cells`` equal cells of [low, high]."""
    return low + (high - low) * (np.arange(cells) + 0.5) / cells


def density(subject: Function, low: float, high: float) -> Reals:
    """|f''|^(2/5) at the midpoints of :data:`CELLS` cells: the best free knots' density, up to a factor.

    Source: de Boor, A Practical Guide to Splines, chapter XII, for the exponent 2 / (2 degree + 3).
    """
    width = (high - low) / CELLS
    x = np.concatenate([[low], midpoints(low, high, CELLS), [high]])
    slopes = np.diff(subject(x)) / np.diff(x)
    centres = np.diff((x[1:] + x[:-1]) / 2)
    curvature = np.abs(np.diff(slopes) / centres)
    curvature[curvature * width**2 < 1e-14 * np.ptp(subject(x))] = 0.0  # rounding, not curvature
    return np.asarray(curvature ** (2 / 5))


def limit_mse(subject: Function, segments: int, low: float, high: float) -> float:
    """MSE of the best ``segments`` free-knot segments, asymptotically: (integral |f''|^(2/5))^5 / (720 n^4 (b-a))."""
    integral = density(subject, low, high).sum() * (high - low) / CELLS
    return float(integral**5 / (720 * segments**4 * (high - low)))


def uniform_mse(subject: Function, segments: int, low: float, high: float) -> float:
    """MSE of the best continuous piecewise-linear function on equal segments, by linear least squares."""
    grid = midpoints(low, high, CELLS)
    values = subject(grid)
    segment, place = _places(np.linspace(low, high, segments + 1), grid)
    moments = _Moments(segment, place, values, segments)
    gram = np.diag(np.append(moments.left2, 0) + np.append(0, moments.right2))
    gram += np.diag(moments.cross, 1) + np.diag(moments.cross, -1)
    y = np.linalg.solve(gram, np.append(moments.left, 0) + np.append(0, moments.right))
    return float(np.mean((y[segment] * (1 - place) + y[segment + 1] * place - values) ** 2))


def fit_real(subject: Function, segments: int, low: float, high: float) -> tuple[Reals, Reals]:
    """Fit with ``segments`` segments, tails included.

    Returns:
        Breakpoints, shape ``(segments - 1,)``, ascending; lines, shape ``(segments, 2)``: slope and offset.
    """
    problem = _Problem(subject, segments, low, high)
    best = min((problem.solve(problem.start(margin)) for margin in _STARTS), key=problem.cost)
    return problem.lines(best)


def _places(knots: Reals, x: Reals) -> tuple[Index, Reals]:
    """Segment of each x between two knots, and its place in it, 0 to 1."""
    segment = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    return segment, (x - knots[segment]) / (knots[segment + 1] - knots[segment])


class _Moments:
    """Sums over each segment's grid points, shapes ``(pieces,)``: of the two hats' products, and with the values."""

    def __init__(self, segment: Index, place: Reals, values: Reals, pieces: int) -> None:
        def total(weight: Reals) -> Reals:
            return np.bincount(segment, weight, pieces)

        rest = 1 - place
        self.left2, self.cross, self.right2 = total(rest * rest), total(rest * place), total(place * place)
        self.left, self.right = total(rest * values), total(place * values)


class _Problem:
    """Least squares over the knots and their ordinates.

    A side with an asymptote ends in a knot that slides along it; a side without ends in a knot at the range's end.
    """

    def __init__(self, subject: Function, segments: int, low: float, high: float) -> None:
        self.subject, self.low, self.high = subject, low, high
        self.left, self.right = subject.left, subject.right
        self.count = segments - (self.left is not None) - (self.right is not None) + 1
        self.grid = midpoints(low, high, CELLS)
        self.values = subject(self.grid)
        self.smallest = (high - low) * 1e-5
        free = np.ones(2 * self.count, bool)  # knots, then ordinates
        free[[0, self.count - 1]] = self.left is not None, self.right is not None
        free[[self.count, -1]] = self.left is None, self.right is None
        self.free = np.flatnonzero(free)

    def start(self, margin: float) -> _Knots:
        """Knots that share |f''|^(2/5) out equally."""
        weight = density(self.subject, self.low, self.high)
        weight += 1e-3 * weight.mean() + 1e-300  # a straight function gets equal segments
        total = np.append(0, np.cumsum(weight))
        part = margin / self.count
        share = np.linspace(part if self.left else 0, 1 - part if self.right else 1, self.count)
        x = np.interp(share * total[-1], total, np.linspace(self.low, self.high, CELLS + 1))
        return self.pinned(x, self.subject(x))

    def pinned(self, x: Reals, y: Reals) -> _Knots:
        """With the outer ordinates on the asymptotes."""
        y = y.copy()
        for end, tail in ((0, self.left), (-1, self.right)):
            if tail is not None:
                y[end] = tail[0] * x[end] + tail[1]
        return _Knots(x=x, y=y)

    def lines(self, knots: _Knots) -> tuple[Reals, Reals]:
        slopes = knots.slopes
        lines = np.stack([slopes, knots.y[:-1] - slopes * knots.x[:-1]], axis=1)
        x = knots.x
        if self.left is None:
            x = x[1:]
        else:
            lines = np.concatenate([[self.left], lines])
        if self.right is None:
            x = x[:-1]
        else:
            lines = np.concatenate([lines, [self.right]])
        return x, lines

    def error(self, knots: _Knots) -> Reals:
        breakpoints, lines = self.lines(knots)
        line = lines[np.searchsorted(breakpoints, self.grid, side="right")]
        result: Reals = line[:, 0] * self.grid + line[:, 1] - self.values
        return result

    def cost(self, knots: _Knots) -> float:
        """Mean square error."""
        return float(np.mean(self.error(knots) ** 2))

    def solve(self, knots: _Knots) -> _Knots:
        """Levenberg-Marquardt from ``knots`` until the error stops falling."""
        cost, damping, slow = self.cost(knots), 1e-3, 0
        for _ in range(_ITERATIONS):
            hessian, gradient = self.normal_equations(knots)
            scale = np.diag(hessian) + 1e-9 * np.trace(hessian) / len(hessian) + 1e-300
            while damping < 1e8:
                trial = self.moved(knots, np.linalg.solve(hessian + damping * np.diag(scale), -gradient))
                trial_cost = self.cost(trial)
                if trial_cost < cost:
                    break
                damping *= 4
            else:
                return knots
            slow = slow + 1 if trial_cost > cost * (1 - 1e-5) else 0
            knots, cost, damping = trial, trial_cost, max(damping / 5, 1e-9)
            if slow == 3:
                break
        return knots

    def moved(self, knots: _Knots, step: Reals) -> _Knots:
        """``knots`` after ``step``, shortened so that no segment loses more than 80 % of its width."""
        full = np.zeros(2 * self.count)
        full[self.free] = step
        closing = -np.diff(full[: self.count])
        room = np.maximum(0.8 * np.diff(knots.x), np.diff(knots.x) - self.smallest * 0)
        room = np.minimum(room, np.maximum(np.diff(knots.x) - self.smallest, 0))
        part = min(1.0, float(np.min(np.where(closing > room, room / np.maximum(closing, 1e-300), 1.0))))
        return self.pinned(knots.x + part * full[: self.count], knots.y + part * full[self.count :])

    def normal_equations(self, knots: _Knots) -> tuple[Reals, Reals]:
        """Gauss-Newton matrix and half the gradient of the sum of squares, over the free unknowns.

        The derivative by an ordinate is the knot's hat; by a knot, minus the segment's slope times that.
        """
        inside = np.ones(CELLS, bool)
        if self.left is not None:
            inside &= self.grid >= knots.x[0]
        if self.right is not None:
            inside &= self.grid < knots.x[-1]
        segment, place = _places(knots.x, self.grid[inside])
        moments = _Moments(segment, place, self.error(knots)[inside], self.count - 1)
        n, m = self.count, knots.slopes
        hessian, gradient = np.zeros((2 * n, 2 * n)), np.zeros(2 * n)
        i = np.arange(n - 1)
        hats = ((i, moments.left), (i + 1, moments.right))
        products = ((i, i, moments.left2), (i + 1, i + 1, moments.right2), (i, i + 1, moments.cross), (i + 1, i, moments.cross))
        for row, column, value in products:
            np.add.at(hessian, (row + n, column + n), value)
            np.add.at(hessian, (row, column + n), -m * value)
            np.add.at(hessian, (row + n, column), -m * value)
            np.add.at(hessian, (row, column), m * m * value)
        for knot, value in hats:
            np.add.at(gradient, knot + n, value)
            np.add.at(gradient, knot, -m * value)
        for knot, tail in ((0, self.left), (n - 1, self.right)):
            if tail is not None:  # the ordinate follows its knot along the asymptote
                hessian[knot] += tail[0] * hessian[knot + n]
                hessian[:, knot] += tail[0] * hessian[:, knot + n]
                gradient[knot] += tail[0] * gradient[knot + n]
        return hessian[np.ix_(self.free, self.free)], gradient[self.free]
