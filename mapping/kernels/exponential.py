"""exp of FP32 on vectors without Flex-SFU: the baseline's, for every operand.

``exp(x) = 2**z * 4**h`` with ``z = x log2(e) - 2 h`` in [-1, 1]. Half of the exponent, multiplied by twice, reaches infinity and the
subnormal numbers with the rounding that they need, which one power of two cannot. The polynomial's highest coefficient is 2**-16:
a power of two next to ln(2)**7 / 5040, which the exponent takes, so that evaluation begins with an addition of a scalar
and needs neither a copy nor a splat.
"""

from functools import cache
from math import log

import numpy as np

from lanewise.mapping.kernels.builder import Register, VectorKernel

DEGREE = 7
LEADING = 2.0**-16
LOG2_E = float(np.float32(1 / log(2)))
LOG2_E_REST = 1 / log(2) - LOG2_E

HALVES = (-76, 65)
"""``h`` is bounded to these: beyond, the result is 0 or infinite."""
BIAS = 127 - 8
"""Added to ``h``: a power of two's exponent field, and half of the polynomial's 2**16."""
ROUND = 1.5 * 2**24 + 2 * BIAS
"""Adding it to an FP32 number of magnitude below 2**23 rounds that to an even integer, and leaves ``h + BIAS`` in the lowest bits."""
LOWEST = int(np.float32(-1.25).view(np.uint32))
"""Bits that are, as an unsigned integer, less than those of numbers below -1.25, and more than those of all others and of the NaN."""


@cache
def coefficients() -> tuple[float, ...]:
    """2**z for |z| <= 1, divided by :data:`LEADING`, lowest power first; the last one is 1.

    Least squares of the relative error on Chebyshev nodes; each is rounded to FP32 before those of higher powers are fitted.
    """
    z = np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    powers = z[:, None] ** np.arange(DEGREE + 1)
    weight, rest = 2.0**-z, 2.0**z / LEADING - powers[:, DEGREE]
    found: list[float] = []
    for power in range(DEGREE):
        free = powers[:, power:DEGREE] * weight[:, None]
        nearest = float(np.float32(np.linalg.lstsq(free, rest * weight, rcond=None)[0][0]))
        found.append(nearest)
        rest = rest - nearest * powers[:, power]
    return (*found, 1.0)


def software_exponential32(kernel: VectorKernel, x: Register, into: Register | None = None) -> Register:
    """exp of every FP32 operand; the result goes to ``into``, which may be ``x``, or to a new group.

    18 instructions, 13 of them multiply-adds, and six constants in registers. A NaN passes through ``z``, which only integer
    instructions bound.
    """
    low, high = (ROUND + 2 * half for half in HALVES)
    scale = kernel.emit("vfmv.v.f", sew_bits=32, constant=ROUND)
    kernel.emit("vfmacc.vf", x, into=scale, sew_bits=32, constant=LOG2_E)
    kernel.emit("vfmax.vf", scale, into=scale, sew_bits=32, constant=low)
    kernel.emit("vfmin.vf", scale, into=scale, sew_bits=32, constant=high)
    rest = kernel.emit("vfrsub.vf", scale, sew_bits=32, constant=ROUND)
    kernel.emit("vfmacc.vf", x, into=rest, sew_bits=32, constant=LOG2_E)
    kernel.emit("vfmacc.vf", x, into=rest, sew_bits=32, constant=LOG2_E_REST)
    kernel.emit("vminu.vx", rest, into=rest, sew_bits=32, constant=LOWEST)
    *lower, following, _ = coefficients()
    result = kernel.emit("vfadd.vf", rest, into=into, sew_bits=32, constant=following)
    for coefficient in reversed(lower):
        kernel.emit("vfmadd.vv", rest, kernel.splat(coefficient, 32), into=result, sew_bits=32)
    kernel.emit("vsll.vi", scale, into=scale, sew_bits=32, constant=23)
    kernel.emit("vfmul.vv", result, scale, into=result, sew_bits=32)
    kernel.emit("vfmul.vv", result, scale, into=result, sew_bits=32)
    kernel.release(scale, rest)
    return result
