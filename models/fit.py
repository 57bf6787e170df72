"""Fitting Flex-SFU's tables: piecewise polynomials with free knots, in real numbers and then in a number format."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np

from lanewise.config import DEGREES, SEGMENT_COUNTS
from lanewise.errors import UserError
from lanewise.formats import FORMATS as NUMBER_FORMATS
from lanewise.models.functions import FUNCTIONS, Function, Reals
from lanewise.models.pwl import REAL, PwlFit
from lanewise.models.pwl_arguments import check_values, density_of, interval_of, subject_of
from lanewise.models.pwl_cells import Cells, cells_of
from lanewise.models.pwl_format import operands
from lanewise.models.pwl_limit import limit_mse, uniform_mse
from lanewise.models.pwl_paper import fit_paper
from lanewise.models.pwl_pieces import CELLS, Weight, midpoints, uniform_weight
from lanewise.models.pwl_real import RealFit, fit_real
from lanewise.models.pwl_rounding import TooSteepError, in_format, is_odd, scaling_for
from lanewise.models.pwl_scaling import Scaling
from lanewise.models.symmetry import half_of, mirrored, symmetry_of

__all__ = ["FORMATS", "METHODS", "PwlFit", "fit"]

FORMATS = (*NUMBER_FORMATS, REAL)
METHODS = ("optimal", "paper")

_RELATIVE_FLOOR = 1e-3
"""Relative errors are to |f|, but to no less than this share of its largest value."""
_UNWEIGHTED = 1e-18
"""What an input counts that a density has not, as a share of the mean: too little to cost anything."""


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
            pieces, which serves the range better and what lies outside it not at all. The tail that begins at the
            largest integer is free where the function is far from its asymptote: nothing lies beyond.
        symmetric: One half of the table mirrors the other; for functions that are odd or even about a point but for
            a straight line (tanh, sigmoid, GELU, ...). Results of an odd one are exact opposites; of integers with an
            ``output_scale`` so small that some saturate, to one unit: the smallest integer has no opposite.
        relative: Errors are divided by the function's magnitude.
        weights: Distribution of the inputs: a density (a callable on numpy arrays), or samples of it.
        input_scale: Of an integer format: real operand = integer x scale. Default: the range just fits.
        output_scale: Likewise of the results. Default: the function's values in the range and the offsets just fit.

    Raises:
        UserError: The function is unknown or leaves the format's numbers, or another argument is not allowed.
    """
    if isinstance(segments, bool) or not isinstance(segments, int) or segments not in SEGMENT_COUNTS:
        raise UserError(f"segments must be 4, 8, 16, 32 or 64, not {segments!r}")
    if type(degree) is not int or degree not in DEGREES:
        raise UserError(f"degree must be 1 or 2, not {degree!r}")
    if format not in FORMATS:
        raise UserError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    if method not in METHODS:
        raise UserError(f"method must be {' or '.join(METHODS)}, not {method!r}")
    plain = pin_tails and not symmetric and not relative and weights is None
    if method == "paper" and not plain:
        raise UserError("method 'paper' has pinned tails and plain errors; expected no other option with it")
    for name, scale in (("input_scale", input_scale), ("output_scale", output_scale)):
        if scale is not None and (format == REAL or NUMBER_FORMATS[format].floating):
            raise UserError(f"{name} must be left out for {format}, not {scale!r}: only integers have scales")
        if scale is not None and not _positive(scale):
            raise UserError(f"{name} must be a positive number, not {scale!r}")
    options = (method, pin_tails, symmetric, relative, input_scale, output_scale)
    with np.errstate(all="ignore"):  # what overflows is refused by what comes of it
        subject = subject_of(function, range)
        low, high = interval_of(subject.range if range is None else range)
        if weights is None and FUNCTIONS.get(subject.name) is subject:
            return _cached(subject, segments, degree, format, low, high, options)
        distribution = uniform_weight if weights is None else density_of(weights, low, high)
        return _fit(subject, segments, degree, format, low, high, options, distribution)


def _positive(value: Any) -> bool:
    return type(value) is not bool and isinstance(value, Real) and 0 < float(value) < float("inf")


_Options = tuple[str, bool, bool, bool, float | None, float | None]


@lru_cache(maxsize=4096)
def _cached(
    subject: Function, segments: int, degree: int, format: str, low: float, high: float, options: _Options
) -> PwlFit:
    return _fit(subject, segments, degree, format, low, high, options, uniform_weight)


def _plain_real(
    subject: Function, segments: int, degree: int, low: float, high: float, method: str, pin: bool
) -> tuple[RealFit, float]:
    """The real fit that all formats share, and its seconds; only the project's own functions never change."""
    arguments = (subject, segments, degree, low, high, method, pin)
    known = FUNCTIONS.get(subject.name) is subject
    return _shared_real(*arguments) if known else _shared_real.__wrapped__(*arguments)


@lru_cache(maxsize=1024)
def _shared_real(
    subject: Function, segments: int, degree: int, low: float, high: float, method: str, pin: bool
) -> tuple[RealFit, float]:
    start = time.process_time()
    if method == "paper":
        result = fit_paper(subject, segments, low, high, degree=degree)
    else:
        result = fit_real(subject, segments, low, high, degree=degree, pin=(pin, pin))
    return result, time.process_time() - start


def _fit(
    subject: Function, segments: int, degree: int, format: str, low: float, high: float, options: _Options,
    distribution: Weight,
) -> PwlFit:  # fmt: skip
    """Of integers the better of two where the function bends in a small part of the range: they may be too far apart
    for all the knots that the real fit puts there."""
    form = NUMBER_FORMATS.get(format)
    check_values(subject, form, low, high)
    shape = (subject, segments, degree, format, low, high, options, distribution)
    if form is None or form.floating or cells_of(subject, low, high, degree, distribution).even:
        return _fit_once(*shape)
    results, problem = [], UserError()
    for fine in (True, False):
        try:
            results.append(_fit_once(*shape, fine=fine))
        except TooSteepError as error:
            problem = error
    if not results:
        raise problem
    return min(results, key=lambda result: result.mse)


def _fit_once(
    subject: Function, segments: int, degree: int, format: str, low: float, high: float, options: _Options,
    distribution: Weight, *, fine: bool = True,
) -> PwlFit:  # fmt: skip
    method, pin_tails, symmetric, relative, input_scale, output_scale = options
    start = time.process_time()
    cells = cells_of(subject, low, high, degree, distribution)
    largest = float(np.abs(subject(cells.middles)).max())
    least = _RELATIVE_FLOOR * largest + 1e-300 if largest else 1.0
    mean = float(cells.widths @ distribution(cells.middles)) / (high - low)

    def weight(x: Reals) -> Reals:
        if not relative:
            return distribution(x)
        return np.asarray(distribution(x) / np.maximum(np.abs(subject(x)), least) ** 2)

    def served(x: Reals) -> Reals:
        """What nothing weighs has a fit all the same."""
        return weight(x) if distribution is uniform_weight else weight(x) + _UNWEIGHTED * mean

    pin = (pin_tails, pin_tails)
    spent = 0.0
    symmetry = symmetry_of(subject, low, high) if symmetric else None

    def real(degree: int, limit: float | None = None) -> RealFit:
        if symmetry is None:
            return fit_real(
                subject, segments, low, high, degree=degree, weight=served, pin=pin, limit=limit, fine=fine
            )
        right = fit_real(
            half_of(subject, symmetry, high), segments // 2, symmetry.centre, high,
            degree=degree, weight=served, pin=(False, pin_tails), limit=limit, fine=fine,
        )  # fmt: skip
        return mirrored(right, symmetry)

    if symmetry is None and distribution is uniform_weight and not relative and (fine or method == "paper"):
        fitted, spent = _plain_real(subject, segments, degree, low, high, method, pin_tails)
    else:
        fitted = real(degree)
    if format != REAL and NUMBER_FORMATS[format].floating and method == "optimal":
        top = NUMBER_FORMATS[format].maximum
        if np.abs(fitted.coefficients).max() > top:
            fitted = real(degree, top)

    scaling: Scaling | None = None
    if format == REAL:
        x, widths = (midpoints(low, high, 8 * CELLS), np.ones(8 * CELLS)) if cells.even else cells.divided(8)
        share = distribution(x) * widths
        share, target, rounding = share / share.sum(), subject(x), 0.0
    else:
        scales = input_scale, output_scale
        try:
            scaling = scaling_for(subject, fitted, format, low, high, *scales, odd=is_odd(symmetry))
        except TooSteepError:
            if degree == 1 or method == "paper":
                raise
            # parabolas far narrower than the integers are apart: lines, then
            fitted = real(1)
            fitted = replace(fitted, coefficients=np.pad(fitted.coefficients, ((0, 0), (0, 1))))
            scaling = scaling_for(subject, fitted, format, low, high, *scales, odd=is_odd(symmetry))
        count = operands(scaling, low, high, distribution)[0].size
        if count < min(segments, 8):
            raise UserError(
                f"range must hold at least {min(segments, 8)} {format.upper()} numbers, not as few as {low} to {high} does"
            )
        if method == "optimal":
            fitted = in_format(subject, fitted, scaling, low, high, served, pin, symmetry, cells)
        _, x, share = operands(scaling, low, high, distribution, cells)
        target = subject(x)
        rounding = float(share @ _scaled(scaling.rounded(target) - target, target, relative, least) ** 2)
    result = PwlFit(
        function=subject.name, segments=segments, degree=degree, format=format, method=method, range=(low, high),
        pin_tails=pin_tails, symmetric=symmetric, relative=relative, weighted=distribution is not uniform_weight,
        breakpoints=tuple(fitted.breakpoints.tolist()),
        coefficients=tuple(tuple(piece) for piece in fitted.coefficients.tolist()),
        scaling=scaling, mse=0.0, aae2=0.0, max_error=0.0,
        limit_mse=limit_mse(subject, segments, low, high, degree, weight) if not relative else
        _relative_limit(subject, segments, low, high, degree, weight, distribution),
        uniform_mse=uniform_mse(subject, segments, low, high, degree, distribution) if not relative else
        uniform_mse(subject, segments, low, high, degree, weight) * _mean_ratio(weight, distribution, cells),
        rounding_mse=rounding, seconds=0.0,
    )  # fmt: skip
    error = np.abs(_scaled(result.evaluate(x) - target, target, relative, least))
    result = replace(
        result,
        mse=float(share @ error**2),
        aae2=float(share @ error) ** 2,
        max_error=float(error.max()),
        seconds=spent + time.process_time() - start,
    )
    if not np.isfinite([result.mse, result.max_error, result.limit_mse, result.uniform_mse]).all():
        raise UserError(
            f"range must be one in which {segments} {format.upper()} segments can hold {subject.name} without overflow, "
            f"not {low} {high}"
        )
    own = subject.range
    covered = (own[0] == low or (own[0] > low and subject.left)) and (
        own[1] == high or (own[1] < high and subject.right)
    )
    if covered and own != (low, high) and pin_tails and not relative and distribution is uniform_weight:
        return _better(result, subject, options, x, share)
    return result


def _better(result: PwlFit, subject: Function, options: _Options, x: Reals, share: Reals) -> PwlFit:
    """A fit, or the table of the function's own range where that does better in the wider one: its tails go on."""
    if result.scaling is not None and not result.scaling.form.floating:
        return result
    start = time.process_time()
    shape = (subject, result.segments, result.degree, result.format, *subject.range, options)
    try:
        own = _cached(*shape) if FUNCTIONS.get(subject.name) is subject else _fit_once(*shape, uniform_weight)
    except UserError:
        return result
    error = np.abs(own.evaluate(x) - subject(x))
    mse = float(share @ error**2)
    seconds = result.seconds + time.process_time() - start
    if not mse < result.mse:
        return replace(result, seconds=seconds)
    return replace(
        result, breakpoints=own.breakpoints, coefficients=own.coefficients, mse=mse, aae2=float(share @ error) ** 2,
        max_error=float(error.max()), seconds=seconds,
    )  # fmt: skip


def _scaled(error: Reals, target: Reals, relative: bool, least: float) -> Reals:
    return error / np.maximum(np.abs(target), least) if relative else error


def _mean_ratio(weight: Weight, distribution: Weight, cells: Cells) -> float:
    """What turns a mean over ``weight`` into one over ``distribution``."""
    x = cells.middles
    return float((cells.widths @ weight(x)) / (cells.widths @ distribution(x)))


def _relative_limit(
    subject: Function,
    segments: int,
    low: float,
    high: float,
    degree: int,
    weight: Weight,
    distribution: Weight,
) -> float:
    ratio = _mean_ratio(weight, distribution, cells_of(subject, low, high, degree, weight))
    return limit_mse(subject, segments, low, high, degree, weight) * ratio
