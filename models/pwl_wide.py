"""Least squares over segments of a range that is far wider than where the function bends.

A few Gauss-Legendre points of a long segment would miss the bend. So points are those of many panels, fine where the
function bends, and each segment takes the points of the panels in it.
"""

import numpy as np

from lanewise.models.functions import Function, Reals, Tail
from lanewise.models.pwl_pieces import Pieces, Weight, bounded, in_legendre, triangles_of

_PANEL_NODES = 8


class WidePieces(Pieces):
    """As :class:`~lanewise.models.pwl_pieces.Pieces`, for segments that follow each other.

    Args:
        panels: Ascending places from one end of the range to the other, between which the function is smooth.
    """

    def __init__(
        self, subject: Function, weight: Weight, degree: int, panels: Reals, *, limit: float | None = None
    ) -> None:
        super().__init__(subject, weight, degree, limit=limit)
        self.panels = np.union1d(panels, [x for x in subject.corners if panels[0] < x < panels[-1]])
        self.origin = float(self.panels[np.argmin(np.diff(self.panels))])
        """From where x is measured: where the panels are narrowest."""
        self.places, self.shares = np.polynomial.legendre.leggauss(_PANEL_NODES)

    def _points(self, places: Reals) -> tuple[Reals, Reals, Reals]:
        """Edges of the panels between the first and the last of ascending places, cut at all of them; points in each panel,
        and their weights; shapes ``(n + 1,)``, ``(n, nodes)``, ``(n, nodes)``."""
        inside = (self.panels > places[0]) & (self.panels < places[-1])
        edges = np.union1d(places, self.panels[inside])
        half = np.diff(edges)[:, None] / 2
        x = edges[:-1, None] + half * (self.places + 1)
        return edges, x, np.asarray(half * self.shares * self.weight(x))

    def solve(self, left: Reals, right: Reals) -> tuple[Reals, Reals]:
        """As :meth:`Pieces.solve`; each segment begins where the one before it ends."""
        edges, x, w = self._points(np.append(left, right[-1:]))
        segment = np.repeat(np.searchsorted(left, edges[:-1], side="right") - 1, _PANEL_NODES)
        x, w = x.reshape(-1), w.reshape(-1)
        values = self.subject(x)
        half = (right - left) / 2
        basis = np.polynomial.legendre.legvander((x - left[segment]) / half[segment] - 1, self.degree)
        size, n = self.degree + 1, left.size

        def total(v: Reals) -> Reals:
            return np.bincount(segment, v * w, n) / half

        gram = np.array([[total(basis[:, i] * basis[:, j]) for j in range(size)] for i in range(size)])
        gram = np.moveaxis(gram, 2, 0) + 1e-300 * np.eye(size)
        right_side = np.stack([total(basis[:, i] * values) for i in range(size)], axis=1)
        try:
            coefficients = np.linalg.solve(gram, right_side[..., None])[..., 0]
        except np.linalg.LinAlgError:  # a segment that nothing weighs
            coefficients = np.einsum("nij,nj->ni", np.linalg.pinv(gram), right_side)
        if self.limit is not None:
            for row in np.flatnonzero(self._over(coefficients, left, right)):
                own = segment == row
                rows = self._design(x[own], values[own], w[own], 0.0)
                bound = bounded(triangles_of(rows)[None], self.limit)[0]
                coefficients[row] = in_legendre(bound, left[row : row + 1], right[row : row + 1])[0]
        error = values - (coefficients[segment] * basis).sum(1)
        return coefficients, np.bincount(segment, w * error**2, n).astype(np.float64)

    def _design(self, x: Reals, values: Reals, w: Reals, origin: float) -> Reals:
        powers = (x - origin)[..., None] ** np.arange(self.degree + 1)
        return np.asarray(np.sqrt(w)[..., None] * np.concatenate([powers, values[..., None]], axis=-1))

    def errors(self, left: Reals, right: Reals) -> Reals:
        """As :meth:`solve` takes them."""
        return self.solve(left, right)[1]

    def pair_errors(self, grid: Reals) -> Reals:
        """As :meth:`Pieces.pair_errors`: triangles of each interval's least squares, joined one after the other."""
        size = grid.size
        edges, x, w = self._points(grid)
        rows = self._design(x, self.subject(x), w, self.origin)
        shift = self._shift()
        starts = np.searchsorted(edges, grid)
        cost = np.full((size, size), np.inf)
        joined = np.zeros((0, self.degree + 2, self.degree + 2))
        for end in range(1, size):
            part = rows[starts[end - 1] : starts[end]].reshape(-1, self.degree + 2)
            own = triangles_of(np.concatenate([part, np.zeros((self.degree + 2, self.degree + 2))]))
            stacked = np.concatenate([joined, np.broadcast_to(own, joined.shape)], axis=1)
            joined = np.concatenate([triangles_of(stacked), own[None]])
            cost[:end, end] = joined[:, -1, -1] ** 2
            if self.limit is not None:
                self._bound(joined @ shift, cost[:end, end])
        return cost

    def _shift(self) -> Reals:
        """Turns columns of powers of ``x - origin`` into those of x: (t + o)^k = sum binomial(k, i) o^(k-i) t^i."""
        o, size = self.origin, self.degree + 2
        shift = np.eye(size)
        shift[0, 1] = o
        if self.degree == 2:
            shift[0, 2], shift[1, 2] = o * o, 2 * o
        return shift

    def _bound(self, triangles: Reals, cost: Reals) -> None:
        """Correct the costs of polynomials whose coefficients exceed the limit."""
        size = self.degree + 1
        scale = np.maximum(np.abs(triangles[:, :size, :size]).max(axis=1), 1e-300)
        system = triangles[:, :size, :size] / scale[:, None, :]
        # a singular system's coefficients are not to be trusted: those are solved one by one, too
        fine = np.abs(np.diagonal(system, axis1=1, axis2=2)).min(axis=1) > 1e-13
        coefficients = np.full((len(triangles), size), np.inf)
        solved = np.linalg.solve(system[fine], triangles[fine, :size, size:])[..., 0]
        coefficients[fine] = solved / scale[fine]
        over = (np.abs(coefficients) > (self.limit or np.inf)).any(axis=1)
        cost[over] = bounded(triangles[over], self.limit or np.inf)[1]

    def tail_errors(self, tail: Tail, left: Reals, right: Reals) -> Reals:
        """As :meth:`Pieces.tail_errors`, of intervals that begin or end together."""
        places = np.union1d(left, right)
        if places.size == 1:
            return np.zeros(left.size)
        edges, x, w = self._points(places)
        each = (w * (self.subject(x) - tail[0] * x - tail[1]) ** 2).sum(1)
        if np.all(left == left[0]):
            return np.asarray(np.append(0.0, np.cumsum(each))[np.searchsorted(edges, right)])
        return np.asarray(np.append(np.cumsum(each[::-1])[::-1], 0.0)[np.searchsorted(edges, left)])
