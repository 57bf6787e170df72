"""Fitting Flex-SFU's tables: piecewise-linear functions with free knots, in real numbers and then in FP16."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from lanewise.config import SEGMENT_COUNTS
from lanewise.errors import UserError
from lanewise.models.functions import FUNCTIONS, Function, Reals
from lanewise.models.pwl import PwlFit
from lanewise.models.pwl_fp16 import fit_fp16, operands
from lanewise.models.pwl_real import CELLS, fit_real, limit_mse, midpoints, uniform_mse

__all__ = ["FORMATS", "PwlFit", "fit"]

FORMATS = ("fp16", "real")
_FP16_MAXIMUM = 65504.0


def fit(
    function: str | Callable[[Any], Any],
    *,
    segments: int,
    degree: int = 1,
    format: str = "fp16",
    range: tuple[float, float] | None = None,
) -> PwlFit:
    """Fit ``function`` with ``segments`` segments, the two tails included.

    The same arguments give the same table.

    Args:
        function: A name of :data:`~lanewise.models.functions.FUNCTIONS`, a
            :class:`~lanewise.models.functions.Function`, or any callable on float64 torch tensors (then
            ``range`` is needed and the tails continue the outermost lines).
        segments: 4, 8, 16, 32 or 64.
        degree: 1.
        format: ``fp16``, or ``real`` for unrounded numbers.
        range: Interval over which the error counts; the function's own if ``None``.

    Raises:
        UserError: The function is unknown or leaves the format's numbers, or another argument is not allowed.
    """
    if isinstance(segments, bool) or not isinstance(segments, int) or segments not in SEGMENT_COUNTS:
        raise UserError(f"segments must be 4, 8, 16, 32 or 64, not {segments!r}")
    if degree != 1:
        raise UserError(f"degree must be 1 in this version, not {degree!r}")
    if format not in FORMATS:
        raise UserError(f"format must be {' or '.join(FORMATS)}, not {format!r}")
    subject = _subject(function, range)
    low, high = subject.range if range is None else _interval(range)
    if format == "fp16" and max(abs(low), abs(high)) > _FP16_MAXIMUM:
        raise UserError(f"range must lie in FP16's [-65504, 65504], not {low} {high}")
    if format == "fp16" and len(operands(low, high)[0]) < segments:
        raise UserError(
            f"range must hold at least {segments} FP16 numbers, not as few as {low} to {high} does"
        )
    _check_values(subject, format, low, high)
    return _fit(subject, segments, format, low, high)


def _check_values(subject: Function, number_format: str, low: float, high: float) -> None:
    values = subject(np.linspace(low, high, 2 * CELLS + 1))
    if number_format == "fp16":
        values = np.append(values, subject(operands(low, high)[1]))
    if not np.isfinite(values).all():
        raise UserError(
            f"function {subject.name} is not finite everywhere in [{low}, {high}]; "
            "expected a range in which it is"
        )
    largest = float(np.abs(values).max())
    if number_format == "fp16" and largest > _FP16_MAXIMUM:
        raise UserError(
            f"function {subject.name} reaches {largest:.6g} in [{low}, {high}]; expected FP16's at most 65504"
        )


def _subject(function: str | Callable[[Any], Any], interval: object) -> Function:
    if isinstance(function, Function):
        return function
    if isinstance(function, str):
        if function not in FUNCTIONS:
            raise UserError(f"function {function!r} is unknown; expected one of {', '.join(FUNCTIONS)}")
        return FUNCTIONS[function]
    if interval is None:
        raise UserError("range is missing; expected one with a function of your own")
    return Function(name=getattr(function, "__name__", "function"), torch=function, range=_interval(interval))


def _interval(interval: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in interval)
    except (TypeError, ValueError):
        raise UserError(f"range must be two numbers, not {interval!r}") from None
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise UserError(f"range must be two finite numbers, the smaller first, not {low} {high}")
    return low, high


@lru_cache(maxsize=1024)
def _real(subject: Function, segments: int, low: float, high: float) -> tuple[Reals, Reals, float]:
    """Breakpoints, lines and the seconds that they took."""
    start = time.perf_counter()
    breakpoints, lines = fit_real(subject, segments, low, high)
    return breakpoints, lines, time.perf_counter() - start


@lru_cache(maxsize=1024)
def _fit(subject: Function, segments: int, number_format: str, low: float, high: float) -> PwlFit:
    breakpoints, lines, seconds = _real(subject, segments, low, high)
    start = time.perf_counter()
    if number_format == "fp16":
        breakpoints, lines = fit_fp16(subject, breakpoints, lines, low, high)
        _, x, weights = operands(low, high)
        target = subject(x)
        rounding = float(weights @ (target.astype(np.float16).astype(np.float64) - target) ** 2)
    else:
        x = midpoints(low, high, 8 * CELLS)
        weights, target, rounding = np.full(len(x), 1 / len(x)), subject(x), 0.0
    result = PwlFit(
        function=subject.name,
        segments=segments,
        degree=1,
        format=number_format,
        range=(low, high),
        breakpoints=tuple(breakpoints.tolist()),
        coefficients=tuple((float(offset), float(slope)) for slope, offset in lines),
        mse=0.0,
        aae2=0.0,
        max_error=0.0,
        limit_mse=limit_mse(subject, segments, low, high),
        uniform_mse=uniform_mse(subject, segments, low, high),
        rounding_mse=rounding,
        seconds=0.0,
    )
    error = np.abs(result.evaluate(x) - target)
    return replace(
        result,
        mse=float(weights @ error**2),
        aae2=float(weights @ error) ** 2,
        max_error=float(error.max()),
        seconds=seconds + time.perf_counter() - start,
    )
