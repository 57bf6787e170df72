"""Range reduction on vectors: the exponent by integer instructions, the rest by Flex-SFU or a polynomial.

The instructions are those of :mod:`lanewise.models.reduction`, whose bits they give (``tests/mapping/kernels/test_reduced.py``).
"""

from collections.abc import Callable
from math import log, nan, pi
from typing import TypeAlias

from lanewise.formats import FORMATS, NumberFormat
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.models.reduction import (
    EXP32_MINIMUM,
    GRID,
    KEPT_BITS,
    LOWEST,
    ROUND,
    TRIGONOMETRIC_MAXIMUM,
    Fields,
    exp_grid,
    split_constant,
)

Evaluate: TypeAlias = Callable[[VectorKernel, Register], Register]
"""Emits the function of an operand in the reduced interval; the operand's registers are the result's, or given back."""

MASK = Register(first=0, length=1)


def looked_up(function: str, sew_bits: int = 16) -> Evaluate:
    """Evaluation by Flex-SFU, with the table of :func:`~lanewise.models.reduction_tables.reduction_table`."""

    def evaluate(kernel: VectorKernel, x: Register) -> Register:
        table = kernel.load_table(f"reduced {function}", sew_bits)
        return kernel.flex_sfu(x, into=x, table=table, sew_bits=sew_bits)

    return evaluate


def _form(sew_bits: int) -> NumberFormat:
    return FORMATS[f"fp{sew_bits}"]


def exponential(kernel: VectorKernel, x: Register) -> Register:
    """exp of FP16: exp(k) exp(x - k), both looked up, k a multiple of the table's grid."""
    evaluate = looked_up("exp")
    spacing, lowest, highest = exp_grid(kernel.config.flex_sfu.segments)
    whole = kernel.emit("vfadd.vf", x, constant=ROUND[16] * spacing)
    kernel.emit("vfsub.vf", whole, into=whole, constant=ROUND[16] * spacing)
    kernel.emit("vfmax.vf", whole, into=whole, constant=lowest)
    kernel.emit("vfmin.vf", whole, into=whole, constant=highest)
    rest = kernel.emit("vfsub.vv", x, whole)
    kernel.emit("vfmul.vv", evaluate(kernel, whole), evaluate(kernel, rest), into=rest)
    kernel.release(whole)
    return rest


def exponential_nonpositive(kernel: VectorKernel, x: Register, *, into: Register | None = None) -> Register:
    """exp of FP16 operands of at most 0: exp(h) exp(x - h), both looked up, h the first bits of x."""
    evaluate = looked_up("exp_nonpositive")
    rest = kernel.emit("vfmax.vf", x, into=into, constant=LOWEST)
    kept = -1 << (10 - KEPT_BITS[kernel.config.flex_sfu.segments])
    whole = kernel.emit("vand.vx", rest, constant=kept)
    kernel.emit("vfsub.vv", rest, whole, into=rest)
    kernel.emit("vfmul.vv", evaluate(kernel, whole), evaluate(kernel, rest), into=rest)
    kernel.release(whole)
    return rest


def exponential32(kernel: VectorKernel, x: Register) -> Register:
    """exp of FP32 by Cody and Waite."""
    high, low = split_constant(log(2), 32)
    whole = kernel.emit("vmv.v.v", x, sew_bits=32)
    kernel.emit("vfmadd.vf", kernel.splat(ROUND[32], 32), into=whole, sew_bits=32, constant=1 / log(2))
    kernel.emit("vfsub.vf", whole, into=whole, sew_bits=32, constant=ROUND[32])
    kernel.emit("vfmax.vf", whole, into=whole, sew_bits=32, constant=-125.0)
    kernel.emit("vfmin.vf", whole, into=whole, sew_bits=32, constant=128.0)
    rest = kernel.emit("vmv.v.v", x, sew_bits=32)
    kernel.emit("vfnmsac.vf", whole, into=rest, sew_bits=32, constant=high)
    kernel.emit("vfnmsac.vf", whole, into=rest, sew_bits=32, constant=low)
    looked_up("exp", 32)(kernel, rest)
    kernel.emit("vfadd.vf", whole, into=whole, sew_bits=32, constant=ROUND[32] + 126)
    kernel.emit("vsll.vi", whole, into=whole, sew_bits=32, constant=23)
    kernel.emit("vfmul.vv", rest, whole, into=rest, sew_bits=32)
    kernel.emit("vmflt.vf", x, into=MASK, sew_bits=32, constant=EXP32_MINIMUM)
    kernel.emit("vfmerge.vfm", rest, into=rest, sew_bits=32, constant=0.0)
    kernel.release(whole)
    return rest


def normal_reciprocal(kernel: VectorKernel, x: Register, sew_bits: int = 16) -> Register:
    """1/x of normal numbers and infinities."""
    fields = Fields(form=_form(sew_bits))
    result = kernel.emit("vand.vx", x, sew_bits=sew_bits, constant=fields.fraction)
    kernel.emit("vor.vx", result, into=result, sew_bits=sew_bits, constant=fields.one)
    scale = kernel.emit("vxor.vx", x, sew_bits=sew_bits, constant=fields.exponent)
    kernel.emit("vand.vx", scale, into=scale, sew_bits=sew_bits, constant=fields.sign | fields.exponent)
    looked_up("reciprocal", sew_bits)(kernel, result)
    kernel.emit("vfmul.vv", result, scale, into=result, sew_bits=sew_bits)
    kernel.release(scale)
    return result


def reciprocal(kernel: VectorKernel, x: Register, sew_bits: int = 16) -> Register:
    """1/x of every operand."""
    fields = Fields(form=_form(sew_bits))
    operand = kernel.emit("vand.vx", x, sew_bits=sew_bits, constant=fields.exponent)
    kernel.emit("vmseq.vx", operand, into=MASK, sew_bits=sew_bits, constant=0)
    raised = kernel.emit("vfmul.vf", x, sew_bits=sew_bits, constant=4.0)
    kernel.emit("vmerge.vvm", x, raised, into=operand, sew_bits=sew_bits)
    result = normal_reciprocal(kernel, operand, sew_bits)
    kernel.emit("vfmul.vf", result, into=operand, sew_bits=sew_bits, constant=4.0)
    kernel.emit("vmerge.vvm", result, operand, into=result, sew_bits=sew_bits)
    kernel.emit("vmfne.vv", x, x, into=MASK, sew_bits=sew_bits)
    kernel.emit("vmerge.vvm", result, raised, into=result, sew_bits=sew_bits)
    kernel.release(operand, raised)
    return result


def normal_rsqrt(kernel: VectorKernel, x: Register, sew_bits: int = 16) -> Register:
    """1/sqrt(x) of positive normal numbers."""
    fields = Fields(form=_form(sew_bits))
    result = kernel.emit("vxor.vx", x, sew_bits=sew_bits, constant=1 << fields.point)
    kernel.emit("vand.vx", result, into=result, sew_bits=sew_bits, constant=(2 << fields.point) - 1)
    kernel.emit("vadd.vx", result, into=result, sew_bits=sew_bits, constant=fields.one)
    octaves = kernel.emit("vsub.vv", x, result, sew_bits=sew_bits)
    kernel.emit("vsra.vi", octaves, into=octaves, sew_bits=sew_bits, constant=1)
    looked_up("rsqrt", sew_bits)(kernel, result)
    kernel.emit("vsub.vv", result, octaves, into=result, sew_bits=sew_bits)
    kernel.release(octaves)
    return result


def rsqrt(kernel: VectorKernel, x: Register, sew_bits: int = 16) -> Register:
    """1/sqrt(x) of every operand."""
    fields = Fields(form=_form(sew_bits))
    raised = _raised(kernel, x, fields)
    result = normal_rsqrt(kernel, raised, sew_bits)
    lowered = kernel.emit("vfmul.vf", result, sew_bits=sew_bits, constant=2.0 ** (fields.raised // 2))
    kernel.emit("vmerge.vvm", result, lowered, into=result, sew_bits=sew_bits)
    _mark_positive_normal(kernel, raised, fields)
    kernel.emit("vfrsqrt7.v", x, into=lowered, sew_bits=sew_bits)
    kernel.emit("vmerge.vvm", lowered, result, into=result, sew_bits=sew_bits)
    kernel.release(raised, lowered)
    return result


def _raised(kernel: VectorKernel, x: Register, fields: Fields) -> Register:
    """x, by an even number of octaves larger where it is below the smallest normal number, which the mask then says."""
    bits = fields.form.bits
    raised = kernel.emit("vfmul.vf", x, sew_bits=bits, constant=2.0**fields.raised)
    kernel.emit("vmflt.vf", x, into=MASK, sew_bits=bits, constant=fields.smallest)
    return kernel.emit("vmerge.vvm", x, raised, into=raised, sew_bits=bits)


def _mark_positive_normal(kernel: VectorKernel, x: Register, fields: Fields) -> None:
    """The mask of the positive normal numbers; destroys x."""
    kernel.emit("vadd.vx", x, into=x, sew_bits=fields.form.bits, constant=fields.shifted_zero)
    kernel.emit("vmslt.vx", x, into=MASK, sew_bits=fields.form.bits, constant=fields.shifted_end)


def logarithm(
    kernel: VectorKernel, x: Register, sew_bits: int = 16, evaluate: Evaluate | None = None
) -> Register:
    """log of every operand; ``evaluate`` gives log(m) / (m - 1) of m in [sqrt(1/2), sqrt(2))."""
    fields = Fields(form=_form(sew_bits))
    high, low = split_constant(log(2), sew_bits)
    raised = _raised(kernel, x, fields)
    octaves = kernel.emit("vadd.vx", raised, sew_bits=sew_bits, constant=-fields.root_half)
    kernel.emit("vand.vx", octaves, into=octaves, sew_bits=sew_bits, constant=fields.sign | fields.exponent)
    significand = kernel.emit("vsub.vv", raised, octaves, sew_bits=sew_bits)
    kernel.emit("vsra.vi", octaves, into=octaves, sew_bits=sew_bits, constant=fields.point)
    kernel.emit("vfcvt.f.x.v", octaves, into=octaves, sew_bits=sew_bits)
    result = kernel.emit("vfsub.vf", octaves, sew_bits=sew_bits, constant=float(fields.raised))
    kernel.emit("vmerge.vvm", octaves, result, into=octaves, sew_bits=sew_bits)
    kernel.emit("vfsub.vf", significand, into=result, sew_bits=sew_bits, constant=1.0)
    quotient = (evaluate or looked_up("log", sew_bits))(kernel, significand)
    kernel.emit("vfmul.vv", quotient, result, into=result, sew_bits=sew_bits)
    kernel.emit("vfmacc.vf", octaves, into=result, sew_bits=sew_bits, constant=low)
    kernel.emit("vfmacc.vf", octaves, into=result, sew_bits=sew_bits, constant=high)
    _mark_positive_normal(kernel, raised, fields)
    kernel.emit("vfadd.vf", x, into=octaves, sew_bits=sew_bits, constant=0.0)
    kernel.emit("vfrsqrt7.v", octaves, into=quotient, sew_bits=sew_bits)
    kernel.emit("vfsub.vv", octaves, quotient, into=quotient, sew_bits=sew_bits)
    kernel.emit("vmerge.vvm", quotient, result, into=result, sew_bits=sew_bits)
    kernel.release(raised, octaves, quotient)
    return result


def sine(
    kernel: VectorKernel,
    x: Register,
    half_turns: float = 0.0,
    sew_bits: int = 16,
    evaluate: Evaluate | None = None,
) -> Register:
    """sin(x + pi half_turns), half_turns 0 or 1/2; ``evaluate`` gives sin(r) / r of r in [0, pi/2]."""
    high, low = split_constant(pi, 32)
    rest = kernel.emit(
        *(("vfwcvt.f.f.v", x) if sew_bits == 16 else ("vmv.v.v", x)), sew_bits=sew_bits, result_bits=32
    )
    rounded = kernel.emit("vmv.v.v", rest, sew_bits=32)
    addend = kernel.splat(half_turns or ROUND[32], 32)
    kernel.emit("vfmadd.vf", addend, into=rounded, sew_bits=32, constant=1 / pi)
    if half_turns:
        kernel.emit("vfadd.vf", rounded, into=rounded, sew_bits=32, constant=ROUND[32])
    whole = kernel.emit("vfsub.vf", rounded, sew_bits=32, constant=ROUND[32])
    if half_turns:
        kernel.emit("vfsub.vf", whole, into=whole, sew_bits=32, constant=half_turns)
    kernel.emit("vfnmsac.vf", whole, into=rest, sew_bits=32, constant=high)
    kernel.emit("vfnmsac.vf", whole, into=rest, sew_bits=32, constant=low)
    kernel.emit("vsll.vi", rounded, into=rounded, sew_bits=32, constant=31)
    kernel.emit("vxor.vv", rest, rounded, into=rest, sew_bits=32)
    kernel.release(rounded, whole)
    if sew_bits == 16:
        narrow = kernel.emit("vfncvt.f.f.w", rest, sew_bits=32, result_bits=16)
        kernel.release(rest)
        rest = narrow
    result = kernel.emit("vfsgnjx.vv", rest, rest, sew_bits=sew_bits)
    result = (evaluate or looked_up("sin", sew_bits))(kernel, result)
    kernel.emit("vfmul.vv", rest, result, into=result, sew_bits=sew_bits)
    if sew_bits == 32:
        kernel.emit("vfsgnjx.vv", x, x, into=rest, sew_bits=32)
        kernel.emit("vmfgt.vf", rest, into=MASK, sew_bits=32, constant=TRIGONOMETRIC_MAXIMUM)
        kernel.emit("vfmerge.vfm", result, into=result, sew_bits=32, constant=nan)
    kernel.release(rest)
    return result


def has_reduced_exp(kernel: VectorKernel) -> bool:
    """Whether the machine's table has room for FP16's exp as a product of two."""
    return kernel.config.flex_sfu.segments in GRID


REDUCED_KERNELS: dict[str, Callable[[VectorKernel, Register], Register]] = {
    "exp": exponential,
    "exp_nonpositive": exponential_nonpositive,
    "reciprocal": reciprocal,
    "rsqrt": rsqrt,
    "log": logarithm,
    "sin": sine,
    "cos": lambda kernel, x: sine(kernel, x, 0.5),
}
"""FP16 kernels by the names of :data:`~lanewise.models.reduction.REDUCED`; each needs Flex-SFU."""

REDUCED_KERNELS_32: dict[str, Callable[[VectorKernel, Register], Register]] = {
    "exp": exponential32,
    "reciprocal": lambda kernel, x: reciprocal(kernel, x, 32),
    "rsqrt": lambda kernel, x: rsqrt(kernel, x, 32),
    "log": lambda kernel, x: logarithm(kernel, x, 32),
    "sin": lambda kernel, x: sine(kernel, x, 0.0, 32),
    "cos": lambda kernel, x: sine(kernel, x, 0.5, 32),
}
"""FP32 kernels; Flex-SFU must have that format."""
