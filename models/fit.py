"""Fitting Flex-SFU's tables: non-uniform piecewise-linear functions with free knots, and then in FP16.

Real: start from knots that equidistribute |f''|^(2/5), the optimal density of free-knot linear splines; then Levenberg-Marquardt on all
knots and ordinates at once, with the analytic Jacobian; tails pinned on the asymptotes. FP16: knots rounded; for each segment the slope
among the neighbours of the fitted one, and the offset, that give the least error of the bits that the hardware returns; then
each boundary moved to where the next segment's bits get better.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lanewise.config import SEGMENT_COUNTS
from lanewise.errors import UserError
from lanewise.models.address_decoder import fp16_key
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.fp16_fma import fp16_fma
from lanewise.models.functions import FUNCTIONS, Function, Reals

FORMATS = ("fp16", "real")
QUADRATURE = 4096
"""Midpoints on which errors are integrated while fitting; reported errors use 16 times as many."""


@dataclass(frozen=True, kw_only=True)
class PwlFit:
    """A fitted table and its error over ``range``."""

    function: str
    segments: int
    degree: int
    format: str
    range: tuple[float, float]
    breakpoints: tuple[float, ...]
    coefficients: tuple[tuple[float, float], ...]
    """Offset and slope of each segment, tails included."""
    mse: float
    """1/(b-a) integral (f - fhat)^2."""
    aae2: float
    """(1/(b-a) integral |f - fhat|)^2, the square of the average absolute error."""
    max_error: float
    limit_mse: float
    """(integral |f''|^(2/5))^5 / (720 n^4 (b-a)): what the best free knots reach for many segments."""
    uniform_mse: float
    """Of the best continuous piecewise-linear function with as many segments of equal width."""
    seconds: float

    def table(self) -> SfuTable:
        """The table's FP16 bit patterns; for a ``real`` fit each number is rounded."""
        numbers = np.array(self.coefficients, np.float64)
        return SfuTable(
            breakpoints=np.array(self.breakpoints).astype(np.float16).view(np.uint16),
            slopes=numbers[:, 1].astype(np.float16).view(np.uint16),
            offsets=numbers[:, 0].astype(np.float16).view(np.uint16),
        )

    def evaluate(self, x: Reals) -> Reals:
        """The fitted function: the hardware's bits for ``fp16``, real numbers otherwise."""
        if self.format == "fp16":
            return flex_sfu(x.astype(np.float16).view(np.uint16), self.table()).view(np.float16).astype(np.float64)
        numbers = np.array(self.coefficients)[np.searchsorted(self.breakpoints, x, side="right")]
        result: Reals = numbers[:, 1] * x + numbers[:, 0]
        return result

    def as_dict(self) -> dict[str, Any]:
        """The object that ``lanewise fit --json`` prints."""
        return {
            "function": self.function, "segments": self.segments, "degree": self.degree, "format": self.format, "range": list(self.range),
            "breakpoints": list(self.breakpoints), "coefficients": [list(c) for c in self.coefficients], "mse": self.mse, "aae2": self.aae2,
            "max_error": self.max_error, "limit_mse": self.limit_mse, "limit_ratio": self.mse / self.limit_mse if self.limit_mse else None,
            "uniform_mse": self.uniform_mse, "seconds": self.seconds,
        }  # fmt: skip


def fit(
    function: str | Callable[[Any], Any],
    *,
    segments: int,
    degree: int = 1,
    format: str = "fp16",  # noqa: A002 - the field's word
    range: tuple[float, float] | None = None,  # noqa: A002
) -> PwlFit:
    """Fit ``function`` with ``segments`` segments, the two tails included.

    Args:
        function: A name of :data:`~lanewise.models.functions.FUNCTIONS`, or any callable on float64 torch tensors (then ``range`` is needed and
            the tails are free).
        segments: 4, 8, 16, 32 or 64.
        degree: 1.
        format: ``fp16``, or ``real`` for unrounded numbers.
        range: Interval over which the error counts; the function's own if ``None``.

    Raises:
        UserError: The function is unknown or not finite on the interval, or another argument is not of these.
    """
    if isinstance(function, str):
        if function not in FUNCTIONS:
            raise UserError(f"function {function!r} is unknown; expected one of {', '.join(FUNCTIONS)}")
        subject = FUNCTIONS[function]
    else:
        if range is None:
            raise UserError("range is missing; a function of your own needs one")
        subject = Function(name=getattr(function, "__name__", "function"), torch=function, range=range)
    if segments not in SEGMENT_COUNTS:
        raise UserError(f"segments must be 4, 8, 16, 32 or 64, not {segments}")
    if degree != 1:
        raise UserError(f"degree must be 1 in this version, not {degree}")
    if format not in FORMATS:
        raise UserError(f"format must be {' or '.join(FORMATS)}, not {format!r}")
    low, high = (float(v) for v in (range or subject.range))
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise UserError(f"range must be two finite numbers, the smaller first, not {low} {high}")
    if format == "fp16" and max(abs(low), abs(high)) > 65504:
        raise UserError(f"range must lie in FP16's [-65504, 65504], not {low} {high}")
    if not np.all(np.isfinite(subject(np.linspace(low, high, 1001)))):
        raise UserError(f"function {subject.name} is not finite everywhere in [{low}, {high}]; expected a range in which it is")
    return _fit(subject, segments, format, low, high)


@lru_cache(maxsize=1024)
def _fit(subject: Function, segments: int, number_format: str, low: float, high: float) -> PwlFit:
    start = time.perf_counter()
    grid = low + (high - low) * (np.arange(QUADRATURE) + 0.5) / QUADRATURE
    curvature, limit = _curvature(subject, low, high, segments)
    breakpoints, lines = _RealFit(subject, segments, low, high, grid).fit(curvature)
    if number_format == "fp16":
        breakpoints, lines = _to_fp16(subject, breakpoints, lines, low, high)
    result = PwlFit(
        function=subject.name, segments=segments, degree=1, format=number_format, range=(low, high),
        breakpoints=tuple(breakpoints.tolist()), coefficients=tuple((float(q), float(m)) for m, q in lines), mse=0, aae2=0, max_error=0,
        limit_mse=limit, uniform_mse=_uniform_mse(subject, segments, low, high), seconds=0,
    )  # fmt: skip
    fine = low + (high - low) * (np.arange(16 * QUADRATURE) + 0.5) / (16 * QUADRATURE)
    if number_format == "fp16":  # the unit sees FP16 operands: x is rounded before both
        fine = fine.astype(np.float16).astype(np.float64)
    error = result.evaluate(fine) - subject(fine)
    measured = {"mse": float(np.mean(error**2)), "aae2": float(np.mean(np.abs(error)) ** 2), "max_error": float(np.abs(error).max())}
    return PwlFit(**{**result.__dict__, **measured, "seconds": time.perf_counter() - start})


def _curvature(subject: Function, low: float, high: float, segments: int) -> tuple[Reals, float]:
    """|f''|^(2/5) at the middles of equal cells, and the asymptotic limit of the MSE."""
    cells = 1 << 14
    width = (high - low) / cells
    x = low + width * np.arange(-1, cells + 1) + width / 2
    x[0], x[-1] = max(x[0], low), min(x[-1], high)
    values = subject(x)
    second = np.abs(np.diff(values, 2)) / width**2
    density = second ** (2 / 5)
    limit = float((density.sum() * width) ** 5 / (720 * segments**4 * (high - low)))
    return density, limit


def _hats(knots: Reals, x: Reals) -> tuple[Any, Reals]:
    """Interval of each x, and its place in it (0 to 1)."""
    interval = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    return interval, (x - knots[interval]) / (knots[interval + 1] - knots[interval])


def _uniform_mse(subject: Function, segments: int, low: float, high: float) -> float:
    """MSE of the best continuous piecewise-linear function on equal segments, by linear least squares."""
    x = low + (high - low) * (np.arange(QUADRATURE) + 0.5) / QUADRATURE
    interval, place = _hats(np.linspace(low, high, segments + 1), x)
    basis = np.zeros((QUADRATURE, segments + 1))
    rows = np.arange(QUADRATURE)
    basis[rows, interval] = 1 - place
    basis[rows, interval + 1] = place
    values = subject(x)
    solution = np.linalg.lstsq(basis, values, rcond=None)[0]
    return float(np.mean((basis @ solution - values) ** 2))


class _RealFit:
    """Levenberg-Marquardt on knots and ordinates together.

    A side with an asymptote ends in a knot on it, and beyond lies the tail. A side without ends at the interval's end, and the tail
    continues the outermost line. Knots are the running sums of exponentials, so that their order is kept.
    """

    def __init__(self, subject: Function, segments: int, low: float, high: float, grid: Reals) -> None:
        self.subject, self.segments, self.low, self.high, self.grid = subject, segments, low, high, grid
        self.values = subject(grid)
        self.left, self.right = subject.left, subject.right
        self.pieces = segments - (self.left is not None) - (self.right is not None)  # between the first and the last knot
        self.count = self.pieces + 1

    def fit(self, density: Reals) -> tuple[Reals, Reals]:
        """Breakpoints (segments - 1) and lines (segments, 2): slope, offset."""
        best: tuple[float, Reals] | None = None
        for outer in (1.0, 2.0, 0.5):  # the asymptotes take part of the error: how far out the tails begin is searched
            knots = self.start(density, outer)
            state = np.concatenate([[knots[0]], np.log(np.diff(knots)), self.subject(knots)])
            cost, state = self.descend(state, 60)
            if best is None or cost < best[0]:
                best = (cost, state)
        assert best is not None
        return self.lines(*self.unpack(self.descend(best[1], 400)[1]))

    def descend(self, state: Reals, iterations: int) -> tuple[float, Reals]:
        """Levenberg-Marquardt on the normal equations, with Marquardt's scaling."""
        residual = self.residual(state)
        cost, damping, quiet = float(residual @ residual), 1e-3, 0
        for _ in range(iterations):
            jacobian = self.jacobian(state)
            gradient, normal = jacobian.T @ residual, jacobian.T @ jacobian
            diagonal = np.diag(normal)
            while damping < 1e10:
                scaled = normal + np.diag(damping * diagonal + 1e-18 + 1e-12 * diagonal.max())
                trial = state - np.linalg.solve(scaled, gradient)
                trial_residual = self.residual(trial)
                trial_cost = float(trial_residual @ trial_residual)
                if trial_cost < cost:  # false for NaN
                    break
                damping *= 4
            else:
                break
            quiet = quiet + 1 if cost - trial_cost < 1e-5 * cost else 0
            state, residual, cost, damping = trial, trial_residual, trial_cost, damping / 8
            if quiet == 5:
                break
        return cost, state

    def start(self, density: Reals, outer: float) -> Reals:
        total = np.concatenate([[0], np.cumsum(density + 1e-9 * density.max())])
        ends = np.linspace(self.low, self.high, len(total))
        margin = outer / self.segments
        first = margin if self.left is not None else 0.0
        last = 1 - margin if self.right is not None else 1.0
        knots = np.interp(np.linspace(first, last, self.count) * total[-1], total, ends)
        floor = (self.high - self.low) * 1e-6
        return np.asarray(np.maximum.accumulate(knots + floor * np.arange(self.count)), dtype=np.float64)

    def unpack(self, state: Reals) -> tuple[Reals, Reals]:
        gaps = np.exp(np.clip(state[1 : self.count], -12, 5))
        knots = state[0] + np.concatenate([[0], np.cumsum(gaps)])
        ordinates = state[self.count :].copy()
        if self.left is not None:
            ordinates[0] = self.left[0] * knots[0] + self.left[1]
        else:
            knots = knots - knots[0] + self.low
        if self.right is not None:
            ordinates[-1] = self.right[0] * knots[-1] + self.right[1]
        elif self.left is None:
            knots = self.low + (knots - knots[0]) * ((self.high - self.low) / (knots[-1] - knots[0]))
        else:
            knots = knots[0] + (knots - knots[0]) * ((self.high - knots[0]) / (knots[-1] - knots[0]))
        return knots, ordinates

    def evaluate(self, knots: Reals, ordinates: Reals) -> Reals:
        breakpoints, lines = self.lines(knots, ordinates)
        chosen = lines[np.searchsorted(breakpoints, self.grid, side="right")]
        result: Reals = chosen[:, 0] * self.grid + chosen[:, 1]
        return result

    def lines(self, knots: Reals, ordinates: Reals) -> tuple[Reals, Reals]:
        slopes = np.diff(ordinates) / np.diff(knots)
        inner = np.stack([slopes, ordinates[:-1] - slopes * knots[:-1]], axis=1)
        parts = [inner]
        breakpoints = knots
        if self.left is not None:
            parts.insert(0, np.array([self.left]))
        else:
            breakpoints = breakpoints[1:]
        if self.right is not None:
            parts.append(np.array([self.right]))
        else:
            breakpoints = breakpoints[:-1]
        return breakpoints, np.concatenate(parts)

    def residual(self, state: Reals) -> Reals:
        """Weighted so that its square is the squared error's integral."""
        result: Reals = np.sqrt((self.high - self.low) / QUADRATURE) * (self.evaluate(*self.unpack(state)) - self.values)
        return result

    def jacobian(self, state: Reals) -> Reals:
        """d fhat / d knot is minus the line's slope times the knot's hat; d fhat / d ordinate is the hat."""
        knots, ordinates = self.unpack(state)
        slopes = np.diff(ordinates) / np.diff(knots)
        interval, place = _hats(knots, self.grid)
        inside = (self.grid >= knots[0]) & (self.grid < knots[-1]) if self.left is not None or self.right is not None else np.ones(QUADRATURE, bool)
        rows = np.flatnonzero(inside)
        interval, place = interval[rows], place[rows]
        by_value = np.zeros((QUADRATURE, self.count))
        by_value[rows, interval] = 1 - place
        by_value[rows, interval + 1] = place
        by_knot = np.zeros_like(by_value)
        by_knot[rows, interval] = -slopes[interval] * (1 - place)
        by_knot[rows, interval + 1] = -slopes[interval] * place
        if self.left is not None:  # the ordinate follows the asymptote
            by_knot[:, 0] += self.left[0] * by_value[:, 0]
            by_value[:, 0] = 0
        if self.right is not None:
            by_knot[:, -1] += self.right[0] * by_value[:, -1]
            by_value[:, -1] = 0
        gaps = np.exp(np.clip(state[1 : self.count], -12, 5))
        length = gaps.sum()
        fraction = np.concatenate([[0], np.cumsum(gaps)]) / length
        steps = np.tril(np.ones((self.count, self.count - 1)), -1) * gaps  # d knot / d log gap
        origin = np.ones(self.count)
        if self.right is None:  # scaled to end at the interval's end
            span = knots[-1] - knots[0]
            steps = (steps - fraction[:, None] * gaps) * (span / length)
            origin = 1 - fraction if self.left is not None else np.zeros(self.count)
        elif self.left is None:
            origin = np.zeros(self.count)
        by_state = np.concatenate([by_knot @ np.column_stack([origin, steps]), by_value], axis=1)
        result: Reals = np.sqrt((self.high - self.low) / QUADRATURE) * by_state
        return result


def _to_fp16(subject: Function, breakpoints: Reals, lines: Reals, low: float, high: float) -> tuple[Reals, Reals]:
    """The table in FP16 with the least error of the returned bits; elements weigh as their distance, uniform in x."""
    patterns = np.arange(1 << 16, dtype=np.uint16)
    numbers = patterns.view(np.float16)
    patterns = patterns[np.isfinite(numbers) & (numbers >= np.float16(low)) & (numbers <= np.float16(high))]
    patterns = patterns[np.argsort(fp16_key(patterns), kind="stable")]
    x = patterns.view(np.float16).astype(np.float64)
    weights = np.gradient(x)
    target = subject(x)
    knots = np.clip(breakpoints, -65504, 65504).astype(np.float16)
    bounds = np.searchsorted(fp16_key(patterns), fp16_key(knots.view(np.uint16)), side="left")
    bounds = np.concatenate([[0], np.maximum.accumulate(bounds), [len(x)]])
    table = lines.astype(np.float16)
    pinned = {0} if subject.left is not None else set()
    pinned |= {len(lines) - 1} if subject.right is not None else set()
    for _ in range(2):
        for segment in range(len(lines)):
            if segment not in pinned:
                part = slice(bounds[segment], bounds[segment + 1])
                table[segment] = _best_line(table[segment], patterns[part], x[part], target[part], weights[part])
        bounds = _best_bounds(bounds, table, patterns, target, weights)
    keys = np.concatenate([x, [np.nextafter(np.float16(x[-1]), np.float16(np.inf))]])
    outside = (breakpoints < low) | (breakpoints > high)
    inner = keys[bounds[1:-1]]
    result = np.where(outside, knots.astype(np.float64), inner)
    return np.asarray(np.maximum.accumulate(result), np.float64), table.astype(np.float64)


def _line_bits(line: Any, patterns: Any) -> Reals:
    slope, offset = np.asarray(line, np.float16).view(np.uint16)
    bits = fp16_fma(np.full_like(patterns, slope), patterns, np.full_like(patterns, offset))
    return bits.view(np.float16).astype(np.float64)


def _best_line(line: Any, patterns: Any, x: Reals, target: Reals, weights: Reals) -> Any:
    """Slope among the fitted one's four neighbours, offset among three about its best: least error of the bits."""
    if not len(x):
        return line
    stride = max(1, len(x) // 256)  # enough to judge by
    part = slice(stride // 2, None, stride)
    patterns, x, target, weights = patterns[part], x[part], target[part], weights[part]
    best, best_error = line, float(np.sum(weights * (_line_bits(line, patterns) - target) ** 2))
    slopes = [line[0]]
    for direction in (np.float16(np.inf), np.float16(-np.inf)):
        slope = line[0]
        for _ in range(2):
            slope = np.nextafter(slope, direction)
            slopes.append(slope)
    for slope in slopes:
        centre = np.float16(np.sum(weights * (target - float(slope) * x)) / np.sum(weights))
        for offset in (centre, np.nextafter(centre, np.float16(np.inf)), np.nextafter(centre, np.float16(-np.inf))):
            candidate = np.array([slope, offset], np.float16)
            error = float(np.sum(weights * (_line_bits(candidate, patterns) - target) ** 2))
            if error < best_error:
                best, best_error = candidate, error
    return best


def _best_bounds(bounds: Any, table: Any, patterns: Any, target: Reals, weights: Reals) -> Any:
    """Move each boundary, between its neighbours, to where the sum of both sides' errors is least."""
    bounds = bounds.copy()
    for index in range(1, len(bounds) - 1):
        first, last = bounds[index - 1], bounds[index + 1]
        if last - first < 2:
            continue
        part = slice(first, last)
        left = weights[part] * (_line_bits(table[index - 1], patterns[part]) - target[part]) ** 2
        right = weights[part] * (_line_bits(table[index], patterns[part]) - target[part]) ** 2
        cost = np.concatenate([[0], np.cumsum(left)]) + np.concatenate([np.cumsum(right[::-1])[::-1], [0]])
        bounds[index] = first + int(np.argmin(cost))
    return bounds
