"""What a fit gives: the piecewise-linear function and its error."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.functions import Reals


@dataclass(frozen=True, kw_only=True)
class PwlFit:
    """A fitted piecewise-linear function and its error over ``range``.

    Errors of a ``real`` fit are integrals over x. Errors of an ``fp16`` fit are of the bits that Flex-SFU
    returns, over all FP16 operands in the range, each weighing as much as the interval of reals that rounds
    to it; the rounding of the operand itself is nobody's error.
    """

    function: str
    segments: int
    """Tails included."""
    degree: int
    format: str
    """``fp16``, or ``real`` for unrounded numbers."""
    range: tuple[float, float]
    breakpoints: tuple[float, ...]
    """Ascending, ``segments - 1`` of them; an element equal to one belongs to the segment on its right."""
    coefficients: tuple[tuple[float, float], ...]
    """Offset and slope of each segment, lowest power first, tails included."""
    mse: float
    """1/(b-a) integral (f - fhat)^2."""
    aae2: float
    """(1/(b-a) integral |f - fhat|)^2, the square of the average absolute error."""
    max_error: float
    """Largest |f - fhat|."""
    limit_mse: float
    """(integral |f''|^(2/5))^5 / (720 n^4 (b-a)): the best free knots in real numbers, for many segments."""
    uniform_mse: float
    """Of the best continuous piecewise-linear function with as many equal segments, in real numbers."""
    rounding_mse: float
    """Of f rounded to ``format``: no table returns less. 0 for ``real``."""
    seconds: float
    """Wall-clock time of the fit."""

    @property
    def limit_ratio(self) -> float | None:
        """``mse / limit_mse``; ``None`` where the function is itself piecewise linear."""
        return self.mse / self.limit_mse if self.limit_mse > 1e-14 else None

    def table(self) -> SfuTable:
        """FP16 bit patterns for the hardware; the numbers of a ``real`` fit are rounded one by one."""
        numbers = np.array(self.coefficients, np.float64)
        return SfuTable(breakpoints=_bits(np.array(self.breakpoints)), coefficients=_bits(numbers))

    def evaluate(self, x: Reals) -> Reals:
        """The fitted function, shape of ``x``: the hardware's results for x in FP16, or real numbers."""
        if self.format == "fp16":
            return flex_sfu(_bits(x), self.table()).view(np.float16).astype(np.float64)
        numbers = np.array(self.coefficients)[np.searchsorted(self.breakpoints, x, side="right")]
        result: Reals = numbers[..., 1] * x + numbers[..., 0]
        return result

    def as_dict(self) -> dict[str, Any]:
        """The object that ``lanewise fit --json`` prints."""
        return {
            "function": self.function,
            "segments": self.segments,
            "degree": self.degree,
            "format": self.format,
            "range": list(self.range),
            "breakpoints": list(self.breakpoints),
            "coefficients": [list(line) for line in self.coefficients],
            "mse": self.mse,
            "aae2": self.aae2,
            "max_error": self.max_error,
            "limit_mse": self.limit_mse,
            "limit_ratio": self.limit_ratio,
            "uniform_mse": self.uniform_mse,
            "rounding_mse": self.rounding_mse,
            "seconds": self.seconds,
        }


def _bits(x: Reals) -> npt.NDArray[np.uint16]:
    with np.errstate(over="ignore"):  # to infinity, as the hardware's conversion does
        return np.asarray(x, np.float64).astype(np.float16).view(np.uint16)
