"""Fitting Flex-SFU's tables: piecewise polynomials with free knots, in real numbers and then in a number format."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from lanewise.config import DEGREES, SEGMENT_COUNTS
from lanewise.errors import UserError
from lanewise.formats import FORMATS as NUMBER_FORMATS
from lanewise.models.functions import FUNCTIONS, Function, Reals
from lanewise.models.pwl import REAL, PwlFit
from lanewise.models.pwl_format import Scaling, fit_format, next_number, operands, scaling_of
from lanewise.models.pwl_limit import limit_mse, uniform_mse
from lanewise.models.pwl_paper import fit_paper
from lanewise.models.pwl_pieces import CELLS, Weight, midpoints, uniform_weight
from lanewise.models.pwl_real import RealFit, fit_real
from lanewise.models.symmetry import Symmetry, half_of, mirrored, symmetry_of

__all__ = ["FORMATS", "METHODS", "PwlFit", "fit"]

FORMATS = (*NUMBER_FORMATS, REAL)
METHODS = ("optimal", "paper")

_RELATIVE_FLOOR = 1e-3
"""Relative errors are to |f|, but to no less than this share of its largest value."""


def fit(
    function: str | Callable[[Any], Any],
    *,
    segments: int,
    degree: int = 1,
    format: str = "fp16",
    range: tuple[float, float] | None = None,
    method: str = "optimal",
    pin_tails: bool = True,
    symmetric: bool = False,
    relative: bool = False,
    weights: Callable[[Any], Any] | Any | None = None,
    input_scale: float | None = None,
    output_scale: float | None = None,
) -> PwlFit:
    """Fit ``function`` with ``segments`` segments, the two tails included.

    The same arguments give the same table.

    Args:
        function: A name of :data:`~lanewise.models.functions.FUNCTIONS`, a
            :class:`~lanewise.models.functions.Function`, or any callable on torch tensors, numpy arrays or floats
            (then ``range`` is needed and the tails continue the outermost pieces).
        segments: 4, 8, 16, 32 or 64.
        degree: 1 or 2.
        format: A number format, or ``real`` for unrounded numbers.
        range: Interval over which the error counts; the function's own if ``None``.
        method: ``optimal``: dynamic programming and Newton's method on the knots, least squares in each segment.
            ``paper``: gradient steps and exchanges (:mod:`lanewise.models.pwl_paper`).
        pin_tails: Tails lie on the function's asymptotes, where it has them; else they continue the outermost
            pieces, which serves the range better and what lies outside it not at all.
        symmetric: One half of the table mirrors the other; for functions that are odd or even about a point but for
            a straight line (tanh, sigmoid, GELU, ...).
        relative: Errors are divided by the function's magnitude.
        weights: Distribution of the inputs: a density (a callable on numpy arrays), or samples of it.
        input_scale: Of an integer format: real operand = integer x scale. Default: the range just fits.
        output_scale: Likewise of the results. Default: the function's values in the range and the offsets just fit.

    Raises:
        UserError: The function is unknown or leaves the format's numbers, or another argument is not allowed.
    """
    if isinstance(segments, bool) or not isinstance(segments, int) or segments not in SEGMENT_COUNTS:
        raise UserError(f"segments must be 4, 8, 16, 32 or 64, not {segments!r}")
    if isinstance(degree, bool) or degree not in DEGREES:
        raise UserError(f"degree must be 1 or 2, not {degree!r}")
    if format not in FORMATS:
        raise UserError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    if method not in METHODS:
        raise UserError(f"method must be {' or '.join(METHODS)}, not {method!r}")
    plain = pin_tails and not symmetric and not relative and weights is None
    if method == "paper" and not plain:
        raise UserError("method 'paper' has pinned tails and plain errors; expected no other option with it")
    subject = _subject(function, range)
    low, high = subject.range if range is None else _interval(range)
    for name, scale in (("input_scale", input_scale), ("output_scale", output_scale)):
        if scale is not None and (format == REAL or NUMBER_FORMATS[format].floating):
            raise UserError(f"{name} must be left out for {format}, not {scale!r}: only integers have scales")
        if scale is not None and not (np.isfinite(scale) and scale > 0):
            raise UserError(f"{name} must be a positive number, not {scale!r}")
    _check_values(subject, format, low, high)
    options = (method, pin_tails, symmetric, relative, input_scale, output_scale)
    if weights is None:
        return _cached(subject, segments, degree, format, low, high, options)
    return _fit(subject, segments, degree, format, low, high, options, _density_of(weights, low, high))


def _check_values(subject: Function, number_format: str, low: float, high: float) -> None:
    values = subject(np.linspace(low, high, 2 * CELLS + 1))
    if not np.isfinite(values).all():
        raise UserError(
            f"function {subject.name} is not finite everywhere in [{low}, {high}]; "
            "expected a range in which it is"
        )
    if number_format == REAL or not NUMBER_FORMATS[number_format].floating:
        return
    top, name = NUMBER_FORMATS[number_format].maximum, number_format.upper()
    if max(abs(low), abs(high)) > top:
        raise UserError(f"range must lie in {name}'s [-{top:g}, {top:g}], not {low} {high}")
    largest = float(np.abs(values).max())
    if largest > top:
        raise UserError(
            f"function {subject.name} reaches {largest:.6g} in [{low}, {high}]; expected {name}'s at most {top:g}"
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
    low, high = _interval(interval)
    name = getattr(function, "__name__", "function")
    return Function(name=name, torch=_on_tensors(function, low, high), range=(low, high))


@lru_cache(maxsize=256)
def _on_tensors(
    function: Callable[[Any], Any], low: float, high: float
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The callable as one on tensors, whatever it takes: tensors, arrays or floats.

    Raises:
        UserError: It takes none of them.
    """
    probe = torch.linspace(low, high, 5, dtype=torch.float64)[1:4]

    def on_arrays(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.asarray(function(x.numpy()), np.float64))

    def on_floats(x: torch.Tensor) -> torch.Tensor:
        values = [float(function(v)) for v in x.reshape(-1).tolist()]
        return torch.tensor(values, dtype=torch.float64).reshape(x.shape)

    for way in (function, on_arrays, on_floats):
        try:
            result = way(probe)
        except Exception:  # noqa: BLE001 - whatever a stranger's function raises for what it does not take
            continue
        if isinstance(result, torch.Tensor) and result.shape == probe.shape:
            return way
    name = getattr(function, "__name__", "function")
    raise UserError(
        f"function {name} must take tensors, arrays or floats in [{low}, {high}] and give as many numbers"
    )


def _interval(interval: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in interval)
    except (TypeError, ValueError):
        raise UserError(f"range must be two numbers, not {interval!r}") from None
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise UserError(f"range must be two finite numbers, the smaller first, not {low} {high}")
    return low, high


def _density_of(weights: Any, low: float, high: float) -> Weight:
    """A density from a callable, or from samples: their histogram, smoothed, above a hundredth of its mean."""
    x = midpoints(low, high, 512)
    if callable(weights):
        values = np.asarray(weights(x), np.float64)
        if values.shape != x.shape or not np.isfinite(values).all() or (values < 0).any() or not values.any():
            raise UserError("weights must give finite numbers of at least 0, some above it, one for each x")
        return lambda v: np.asarray(weights(v), np.float64)
    samples = np.asarray(weights, np.float64).reshape(-1)
    samples = samples[np.isfinite(samples) & (samples >= low) & (samples <= high)]
    if samples.size < 100:
        raise UserError(f"weights must have at least 100 samples in [{low}, {high}], not {samples.size}")
    counts = np.histogram(samples, 512, (low, high))[0].astype(np.float64)
    smooth = np.convolve(np.pad(counts, 8, mode="edge"), np.hanning(19)[1:-1], mode="valid")
    smooth /= smooth.mean()
    return lambda v: np.interp(v, x, smooth + 0.01)


_Options = tuple[str, bool, bool, bool, float | None, float | None]


@lru_cache(maxsize=4096)
def _cached(
    subject: Function, segments: int, degree: int, format: str, low: float, high: float, options: _Options
) -> PwlFit:
    return _fit(subject, segments, degree, format, low, high, options, uniform_weight)


@lru_cache(maxsize=1024)
def _plain_real(
    subject: Function, segments: int, degree: int, low: float, high: float, method: str, pin: bool
) -> tuple[RealFit, float]:
    """The real fit that all formats share, and its seconds."""
    start = time.perf_counter()
    if method == "paper":
        result = fit_paper(subject, segments, low, high, degree=degree)
    else:
        result = fit_real(subject, segments, low, high, degree=degree, pin=(pin, pin))
    return result, time.perf_counter() - start


def _fit(
    subject: Function, segments: int, degree: int, format: str, low: float, high: float, options: _Options,
    distribution: Weight,
) -> PwlFit:  # fmt: skip
    method, pin_tails, symmetric, relative, input_scale, output_scale = options
    start = time.perf_counter()
    largest = float(np.abs(subject(midpoints(low, high, CELLS))).max())

    def weight(x: Reals) -> Reals:
        if not relative:
            return distribution(x)
        return np.asarray(
            distribution(x) / np.maximum(np.abs(subject(x)), _RELATIVE_FLOOR * largest + 1e-300) ** 2
        )

    pin = (pin_tails, pin_tails)
    spent = 0.0
    symmetry: Symmetry | None = None
    if symmetric:
        symmetry = symmetry_of(subject, low, high)
        half = half_of(subject, symmetry, high)
        fitted = fit_real(
            half, segments // 2, symmetry.centre, high, degree=degree, weight=weight, pin=(False, pin_tails)
        )
        fitted = mirrored(fitted, symmetry)
    elif distribution is uniform_weight and not relative:
        fitted, spent = _plain_real(subject, segments, degree, low, high, method, pin_tails)
    else:
        fitted = fit_real(subject, segments, low, high, degree=degree, weight=weight, pin=pin)

    scaling: Scaling | None = None
    if format == REAL:
        x = midpoints(low, high, 8 * CELLS)
        share = distribution(x)
        share, target, rounding = share / share.sum(), subject(x), 0.0
    else:
        scaling = _scaling(subject, fitted, format, degree, low, high, input_scale, output_scale)
        count = operands(scaling, low, high, distribution)[0].size
        if count < min(segments, 8):
            raise UserError(
                f"range must hold at least {min(segments, 8)} {format.upper()} numbers, not as few as {low} to {high} does"
            )
        if method == "optimal":
            fitted = _in_format(subject, fitted, scaling, low, high, weight, pin, symmetry)
        _, x, share = operands(scaling, low, high, distribution)
        target = subject(x)
        rounding = float(share @ _scaled(scaling.rounded(target) - target, target, relative, largest) ** 2)
    result = PwlFit(
        function=subject.name, segments=segments, degree=degree, format=format, method=method, range=(low, high),
        pin_tails=pin_tails, symmetric=symmetric, relative=relative, weighted=distribution is not uniform_weight,
        breakpoints=tuple(fitted.breakpoints.tolist()),
        coefficients=tuple(tuple(piece) for piece in fitted.coefficients.tolist()),
        scaling=scaling, mse=0.0, aae2=0.0, max_error=0.0,
        limit_mse=limit_mse(subject, segments, low, high, degree, weight) if not relative else
        _relative_limit(subject, segments, low, high, degree, weight, distribution),
        uniform_mse=uniform_mse(subject, segments, low, high, degree, distribution) if not relative else
        uniform_mse(subject, segments, low, high, degree, weight) * _mean_ratio(weight, distribution, low, high),
        rounding_mse=rounding, seconds=0.0,
    )  # fmt: skip
    error = np.abs(_scaled(result.evaluate(x) - target, target, relative, largest))
    return replace(
        result,
        mse=float(share @ error**2),
        aae2=float(share @ error) ** 2,
        max_error=float(error.max()),
        seconds=spent + time.perf_counter() - start,
    )


def _scaled(error: Reals, target: Reals, relative: bool, largest: float) -> Reals:
    return error / np.maximum(np.abs(target), _RELATIVE_FLOOR * largest + 1e-300) if relative else error


def _mean_ratio(weight: Weight, distribution: Weight, low: float, high: float) -> float:
    """What turns a mean over ``weight`` into one over ``distribution``."""
    x = midpoints(low, high, CELLS)
    return float(weight(x).mean() / distribution(x).mean())


def _relative_limit(
    subject: Function,
    segments: int,
    low: float,
    high: float,
    degree: int,
    weight: Weight,
    distribution: Weight,
) -> float:
    ratio = _mean_ratio(weight, distribution, low, high)
    return limit_mse(subject, segments, low, high, degree, weight) * ratio


def _scaling(
    subject: Function, fitted: RealFit, format: str, degree: int, low: float, high: float,
    input_scale: float | None, output_scale: float | None,
) -> Scaling:  # fmt: skip
    top = NUMBER_FORMATS[format].maximum
    largest = float(np.abs(subject(np.linspace(low, high, 2 * CELLS + 1))).max())
    reach = max(abs(low), abs(high))
    for name, scale, what, value in (
        ("input_scale", input_scale, "range", reach),
        ("output_scale", output_scale, f"function {subject.name}", largest),
    ):
        if scale and value > (top + 1) * scale:
            raise UserError(
                f"{name} must be at least {value / top:.6g} for {format}, whose numbers end at {top:g}, "
                f"not {scale!r}: the {what} reaches {value:.6g}"
            )
    least = max(largest, float(np.abs(fitted.coefficients[:, 0]).max()), 1e-30) / top
    problem = ""
    # steep pieces need a coarser result; by default as coarse as they need, but never so coarse that nothing is left
    for doubling in np.arange(1 if output_scale else NUMBER_FORMATS[format].bits).tolist():
        try:
            return scaling_of(
                format, degree, fitted,
                input_scale=input_scale or reach / top,
                output_scale=output_scale or least * 2.0**doubling,
            )  # fmt: skip
        except ValueError as error:
            problem = str(error)
    raise UserError(problem)


def _in_format(
    subject: Function, fitted: RealFit, scaling: Scaling, low: float, high: float, weight: Weight,
    pin: tuple[bool, bool], symmetry: Symmetry | None,
) -> RealFit:  # fmt: skip
    """The fit rounded to the format; of a symmetric one, the right half, mirrored."""
    if symmetry is None:
        return fit_format(subject, fitted, scaling, low, high, weight=weight, pin=pin)
    middle = len(fitted.coefficients) // 2
    right = RealFit(breakpoints=fitted.breakpoints[middle:], coefficients=fitted.coefficients[middle:])
    half = half_of(subject, symmetry, high)
    right = fit_format(half, right, scaling, symmetry.centre, high, weight=weight, pin=(False, pin[1]))
    both = mirrored(right, symmetry)
    knots = scaling.operand_bits(both.breakpoints)
    # an element at a breakpoint belongs to the right; its mirror image must belong to the left
    knots[: middle - 1] = next_number(knots[: middle - 1], scaling.form)
    return RealFit(
        breakpoints=scaling.operand(knots),
        coefficients=scaling.coefficients(scaling.coefficient_bits(both.coefficients)),
    )
