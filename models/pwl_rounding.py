"""From a real fit to one in a number format: its scales, and its mirror image."""

import numpy as np

from lanewise.errors import UserError
from lanewise.formats import FORMATS as NUMBER_FORMATS
from lanewise.models.functions import Function
from lanewise.models.numbers import rank, unrank
from lanewise.models.pwl_cells import Cells
from lanewise.models.pwl_format import fit_format, next_number
from lanewise.models.pwl_pieces import CELLS, Weight
from lanewise.models.pwl_real import RealFit
from lanewise.models.pwl_scaling import Scaling, scaling_of
from lanewise.models.symmetry import Symmetry, half_of, mirrored


class TooSteepError(UserError):
    """No scale that is left holds a piece's slope."""


def scaling_for(
    subject: Function, fitted: RealFit, format: str, low: float, high: float,
    input_scale: float | None, output_scale: float | None, *, odd: bool,
) -> Scaling:  # fmt: skip
    """The scales that are asked for, or those with which the range, the results and the pieces just fit.

    Args:
        subject: The function.
        fitted: Its real fit.
        format: A number format.
        low: Start of the range.
        high: Its end.
        input_scale: Real operand = integer x scale.
        output_scale: Likewise of the results.
        odd: Whether results are to be mirrored exactly.

    Raises:
        UserError: A scale is too small.
    """
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
    if odd:  # nothing may saturate: the smallest integer has no opposite
        x = np.linspace(low, high, 2 * CELLS + 1)
        powers = x[:, None] ** np.arange(fitted.coefficients.shape[1])
        pieces = fitted.coefficients[np.searchsorted(fitted.breakpoints, x, side="right")]
        least = max(least, float(np.abs((pieces * powers).sum(axis=1)).max()) / (top - 1))
    problem = ""
    # steep pieces need a coarser result; by default as coarse as they need, but never so coarse that nothing is left
    for doubling in np.arange(1 if output_scale else NUMBER_FORMATS[format].bits).tolist():
        try:
            return scaling_of(
                format, fitted.coefficients.shape[1] - 1, fitted,
                input_scale=input_scale or reach / top,
                output_scale=output_scale or least * 2.0**doubling,
            )  # fmt: skip
        except ValueError as error:
            problem = str(error)
    raise TooSteepError(problem)


def is_odd(symmetry: Symmetry | None) -> bool:
    """Whether a function is odd about the middle of its range, without a line to add."""
    return symmetry is not None and (symmetry.sign, symmetry.offset, symmetry.slope) == (-1, 0.0, 0.0)


def in_format(
    subject: Function, fitted: RealFit, scaling: Scaling, low: float, high: float, weight: Weight,
    pin: tuple[bool, bool], symmetry: Symmetry | None, cells: Cells,
) -> RealFit:  # fmt: skip
    """The fit rounded to the format; of a symmetric one, the right half, mirrored."""
    if symmetry is None:
        return fit_format(subject, fitted, scaling, low, high, weight=weight, pin=pin, cells=cells)
    middle = len(fitted.coefficients) // 2
    right = RealFit(breakpoints=fitted.breakpoints[middle:], coefficients=fitted.coefficients[middle:])
    half = half_of(subject, symmetry, high)
    right = fit_format(
        half, right, scaling, symmetry.centre, high, weight=weight, pin=(False, pin[1]), cells=cells
    )
    both = mirrored(right, symmetry)
    knots = scaling.operand_bits(both.breakpoints)
    # an element at a breakpoint belongs to the right; its mirror image must belong to the left
    left = next_number(knots[: middle - 1], scaling.form)
    # pieces that no element falls in may begin at the centre: their mirror images end there
    ranks = np.minimum(rank(left, scaling.form), rank(knots[middle - 1 : middle], scaling.form))
    knots[: middle - 1] = unrank(ranks, scaling.form)
    return RealFit(
        breakpoints=scaling.operand(knots),
        coefficients=scaling.coefficients(scaling.coefficient_bits(both.coefficients)),
    )
