"""Tables for range reduction: what Flex-SFU holds while :mod:`lanewise.models.reduction` evaluates a function.

Reciprocal, rsqrt, log, sin, cos and FP32's exp need one polynomial piece, fitted on the reduced interval. FP16's exp
is a product of two exps, both looked up in one table: some segments hold one number each, exp of one of the large factor's few
operands, and the others divide the interval of the small factor's operand evenly, which for exp makes their relative errors equal.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from math import exp, log, pi, sqrt
from typing import Any

import numpy as np
import torch

from lanewise.errors import UserError
from lanewise.formats import FORMATS
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import SfuTable
from lanewise.models.functions import Function
from lanewise.models.numbers import Reals, encode
from lanewise.models.reduction import GRID, KEPT_BITS, REDUCED, exp_grid

EXP_MAXIMUM = log(65520)
"""From here on exp is beyond FP16's numbers."""


@lru_cache(maxsize=256)
def reduction_table(function: str, *, segments: int = 32, degree: int = 1, format: str = "fp16") -> SfuTable:
    """The table with which :func:`~lanewise.models.reduction.reduced` evaluates ``function``.

    Args:
        function: One of :data:`~lanewise.models.reduction.REDUCED`.
        segments: 4, 8, 16, 32 or 64; for FP16's two exps at least 16.
        degree: 1 or 2, as far as :func:`~lanewise.models.fit.fit` goes.
        format: ``fp16`` or ``fp32``: of the elements, too.

    Raises:
        UserError: There is no such table.

    >>> reduction_table("rsqrt", segments=8).breakpoints.view(np.float16)[[0, -1]].tolist()  # in [1, 4)
    [1.21484375, 3.423828125]
    """
    if function not in REDUCED:
        raise UserError(f"function must be one of {', '.join(REDUCED)}, not {function!r}")
    if format not in ("fp16", "fp32"):
        raise UserError(f"format must be fp16 or fp32, not {format!r}")
    if format == "fp16" and function in ("exp", "exp_nonpositive"):
        if segments not in GRID:
            raise UserError(f"segments must be 16, 32 or 64 for {function} in fp16, not {segments!r}")
        breakpoints, coefficients = _two_factors(function, segments, degree)
        form = FORMATS[format]
        return SfuTable(
            format=format, breakpoints=encode(breakpoints, form), coefficients=encode(coefficients, form)
        )
    if function == "exp_nonpositive":
        raise UserError(f"format must be fp16 for exp_nonpositive, not {format!r}")
    name = "sin" if function == "cos" else function
    piece, low, high = _PIECES[name]
    subject = Function(name=f"{name} reduced", torch=piece, range=(low, high))
    return fit(subject, segments=segments, degree=degree, format=format, relative=True).table()


def _log_quotient(m: torch.Tensor) -> torch.Tensor:
    """log(m) / (m - 1), 1 at m = 1."""
    d = m - 1
    return torch.where(d == 0, 1.0, torch.log1p(d) / torch.where(d == 0, 1.0, d))


_PIECES: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "reciprocal": (lambda m: 0.5 / m, 1.0, 2.0),
    "rsqrt": (torch.rsqrt, 1.0, 4.0),
    "log": (_log_quotient, sqrt(0.5), sqrt(2.0)),
    "sin": (lambda r: torch.sinc(r / pi), 0.0, pi / 2),
    "exp": (lambda r: 2 * torch.exp(r), -log(2) / 2, log(2) / 2),
}
"""The function that the table holds, and the interval that operands are reduced to."""


def _two_factors(function: str, segments: int, degree: int) -> tuple[Reals, Reals]:
    """exp on the small factor's interval, and at single points on its sides."""
    if function == "exp":
        spacing, lowest, highest = exp_grid(segments)
        low, high = -spacing / 2, max(spacing / 2, EXP_MAXIMUM - highest)
        points = [float(point) for point in np.arange(lowest, highest + spacing, spacing) if point]
    else:
        steps = 1 << KEPT_BITS[segments]
        low, high = -8.0 / steps, 0.0
        points = sorted(-(2.0**e) * (1 + i / steps) for e in range(5) for i in range(steps if e < 4 else 2))
        points = [point for point in points if point < low]  # from -16 to the next, which gives 0
    left, right = [p for p in points if p < low], [p for p in points if p > high]
    knots = np.linspace(low, high, segments - len(points) + 1)
    pieces = [_exp_piece(float(a), float(b), degree) for a, b in pairwise(knots)]
    breakpoints = [*_middles([*left, low]), *knots[1:-1], *_middles([high, *right])]
    numbers = [exp(point) if point > points[0] else 0.0 for point in points]
    constants = [[number, *[0.0] * degree] for number in numbers]
    coefficients = [*constants[: len(left)], *pieces, *constants[len(left) :]]
    return np.array(breakpoints), np.array(coefficients)


def _middles(points: list[float]) -> list[float]:
    """The middles of neighbours."""
    return [(a + b) / 2 for a, b in pairwise(points)]


def _exp_piece(low: float, high: float, degree: int) -> list[float]:
    """Coefficients in FP16 of least squared relative error at Chebyshev nodes: the highest is rounded first, and each
    lower one makes up for what has been rounded."""
    nodes = (low + high) / 2 + (high - low) / 2 * np.cos(pi * (np.arange(64) + 0.5) / 64)
    rest, weight = np.exp(nodes), np.exp(-nodes)
    coefficients: list[float] = []
    for power in range(degree, -1, -1):
        powers = nodes[:, None] ** np.arange(power + 1)
        best = np.linalg.lstsq(powers * weight[:, None], rest * weight, rcond=None)[0]
        coefficients.insert(0, float(np.float16(best[power])))
        rest = rest - coefficients[0] * nodes**power
    return coefficients
