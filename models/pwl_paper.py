"""The paper's optimiser, for comparison: stochastic gradient steps on breakpoints and values, and heuristic exchanges.

Adam on the mean square error with the learning rate reduced on plateaus; the tails pinned to the asymptotes; then, in
rounds, the breakpoint whose removal costs least is removed, one is put into the middle of the segment with the largest
error, and the rest is trained again at a lower rate. The function is continuous; degree 2 has a value in the middle of
each segment as well. Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546), and TCAD 44(11), 2025, for degree 2.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lanewise.models.functions import Function, Reals
from lanewise.models.pwl_pieces import midpoints
from lanewise.models.pwl_real import RealFit

_GRID = 4096
_STEPS, _RETRAIN_STEPS = 3000, 800
_RATE, _RETRAIN_RATE = 0.05, 0.01
_ROUNDS = 6


@dataclass
class _State:
    knots: torch.Tensor
    values: torch.Tensor
    """At the knots."""
    middles: torch.Tensor
    """In the middle of each segment, as a difference from the chord; not used for degree 1."""


def fit_paper(subject: Function, segments: int, low: float, high: float, *, degree: int = 1) -> RealFit:
    """Fit with ``segments`` segments, tails included, as the paper does."""
    return _Paper(subject, segments, low, high, degree).fit()


class _Paper:
    def __init__(self, subject: Function, segments: int, low: float, high: float, degree: int) -> None:
        self.subject, self.low, self.high, self.degree = subject, low, high, degree
        self.segments = segments
        self.left, self.right = subject.left, subject.right
        self.count = segments - (self.left is not None) - (self.right is not None) + 1
        self.grid = torch.from_numpy(midpoints(low, high, _GRID))
        self.target = torch.from_numpy(subject(self.grid.numpy()))

    def fit(self) -> RealFit:
        """Train, exchange, and keep the best."""
        margin = 0.5 * (self.high - self.low) / self.count
        ends = self.low + (margin if self.left else 0), self.high - (margin if self.right else 0)
        best = self.trained(self.start(np.linspace(*ends, self.count)), _STEPS, _RATE)
        for _ in range(_ROUNDS):
            rival = self.trained(self.exchanged(best), _RETRAIN_STEPS, _RETRAIN_RATE)
            if self.cost(rival) >= self.cost(best):
                break
            best = rival
        return self.result(best)

    def start(self, knots: Reals) -> _State:
        """The function's own values at ``knots``."""
        middle = (knots[1:] + knots[:-1]) / 2
        values = self.subject(knots)
        return _State(
            torch.from_numpy(knots.copy()), torch.from_numpy(values),
            torch.from_numpy(self.subject(middle) - (values[1:] + values[:-1]) / 2),
        )  # fmt: skip

    def predicted(self, state: _State) -> torch.Tensor:
        """The piecewise function on the grid."""
        x, y = self.pinned(state)
        k = torch.clamp(torch.searchsorted(x.detach(), self.grid, right=True) - 1, 0, self.count - 2)
        width = torch.clamp(x[k + 1] - x[k], min=1e-9)
        place = (self.grid - x[k]) / width
        inner = y[k] * (1 - place) + y[k + 1] * place
        if self.degree == 2:
            inner = inner + 4 * state.middles[k] * place * (1 - place)
        if self.left is not None:
            inner = torch.where(self.grid < x[0], self.left[0] * self.grid + self.left[1], inner)
        if self.right is not None:
            inner = torch.where(self.grid >= x[-1], self.right[0] * self.grid + self.right[1], inner)
        return inner

    def pinned(self, state: _State) -> tuple[torch.Tensor, torch.Tensor]:
        """Knots and values, the outer ones on the asymptotes or at the range's ends."""
        x, y = state.knots, state.values
        first = x[:1] if self.left else torch.full((1,), self.low, dtype=x.dtype)
        last = x[-1:] if self.right else torch.full((1,), self.high, dtype=x.dtype)
        start = self.left[0] * first + self.left[1] if self.left else y[:1]
        end = self.right[0] * last + self.right[1] if self.right else y[-1:]
        return torch.cat([first, x[1:-1], last]), torch.cat([start, y[1:-1], end])

    def cost(self, state: _State) -> float:
        """Mean square error."""
        with torch.no_grad():
            return float(((self.predicted(state) - self.target) ** 2).mean())

    def trained(self, state: _State, steps: int, rate: float) -> _State:
        """Adam with the rate reduced on plateaus; the best state seen."""
        parameters = [t.clone().requires_grad_() for t in (state.knots, state.values, state.middles)]
        optimiser = torch.optim.Adam(parameters, lr=rate)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=60)
        best, least = state, self.cost(state)
        scale = float(self.target.var()) + 1e-12
        for _ in range(steps):
            optimiser.zero_grad()
            loss = ((self.predicted(_State(*parameters)) - self.target) ** 2).mean()
            (loss / scale).backward()  # type: ignore[no-untyped-call]
            value = float(loss.detach())
            if value < least:
                least, best = value, _State(*(p.detach().clone() for p in parameters))
            optimiser.step()
            with torch.no_grad():
                parameters[0].copy_(torch.sort(parameters[0].clamp(self.low, self.high)).values)
            schedule.step(value)
            if optimiser.param_groups[0]["lr"] < 1e-6:
                break
        return best

    def exchanged(self, state: _State) -> _State:
        """The knot that is missed least, put into the middle of the worst segment."""
        if self.count < 4:
            return state
        x = self.pinned(state)[0].detach().numpy()
        segment = np.clip(np.searchsorted(x, self.grid.numpy(), side="right") - 1, 0, self.count - 2)
        errors = ((self.predicted(state) - self.target) ** 2).detach().numpy()
        per_segment = np.bincount(segment, errors, self.count - 1)
        merged = [self._cost_without(state, j) for j in range(1, self.count - 1)]
        loss = int(np.argmin(merged)) + 1
        worst = int(np.argmax(per_segment))
        middle = (x[worst] + x[worst + 1]) / 2
        return self.start(np.sort(np.append(np.delete(x, loss), middle)))

    def _cost_without(self, state: _State, place: int) -> float:
        """Mean square error with one knot fewer."""
        x, y = (t.detach().numpy() for t in self.pinned(state))
        fewer = _Paper(self.subject, self.segments - 1, self.low, self.high, self.degree)
        rest = fewer.start(np.delete(x, place))
        rest.values = torch.from_numpy(np.delete(y, place))
        return fewer.cost(rest)

    def result(self, state: _State) -> RealFit:
        """Pieces in powers of x."""
        x, y = (t.detach().numpy() for t in self.pinned(state))
        width = np.maximum(np.diff(x), 1e-12)
        bend = 4 * state.middles.detach().numpy() / width**2 if self.degree == 2 else np.zeros(self.count - 1)
        slope = np.diff(y) / width
        # y0 + slope (x - x0) + bend (x - x0) (x1 - x)
        pieces = np.stack([
            y[:-1] - slope * x[:-1] - bend * x[:-1] * x[1:], slope + bend * (x[:-1] + x[1:]), -bend,
        ], axis=1)[:, : self.degree + 1]  # fmt: skip
        knots = x
        for side, tail in ((0, self.left), (1, self.right)):
            if tail is None:
                knots = knots[:-1] if side else knots[1:]
                continue
            line = np.zeros((1, self.degree + 1))
            line[0, :2] = tail[1], tail[0]
            pieces = np.concatenate([pieces, line] if side else [line, pieces])
        return RealFit(breakpoints=knots, coefficients=pieces)
