"""A table in a number format: the numbers around a real fit whose returned bits have the least error.

Rounding each number of a real fit by itself wastes half of the precision: the offset must suit the rounded
slope, the slope the rounded curvature, and the breakpoint both rounded pieces. So each segment's coefficients are
searched on the bits that the hardware returns, then each breakpoint is put where the two pieces beside it
exchange ranks, and both again.
"""

from dataclasses import dataclass
from math import floor, log2

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS, NumberFormat
from lanewise.models.flex_sfu import SfuTable
from lanewise.models.functions import Function, Reals
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import Bits, bits_dtype, decode, encode, rank, unrank
from lanewise.models.pwl_pieces import Weight
from lanewise.models.pwl_real import RealFit

Index = npt.NDArray[np.int64]

_ROUNDS = 4
_SAMPLES = 400
"""Operands of a segment on which candidates are compared, evenly spaced in x."""
WIDE_OPERANDS = 65_537
"""Operands that stand for all of a 32-bit format, evenly spaced in x; a prime, lest their last bits repeat."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How a format's numbers stand for real ones: real = number x scale. Floating point has scales of 1."""

    format: str
    input_scale: float = 1.0
    output_scale: float = 1.0
    coefficient_scales: tuple[float, ...] = (1.0, 1.0)
    """Number = real x scale, for each power, lowest first."""
    shifts: tuple[tuple[int, int], ...] = ()
    """As :attr:`~lanewise.models.flex_sfu.SfuTable.shifts`."""

    @property
    def form(self) -> NumberFormat:
        """The number format."""
        return FORMATS[self.format]

    def operand_bits(self, x: Reals) -> Bits:
        """The nearest operands."""
        return encode(np.asarray(x, np.float64) / self.input_scale, self.form)

    def operand(self, bits: Bits) -> Reals:
        """What operands stand for."""
        return decode(bits, self.form) * self.input_scale

    def coefficient_bits(self, coefficients: Reals) -> Bits:
        """The nearest finite coefficients; shape ``(..., degree + 1)``."""
        limit = self.form.maximum
        return encode(np.clip(coefficients * np.array(self.coefficient_scales), -limit, limit), self.form)

    def coefficients(self, bits: Bits) -> Reals:
        """What coefficients stand for."""
        return np.asarray(decode(bits, self.form) / np.array(self.coefficient_scales))

    def result(self, bits: Bits) -> Reals:
        """What results stand for."""
        return decode(bits, self.form) * self.output_scale

    def rounded(self, y: Reals) -> Reals:
        """The nearest results: what no table can better."""
        return self.result(encode(y / self.output_scale, self.form))

    def table(self, breakpoints: Reals, coefficients: Reals) -> SfuTable:
        """Bits for the hardware."""
        knots = self.operand_bits(breakpoints)
        order = np.maximum.accumulate(rank(knots, self.form))
        return SfuTable(
            format=self.format, breakpoints=unrank(order, self.form),
            coefficients=self.coefficient_bits(coefficients), shifts=self.shifts,
        )  # fmt: skip

    def evaluate(self, coefficients: Bits, x: Bits) -> Bits:
        """The hardware's Horner's rule; ``coefficients`` broadcast over ``x`` but for the last axis."""
        degree = coefficients.shape[-1] - 1
        y = coefficients[..., degree]
        for step in range(degree):
            shifts = self.shifts[step] if self.shifts else (0, 0)
            y = multiply_add(
                y, x, coefficients[..., degree - 1 - step], self.form, shifts=shifts, zero_annihilates=True
            )
        return y


def scaling_of(
    name: str, degree: int, fitted: RealFit, *, input_scale: float, output_scale: float
) -> Scaling:
    """Scales and shifts for a fit: as many bits behind the binary points as the largest numbers allow.

    Raises:
        ValueError: A slope is too steep for the format's scales.
    """
    form = FORMATS[name]
    if form.floating:
        return Scaling(format=name, coefficient_scales=(1.0,) * (degree + 1))
    top = form.maximum
    largest = np.abs(fitted.coefficients).max(axis=0)
    shifts: list[tuple[int, int]] = []
    scales = [0.0] * (degree + 1)
    unit = output_scale  # of the result of the multiply-add below
    # from the last multiply-add to the first: y = (t x 2^-f) + c; t's own unit follows from f
    multiplier = _largest_slope(fitted, top * input_scale)
    for power in range(degree):
        room = _whole_bits(top * unit / max(largest[power], 1e-300))  # behind the addend's binary point
        product = _whole_bits(top * unit / (input_scale * max(multiplier, 1e-300)))
        product = min(product, 2 * form.bits - 1, room + form.bits - 1)
        if product < 0:
            factor = 2.0**-product
            raise ValueError(
                f"output_scale must be at least {factor:g} times as large for {name}: a piece is too steep"
            )
        addend = max(0, product - room)
        scales[power] = 2.0 ** (product - addend) / unit
        shifts.insert(0, (product, addend))
        unit = unit / input_scale * 2.0**-product
        multiplier = largest[degree]
    scales[degree] = 1 / unit
    return Scaling(
        format=name, input_scale=input_scale, output_scale=output_scale,
        coefficient_scales=tuple(scales), shifts=tuple(shifts),
    )  # fmt: skip


def _whole_bits(ratio: float) -> int:
    return min(floor(log2(ratio)), 99)


def _largest_slope(fitted: RealFit, edge: float) -> float:
    """The largest magnitude of what the element is multiplied with last, over operands up to ``edge``."""
    if fitted.coefficients.shape[1] == 2:
        return float(np.abs(fitted.coefficients[:, 1]).max())
    ends = np.concatenate([[-edge], np.clip(fitted.breakpoints, -edge, edge), [edge]])
    slopes = [fitted.coefficients[:, 1] + fitted.coefficients[:, 2] * x for x in (ends[:-1], ends[1:])]
    return float(np.abs(slopes).max())


def operands(scaling: Scaling, low: float, high: float, weight: Weight) -> tuple[Bits, Reals, Reals]:
    """All operands in [low, high], ascending: bit patterns, values, and weights that sum to 1.

    An operand weighs as much as the interval of reals that rounds to it; the two zeros share theirs. Of a 32-bit
    format, :data:`WIDE_OPERANDS` of them.
    """
    form = scaling.form
    if form.bits == 32:
        bits = np.unique(rank(scaling.operand_bits(np.linspace(low, high, WIDE_OPERANDS)), form))
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

    Returns:
        A fit of the same shapes; each number is one that the format has.
    """
    form = scaling.form
    bits, x, weights = operands(scaling, low, high, weight)
    target = subject(x)
    knots = scaling.operand(scaling.operand_bits(fitted.breakpoints))
    bounds = np.concatenate([[0], np.searchsorted(x, knots, side="left"), [len(x)]])
    table = scaling.coefficient_bits(fitted.coefficients)
    first = int(pin[0] and subject.left is not None)
    last = len(table) - int(pin[1] and subject.right is not None)
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
        bounds = _best_bounds(scaling, bounds, table, bits, target, weights)
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

    The highest coefficient is tried at a few steps around its best real value, then the next around the best
    one for each of those, and so on; the offset last.
    """
    form = scaling.form
    degree = piece.size - 1
    weights = weights / weights.sum()
    reach = {1: (3, 2), 2: (3, 2, 1)}[degree]
    candidates = [np.zeros((1, 0), piece.dtype)]
    chosen: Reals = np.zeros((1, 0))  # values of the coefficients chosen so far, highest power first
    for depth, power in enumerate(range(degree, -1, -1)):
        rest = target - sum(
            (chosen[:, k : k + 1] * x ** (degree - k) for k in range(depth)), np.zeros((len(chosen), 1))
        )
        best = _least_squares(x, rest, weights, power)
        near = scaling.coefficient_bits(_only(best, power, degree))[..., power]
        steps = np.arange(-reach[depth], reach[depth] + 1)
        tried = _steps(near[:, None], steps, form)
        if depth == 0 and degree == 2:  # a line: where the parabola's roundings cost more than it gains
            steps = np.append(steps, 0)
            tried = np.append(tried, np.zeros((1, 1), tried.dtype), axis=1)
        candidates = [
            np.concatenate([np.repeat(candidates[0], steps.size, axis=0), tried.reshape(-1, 1)], axis=1)
        ]
        values = np.zeros((tried.size, degree + 1), piece.dtype)
        values[:, power] = tried.reshape(-1)
        column = scaling.coefficients(values)[:, power : power + 1]
        chosen = np.concatenate([np.repeat(chosen, steps.size, axis=0), column], axis=1)
    every = np.concatenate([piece[None], candidates[0][:, ::-1]])
    results = scaling.result(scaling.evaluate(every[:, None, :], bits[None]))
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.nan_to_num((results - target) ** 2 @ weights, nan=np.inf, posinf=np.inf)
    return np.asarray(every[np.argmin(errors)])


def _only(value: Reals, power: int, degree: int) -> Reals:
    result = np.zeros((*value.shape, degree + 1))
    result[..., power] = value
    return result


def _least_squares(x: Reals, targets: Reals, weights: Reals, degree: int) -> Reals:
    """The highest coefficient of the best polynomial of this degree for each row of ``targets``."""
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
    scaling: Scaling, bounds: Index, table: Bits, bits: Bits, target: Reals, weights: Reals
) -> Index:
    """Each boundary moved, between its neighbours, to where the sum of both sides' errors is least."""
    bounds = bounds.copy()
    for index in range(1, len(bounds) - 1):
        part = slice(bounds[index - 1], bounds[index + 1])
        if part.stop - part.start < 2:
            continue
        sides = scaling.evaluate(table[index - 1 : index + 1, None, :], bits[None, part])
        with np.errstate(invalid="ignore", over="ignore"):
            errors = weights[part] * (scaling.result(sides) - target[part]) ** 2
        errors = np.nan_to_num(errors, nan=1e30, posinf=1e30)
        excess = np.concatenate([[0.0], np.cumsum(errors[0] - errors[1])])
        bounds[index] = part.start + int(np.argmin(excess))
    return bounds
