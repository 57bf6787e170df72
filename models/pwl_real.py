"""Free-knot piecewise-polynomial least squares in real numbers: the best breakpoints and the best pieces.

The hardware does not ask neighbouring pieces to meet, so each piece is its segment's own least-squares polynomial
and the error depends on the knots alone. Dynamic programming over a grid of candidates finds the best choice among
them, whatever the shape of the function; Newton's method then moves the knots off the grid: at the optimum both
pieces beside a knot err equally there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lanewise.models.functions import Function, Reals, Tail

CELLS = 1 << 13
"""Cells on which a function's derivatives are taken and its error is integrated."""

_NODES = 16
"""Gauss-Legendre points of a segment."""
_TAIL_NODES, _TAIL_WEIGHTS = np.polynomial.legendre.leggauss(64)
"""Of a pinned tail, which may be long."""
_CANDIDATES = 384
"""Places at which dynamic programming may put a knot, at least."""
_STEPS = 60

Weight = Callable[[Reals], Reals]
"""How much the squared error counts at x: not negative, shape of x."""

LIMIT_CONSTANTS = {1: 720, 2: 100_800}
"""Of :func:`limit_mse`, by degree."""


def uniform_weight(x: Reals) -> Reals:
    """Every x counts the same."""
    return np.ones_like(x)


def midpoints(low: float, high: float, cells: int) -> Reals:
    """Middles of ``cells`` equal cells of [low, high]."""
    return low + (high - low) * (np.arange(cells) + 0.5) / cells


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
    for corner in _corners(subject, low, high):  # each side by itself: a derivative's jump is no density
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
            _Pieces(subject, weight, degree).errors(knots[:-1], knots[1:]).sum() / _total(weight, low, high)
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
) -> RealFit:
    """The best table with ``segments`` segments, tails included.

    Args:
        pin: Whether the left and the right tail lie on the function's asymptote, where it has one. A tail that
            does not continues the outermost piece.
    """
    tails = (subject.left if pin[0] else None, subject.right if pin[1] else None)
    pieces = _Pieces(subject, weight, degree)
    candidates = _candidates(subject, low, high, degree, weight, max(_CANDIDATES, 10 * segments))
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
    problem = _Problem(_Pieces(subject, uniform_weight, degree), low, high, segments, tails)
    grid = _candidates(subject, low, high, degree, uniform_weight, candidates)
    return problem.error(problem.best_of(grid)) / (high - low)


def _total(weight: Weight, low: float, high: float) -> float:
    return float(weight(midpoints(low, high, CELLS)).mean() * (high - low))


def _candidates(
    subject: Function, low: float, high: float, degree: int, weight: Weight, count: int = _CANDIDATES
) -> Reals:
    """Places that share the density out equally, and the range a little."""
    values = density(subject, low, high, degree, weight)
    values = values + 0.15 * values.mean() + 1e-300
    total = np.append(0, np.cumsum(values))
    share = np.linspace(0, total[-1], count + 1)
    places = np.interp(share, total, np.linspace(low, high, CELLS + 1))
    return np.union1d(places, _corners(subject, low, high))  # no density says how much a corner needs a knot


def _corners(subject: Function, low: float, high: float) -> Reals:
    return np.array([x for x in subject.corners if low < x < high], np.float64)


class _Pieces:
    """Least-squares polynomials of many segments at once, in Legendre's basis of each."""

    def __init__(self, subject: Function, weight: Weight, degree: int) -> None:
        self.subject, self.weight, self.degree = subject, weight, degree
        self.nodes, self.node_weights = np.polynomial.legendre.leggauss(_NODES)

    def solve(self, left: Reals, right: Reals) -> tuple[Reals, Reals]:
        """Legendre coefficients, shape ``(n, degree + 1)``, and weighted integrals of the squared error, shape ``(n,)``."""
        cornered = np.zeros(left.size, bool)
        for corner in self.subject.corners:
            cornered |= (left < corner) & (corner < right)
        if not cornered.any():
            return self._solve(left, right, self.nodes, self.node_weights)
        coefficients, errors = np.empty((left.size, self.degree + 1)), np.empty(left.size)
        for rows, split in ((~cornered, False), (cornered, True)):
            nodes = self.nodes, self.node_weights
            if split:
                nodes = self._split(left[rows], right[rows], *nodes)
            coefficients[rows], errors[rows] = self._solve(left[rows], right[rows], *nodes)
        return coefficients, errors

    def _split(self, left: Reals, right: Reals, nodes: Reals, weights: Reals) -> tuple[Reals, Reals]:
        """Nodes in [-1, 1] and their weights, repeated between corners; shapes ``(n, nodes)``."""
        cuts = np.clip(np.array(sorted(self.subject.corners)), left[:, None], right[:, None])
        cuts = 2 * (cuts - left[:, None]) / np.maximum(right - left, 1e-300)[:, None] - 1
        ends = np.ones((left.size, 1))
        cuts = np.concatenate([-ends, cuts, ends], axis=1)
        middle, half = (cuts[:, 1:] + cuts[:, :-1]) / 2, np.diff(cuts) / 2
        places = middle[:, :, None] + half[:, :, None] * nodes
        return places.reshape(left.size, -1), (half[:, :, None] * weights).reshape(left.size, -1)

    def _solve(self, left: Reals, right: Reals, nodes: Reals, node_weights: Reals) -> tuple[Reals, Reals]:
        half = (right - left) / 2
        basis = np.polynomial.legendre.legvander(nodes, self.degree)
        x = left[:, None] + half[:, None] * (nodes + 1)
        values = self.subject(x)
        w = self.weight(x) * node_weights
        rows = "nq" if nodes.ndim == 2 else "q"
        gram = np.einsum(f"nq,{rows}i,{rows}j->nij", w, basis, basis)
        gram += 1e-300 * np.eye(self.degree + 1)
        right_side = np.einsum(f"nq,{rows}i,nq->ni", w, basis, values)
        try:
            coefficients = np.linalg.solve(gram, right_side[..., None])[..., 0]
        except np.linalg.LinAlgError:  # a segment that nothing weighs
            coefficients = np.einsum("nij,nj->ni", np.linalg.pinv(gram), right_side)
        error = values - np.einsum(f"ni,{rows}i->nq", coefficients, basis)
        return coefficients, half * (w * error**2).sum(1)

    def errors(self, left: Reals, right: Reals) -> Reals:
        """Weighted integrals of the squared error, shape ``(n,)``."""
        result = np.empty(left.size)
        for start in range(0, left.size, 1 << 14):
            part = slice(start, start + (1 << 14))
            result[part] = self.solve(left[part], right[part])[1]
        return result

    def powers(self, left: Reals, right: Reals) -> Reals:
        """The polynomials' coefficients in powers of x, shape ``(n, degree + 1)``, lowest first."""
        c = self.solve(left, right)[0]
        middle, half = (left + right) / 2, (right - left) / 2
        slope = c[:, 1] / half
        if self.degree == 1:
            return np.stack([c[:, 0] - slope * middle, slope], axis=1)
        curve = 1.5 * c[:, 2] / half**2  # (3 t^2 - 1) / 2
        return np.stack([
            c[:, 0] - c[:, 2] / 2 - slope * middle + curve * middle**2, slope - 2 * curve * middle, curve,
        ], axis=1)  # fmt: skip

    def tail_errors(self, tail: Tail, left: Reals, right: Reals) -> Reals:
        """Weighted integrals of the squared distance to an asymptote, over each interval."""
        half = (right - left) / 2
        nodes, weights = self._split(left, right, _TAIL_NODES, _TAIL_WEIGHTS)
        x = left[:, None] + half[:, None] * (nodes + 1)
        error = self.subject(x) - tail[0] * x - tail[1]
        return np.asarray(half * (self.weight(x) * weights * error**2).sum(1))


class _Problem:
    """Where to put the knots between ``low`` and ``high``.

    Knots are the ends of the fitted pieces. A pinned tail ends at the outermost knot, which then moves; without
    one the outermost knot is the range's end.
    """

    def __init__(
        self, pieces: _Pieces, low: float, high: float, segments: int, tails: tuple[Tail | None, Tail | None]
    ) -> None:
        self.pieces, self.low, self.high, self.tails = pieces, low, high, tails
        self.count = segments - sum(tail is not None for tail in tails)

    def best_of(self, grid: Reals) -> Reals:
        """The best knots among ``grid``, by dynamic programming; shape ``(count + 1,)``."""
        size = grid.size
        first, second = np.triu_indices(size, 1)
        cost = np.full((size, size), np.inf)
        cost[first, second] = self.pieces.errors(grid[first], grid[second])
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
        smallest = (self.high - self.low) * 1e-6
        error, damping = self.error(knots), 1e-3
        size = knots.size
        fixed = np.isin(knots, _corners(self.pieces.subject, self.low, self.high))
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
                move = np.linalg.solve(jacobian + damping * np.diag(scale), -gradient)
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
