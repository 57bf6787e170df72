"""Fits side by side: every function, number of segments, degree and format, with what they are measured against."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import exp, log
from types import MappingProxyType
from typing import Any

import numpy as np

from lanewise.models.fit import fit
from lanewise.models.functions import FUNCTIONS, Reals
from lanewise.models.pwl_pieces import CELLS, midpoints

PAPER_FUNCTIONS = ("gelu", "silu", "sigmoid", "tanh", "mish", "softplus", "exp")
"""Over which the gain is averaged."""

PAPER_GAIN = 22.3
"""MSE of earlier piecewise-linear units over Flex-SFU's, on average. Source: Reggiani, Andri, Cavigelli, DAC 2023
(arXiv 2305.04546), abstract. Its mean is over other functions, ranges and rivals than ours."""

PAPER_AAE2: Mapping[tuple[str, int, int], float] = MappingProxyType({
    ("gelu", 8, 1): 3.65e-6, ("gelu", 8, 2): 3.78e-7, ("gelu", 16, 1): 1.89e-7, ("gelu", 16, 2): 9.07e-9,
    ("silu", 8, 1): 4.27e-5, ("silu", 8, 2): 1.35e-6,
    ("tanh", 8, 1): 1.37e-5, ("tanh", 8, 2): 9.28e-7, ("tanh", 16, 1): 4.26e-7, ("tanh", 16, 2): 1.02e-8,
    ("sigmoid", 16, 1): 2.88e-7, ("sigmoid", 16, 2): 6.50e-9,
})  # fmt: skip
"""Squared average absolute error on [-8, 8] by function, breakpoints and degree, as a secondary source gives it for the
extended paper (TCAD 44(11), 2025); taken from there, not measured here."""


@lru_cache(maxsize=1024)
def uniform_pieces_mse(function: str, segments: int, degree: int) -> float:
    """MSE of the best polynomials on equal segments of the function's range that need not meet, in real numbers.

    The fair rival of free knots: our pieces need not meet, either.
    """
    subject = FUNCTIONS[function]
    low, high = subject.range
    grid = midpoints(low, high, CELLS)
    total = 0.0
    for x, y in zip(np.split(grid, segments), np.split(subject(grid), segments), strict=True):
        total += float(_residual(x, y, degree))
    return total / CELLS


def _residual(x: Reals, y: Reals, degree: int) -> float:
    place = (x - x.mean()) / (x[-1] - x.mean())
    basis = np.linalg.qr(np.polynomial.legendre.legvander(place, degree))[0]
    return float(np.sum((y - basis @ (basis.T @ y)) ** 2))


def fit_rows(
    functions: Iterable[str] = tuple(FUNCTIONS),
    segments: Sequence[int] = (8, 16, 32, 64),
    degrees: Sequence[int] = (1, 2),
    formats: Sequence[str] = ("real", "fp16"),
    *,
    method: str = "optimal",
    pin_tails: Sequence[bool] = (True,),
) -> list[dict[str, Any]]:
    """Fits of the functions over their own ranges.

    Returns:
        For each fit :meth:`~lanewise.models.pwl.PwlFit.as_dict` without the table itself, and ``uniform_pieces_mse``;
        ``gain``: ``uniform_mse`` over ``mse``; ``gain_over_pieces``: likewise, ``None`` where the fit is exact;
        ``paper_aae2``: the paper's point, for as many breakpoints as this fit has segments, or ``None``.

    Raises:
        UserError: As :func:`~lanewise.models.fit.fit`.

    >>> (row,) = fit_rows(["tanh"], [8], [1], ["real"])
    >>> row["aae2"] < row["paper_aae2"], row["gain"] > 20
    (True, True)
    """
    rows = []
    for name in functions:
        for degree in degrees:
            for count in segments:
                for form in formats:
                    for pin in pin_tails:
                        result = fit(
                            name, segments=count, degree=degree, format=form, method=method, pin_tails=pin
                        )
                        row = result.as_dict()
                        del row["breakpoints"], row["coefficients"]
                        rows.append(row | _beside(name, count, degree, result.mse, result.uniform_mse))
    return rows


def _beside(
    function: str, segments: int, degree: int, mse: float, uniform_mse: float
) -> dict[str, float | None]:
    pieces = uniform_pieces_mse(function, segments, degree)
    exact = mse < 1e-28
    return {
        "uniform_pieces_mse": pieces,
        "gain": None if exact else uniform_mse / mse,
        "gain_over_pieces": None if exact else pieces / mse,
        "paper_aae2": PAPER_AAE2.get((function, segments, degree)),
    }


def geometric_mean(values: Iterable[float]) -> float:
    """Of positive numbers.

    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    logarithms = [log(value) for value in values]
    return exp(sum(logarithms) / len(logarithms))
