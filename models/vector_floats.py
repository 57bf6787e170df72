"""Floating-point instructions of the vector unit, on bit patterns: FP16, BF16, FP32.

Rounding is to nearest, ties to even; subnormals are numbers like others. A NaN result is the format's one NaN
(``NumberFormat.nan_bits``); sign injection keeps a NaN's bits. Sums and products of FP16 are rounded to FP32 and those of BF16
to float64 before they are rounded to the format: with at least 2p + 2 bits, and no smaller exponent range, that is innocuous
(Figueroa, "When is double rounding innocuous?", 1995). Source: RISC-V "V" Vector Extension 1.0 and "F" 2.2.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS, NumberFormat
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import Bits, bits_dtype, rank, round_float

Array: TypeAlias = npt.NDArray[Any]

FP32 = FORMATS["fp32"]


def float_format(bits: int, *, altfmt: bool) -> NumberFormat:
    """The floating-point format of elements of ``bits`` bits.

    >>> [float_format(bits, altfmt=True).name for bits in (16, 32)]
    ['bf16', 'fp32']
    """
    return FORMATS[{16: "bf16" if altfmt else "fp16", 32: "fp32"}[bits]]


def to_float32(x: Bits, form: NumberFormat) -> npt.NDArray[np.float32]:
    """The numbers, exact, as float32; NaN stays some NaN."""
    if form.name == "fp16":
        return x.view(np.float16).astype(np.float32)
    if form.name == "bf16":
        x = x.astype(np.uint32) << np.uint32(16)
    return x.view(np.float32)


def from_real(x: Array, form: NumberFormat) -> Bits:
    """Bit patterns of float32 or float64 numbers, rounded once; NaN becomes the format's one NaN."""
    with np.errstate(all="ignore"):  # overflows and signalling NaNs
        if form.name == "bf16":
            return round_float(x.astype(np.float64).view(np.int64), form)
        kind: Any = np.float16 if form.name == "fp16" else np.float32
        bits = x.astype(kind, copy=False).view(bits_dtype(form))
    return np.where(np.isnan(x), bits_dtype(form)(form.nan_bits), bits)


def convert(x: Bits, source: NumberFormat, target: NumberFormat) -> Bits:
    """The nearest number of another format.

    >>> [hex(v) for v in convert(np.array([0x3F80_8000, 0x7F80_0001], np.uint32), FP32, FORMATS["bf16"])]
    ['0x3f80', '0x7fc0']
    """
    return from_real(to_float32(x, source), target)


def is_nan(x: Bits, form: NumberFormat) -> npt.NDArray[np.bool_]:
    """Which of the bit patterns are NaNs, of either sign and kind."""
    return (x & x.dtype.type((1 << (form.bits - 1)) - 1)) > form.infinity_bits


def _negate(x: Bits) -> Bits:
    return x ^ x.dtype.type(1 << (8 * x.dtype.itemsize - 1))


def _wide_enough(x: Bits, form: NumberFormat) -> Array:
    number = to_float32(x, form)
    return number.astype(np.float64) if form.name == "bf16" else number


def _sum(a: Bits, b: Bits, form: NumberFormat) -> Bits:
    return from_real(_wide_enough(a, form) + _wide_enough(b, form), form)


def _product(a: Bits, b: Bits, form: NumberFormat) -> Bits:
    return from_real(_wide_enough(a, form) * _wide_enough(b, form), form)


def _extreme(*, largest: bool) -> "Binary":
    """IEEE 754-2019 minimumNumber and maximumNumber: a NaN only where both are, and -0 below +0."""

    def choose(a: Bits, b: Bits, form: NumberFormat) -> Bits:
        first = (rank(a, form) >= rank(b, form)) == largest
        nan_a, nan_b = is_nan(a, form), is_nan(b, form)
        chosen = np.where((first | nan_b) & ~nan_a, a, b)
        return np.where(nan_a & nan_b, a.dtype.type(form.nan_bits), chosen)

    return choose


def _inject(kind: str) -> "Binary":
    def inject(a: Bits, b: Bits, form: NumberFormat) -> Bits:
        sign = a.dtype.type(1 << (form.bits - 1))
        if kind == "x":
            return a ^ (b & sign)
        return (a & ~sign) | ((b if kind == "" else ~b) & sign)

    return inject


def _compare(function: Callable[[Array, Array], Array]) -> "Binary":
    """A NaN is neither equal to, nor less or greater than anything."""
    return lambda a, b, form: function(to_float32(a, form), to_float32(b, form))


Binary: TypeAlias = Callable[[Bits, Bits, NumberFormat], Array]

BINARY: dict[str, Binary] = {
    "vfadd": _sum,
    "vfsub": lambda vs2, vs1, form: _sum(vs2, _negate(vs1), form),
    "vfrsub": lambda vs2, vs1, form: _sum(vs1, _negate(vs2), form),
    "vfmul": _product,
    "vfmin": _extreme(largest=False),
    "vfmax": _extreme(largest=True),
    "vfsgnj": _inject(""),
    "vfsgnjn": _inject("n"),
    "vfsgnjx": _inject("x"),
    "vmfeq": _compare(np.equal),
    "vmfne": _compare(np.not_equal),
    "vmflt": _compare(np.less),
    "vmfle": _compare(np.less_equal),
    "vmfgt": _compare(np.greater),
    "vmfge": _compare(np.greater_equal),
}
"""By base mnemonic: of ``vs2`` and ``vs1``, which have the same format."""

_MULTIPLY_ADDS: dict[str, tuple[bool, bool, bool]] = {
    "vfmadd": (True, False, False), "vfnmadd": (True, True, True), "vfmsub": (True, False, True), "vfnmsub": (True, True, False),
    "vfmacc": (False, False, False), "vfnmacc": (False, True, True), "vfmsac": (False, False, True), "vfnmsac": (False, True, False),
}  # fmt: skip
"""Whether ``vd`` is a factor (or the addend); whether the product is negated; whether the addend is."""


def fused(base: str, vd: Bits, vs1: Bits, vs2: Bits, form: NumberFormat) -> Bits:
    """A fused multiply-add: one rounding.

    Args:
        base: Mnemonic without operand form, such as ``vfnmacc``.
        vd: The destination's old elements.
        vs1: Factor; ``vs2`` the other factor, or the addend where ``vd`` is one.
        form: Of all.
    """
    factor, negate_product, negate_addend = _MULTIPLY_ADDS[base]
    product, addend = (vd, vs2) if factor else (vs2, vd)
    return multiply_add(
        _negate(vs1) if negate_product else vs1, product, _negate(addend) if negate_addend else addend, form
    )


WIDENING = {
    "vfwadd": "vfadd", "vfwsub": "vfsub", "vfwmul": "vfmul",
    "vfwmacc": "vfmacc", "vfwnmacc": "vfnmacc", "vfwmsac": "vfmsac", "vfwnmsac": "vfnmsac",
}  # fmt: skip
"""What is computed in FP32, of operands of which those of 16 bits are first made FP32."""
