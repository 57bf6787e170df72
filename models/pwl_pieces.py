"""Least-squares polynomials of many segments at once, and what the fits are measured with: weights and cells."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lanewise.models.functions import Function, Reals, Tail

CELLS = 1 << 13
"""Cells on which a function's derivatives are taken and its error is integrated."""

_NODES = 16
"""Gauss-Legendre points of a segment."""
_TAIL_NODES, _TAIL_WEIGHTS = np.polynomial.legendre.leggauss(64)
"""Of a pinned tail, which may be long."""

Weight = Callable[[Reals], Reals]
"""How much the squared error counts at x: not negative, shape of x."""


def uniform_weight(x: Reals) -> Reals:
    """Every x counts the same."""
    return np.ones_like(x)


def midpoints(low: float, high: float, cells: int) -> Reals:
    """Middles of ``cells`` equal cells of [low, high]."""
    return low + (high - low) * (np.arange(cells) + 0.5) / cells


def corners_within(subject: Function, low: float, high: float) -> Reals:
    """The function's corners inside the range."""
    return np.array([x for x in subject.corners if low < x < high], np.float64)


class Pieces:
    """Least-squares polynomials of many segments at once, in Legendre's basis of each.

    Args:
        limit: What no coefficient, in powers of x, may exceed in magnitude.
    """

    def __init__(self, subject: Function, weight: Weight, degree: int, *, limit: float | None = None) -> None:
        self.subject, self.weight, self.degree, self.limit = subject, weight, degree, limit
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
        if self.limit is not None:
            over = self._over(coefficients, left, right)
            root = np.sqrt(np.broadcast_to(w, values.shape)[over])[..., None]
            design = np.concatenate(
                [x[over, :, None] ** np.arange(self.degree + 1), values[over, :, None]], 2
            )
            bound = bounded(triangles_of(root * design), self.limit)[0]
            coefficients[over] = in_legendre(bound, left[over], right[over])
        error = values - np.einsum(f"ni,{rows}i->nq", coefficients, basis)
        return coefficients, half * (w * error**2).sum(1)

    def _over(self, coefficients: Reals, left: Reals, right: Reals) -> npt.NDArray[np.bool_]:
        powers = in_powers(coefficients, left, right)
        return np.asarray((np.abs(powers) > (self.limit or np.inf)).any(axis=1))

    def pair_errors(self, grid: Reals) -> Reals:
        """:meth:`errors` from each place of an ascending grid to each later one, infinite elsewhere."""
        first, second = np.triu_indices(grid.size, 1)
        cost = np.full((grid.size, grid.size), np.inf)
        cost[first, second] = self.errors(grid[first], grid[second])
        return cost

    def errors(self, left: Reals, right: Reals) -> Reals:
        """Weighted integrals of the squared error, shape ``(n,)``."""
        result = np.empty(left.size)
        for start in range(0, left.size, 1 << 14):
            part = slice(start, start + (1 << 14))
            result[part] = self.solve(left[part], right[part])[1]
        return result

    def powers(self, left: Reals, right: Reals) -> Reals:
        """The polynomials' coefficients in powers of x, shape ``(n, degree + 1)``, lowest first."""
        return in_powers(self.solve(left, right)[0], left, right)

    def tail_errors(self, tail: Tail, left: Reals, right: Reals) -> Reals:
        """Weighted integrals of the squared distance to an asymptote, over each interval."""
        half = (right - left) / 2
        nodes, weights = self._split(left, right, _TAIL_NODES, _TAIL_WEIGHTS)
        x = left[:, None] + half[:, None] * (nodes + 1)
        error = self.subject(x) - tail[0] * x - tail[1]
        return np.asarray(half * (self.weight(x) * weights * error**2).sum(1))


def in_powers(c: Reals, left: Reals, right: Reals) -> Reals:
    """Coefficients in powers of x, lowest first, of polynomials in Legendre's basis of each segment."""
    middle, half = (left + right) / 2, (right - left) / 2
    slope = c[:, 1] / half
    if c.shape[1] == 2:
        return np.stack([c[:, 0] - slope * middle, slope], axis=1)
    curve = 1.5 * c[:, 2] / half**2  # (3 t^2 - 1) / 2
    return np.stack([
        c[:, 0] - c[:, 2] / 2 - slope * middle + curve * middle**2, slope - 2 * curve * middle, curve,
    ], axis=1)  # fmt: skip


def in_legendre(powers: Reals, left: Reals, right: Reals) -> Reals:
    """Inverse of :func:`in_powers`."""
    middle, half = (left + right) / 2, (right - left) / 2
    value, slope = powers[:, 0] + powers[:, 1] * middle, powers[:, 1] * half
    if powers.shape[1] == 2:
        return np.stack([value, slope], axis=1)
    curve = powers[:, 2] * half**2 / 1.5
    value = value + powers[:, 2] * middle**2 + curve / 2
    return np.stack([value, slope + 2 * powers[:, 2] * middle * half, curve], axis=1)


def triangles_of(rows: Reals) -> Reals:
    """R of the QR decomposition of the last two axes."""
    return np.asarray(np.linalg.qr(rows, mode="r"))


def bounded(triangles: Reals, limit: float) -> tuple[Reals, Reals]:
    """Least squares with bounded coefficients: where one would exceed the limit it is held there, and the rest solved.

    Args:
        triangles: R of the QR decomposition of ``[1, x, ..., y]``, with weights; shape ``(n, p + 1, p + 1)``.
        limit: Of each coefficient's magnitude.

    Returns:
        Coefficients, shape ``(n, p)``, and sums of the squared error, shape ``(n,)``.
    """
    size = triangles.shape[-1] - 1
    matrix, target = triangles[:, :, :size], triangles[:, :, size]
    scale = np.maximum(np.abs(matrix).max(axis=1), 1e-300)
    held = np.zeros((len(triangles), size), bool)
    values = np.zeros((len(triangles), size))
    for _ in range(size + 1):
        for code in range((1 << size) - 1):  # of those held
            mask = (code >> np.arange(size)) & 1 == 1
            rows = np.flatnonzero((held == mask).all(axis=1))
            if rows.size:
                rest = target[rows] - (matrix[rows][:, :, mask] @ values[rows][:, mask, None])[..., 0]
                free = matrix[rows][:, :, ~mask] / scale[rows][:, None, ~mask]
                values[np.ix_(rows, ~mask)] = _solved(free, rest) / scale[rows][:, ~mask]
        excess = np.where(held, 0.0, np.abs(values))
        worst = np.argmax(excess, axis=1)
        over = np.flatnonzero(excess[np.arange(len(worst)), worst] > limit)
        held[over, worst[over]] = True
        values[over, worst[over]] = np.copysign(limit, values[over, worst[over]])
        if not over.size:
            break
    return values, ((target - (matrix @ values[..., None])[..., 0]) ** 2).sum(axis=1)


def _solved(matrix: Reals, target: Reals) -> Reals:
    """Least squares of many systems of a few columns; a column that the earlier ones span is not used."""
    size = matrix.shape[-1]
    r = triangles_of(np.concatenate([matrix, target[..., None]], axis=2))
    result = np.zeros((len(matrix), size))
    for k in range(size - 1, -1, -1):
        rest = r[:, k, size] - (r[:, k, k + 1 : size] * result[:, k + 1 :]).sum(axis=1)
        used = np.abs(r[:, k, k]) > 1e-13
        result[:, k] = np.where(used, rest / np.where(used, r[:, k, k], 1.0), 0.0)
    return result
