"""Inclusive prefix scans, in the order of operations of :mod:`lanewise.mapping.kernels.scan`.

The operators are associative, their rounding is not: a segment of a row is scanned in log2(segment) steps (Hillis and Steele, "Data parallel
algorithms", 1986), each of which combines an element with the one a distance before it, the distance doubling; segments follow one another by a
carry. The linear recurrence ``x_t = a_t x_{t-1} + b_t`` from 0 is the scan of the pairs ``(a, b)`` (Blelloch, "Prefix sums and their
applications", 1990); all its products are fused with a sum.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.models.vector import canonical, fused_multiply_add

Float: TypeAlias = npt.NDArray[np.floating[Any]]

OPERATORS = ("sum", "maximum", "decay", "linear")
"""``decay`` is the linear recurrence with one constant for all ``a``."""


def identity(operator: str) -> float:
    """What the first element is combined with."""
    return -np.inf if operator == "maximum" else 0.0


def decay_powers(decay: float, count: int, kind: Any) -> Float:
    """``decay ** 1`` to ``decay ** count``, each rounded once.

    >>> decay_powers(0.5, 3, np.float16)
    array([0.5  , 0.25 , 0.125], dtype=float16)
    """
    powers: Float = (np.float64(kind(decay)) ** np.arange(1, count + 1)).astype(kind)
    return powers


def scan_over_time(operator: str, x: Float, *, decay: float = 1.0, a: Float | None = None) -> Float:
    """Scan of the first axis, one step after the other.

    Args:
        operator: One of :data:`OPERATORS`.
        x: float16 or float32, shape ``(length, columns)``: the elements, of the recurrence ``b``.
        decay: Of ``decay``.
        a: Of ``linear``, shape as ``x``.

    Returns:
        As ``x``.
    """
    factor = _factor(operator, x, decay, a)
    state = np.full(x.shape[1:], identity(operator), x.dtype)
    out = np.empty_like(x)
    for t in range(len(x)):
        state = out[t] = _combine(operator, state, x[t], factor[t])
    return out


def scan_along_rows(
    operator: str, x: Float, *, segment: int, broadcast: bool, decay: float = 1.0, a: Float | None = None
) -> Float:
    """Scan of the last axis, segment by segment.

    Args:
        operator: One of :data:`OPERATORS`.
        x: float16 or float32, shape ``(rows, length)``.
        segment: Elements that are scanned in log2 steps, a power of two.
        broadcast: Whether the carry is combined with every element of a scanned segment, or with the first one before the scan.
        decay: Of ``decay``.
        a: Of ``linear``, shape as ``x``.

    Returns:
        As ``x``.
    """
    rows, length = x.shape
    padded = -(-length // segment) * segment
    b = np.zeros((rows, padded), x.dtype)
    b[:, :length] = x
    factor = np.zeros_like(b)
    factor[:, :length] = _factor(operator, x, decay, a)
    powers = decay_powers(decay, segment, x.dtype.type)
    carry = np.full((rows, 1), identity(operator), x.dtype)
    for first in range(0, padded, segment):
        y, f = b[:, first : first + segment], factor[:, first : first + segment].copy()
        if not broadcast:
            y[:, :1] = _combine(operator, carry, y[:, :1], f[:, :1])
        distance = 1
        while distance < segment:
            before, here = y[:, :-distance].copy(), y[:, distance:].copy()
            weight = np.full_like(here, powers[distance - 1]) if operator == "decay" else f[:, distance:]
            y[:, distance:] = _combine(operator, before, here, weight)
            with np.errstate(all="ignore"):
                f[:, distance:] = canonical(f[:, distance:] * f[:, :-distance])
            distance *= 2
        if broadcast:
            weight = np.broadcast_to(powers, y.shape) if operator == "decay" else f
            y[:] = _combine(operator, np.broadcast_to(carry, y.shape), y, weight)
        carry = y[:, -1:].copy()
    return b[:, :length]


def _factor(operator: str, x: Float, decay: float, a: Float | None) -> Float:
    if operator not in OPERATORS:
        raise ValueError(f"operator must be one of {', '.join(OPERATORS)}, not {operator!r}")
    if (a is not None) != (operator == "linear"):
        raise ValueError(f"a must be {'given' if operator == 'linear' else 'left out'} for {operator!r}")
    return np.full_like(x, decay) if a is None else a


def _combine(operator: str, before: Float, here: Float, factor: Float) -> Float:
    with np.errstate(all="ignore"):
        if operator == "sum":
            return canonical(before + here)
        if operator == "maximum":  # a zero's sign is the one of IEEE 754-2019's maximumNumber
            peak = np.where((before == here) & np.signbit(before), here, np.fmax(before, here))
            return canonical(np.where((before == here) & ~np.signbit(before), before, peak))
        result: Float = fused_multiply_add(factor, before, here)
        return result
