"""How a format's numbers stand for real ones, as a fit needs it."""

from dataclasses import dataclass
from math import floor, log2

import numpy as np

from lanewise.formats import FORMATS, NumberFormat
from lanewise.models.flex_sfu import SfuTable
from lanewise.models.functions import Reals
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import Bits, decode, encode, rank, unrank
from lanewise.models.pwl_real import RealFit


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How a format's numbers stand for real ones: real = number x scale. Floating point has scales of 1."""

    format: str
    input_scale: float = 1.0
    output_scale: float = 1.0
    coefficient_scales: tuple[float, ...] = (1.0, 1.0)
    """Number = real x scale, for each power, lowest first."""
    shifts: tuple[tuple[int, int], ...] = ()
    """As :attr:`~lanewise.models.flex_sfu.SfuTable.shifts`."""

    @property
    def form(self) -> NumberFormat:
        """The number format."""
        return FORMATS[self.format]

    def operand_bits(self, x: Reals) -> Bits:
        """The nearest operands."""
        return encode(np.asarray(x, np.float64) / self.input_scale, self.form)

    def operand(self, bits: Bits) -> Reals:
        """What operands stand for."""
        return decode(bits, self.form) * self.input_scale

    def coefficient_bits(self, coefficients: Reals) -> Bits:
        """The nearest finite coefficients; shape ``(..., degree + 1)``."""
        limit = self.form.maximum
        return encode(np.clip(coefficients * np.array(self.coefficient_scales), -limit, limit), self.form)

    def coefficients(self, bits: Bits) -> Reals:
        """What coefficients stand for."""
        return np.asarray(decode(bits, self.form) / np.array(self.coefficient_scales))

    def result(self, bits: Bits) -> Reals:
        """What results stand for."""
        return decode(bits, self.form) * self.output_scale

    def rounded(self, y: Reals) -> Reals:
        """The nearest results: what no table can better."""
        return self.result(encode(y / self.output_scale, self.form))

    def table(self, breakpoints: Reals, coefficients: Reals) -> SfuTable:
        """Bits for the hardware."""
        knots = self.operand_bits(breakpoints)
        order = np.maximum.accumulate(rank(knots, self.form))
        return SfuTable(
            format=self.format, breakpoints=unrank(order, self.form),
            coefficients=self.coefficient_bits(coefficients), shifts=self.shifts,
        )  # fmt: skip

    def evaluate(self, coefficients: Bits, x: Bits) -> Bits:
        """The hardware's Horner's rule; ``coefficients`` broadcast over ``x`` but for the last axis."""
        degree = coefficients.shape[-1] - 1
        y = coefficients[..., degree]
        for step in range(degree):
            shifts = self.shifts[step] if self.shifts else (0, 0)
            y = multiply_add(
                y, x, coefficients[..., degree - 1 - step], self.form, shifts=shifts, zero_annihilates=True
            )
        return y


def scaling_of(
    name: str, degree: int, fitted: RealFit, *, input_scale: float, output_scale: float
) -> Scaling:
    """Scales and shifts for a fit: as many bits behind the binary points as the largest numbers allow.

    Raises:
        ValueError: A slope is too steep for the format's scales.
    """
    form = FORMATS[name]
    if form.floating:
        return Scaling(format=name, coefficient_scales=(1.0,) * (degree + 1))
    top = form.maximum
    largest = np.abs(fitted.coefficients).max(axis=0)
    shifts: list[tuple[int, int]] = []
    scales = [0.0] * (degree + 1)
    unit = output_scale  # of the result of the multiply-add below
    # from the last multiply-add to the first: y = (t x 2^-f) + c; t's own unit follows from f
    multiplier = _largest_slope(fitted, top * input_scale)
    for power in range(degree):
        room = _whole_bits(top * unit / max(largest[power], 1e-300))  # behind the addend's binary point
        product = _whole_bits(top * unit / (input_scale * max(multiplier, 1e-300)))
        product = min(product, 2 * form.bits - 1, room + form.bits - 1)
        if product < 0:
            factor = 2.0**-product
            raise ValueError(
                f"output_scale must be at least {factor:g} times as large for {name}: a piece is too steep"
            )
        addend = max(0, product - room)
        scales[power] = 2.0 ** (product - addend) / unit
        shifts.insert(0, (product, addend))
        unit = unit / input_scale * 2.0**-product
        multiplier = largest[degree]
    scales[degree] = 1 / unit
    return Scaling(
        format=name, input_scale=input_scale, output_scale=output_scale,
        coefficient_scales=tuple(scales), shifts=tuple(shifts),
    )  # fmt: skip


def _whole_bits(ratio: float) -> int:
    return floor(min(log2(ratio), 99))


def _largest_slope(fitted: RealFit, edge: float) -> float:
    """The largest magnitude of what the element is multiplied with last, over operands up to ``edge``."""
    if fitted.coefficients.shape[1] == 2:
        return float(np.abs(fitted.coefficients[:, 1]).max())
    ends = np.concatenate([[-edge], np.clip(fitted.breakpoints, -edge, edge), [edge]])
    slopes = [fitted.coefficients[:, 1] + fitted.coefficients[:, 2] * x for x in (ends[:-1], ends[1:])]
    return float(np.abs(slopes).max())
