"""Range reduction around Flex-SFU: the bits of exp, reciprocal, rsqrt, log, sin and cos over all operands.

A piecewise polynomial is accurate on an interval; a floating-point operand has thirty octaves of FP16, or 254 of FP32. So the
vector unit's integer instructions take the exponent off, Flex-SFU looks the rest up, and the exponent goes back on:
each function is a composition of :func:`lanewise.models.vector.execute` and :func:`lanewise.models.flex_sfu.flex_sfu`,
and the kernels of ``mapping/kernels/reduced.py`` emit the same instructions.

Special operands are IEEE 754's: reciprocal of a zero is an infinity of its sign, rsqrt and log of a number below 0 are NaN,
log(0) is -infinity, sin and cos of an infinity are NaN, exp(-infinity) is 0. Subnormal operands are numbers like all others.
Deviations: rsqrt(-0) is -infinity as IEEE 754 has it, but log(-0) is -infinity too; FP32's exp is 0 below -86.98,
FP32's sin and cos are NaN beyond :data:`TRIGONOMETRIC_MAXIMUM`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from typing import Any

import numpy as np

from lanewise.formats import NumberFormat
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.numbers import Bits, check_bits
from lanewise.models.vector import execute

REDUCED = ("exp", "exp_nonpositive", "reciprocal", "rsqrt", "log", "sin", "cos")
"""Functions with a range reduction. ``exp_nonpositive``, of FP16 alone, is softmax's: cheaper, for x <= 0."""

GRID = {16: 4, 32: 2, 64: 1}
"""By segments: FP16's exp splits off a multiple of this."""

KEPT_BITS = {16: 1, 32: 2, 64: 2}
"""By segments: ``exp_nonpositive`` splits off the operand's first so many bits behind the leading one."""

LOWEST = -65504.0
"""Smallest finite FP16 number."""
ROUND = {16: 1536.0, 32: 12582912.0}
"""1.5 x 2**fraction bits: adding it to a small number of this width, and subtracting it, rounds to an integer."""
TRIGONOMETRIC_MAXIMUM = 2.0**16
"""Largest magnitude of which FP32's sin and cos are not NaN."""
EXP32_MINIMUM = -125.5 * log(2)
"""Below it FP32's exp is 0."""


def exp_grid(segments: int) -> tuple[float, float, float]:
    """Spacing of the multiples that FP16's exp splits off, the smallest and the largest.

    >>> exp_grid(32)
    (2.0, -18.0, 10.0)
    """
    spacing = GRID[segments]
    return float(spacing), float(-spacing * -(-18 // spacing)), float(spacing * (11 // spacing))


def split_constant(value: float, bits: int) -> tuple[float, float]:
    """``value`` > 0 cut to a format of 16 or 32 bits, and the rest; that it is positive, too, keeps -0 a -0.

    >>> split_constant(pi, 32)
    (3.14159250259..., 1.509957...e-07)
    """
    kind: Any = {16: np.float16, 32: np.float32}[bits]
    high = float(kind(value))
    if high > value:
        high = float(np.nextafter(kind(value), kind(0)))
    return high, value - high


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Masks and constants of a floating-point format, as the reductions need them."""

    form: NumberFormat

    @property
    def point(self) -> int:
        """Bits of the fraction: where the exponent begins."""
        return self.form.fraction_bits

    @property
    def fraction(self) -> int:
        """Mask of the fraction."""
        return (1 << self.point) - 1

    @property
    def exponent(self) -> int:
        """Mask of the exponent: the bits of infinity."""
        return self.form.infinity_bits

    @property
    def sign(self) -> int:
        """Mask of the sign."""
        return 1 << (self.form.bits - 1)

    @property
    def one(self) -> int:
        """Bits of 1.0."""
        return self.form.bias << self.point

    @property
    def smallest(self) -> float:
        """Smallest positive normal number."""
        return float(2.0 ** (1 - self.form.bias))

    @property
    def raised(self) -> int:
        """An even number of octaves that makes every subnormal number normal."""
        return self.point + 2 - self.point % 2

    @property
    def shifted_zero(self) -> int:
        """What makes, added to the bits, positive normal numbers the smallest signed integers."""
        return self.sign - (1 << self.point)

    @property
    def shifted_end(self) -> int:
        """The first signed integer above them."""
        return self.exponent - (1 << self.point) - self.sign

    @property
    def root_half(self) -> int:
        """Bits of sqrt(1/2), rounded down."""
        exponent = (self.form.bias - 1) << self.point
        return exponent | int((2**0.5 - 1) * (1 << self.point))


class _Vector:
    """Instructions on bit patterns of one width; masks are arrays of booleans."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def __call__(self, base: str, *sources: Any, constant: float | None = None) -> Any:
        result = execute(base, list(sources), self.bits, constant)
        if result.dtype == np.bool_:
            return result
        return result.view({2: np.uint16, 4: np.uint32}[result.dtype.itemsize])

    def full(self, value: float, like: Bits) -> Bits:
        kind: Any = {16: np.float16, 32: np.float32}[self.bits]
        return np.full(like.shape, value, kind).view({16: np.uint16, 32: np.uint32}[self.bits])


def reduced(function: str, x: Bits, table: SfuTable) -> Bits:
    """``function`` of every element.

    Args:
        function: One of :data:`REDUCED`.
        x: Bit patterns of the table's format, FP16 or FP32, any shape.
        table: What :func:`~lanewise.models.reduction_tables.reduction_table` makes.

    Returns:
        Bit patterns, shape of ``x``.

    Raises:
        ValueError: There is no such function, or not in this format.
        TypeError: ``x`` is not as wide as the format.

    >>> from lanewise.models.reduction_tables import reduction_table
    >>> x = np.array([3, -0.001, 60000, -0.0, np.inf], np.float16).view(np.uint16)
    >>> reduced("reciprocal", x, reduction_table("reciprocal")).view(np.float16)
    array([ 3.333e-01, -9.995e+02,  1.669e-05,       -inf,  0.000e+00], dtype=float16)
    """
    if function not in REDUCED:
        raise ValueError(f"function must be one of {', '.join(REDUCED)}, not {function!r}")
    if table.format not in ("fp16", "fp32") or (function, table.format) == ("exp_nonpositive", "fp32"):
        raise ValueError(f"table must be one of {function}'s formats, not of {table.format}")
    check_bits("x", x, table.form)
    if function == "exp" and table.format == "fp32":
        return _exp32(x, table)
    return _REDUCTIONS[function](x, table)


def _exp(x: Bits, table: SfuTable) -> Bits:
    """exp(k) exp(x - k), k the nearest multiple of the grid's spacing, clamped to the grid; x - k is exact."""
    v = _Vector(16)
    spacing, lowest, highest = exp_grid(table.segments)
    whole = v("vfadd", x, constant=ROUND[16] * spacing)
    whole = v("vfsub", whole, constant=ROUND[16] * spacing)
    whole = v("vfmax", whole, constant=lowest)
    whole = v("vfmin", whole, constant=highest)
    rest = v("vfsub", x, whole)
    result: Bits = v("vfmul", flex_sfu(whole, table), flex_sfu(rest, table))
    return result


def _exp_nonpositive(x: Bits, table: SfuTable) -> Bits:
    """exp(h) exp(x - h), h being x cut to its first bits; a NaN counts as -infinity, as a masked score does."""
    v = _Vector(16)
    x = v("vfmax", x, constant=LOWEST)
    whole = v("vand", x, constant=-1 << (10 - KEPT_BITS[table.segments]))
    rest = v("vfsub", x, whole)
    result: Bits = v("vfmul", flex_sfu(whole, table), flex_sfu(rest, table))
    return result


def _exp32(x: Bits, table: SfuTable) -> Bits:
    """2**(k - 1) times 2 exp(x - k ln 2), by Cody and Waite (Software Manual for the Elementary Functions, 1980)."""
    v = _Vector(32)
    high, low = split_constant(log(2), 32)
    whole = v("vfmadd", x, v.full(ROUND[32], x), constant=1 / log(2))
    whole = v("vfsub", whole, constant=ROUND[32])
    whole = v("vfmax", whole, constant=-125.0)
    whole = v("vfmin", whole, constant=128.0)
    rest = v("vfnmsac", x, whole, constant=high)
    rest = v("vfnmsac", rest, whole, constant=low)
    scale = v("vfadd", whole, constant=ROUND[32] + 126)
    scale = v("vsll", scale, constant=23)
    result = v("vfmul", flex_sfu(rest, table), scale)
    small = v("vmflt", x, constant=EXP32_MINIMUM)
    merged: Bits = v("vfmerge", result, small, constant=0.0)
    return merged


def normal_reciprocal(x: Bits, table: SfuTable) -> Bits:
    """1/x of normal numbers and infinities: the significand's by look-up, times 2**-exponent with the sign.

    Of a zero or subnormal number it is an infinity, of a NaN 0.
    """
    v, fields = _Vector(table.form.bits), Fields(form=table.form)
    significand = v("vand", x, constant=fields.fraction)
    significand = v("vor", significand, constant=fields.one)
    scale = v("vxor", x, constant=fields.exponent)
    scale = v("vand", scale, constant=fields.sign | fields.exponent)
    result: Bits = v("vfmul", flex_sfu(significand, table), scale)
    return result


def _reciprocal(x: Bits, table: SfuTable) -> Bits:
    v, fields = _Vector(table.form.bits), Fields(form=table.form)
    small = v("vmseq", v("vand", x, constant=fields.exponent), constant=0)
    raised = v("vfmul", x, constant=4.0)
    result = normal_reciprocal(v("vmerge", x, raised, small), table)
    result = v("vmerge", result, v("vfmul", result, constant=4.0), small)
    invalid = v("vmfne", x, x)
    merged: Bits = v("vmerge", result, raised, invalid)
    return merged


def normal_rsqrt(x: Bits, table: SfuTable) -> Bits:
    """1/sqrt(x) of positive normal numbers: of m in [1, 4), an even number of octaves away, by look-up."""
    v, fields = _Vector(table.form.bits), Fields(form=table.form)
    significand = v("vxor", x, constant=1 << fields.point)
    significand = v("vand", significand, constant=(2 << fields.point) - 1)
    significand = v("vadd", significand, constant=fields.one)
    octaves = v("vsra", v("vsub", x, significand), constant=1)
    result: Bits = v("vsub", flex_sfu(significand, table), octaves)
    return result


def _positive_normal(v: _Vector, fields: Fields, x: Bits) -> Any:
    """Mask of the positive normal numbers."""
    return v("vmslt", v("vadd", x, constant=fields.shifted_zero), constant=fields.shifted_end)


def _rsqrt(x: Bits, table: SfuTable) -> Bits:
    v, fields = _Vector(table.form.bits), Fields(form=table.form)
    small = v("vmflt", x, constant=fields.smallest)
    raised = v("vmerge", x, v("vfmul", x, constant=2.0**fields.raised), small)
    result = normal_rsqrt(raised, table)
    result = v("vmerge", result, v("vfmul", result, constant=2.0 ** (fields.raised // 2)), small)
    merged: Bits = v("vmerge", v("vfrsqrt7", x), result, _positive_normal(v, fields, raised))
    return merged


def _log(x: Bits, table: SfuTable) -> Bits:
    """e ln 2 + (m - 1) g(m), m in [sqrt(1/2), sqrt(2)), g(m) = log(m) / (m - 1) by look-up: near 1 it is as accurate."""
    v, fields = _Vector(table.form.bits), Fields(form=table.form)
    high, low = split_constant(log(2), table.form.bits)
    small = v("vmflt", x, constant=fields.smallest)
    raised = v("vmerge", x, v("vfmul", x, constant=2.0**fields.raised), small)
    octaves = v("vsub", raised, v.full(0, x) + raised.dtype.type(fields.root_half))
    octaves = v("vand", octaves, constant=fields.sign | fields.exponent)
    significand = v("vsub", raised, octaves)
    octaves = v("vfcvt.f.x", v("vsra", octaves, constant=fields.point))
    octaves = v("vmerge", octaves, v("vfsub", octaves, constant=float(fields.raised)), small)
    result = v("vfmul", flex_sfu(significand, table), v("vfsub", significand, constant=1.0))
    result = v("vfmacc", result, octaves, constant=low)
    result = v("vfmacc", result, octaves, constant=high)
    positive = v("vfadd", x, constant=0.0)  # -0 to +0
    special = v("vfsub", positive, v("vfrsqrt7", positive))
    merged: Bits = v("vmerge", special, result, _positive_normal(v, fields, raised))
    return merged


def _sine(x: Bits, table: SfuTable, half_turns: float) -> Bits:
    """sin(x + pi half_turns): r sin(r)/r with r = x - k pi, of the sign of (-1)**(k + half_turns); r in FP32."""
    wide, v = _Vector(32), _Vector(table.form.bits)
    high, low = split_constant(pi, 32)
    angle = v("vfwcvt.f.f", x) if table.format == "fp16" else x
    turns = wide("vfmadd", angle, wide.full(half_turns or ROUND[32], angle), constant=1 / pi)
    rounded = wide("vfadd", turns, constant=ROUND[32]) if half_turns else turns
    whole = wide("vfsub", rounded, constant=ROUND[32])
    if half_turns:
        whole = wide("vfsub", whole, constant=half_turns)
    rest = wide("vfnmsac", angle, whole, constant=high)
    rest = wide("vfnmsac", rest, whole, constant=low)
    rest = wide("vxor", rest, wide("vsll", rounded, constant=31))
    if table.format == "fp16":
        rest = wide("vfncvt.f.f", rest)
    result: Bits = v("vfmul", rest, flex_sfu(v("vfsgnjx", rest, rest), table))
    if table.format == "fp32":
        far = v("vmfgt", v("vfsgnjx", x, x), constant=TRIGONOMETRIC_MAXIMUM)
        result = v("vfmerge", result, far, constant=np.nan)
    return result


_REDUCTIONS: dict[str, Callable[[Bits, SfuTable], Bits]] = {
    "exp": _exp,
    "exp_nonpositive": _exp_nonpositive,
    "reciprocal": _reciprocal,
    "rsqrt": _rsqrt,
    "log": _log,
    "sin": lambda x, table: _sine(x, table, 0.0),
    "cos": lambda x, table: _sine(x, table, 0.5),
}
