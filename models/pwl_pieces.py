"""Least-squares polynomials of many segments at once, and what the fits are measured with: weights and cells."""

from collections.abc import Callable

import numpy as np

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
