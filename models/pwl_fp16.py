"""A table in FP16: the numbers around a real fit whose returned bits have the least error.

Rounding each number of a real fit by itself wastes half of the precision: the offset must suit the rounded
slope, and the breakpoint both rounded lines. So each segment's slope and offset are searched on the bits
that the hardware returns, then each breakpoint is put where the two lines beside it exchange ranks, and
both again.
"""

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS
from lanewise.models.functions import Function, Reals
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import rank

Bits = npt.NDArray[np.uint16]
Halves = npt.NDArray[np.float16]

_ROUNDS = 3
_SAMPLES = 192
"""Operands of a segment on which candidates are compared, evenly spaced in x."""
_SLOPES = np.arange(-3, 4)
"""Slopes tried: so many steps of FP16 from the best real one."""
_OFFSETS = np.arange(-1, 2)
"""Offsets tried, likewise, for each slope."""


def operands(low: float, high: float) -> tuple[Bits, Reals, Reals]:
    """All FP16 numbers in [low, high], ascending: bit patterns, values, and weights that sum to 1.

    An operand weighs as much as the interval of reals that rounds to it; the two zeros share theirs.
    """
    every = np.arange(1 << 16, dtype=np.uint16)
    numbers = every.view(np.float16)
    inside = np.isfinite(numbers) & (numbers >= low) & (numbers <= high)
    bits = every[inside]
    bits = bits[np.argsort(rank(bits, FORMATS["fp16"]))]
    x = bits.view(np.float16).astype(np.float64)
    edges = np.concatenate([[low], (x[1:] + x[:-1]) / 2, [high]])
    weights = np.diff(edges)
    return bits, x, weights / weights.sum()


def fit_fp16(
    subject: Function, breakpoints: Reals, lines: Reals, low: float, high: float
) -> tuple[Reals, Reals]:
    """Round a real fit to FP16.

    Args:
        subject: The function; a tail on its asymptote stays there.
        breakpoints: Of the real fit, shape ``(segments - 1,)``.
        lines: Slope and offset of each segment, shape ``(segments, 2)``.
        low: Start of the range over which the error counts.
        high: Its end.

    Returns:
        Breakpoints and lines of the same shapes; each number is an FP16 number.
    """
    bits, x, weights = operands(low, high)
    target = subject(x)
    knots = _nearest(breakpoints)
    bounds = np.concatenate([[0], np.searchsorted(x, knots.astype(np.float64), side="left"), [len(x)]])
    table = _nearest(lines)
    first = 0 if subject.left is None else 1
    last = len(table) if subject.right is None else len(table) - 1
    for _ in range(_ROUNDS):
        before = table.copy(), bounds.copy()
        for segment in range(first, last):
            part = _spread(x, int(bounds[segment]), int(bounds[segment + 1]))
            if len(part) > 2:
                table[segment] = _best_line(
                    table[segment], bits[part], x[part], target[part], _cells(x[part])
                )
        bounds = _best_bounds(bounds, table, bits, target, weights)
        if np.array_equal(table, before[0]) and np.array_equal(bounds, before[1]):
            break
    above = np.nextafter(np.float16(x[-1]), np.float16(np.inf))
    inner = np.append(x, float(above))[bounds[1:-1]]
    beyond = (knots.astype(np.float64) < low) | (knots.astype(np.float64) > high)
    result = np.where(beyond, knots.astype(np.float64), inner)
    return np.maximum.accumulate(result), table.astype(np.float64)


def _spread(x: Reals, start: int, stop: int) -> npt.NDArray[np.int64]:
    """At most :data:`_SAMPLES` indices in [start, stop) whose x are evenly spaced."""
    if stop - start <= _SAMPLES:
        return np.arange(start, stop)
    wanted = np.linspace(x[start], x[stop - 1], _SAMPLES)
    return np.unique(start + np.searchsorted(x[start : stop - 1], wanted))


def _cells(x: Reals) -> Reals:
    """What each sample stands for."""
    edges = np.concatenate([x[:1], (x[1:] + x[:-1]) / 2, x[-1:]])
    return np.diff(edges)


def _nearest(x: Reals) -> Halves:
    """The nearest finite FP16 numbers, shape of ``x``."""
    return np.clip(x, -65504.0, 65504.0).astype(np.float16)


def _steps(x: Halves, steps: npt.NDArray[np.int64]) -> Halves:
    """The FP16 numbers so many steps above each x; shapes broadcast. Infinity is not reached."""
    signed = x.view(np.int16).astype(np.int64)
    rank = np.where(signed < 0, -(signed & 0x7FFF), signed) + steps
    rank = np.clip(rank, -0x7BFF, 0x7BFF)
    patterns: Bits = np.where(rank < 0, -rank | 0x8000, rank).astype(np.uint16)
    return patterns.view(np.float16)


def _best_line(line: Halves, bits: Bits, x: Reals, target: Reals, weights: Reals) -> Halves:
    """Slope and offset with the least error of the bits: ``line`` or near the least-squares line."""
    weights = weights / weights.sum()
    centre, level = weights @ x, weights @ target
    slope = (weights * (x - centre)) @ (target - level) / (weights @ (x - centre) ** 2)
    slopes = _steps(_nearest(np.array([slope])), _SLOPES)
    offsets = _steps(_nearest(level - slopes.astype(np.float64) * centre)[:, None], _OFFSETS)
    candidates = np.stack([np.broadcast_to(slopes[:, None], offsets.shape), offsets], axis=-1).reshape(-1, 2)
    candidates = np.concatenate([line[None], candidates])
    pattern = candidates.view(np.uint16)
    results = multiply_add(pattern[:, :1], bits[None], pattern[:, 1:], FORMATS["fp16"]).view(np.float16).astype(np.float64)
    best: Halves = candidates[np.argmin((results - target) ** 2 @ weights)]
    return best


def _best_bounds(
    bounds: npt.NDArray[np.int64], table: Halves, bits: Bits, target: Reals, weights: Reals
) -> npt.NDArray[np.int64]:
    """Each boundary moved, between its neighbours, to where the sum of both sides' errors is least."""
    bounds = bounds.copy()
    pattern = table.view(np.uint16)
    for index in range(1, len(bounds) - 1):
        part = slice(bounds[index - 1], bounds[index + 1])
        if part.stop - part.start < 2:
            continue
        pair = pattern[index - 1 : index + 1]
        sides = multiply_add(pair[:, :1], bits[None, part], pair[:, 1:], FORMATS["fp16"])
        errors = weights[part] * (sides.view(np.float16).astype(np.float64) - target[part]) ** 2
        excess = np.concatenate([[0.0], np.cumsum(errors[0] - errors[1])])
        bounds[index] = part.start + int(np.argmin(excess))
    return bounds
