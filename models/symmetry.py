"""Functions that are odd or even about a point, but for a straight line: half a table says it all."""

from dataclasses import dataclass, replace

import numpy as np

from lanewise.errors import UserError
from lanewise.models.functions import Function
from lanewise.models.pwl_real import RealFit


@dataclass(frozen=True, kw_only=True)
class Symmetry:
    """``f(2 c - x) = sign f(x) + offset + slope x`` about the centre c."""

    centre: float
    sign: int
    offset: float
    slope: float


def symmetry_of(subject: Function, low: float, high: float) -> Symmetry:
    """The symmetry of a function about the middle of [low, high].

    tanh and erf are odd; sigmoid is, about (0, 1/2); GELU, SiLU and softplus are even but for x / 2.

    Raises:
        UserError: It has none.

    >>> from lanewise.models.functions import FUNCTIONS
    >>> symmetry_of(FUNCTIONS["gelu"], -8.0, 8.0)
    Symmetry(centre=0.0, sign=1, offset=0.0, slope=-1.0)
    """
    centre = (low + high) / 2
    x = np.linspace(centre, high, 1001)
    here, there = subject(x), subject(2 * centre - x)
    size = np.ptp(here) + np.ptp(there) + 1e-300
    for sign in (-1, 1):
        rest = there - sign * here
        slope = (rest[-1] - rest[0]) / (x[-1] - x[0])
        offset = rest[0] - slope * x[0]
        if np.abs(rest - offset - slope * x).max() < 1e-9 * size:
            return Symmetry(centre=centre, sign=sign, offset=_tidy(offset), slope=_tidy(slope))
    raise UserError(
        f"function {subject.name} must be odd or even about {centre:g}, but for a straight line, to be symmetric"
    )


def _tidy(value: float) -> float:
    """The integer or half that the value misses by a rounding; no negative zero."""
    near = round(2 * value) / 2
    return near + 0.0 if abs(value - near) < 1e-9 else float(value)


def half_of(subject: Function, symmetry: Symmetry, high: float) -> Function:
    """The function on the right of the centre, without a left tail."""
    return replace(subject, left=None, range=(symmetry.centre, high))


def mirrored(right: RealFit, symmetry: Symmetry) -> RealFit:
    """A whole table from its right half, whose first piece begins at the centre."""
    c = symmetry.centre
    left = []
    for piece in right.coefficients[::-1]:
        padded = np.append(piece, np.zeros(3 - len(piece)))
        # the piece at 2 c - x, in powers of x
        turned = np.array([
            padded[0] + 2 * c * padded[1] + 4 * c * c * padded[2], -padded[1] - 4 * c * padded[2], padded[2],
        ])  # fmt: skip
        # f(x) = sign f(2 c - x) + offset + slope (2 c - x), from the definition with x and 2 c - x exchanged
        turned = symmetry.sign * turned
        turned[:2] += symmetry.offset + 2 * c * symmetry.slope, -symmetry.slope
        left.append(turned[: len(piece)])
    breakpoints = np.concatenate([2 * c - right.breakpoints[::-1], [c], right.breakpoints])
    return RealFit(breakpoints=breakpoints, coefficients=np.concatenate([np.array(left), right.coefficients]))
