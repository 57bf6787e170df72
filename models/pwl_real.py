"""Free-knot piecewise-linear least squares in real numbers.

Knots and ordinates move together by Levenberg-Marquardt on the mean square error. The continuous function
is a sum of hats, so the normal equations need only five moments of each segment: an iteration costs one
pass over the grid and one small solve.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import solveh_banded

from lanewise.models.functions import Function, Reals

Index = npt.NDArray[np.int64]

CELLS = 1 << 13
"""Midpoints on which the error is integrated."""

_ITERATIONS = 100
_STARTS = (0.5, 1.0, 2.0)
"""Where the tails begin at first, in shares of |f''|^(2/5) from the range's ends; the best result is kept."""

_EXCHANGES = 8
"""Most rounds in which a knot moves from where it helps least to where the error is largest."""


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
    """Asymptotic MSE of the best n free-knot segments: (integral |f''|^(2/5))^5 / (720 n^4 (b-a))."""
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
    for _ in range(_EXCHANGES):
        rival = min(map(problem.solve, problem.exchanges(best)), key=problem.cost, default=best)
        if problem.cost(rival) > problem.cost(best) * (1 - 1e-3):
            break
        best = rival
    return problem.lines(best)


def _places(knots: Reals, x: Reals) -> tuple[Index, Reals]:
    """Segment of each x between two knots, and its place in it, 0 to 1."""
    segment = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    return segment, (x - knots[segment]) / (knots[segment + 1] - knots[segment])


class _Moments:
    """Sums over each segment's grid points, shape ``(pieces,)``: the hats' products, and with the values."""

    def __init__(self, segment: Index, place: Reals, values: Reals, pieces: int) -> None:
        def total(weight: Reals) -> Reals:
            return np.bincount(segment, weight, pieces).astype(np.float64)

        rest = 1 - place
        self.left2, self.cross, self.right2 = total(rest * rest), total(rest * place), total(place * place)
        self.left, self.right = total(rest * values), total(place * values)


class _Problem:
    """Least squares over the knots and their ordinates.

    A side with an asymptote ends in a knot that slides along it; a side without ends in a knot at the
    range's end.
    """

    def __init__(self, subject: Function, segments: int, low: float, high: float) -> None:
        self.subject, self.low, self.high = subject, low, high
        self.left, self.right = subject.left, subject.right
        self.count = segments - (self.left is not None) - (self.right is not None) + 1
        self.grid = midpoints(low, high, CELLS)
        self.values = subject(self.grid)
        self.smallest = (high - low) * 1e-5

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
            bands, gradient = self.normal_equations(knots)
            diagonal = bands[-1].copy()
            scale = diagonal + 1e-9 * diagonal.mean() + 1e-300
            while damping < 1e8:
                bands[-1] = diagonal + damping * scale
                trial = self.moved(knots, solveh_banded(bands, -gradient, check_finite=False))
                trial_cost = self.cost(trial)
                if trial_cost < cost:
                    break
                damping *= 4
            else:
                return knots
            slow = slow + 1 if trial_cost > cost * (1 - 1e-4) else 0
            knots, cost, damping = trial, trial_cost, max(damping / 5, 1e-9)
            if slow == 3:
                break
        return knots

    def exchanges(self, knots: _Knots) -> list[_Knots]:
        """``knots`` with the inner knot that is missed least put into each of the worst segments."""
        if self.count < 4:
            return []
        without = [_Knots(x=np.delete(knots.x, j), y=np.delete(knots.y, j)) for j in range(1, self.count - 1)]
        fewer = min(without, key=self.cost)
        segment = np.searchsorted(fewer.x, self.grid, side="right")
        errors = np.bincount(segment, self.error(fewer) ** 2, len(fewer.x) + 1)
        rivals = []
        for worst in np.argsort(errors, kind="stable")[-3:]:
            if 0 < worst < len(fewer.x):
                x = np.insert(fewer.x, worst, (fewer.x[worst - 1] + fewer.x[worst]) / 2)
            elif worst == 0:  # the tail is pushed outwards by a knot before it
                x = np.insert(fewer.x, 0, (self.low + fewer.x[0]) / 2)
            else:
                x = np.append(fewer.x, (self.high + fewer.x[-1]) / 2)
            if np.all(np.diff(x) > 2 * self.smallest):
                rivals.append(self.pinned(x, self.subject(x)))
        return rivals

    def moved(self, knots: _Knots, step: Reals) -> _Knots:
        """``knots`` after ``step``, shortened so that no segment loses more than 80 % of its width."""
        x, y = step[::2], step[1::2]
        width, closing = np.diff(knots.x), -np.diff(x)
        room = np.minimum(0.8 * width, np.maximum(width - self.smallest, 0))
        part = float(np.min(np.where(closing > room, room / np.maximum(closing, 1e-300), 1.0)))
        return self.pinned(knots.x + part * x, knots.y + part * y)

    def normal_equations(self, knots: _Knots) -> tuple[Reals, Reals]:
        """Gauss-Newton matrix and half the gradient of the sum of squares, by each knot and its ordinate.

        The derivative by an ordinate is the knot's hat; by a knot, minus the segment's slope times that. So
        only neighbours meet, in blocks of 2 x 2.

        Returns:
            The matrix's upper bands for :func:`scipy.linalg.solveh_banded`, shape ``(4, 2 * knots)``, and
            the gradient.
        """
        inside = np.ones(CELLS, bool)
        if self.left is not None:
            inside &= self.grid >= knots.x[0]
        if self.right is not None:
            inside &= self.grid < knots.x[-1]
        segment, place = _places(knots.x, self.grid[inside])
        moments = _Moments(segment, place, self.error(knots)[inside], self.count - 1)
        direction = np.stack([-knots.slopes, np.ones(self.count - 1)], axis=1)
        square = direction[:, :, None] * direction[:, None, :]
        own, next_ = np.zeros((self.count, 2, 2)), square * moments.cross[:, None, None]
        own[:-1] += square * moments.left2[:, None, None]
        own[1:] += square * moments.right2[:, None, None]
        gradient = np.zeros((self.count, 2))
        gradient[:-1] += direction * moments.left[:, None]
        gradient[1:] += direction * moments.right[:, None]
        for end, tail in ((0, self.left), (-1, self.right)):
            # the ordinate follows its knot along the asymptote, or the knot stays at the end of the range
            follow = np.array([[0.0, 0.0], [0.0, 1.0]] if tail is None else [[1.0, tail[0]], [0.0, 0.0]])
            own[end] = follow @ own[end] @ follow.T
            next_[end] = follow @ next_[end] if end == 0 else next_[end] @ follow.T
            gradient[end] = follow @ gradient[end]
        bands = np.zeros((4, 2 * self.count))
        bands[3, ::2], bands[3, 1::2], bands[2, 1::2] = own[:, 0, 0], own[:, 1, 1], own[:, 0, 1]
        bands[1, 2::2], bands[0, 3::2] = next_[:, 0, 0], next_[:, 0, 1]
        bands[2, 2::2], bands[1, 3::2] = next_[:, 1, 0], next_[:, 1, 1]
        return bands, gradient.ravel()
