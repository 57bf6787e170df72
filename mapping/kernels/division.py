"""Division and square root of FP16 numbers in software: the vector unit has 7-bit estimates of 1/x and 1/sqrt(x), and no divider.

Both widen to FP32, where an FP16 number is never subnormal, and improve the estimate once by Newton's method: 14 bits, so that what is
rounded to FP16 at the end is the result or its neighbour. Where a step gives NaN for a zero or an infinity, a minimum or a maximum,
which take the operand that is a number, put back what is right. ``tests/mapping/kernels/test_division.py`` holds every special case and the error.
"""

from math import frexp, isfinite

import numpy as np

from lanewise.mapping.kernels.builder import Register, VectorKernel


def _widened(kernel: VectorKernel, x: Register) -> Register:
    return kernel.emit("vfwcvt.f.f.v", x, result_bits=32)


def _narrowed(kernel: VectorKernel, wide: Register, into: Register) -> Register:
    kernel.emit("vfncvt.f.f.w", wide, into=into, sew_bits=32)
    kernel.release(wide)
    return into


def divide(kernel: VectorKernel, x: Register, y: Register, *, into: Register) -> Register:
    """``x / y``: q (2 - y r) with r the estimate of 1/y and q = x r."""
    quotient, denominator = _widened(kernel, x), _widened(kernel, y)
    estimate = kernel.emit("vfrec7.v", denominator, sew_bits=32)
    kernel.emit("vfmul.vv", quotient, estimate, into=quotient, sew_bits=32)
    return _corrected(kernel, quotient, denominator, estimate, into)


def reverse_divide(kernel: VectorKernel, x: Register, numerator: float, *, into: Register) -> Register:
    """``numerator / x``, likewise; the numerator is an FP16 number."""
    denominator = _widened(kernel, x)
    estimate = kernel.emit("vfrec7.v", denominator, sew_bits=32)
    quotient = kernel.emit("vfmul.vf", estimate, sew_bits=32, constant=float(np.float16(numerator)))
    return _corrected(kernel, quotient, denominator, estimate, into)


def _corrected(
    kernel: VectorKernel, quotient: Register, denominator: Register, estimate: Register, into: Register
) -> Register:
    """The quotient times 2 - y r; where y is zero or infinite and that is NaN, times 2, which leaves it as it is."""
    kernel.emit("vfmul.vv", denominator, estimate, into=denominator, sew_bits=32)
    kernel.release(estimate)
    kernel.emit("vfrsub.vf", denominator, into=denominator, sew_bits=32, constant=2.0)
    kernel.emit("vfmin.vf", denominator, into=denominator, sew_bits=32, constant=2.0)
    kernel.emit("vfmul.vv", quotient, denominator, into=quotient, sew_bits=32)
    kernel.release(denominator)
    return _narrowed(kernel, quotient, into)


def divide_by_constant(kernel: VectorKernel, x: Register, y: float, *, into: Register) -> Register:
    """``x / y`` of an FP16 number y: a product with 1/y, in FP16 where 1/y is one of its normal powers of two, else in FP32."""
    y = float(np.float16(y))
    with np.errstate(divide="ignore"):
        inverse = float(np.float32(1) / np.float32(y))
    if isfinite(y) and y and abs(frexp(y)[0]) == 0.5 and 2.0**-14 <= abs(inverse) <= 2.0**15:
        return kernel.emit("vfmul.vf", x, into=into, constant=inverse)
    wide = _widened(kernel, x)
    kernel.emit("vfmul.vf", wide, into=wide, sew_bits=32, constant=inverse)
    return _narrowed(kernel, wide, into)


def square_root(kernel: VectorKernel, x: Register, *, into: Register) -> Register:
    """``sqrt(x)``: s/2 (3 - s r) with r the estimate of 1/sqrt(x) and s = x r; of zeros and infinity that is NaN, and an estimate
    of 1/r, made small enough never to be the larger one elsewhere, is right."""
    root = _widened(kernel, x)
    estimate = kernel.emit("vfrsqrt7.v", root, sew_bits=32)
    kernel.emit("vfmul.vv", root, estimate, into=root, sew_bits=32)
    correction = kernel.emit("vfmul.vv", root, estimate, sew_bits=32)
    kernel.emit("vfrsub.vf", correction, into=correction, sew_bits=32, constant=3.0)
    kernel.emit("vfmul.vf", root, into=root, sew_bits=32, constant=0.5)
    kernel.emit("vfmul.vv", root, correction, into=root, sew_bits=32)
    kernel.release(correction)
    kernel.emit("vfrec7.v", estimate, into=estimate, sew_bits=32)
    kernel.emit("vfmul.vf", estimate, into=estimate, sew_bits=32, constant=0.875)
    kernel.emit("vfmax.vv", root, estimate, into=root, sew_bits=32)
    kernel.release(estimate)
    return _narrowed(kernel, root, into)
