"""The bits of Flex-SFU: a piecewise polynomial with segments of any width."""

from dataclasses import dataclass

import numpy as np

from lanewise.config import DEGREES, SEGMENT_COUNTS
from lanewise.formats import FORMATS, NumberFormat
from lanewise.models.address_decoder import address_decoder
from lanewise.models.coefficient_table import coefficient_table
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import Bits, check_bits, decode, rank


@dataclass(frozen=True, kw_only=True, eq=False)
class SfuTable:
    """A function as Flex-SFU holds it; the arrays are bit patterns of ``format``.

    Raises:
        TypeError: An array's type is not that of the format's bit patterns.
        ValueError: The format is unknown, the sizes are no Flex-SFU's, a breakpoint is smaller than its
            predecessor in the order of :func:`~lanewise.models.numbers.rank`, a value is NaN, or a shift is out
            of range.
    """

    format: str = "fp16"
    breakpoints: Bits
    """Shape ``(segments - 1,)``, ascending; equal ones make a segment that no element falls in."""
    coefficients: Bits
    """Shape ``(segments, degree + 1)``, lowest power first, the tails' included: offset, slope, and curvature."""
    shifts: tuple[tuple[int, int], ...] = ()
    """Of an integer format, the ``shifts`` of each :func:`~lanewise.models.multiply_add.multiply_add`, in the
    order in which they are computed: ``degree`` pairs. Empty for floating point."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {self.format!r}")
        form = self.form
        for name in ("breakpoints", "coefficients"):
            bits = getattr(self, name)
            check_bits(name, bits, form)
            bits = bits.copy()  # so that nobody else can change it
            bits.flags.writeable = False
            object.__setattr__(self, name, bits)
        if self.coefficients.ndim != 2 or self.degree not in DEGREES:
            raise ValueError(
                f"coefficients must be of shape (segments, degree + 1), not {self.coefficients.shape}"
            )
        if self.segments not in SEGMENT_COUNTS:
            raise ValueError(f"coefficients must hold one of {SEGMENT_COUNTS} segments, not {self.segments}")
        if self.breakpoints.shape != (self.segments - 1,):
            raise ValueError(
                f"breakpoints must be of shape {(self.segments - 1,)}, not {self.breakpoints.shape}"
            )
        for name in ("breakpoints", "coefficients"):
            bits = getattr(self, name)
            nan = np.argwhere(np.isnan(decode(bits, form)))
            if nan.size:
                at = tuple(int(k) for k in nan[0])
                place = at[0] if len(at) == 1 else at
                raise ValueError(f"{name} must not be NaN, not {int(bits[at]):#06x} at index {place}")
        descents = np.flatnonzero(np.diff(rank(self.breakpoints, form).astype(np.int64)) < 0)
        if descents.size:
            low, high = (decode(self.breakpoints, form)[descents[0] + k] for k in (0, 1))
            raise ValueError(f"breakpoints must be ascending, not {low} before {high} at index {descents[0]}")
        self._check_shifts(form)

    def _check_shifts(self, form: NumberFormat) -> None:
        pairs = 0 if form.floating else self.degree
        limits = (2 * form.bits, form.bits)
        sound = len(self.shifts) == pairs and all(
            len(pair) == 2 and all(0 <= shift < limit for shift, limit in zip(pair, limits))
            for pair in self.shifts
        )
        if not sound:
            raise ValueError(
                f"shifts must be {pairs} pairs below {limits} for {self.format} of degree {self.degree}, "
                f"not {self.shifts!r}"
            )

    @property
    def form(self) -> NumberFormat:
        """The number format."""
        return FORMATS[self.format]

    @property
    def segments(self) -> int:
        """Segments, tails included."""
        return int(self.coefficients.shape[0])

    @property
    def degree(self) -> int:
        """Degree of the polynomials: 1 or 2."""
        return int(self.coefficients.shape[1]) - 1


def flex_sfu(x: Bits, table: SfuTable) -> Bits:
    """The polynomial of the segment of ``x``, by Horner's rule, each multiply-add rounded once.

    ``c1 * x + c0``, or ``(c2 * x + c1) * x + c0``. A coefficient of zero times an infinite ``x`` is zero, so
    that a level tail is level all the way: sigmoid(infinity) is 1. A NaN falls in one of the tails and gives
    NaN. Rounding, overflow and saturation are :func:`~lanewise.models.multiply_add.multiply_add`'s.

    Args:
        x: Bit patterns of the table's format, any shape.
        table: The function.

    Returns:
        Bit patterns of the results, shape of ``x``.

    Raises:
        TypeError: ``x`` is not as wide as the table's format.

    Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546).

    >>> coefficients = np.array([[0, 0], [0, 0], [0, 0], [0, 0x3C00]], np.uint16)
    >>> relu = SfuTable(breakpoints=np.zeros(3, np.uint16), coefficients=coefficients)
    >>> flex_sfu(np.array([-np.inf, -0.0, 0.0, 7.0], np.float16).view(np.uint16), relu).view(np.float16)
    array([0., 0., 0., 7.], dtype=float16)
    """
    form = table.form
    coefficients = coefficient_table(address_decoder(x, table.breakpoints, form), table.coefficients)
    result = coefficients[..., table.degree]
    for step, power in enumerate(range(table.degree - 1, -1, -1)):
        shifts = table.shifts[step] if table.shifts else (0, 0)
        result = multiply_add(result, x, coefficients[..., power], form, shifts=shifts, zero_annihilates=True)
    return result
