"""A table in a number format: the numbers around a real fit whose returned bits have the least error.

Rounding each number of a real fit by itself wastes half of the precision: the offset must suit the rounded
slope, the slope the rounded curvature, and the breakpoint both rounded pieces. So each segment's coefficients are
searched on the bits that the hardware returns, then each breakpoint is put where the two pieces beside it
exchange ranks, and both again.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.formats import NumberFormat
from lanewise.models.functions import Function, Reals
from lanewise.models.numbers import Bits, bits_dtype, decode, encode, rank, unrank
from lanewise.models.pwl_cells import Cells
from lanewise.models.pwl_pieces import Weight
from lanewise.models.pwl_real import RealFit
from lanewise.models.pwl_scaling import Scaling

Index = npt.NDArray[np.int64]

_ROUNDS = 4
_PULLS = 6
_LOST = 1e-13
"""Share of a sum that its rounding may take."""
_SAMPLES = 400
"""Operands of a segment on which candidates are compared, evenly spaced in x."""
WIDE_OPERANDS = 65_537
"""Operands that stand for all of a 32-bit format, evenly spaced in x; a prime, lest their last bits repeat."""


def operands(
    scaling: Scaling, low: float, high: float, weight: Weight, cells: Cells | None = None
) -> tuple[Bits, Reals, Reals]:
    """All operands in [low, high], ascending: bit patterns, values, and weights that sum to 1.

    An operand weighs as much as the interval of reals that rounds to it; the two zeros share theirs. Of a 32-bit
    format, :data:`WIDE_OPERANDS` of them, and those in the middle of parts of uneven ``cells``.
    """
    form = scaling.form
    if form.bits == 32:
        places = np.linspace(low, high, WIDE_OPERANDS)
        if cells is not None and not cells.even:
            places = np.append(places, cells.divided(4)[0])
        bits = np.unique(rank(scaling.operand_bits(places), form))
        bits = unrank(bits, form)
    else:
        bits = unrank(np.arange(1 << form.bits).astype(bits_dtype(form)), form)
    x = scaling.operand(bits)
    inside = np.isfinite(x) & (x >= low) & (x <= high)
    bits, x = bits[inside], x[inside]
    if not x.size:
        return bits, x, x
    edges = np.concatenate([[low], (x[1:] + x[:-1]) / 2, [high]])
    weights = np.diff(edges) * weight(x)
    return bits, x, weights / max(weights.sum(), 1e-300)


def fit_format(
    subject: Function,
    fitted: RealFit,
    scaling: Scaling,
    low: float,
    high: float,
    *,
    weight: Weight,
    pin: tuple[bool, bool],
    cells: Cells | None = None,
) -> RealFit:
    """Round a real fit to a format.

    Args:
        subject: The function; a pinned tail stays on its asymptote.
        fitted: The real fit.
        scaling: The format, and what its numbers stand for.
        low: Start of the range over which the error counts.
        high: Its end.
        weight: Of the squared error.
        pin: Which tails are pinned.
        cells: As :func:`operands` takes them.

    Returns:
        A fit of the same shapes; each number is one that the format has.
    """
    form = scaling.form
    bits, x, weights = operands(scaling, low, high, weight, cells)
    target = subject(x)
    knots = scaling.operand(scaling.operand_bits(fitted.breakpoints))
    bounds = np.concatenate([[0], np.searchsorted(x, knots, side="left"), [len(x)]])
    table = scaling.coefficient_bits(fitted.coefficients)
    most = len(x)
    if not form.floating and decode(bits[-1:], form)[0] == form.maximum:
        most -= 1  # no breakpoint lies above the largest integer, so it belongs to the last segment
        bounds[1:-1] = np.minimum(bounds[1:-1], most)
    first = int(pin[0] and subject.left is not None)
    last = len(table) - int(pin[1] and subject.right is not None)
    if most < len(x):
        there = scaling.result(scaling.evaluate(table[-1], bits[-1:]))
        if np.abs(there - target[-1:])[0] > scaling.output_scale:
            last = len(table)  # nothing lies beyond, where the asymptote would serve
    for _ in range(_ROUNDS):
        before = table.copy(), bounds.copy()
        for segment in range(first, last):
            part = _spread(x, int(bounds[segment]), int(bounds[segment + 1]))
            if len(part):
                table[segment] = _best_piece(
                    scaling,
                    table[segment],
                    bits[part],
                    x[part],
                    target[part],
                    _cells(x[part]) * weight(x[part]),
                )
        bounds = _best_bounds(scaling, bounds, table, bits, target, weights, most)
        if np.array_equal(table, before[0]) and np.array_equal(bounds, before[1]):
            break
    ends = np.append(x, scaling.operand(_steps(bits[-1:], np.ones(1, np.int64), form)))
    beyond = (knots < low) | (knots > high)
    result = np.where(beyond, knots, ends[bounds[1:-1]])
    return RealFit(breakpoints=np.maximum.accumulate(result), coefficients=scaling.coefficients(table))


def _spread(x: Reals, start: int, stop: int) -> Index:
    """At most :data:`_SAMPLES` indices in [start, stop) whose x are evenly spaced."""
    if stop - start <= _SAMPLES:
        return np.arange(start, stop)
    wanted = np.linspace(x[start], x[stop - 1], _SAMPLES)
    return np.unique(start + np.searchsorted(x[start : stop - 1], wanted))


def _cells(x: Reals) -> Reals:
    """What each sample stands for."""
    edges = np.concatenate([x[:1], (x[1:] + x[:-1]) / 2, x[-1:]])
    return np.maximum(np.diff(edges), 1e-300)


def _steps(bits: Bits, steps: Index, form: NumberFormat) -> Bits:
    """The numbers so many steps above each; shapes broadcast. Only finite ones are reached."""
    top = rank(np.array([form.maximum_bits], bits_dtype(form)), form).astype(np.int64)[0]
    bottom = (1 << form.bits) - 1 - int(top) if form.floating else 0
    ranks = np.clip(rank(bits, form).astype(np.int64) + steps, bottom, top)
    return unrank(ranks.astype(bits_dtype(form)), form)


def next_number(bits: Bits, form: NumberFormat) -> Bits:
    """The number above each; the largest stays."""
    return _steps(bits, np.ones(1, np.int64), form)


def _best_piece(scaling: Scaling, piece: Bits, bits: Bits, x: Reals, target: Reals, weights: Reals) -> Bits:
    """The coefficients with the least error of the bits: ``piece`` or near the least-squares polynomial.

    A polynomial that overflows somewhere is drawn down there until it does not.
    """
    for _ in range(_PULLS):
        piece, overflows = _searched(scaling, piece, bits, x, target, weights)
        if not overflows.any():
            break
        target = np.where(overflows, 0.99 * target, target)
        weights = np.where(overflows, 1e3 * weights, weights)
    return piece


def _searched(
    scaling: Scaling, piece: Bits, bits: Bits, x: Reals, target: Reals, weights: Reals
) -> tuple[Bits, npt.NDArray[np.bool_]]:
    """The best coefficients, and where they overflow.

    The highest coefficient is tried at a few steps around its best real value, then the next around the best
    one for each of those, and so on; the offset last. A coefficient of ``piece`` that is the format's largest number
    stays: the others make up for what it lacks.
    """
    form = scaling.form
    degree = piece.size - 1
    weights = weights / weights.sum()
    values = decode(piece, form)
    largest = [k for k in range(degree + 1) if form.floating and abs(values[k]) == form.maximum]
    kept: list[dict[int, Any]] = [{}]
    if largest:
        kept.append({k: piece[k] for k in largest})
    if largest and degree == 2:  # lines, too
        kept.append({2: piece.dtype.type(0)})
        kept += [{2: piece.dtype.type(0), 0: end} for end in encode([-form.maximum, form.maximum], form)]
    tried = [_near(scaling, degree, x, target, weights, held) for held in kept]
    every = np.concatenate([piece[None], *tried])
    results = scaling.result(scaling.evaluate(every[:, None, :], bits[None]))
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.nan_to_num((results - target) ** 2 @ weights, nan=np.inf, posinf=np.inf)
    overflows = ~np.isfinite(results)
    best = int(np.argmin(errors if np.isfinite(errors).any() else overflows.sum(axis=1)))
    return np.asarray(every[best]), overflows[best]


def _near(
    scaling: Scaling, degree: int, x: Reals, target: Reals, weights: Reals, held: dict[int, Any]
) -> Bits:
    """Coefficients near the least-squares polynomial of which some coefficients are held; lowest power first."""
    form = scaling.form
    dtype = bits_dtype(form)
    numbers = np.zeros(degree + 1, dtype)
    for power, number in held.items():
        numbers[power] = number
    fixed = scaling.coefficients(numbers)
    reach = {1: (3, 2), 2: (3, 2, 1)}[degree]
    candidates: Bits = np.zeros((1, 0), dtype)
    chosen: Reals = np.zeros((1, 0))  # values of the coefficients chosen so far, highest power first
    for depth, power in enumerate(range(degree, -1, -1)):
        rest = target - sum(
            (chosen[:, k : k + 1] * x ** (degree - k) for k in range(depth)), np.zeros((len(chosen), 1))
        )
        if power in held:
            near, steps = np.repeat(numbers[power], len(chosen)), np.zeros(1, np.int64)
        else:
            below = [k for k in held if k < power]
            for k in below:
                rest = rest - fixed[k] * x**k
            best = _least_squares(x, rest, weights, power, below)
            near = scaling.coefficient_bits(_only(best, power, degree))[..., power]
            steps = np.arange(-reach[depth], reach[depth] + 1)
        tried = _steps(near[:, None], steps, form)
        if (
            depth == 0 and degree == 2 and not held
        ):  # a line: where the parabola's roundings cost more than it gains
            steps = np.append(steps, 0)
            tried = np.append(tried, np.zeros((1, 1), tried.dtype), axis=1)
        candidates = np.concatenate([np.repeat(candidates, steps.size, axis=0), tried.reshape(-1, 1)], axis=1)
        values = np.zeros((tried.size, degree + 1), dtype)
        values[:, power] = tried.reshape(-1)
        column = scaling.coefficients(values)[:, power : power + 1]
        chosen = np.concatenate([np.repeat(chosen, steps.size, axis=0), column], axis=1)
    return candidates[:, ::-1]


def _only(value: Reals, power: int, degree: int) -> Reals:
    result = np.zeros((*value.shape, degree + 1))
    result[..., power] = value
    return result


def _least_squares(x: Reals, targets: Reals, weights: Reals, degree: int, without: list[int]) -> Reals:
    """The highest coefficient of the best polynomial of this degree for each row of ``targets``; some powers left out."""
    if without:
        powers = [k for k in range(degree + 1) if k not in without]
        columns = x[:, None] ** np.array(powers) * np.sqrt(weights)[:, None]
        size = np.maximum(np.abs(columns).max(axis=0), 1e-300)
        return np.asarray(
            np.linalg.lstsq(columns / size, (targets * np.sqrt(weights)).T, rcond=None)[0][-1] / size[-1]
        )
    centre = weights @ x
    spread = max(float(np.sqrt(weights @ (x - centre) ** 2)), 1e-300)
    basis = ((x - centre) / spread)[:, None] ** np.arange(min(degree, x.size - 1) + 1)
    root = np.sqrt(weights)
    solution = np.linalg.lstsq(basis * root[:, None], (targets * root).T, rcond=None)[0]
    if len(solution) <= degree:  # too few operands to tell
        return np.zeros(len(targets))
    if degree == 0:
        return np.asarray(solution[0])
    return np.asarray(solution[degree] / spread**degree)


def _best_bounds(
    scaling: Scaling, bounds: Index, table: Bits, bits: Bits, target: Reals, weights: Reals, most: int
) -> Index:
    """Each boundary moved, between its neighbours, to where the sum of both sides' errors is least, and to ``most`` at most."""
    bounds = bounds.copy()
    for index in range(1, len(bounds) - 1):
        part = slice(bounds[index - 1], bounds[index + 1])
        if part.stop - part.start < 2:
            continue
        sides = scaling.evaluate(table[index - 1 : index + 1, None, :], bits[None, part])
        with np.errstate(invalid="ignore", over="ignore"):
            errors = weights[part] * (scaling.result(sides) - target[part]) ** 2
        infinite = ~np.isfinite(errors)
        errors = np.where(infinite, 0.0, errors)
        excess = np.concatenate([[0.0], np.cumsum(errors[0] - errors[1])])
        left, right = np.cumsum(errors[0]), np.cumsum(errors[1][::-1])[::-1]
        total = np.append(0.0, left) + np.append(right, 0.0)
        if infinite.any() or total.min() < _LOST * np.abs(excess).max():  # differences have no digits left
            excess = total
        worse = np.concatenate([[0], np.cumsum(infinite[0].astype(np.int64) - infinite[1])])
        excess = np.where(worse == worse.min(), excess, np.inf)
        bounds[index] = part.start + int(np.argmin(excess[: most - part.start + 1]))
    return bounds
