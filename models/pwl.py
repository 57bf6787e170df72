"""What a fit gives: the piecewise polynomial and its error."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lanewise.errors import UserError
from lanewise.formats import FORMATS
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.functions import Reals
from lanewise.models.pwl_scaling import Scaling

REAL = "real"
"""Instead of a format: unrounded numbers."""


@dataclass(frozen=True, kw_only=True)
class PwlFit:
    """A fitted piecewise polynomial and its error over ``range``.

    Errors of a ``real`` fit are integrals over x. Errors of a format's fit are of the bits that Flex-SFU returns,
    over all operands in the range (of a 32-bit format, many), each weighing as much as the interval of reals that rounds
    to it; the rounding of the operand itself is nobody's error. With ``relative``, errors are divided by the function's
    magnitude; with ``weighted``, all means are over the given distribution.
    """

    function: str
    segments: int
    """Tails included."""
    degree: int
    format: str
    """A number format, or ``real`` for unrounded numbers."""
    method: str
    """``optimal``, or ``paper`` for the paper's optimiser."""
    range: tuple[float, float]
    pin_tails: bool
    """Whether the tails lie on the function's asymptotes, where it has them."""
    symmetric: bool
    """Whether one half of the table mirrors the other."""
    relative: bool
    weighted: bool
    breakpoints: tuple[float, ...]
    """Ascending, ``segments - 1`` of them; an element equal to one belongs to the segment on its right."""
    coefficients: tuple[tuple[float, ...], ...]
    """Of each segment, lowest power first, tails included."""
    scaling: Scaling | None
    """How an integer format's numbers stand for real ones; ``None`` for ``real``."""
    mse: float
    """1/(b-a) integral (f - fhat)^2."""
    aae2: float
    """(1/(b-a) integral |f - fhat|)^2, the square of the average absolute error."""
    max_error: float
    """Largest |f - fhat|."""
    limit_mse: float
    """Of the best free knots in real numbers, for many segments: :func:`lanewise.models.pwl_limit.limit_mse`."""
    uniform_mse: float
    """Of the best table with as many equal segments, in real numbers: :func:`lanewise.models.pwl_limit.uniform_mse`."""
    rounding_mse: float
    """Of f rounded to ``format``: no table returns less. 0 for ``real``."""
    seconds: float
    """Processor time of the fit, all threads."""

    @property
    def limit_ratio(self) -> float | None:
        """``mse / limit_mse``; ``None`` where the function is itself piecewise polynomial."""
        return self.mse / self.limit_mse if self.limit_mse > 1e-18 else None

    def table(self, format: str | None = None) -> SfuTable:
        """Bit patterns for the hardware; the numbers of a ``real`` fit are rounded one by one, to FP16 or to another
        floating-point ``format``.

        Raises:
            UserError: The fit is to another format, or real numbers are to be rounded to integers, which need scales.
        """
        if self.scaling is not None and format not in (None, self.format):
            raise UserError(f"format must be {self.format}, for which this table was fitted, not {format!r}")
        if format is not None and (format not in FORMATS or not (self.scaling or FORMATS[format].floating)):
            names = ", ".join(name for name, form in FORMATS.items() if form.floating)
            raise UserError(f"format must be one of {names} for a table of real numbers, not {format!r}")
        scaling = self.scaling or Scaling(
            format=format or "fp16", coefficient_scales=(1.0,) * (self.degree + 1)
        )
        return scaling.table(np.array(self.breakpoints), np.array(self.coefficients))

    def evaluate(self, x: Reals) -> Reals:
        """The fitted function, shape of ``x``: the hardware's results for x rounded to the format, or real numbers."""
        if self.scaling is not None:
            return self.scaling.result(flex_sfu(self.scaling.operand_bits(x), self.table()))
        numbers = np.array(self.coefficients)[np.searchsorted(self.breakpoints, x, side="right")]
        result = numbers[..., self.degree]
        for power in range(self.degree - 1, -1, -1):
            result = result * x + numbers[..., power]
        return np.asarray(result)

    def as_dict(self) -> dict[str, Any]:
        """The object that ``lanewise fit --json`` prints."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "scaling"}
        values |= {
            "range": list(self.range),
            "breakpoints": list(self.breakpoints),
            "coefficients": [list(piece) for piece in self.coefficients],
            "limit_ratio": self.limit_ratio,
            "input_scale": 1.0 if self.scaling is None else self.scaling.input_scale,
            "output_scale": 1.0 if self.scaling is None else self.scaling.output_scale,
            "shifts": [] if self.scaling is None else [list(pair) for pair in self.scaling.shifts],
        }
        return values
