"""Activation functions on vectors: one instruction with Flex-SFU, software otherwise.

The software is the baseline of every speedup, so it is as good as we can write it: FP16 arithmetic at two elements
a lane and clock, constants kept in registers, integer work on the other unit. exp is Cody-Waite reduction by ln 2,
a cubic, and an addition to the exponent; sigmoid, SiLU, tanh, Mish and softplus are built on it with a 7-bit reciprocal
estimate and one Newton step; GELU and erf are polynomials in x**2 on the interval where they bend; log, sin and cos are those
of :mod:`~lanewise.mapping.kernels.reduced` with a polynomial in the table's place.
``tests/mapping/kernels/test_activations.py`` runs these same instructions on values and holds their error.
"""

from collections.abc import Callable
from functools import cache
from math import erf, log, pi, sqrt

import numpy as np

from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.reduced import REDUCED_KERNELS, has_reduced_exp, logarithm, sine

LOG2_E = 1 / log(2)
LN2_HIGH = float(np.float16(log(2)))
LN2_LOW = log(2) - LN2_HIGH
ROUND = 1536.0
"""1.5 * 2**10: adding it to an FP16 number of magnitude below 512 rounds that to an integer."""

EXP_MINIMUM, EXP_MAXIMUM = -9.7, 11.0
"""Between these exp is a normal FP16 number; above, the kernels return exp(11)."""
QUICK = 1.702
"""quick_gelu's factor."""
EXP_ZERO = -11.0
"""Here and below exp is 0: with 16 less in its exponent field the polynomial is a negative integer."""

Emitter = Callable[[VectorKernel, Register], Register]


@cache
def polynomial(name: str) -> tuple[float, ...]:
    """Chebyshev-node least-squares coefficients, lowest power first, in the variable that the kernel uses.

    ``exp``: e**r for |r| <= 0.35. ``log1p``: log(1 + u) for 0 <= u <= 1, divided by u. ``log``:
    log(1 + d) / d for 1 + d from sqrt(1/2) to sqrt(2). ``sin``: sin(r) / r in r**2 for |r| <= pi/2. ``erf``, ``gelu``, ``gelu_tanh`` and the derivatives
    of the last two: (phi(x) - c) / x, even in x, in w = 2 x**2 / L**2 - 1, with L of :data:`BEND`.
    """
    nodes = np.cos(pi * (np.arange(400) + 0.5) / 400)
    if name == "exp":
        domain, degree, values = (-0.35, 0.35), 3, np.exp(0.35 * nodes)
    elif name == "log1p":
        domain, degree, values = (0.0, 1.0), 5, np.log1p((nodes + 1) / 2) / ((nodes + 1) / 2)
    elif name == "log":
        domain, degree = (sqrt(0.5) - 1, sqrt(2.0) - 1), 6
        d = (domain[1] - domain[0]) / 2 * nodes + (domain[1] + domain[0]) / 2
        values = np.log1p(d) / d
    elif name == "sin":
        domain, degree = (0.0, (pi / 2) ** 2), 3
        values = np.sinc(np.sqrt((nodes + 1) / 2) / 2)
    else:
        domain, degree = (-1.0, 1.0), 9 if "derivative" in name else 6
        x = np.sqrt((nodes + 1) / 2) * BEND[name]
        values = np.array([_ODD_PART[name](float(v)) / float(v) for v in x])
    variable = (domain[1] - domain[0]) / 2 * nodes + (domain[1] + domain[0]) / 2
    fit = np.polynomial.Chebyshev.fit(variable, values, degree, domain=list(domain))
    return tuple(float(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


BEND = {"gelu": 3.5, "gelu_tanh": 3.5, "erf": 2.5, "gelu_derivative": 4.0, "gelu_tanh_derivative": 4.0}
"""Beyond this |x| the function is at its asymptote to about an FP16 rounding."""

_ODD_PART: dict[str, Callable[[float], float]] = {
    "gelu": lambda x: 0.5 * erf(x / sqrt(2)),
    "gelu_tanh": lambda x: 0.5 * float(np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))),
    "erf": erf,
    "gelu_derivative": lambda x: _slope("gelu", x) - 0.5,
    "gelu_tanh_derivative": lambda x: _slope("gelu_tanh", x) - 0.5,
}


def _slope(name: str, x: float) -> float:
    # brings torch, which a network without these functions need not wait for
    from lanewise.models.functions import FUNCTIONS

    return float(FUNCTIONS[f"{name}_derivative"](np.array([x]))[0])


def horner(
    kernel: VectorKernel, coefficients: tuple[float, ...], variable: Register, into: Register | None = None
) -> Register:
    """``c0 + v (c1 + v (c2 + ...))``: one multiply-add a coefficient but the highest."""
    *lower, following, highest = coefficients
    result = kernel.emit("vfmv.v.f", into=into, constant=following)
    kernel.emit("vfmacc.vf", variable, into=result, constant=highest)
    for coefficient in reversed(lower):
        kernel.emit("vfmadd.vv", variable, kernel.splat(coefficient), into=result)
    return result


def exponential(
    kernel: VectorKernel,
    x: Register,
    scale: float = 1.0,
    *,
    lowest: float = EXP_MINIMUM,
    bounded: bool = False,
) -> Register:
    """``exp(scale * x)`` for |scale| 1 or 2; destroys nothing.

    13 instructions, 7 of them multiply-adds. ``r / scale`` is what is reduced, and the coefficients have the powers of ``scale``.

    Args:
        lowest: Least ``scale * x``: below, the result is that of it.
        bounded: Whether ``scale * x`` is at most :data:`EXP_MAXIMUM` anyhow, which saves an instruction.
    """
    least, most = ("vfmax.vf", "vfmin.vf") if scale > 0 else ("vfmin.vf", "vfmax.vf")
    rest = kernel.emit(least, x, constant=lowest / scale)
    if not bounded:
        kernel.emit(most, rest, into=rest, constant=EXP_MAXIMUM / scale)
    quotient = kernel.emit("vfmv.v.f", constant=ROUND)
    kernel.emit("vfmacc.vf", rest, into=quotient, constant=LOG2_E * scale)
    whole = kernel.emit("vfsub.vf", quotient, constant=ROUND)
    kernel.emit("vfnmsac.vf", whole, into=rest, constant=LN2_HIGH / scale)
    kernel.emit("vfnmsac.vf", whole, into=rest, constant=LN2_LOW / scale)
    coefficients = tuple(c * scale**power for power, c in enumerate(polynomial("exp")))
    result = horner(kernel, coefficients, rest, into=whole)
    kernel.emit("vsll.vi", quotient, into=quotient, constant=10)
    kernel.emit("vadd.vv", result, quotient, into=result)
    kernel.release(rest, quotient)
    return result


def exp_kernel(kernel: VectorKernel, x: Register, *, bounded: bool = False) -> Register:
    """exp; below the smallest normal number the fraction falls to 0 along straight lines, where the sum's sign says so."""
    result = exponential(kernel, x, lowest=EXP_ZERO, bounded=bounded)
    return kernel.emit("vmax.vx", result, into=result, constant=0)


def reciprocal(kernel: VectorKernel, x: Register, sew_bits: int = 16) -> Register:
    """1/x by the 7-bit estimate and one Newton step: y (2 - x y)."""
    one = kernel.splat(1.0, sew_bits)
    estimate = kernel.emit("vfrec7.v", x, sew_bits=sew_bits)
    error = kernel.emit("vmv.v.v", estimate, sew_bits=sew_bits)
    kernel.emit("vfnmsub.vv", x, one, into=error, sew_bits=sew_bits)
    kernel.emit("vfmadd.vv", estimate, estimate, into=error, sew_bits=sew_bits)
    kernel.release(estimate)
    return error


def reciprocal_square_root(kernel: VectorKernel, x: Register, sew_bits: int = 16) -> Register:
    """1/sqrt(x) by the 7-bit estimate and one Newton step: y + y/2 (1 - x y y)."""
    one = kernel.splat(1.0, sew_bits)
    estimate = kernel.emit("vfrsqrt7.v", x, sew_bits=sew_bits)
    product = kernel.emit("vfmul.vv", x, estimate, sew_bits=sew_bits)
    kernel.emit("vfnmsub.vv", estimate, one, into=product, sew_bits=sew_bits)
    half = kernel.emit("vfmul.vf", estimate, sew_bits=sew_bits, constant=0.5)
    kernel.emit("vfmadd.vv", half, estimate, into=product, sew_bits=sew_bits)
    kernel.release(estimate, half)
    return product


def log_quotient(kernel: VectorKernel, m: Register) -> Register:
    """log(m) / (m - 1) by a polynomial in m - 1, in m's place."""
    kernel.emit("vfsub.vf", m, into=m, constant=1.0)
    result = horner(kernel, polynomial("log"), m)
    kernel.release(m)
    return result


def sine_quotient(kernel: VectorKernel, r: Register) -> Register:
    """sin(r) / r by a polynomial in r**2, in r's place."""
    kernel.emit("vfmul.vv", r, r, into=r)
    result = horner(kernel, polynomial("sin"), r)
    kernel.release(r)
    return result


def sigmoid(kernel: VectorKernel, x: Register, scale: float = 1.0) -> Register:
    """1 / (1 + exp(-scale x))."""
    result = exponential(kernel, x, -scale)
    kernel.emit("vfadd.vf", result, into=result, constant=1.0)
    inverse = reciprocal(kernel, result)
    kernel.release(result)
    return inverse


def silu(kernel: VectorKernel, x: Register) -> Register:
    """x sigmoid(x); below -11 it stays at -11 sigmoid(-11)."""
    result = sigmoid(kernel, x)
    bounded = kernel.emit("vfmax.vf", x, constant=-EXP_MAXIMUM)
    kernel.emit("vfmul.vv", result, bounded, into=result)
    kernel.release(bounded)
    return result


def quick_gelu(kernel: VectorKernel, x: Register) -> Register:
    """x sigmoid(1.702 x); below -6.5 it stays there."""
    scaled = kernel.emit("vfmul.vf", x, constant=QUICK)
    result = silu(kernel, scaled)
    kernel.release(scaled)
    return kernel.emit("vfmul.vf", result, into=result, constant=1 / QUICK)


def tanh(kernel: VectorKernel, x: Register) -> Register:
    """2 sigmoid(2 x) - 1."""
    result = sigmoid(kernel, x, 2.0)
    return kernel.emit("vfmadd.vf", kernel.splat(-1.0), into=result, constant=2.0)


def mish(kernel: VectorKernel, x: Register) -> Register:
    """x n / (n + 2) with n = e (e + 2), e = exp(x); from x = 5.5 on it is x to an FP16 rounding."""
    clamped = kernel.emit("vfmin.vf", x, constant=5.5)
    power = exponential(kernel, clamped, bounded=True)
    numerator = kernel.emit("vfadd.vf", power, into=clamped, constant=2.0)
    kernel.emit("vfmul.vv", numerator, power, into=numerator)
    denominator = kernel.emit("vfadd.vf", numerator, into=power, constant=2.0)
    inverse = reciprocal(kernel, denominator)
    kernel.emit("vfmul.vv", numerator, inverse, into=inverse)
    kernel.emit("vfmax.vf", x, into=numerator, constant=EXP_MINIMUM)
    kernel.emit("vfmul.vv", inverse, numerator, into=inverse)
    kernel.release(numerator, denominator)
    return inverse


def softplus(kernel: VectorKernel, x: Register) -> Register:
    """max(x, 0) + u P(u) with u = exp(-|x|)."""
    negative = kernel.emit("vfsgnjx.vv", x, x)
    power = exponential(kernel, negative, -1.0, bounded=True)
    kernel.release(negative)
    series = horner(kernel, polynomial("log1p"), power)
    positive = kernel.emit("vfmax.vf", x, constant=0.0)
    kernel.emit("vfmadd.vv", power, positive, into=series)
    kernel.release(power, positive)
    return series


def log_sigmoid(kernel: VectorKernel, x: Register) -> Register:
    """-softplus(-x)."""
    negative = kernel.emit("vfsgnjn.vv", x, x)
    result = softplus(kernel, negative)
    kernel.release(negative)
    return kernel.emit("vfsgnjn.vv", result, result, into=result)


def _bent(kernel: VectorKernel, x: Register, name: str) -> tuple[Register, Register, Register]:
    """x bounded below by -L, x clamped to [-L, L], and the polynomial in w = 2 x**2 / L**2 - 1."""
    limit = BEND[name]
    bounded = kernel.emit("vfmax.vf", x, constant=-limit)
    clamped = kernel.emit("vfmin.vf", bounded, constant=limit)
    square = kernel.emit("vfmul.vf", clamped, constant=2 / limit**2)
    kernel.emit("vfmadd.vv", clamped, kernel.splat(-1.0), into=square)
    result = horner(kernel, polynomial(name), square)
    kernel.release(square)
    return bounded, clamped, result


def error_function(kernel: VectorKernel, x: Register) -> Register:
    """erf(x) = x Q(x**2)."""
    bounded, clamped, result = _bent(kernel, x, "erf")
    kernel.emit("vfmul.vv", result, clamped, into=result)
    kernel.release(bounded, clamped)
    return result


def _gelu(kernel: VectorKernel, x: Register, name: str) -> Register:
    bounded, clamped, result = _bent(kernel, x, name)
    kernel.emit("vfmadd.vv", clamped, kernel.splat(0.5), into=result)
    kernel.emit("vfmax.vf", result, into=result, constant=0.0)
    kernel.emit("vfmin.vf", result, into=result, constant=1.0)
    kernel.emit("vfmul.vv", result, bounded, into=result)
    kernel.release(bounded, clamped)
    return result


def gelu_derivative(kernel: VectorKernel, x: Register, name: str) -> Register:
    """1/2 + x Q(x**2), x within [-4, 4]: the derivative less 1/2 is odd."""
    limit = BEND[name]
    clamped = kernel.emit("vfmax.vf", x, constant=-limit)
    kernel.emit("vfmin.vf", clamped, into=clamped, constant=limit)
    square = kernel.emit("vfmul.vf", clamped, constant=2 / limit**2)
    kernel.emit("vfmadd.vv", clamped, kernel.splat(-1.0), into=square)
    result = horner(kernel, polynomial(name), square)
    kernel.emit("vfmadd.vv", clamped, kernel.splat(0.5), into=result)
    kernel.release(clamped, square)
    return result


def silu_derivative(kernel: VectorKernel, x: Register) -> Register:
    """s + s (x - x s) with s = sigmoid(x); x is bounded to [-11, 11]."""
    result = sigmoid(kernel, x)
    bounded = kernel.emit("vfmax.vf", x, constant=-EXP_MAXIMUM)
    kernel.emit("vfmin.vf", bounded, into=bounded, constant=EXP_MAXIMUM)
    rest = kernel.emit("vmv.v.v", bounded)
    kernel.emit("vfnmsac.vv", bounded, result, into=rest)
    kernel.emit("vfmadd.vv", rest, result, into=result)
    kernel.release(bounded, rest)
    return result


def hardswish(kernel: VectorKernel, x: Register) -> Register:
    """x min(max(x/6 + 1/2, 0), 1)."""
    result = hardsigmoid(kernel, x)
    return kernel.emit("vfmul.vv", result, x, into=result)


def hardsigmoid(kernel: VectorKernel, x: Register) -> Register:
    """min(max(x/6 + 1/2, 0), 1)."""
    result = kernel.emit("vmv.v.v", x)
    kernel.emit("vfmadd.vf", kernel.splat(0.5), into=result, constant=1 / 6)
    kernel.emit("vfmax.vf", result, into=result, constant=0.0)
    return kernel.emit("vfmin.vf", result, into=result, constant=1.0)


def elu(kernel: VectorKernel, x: Register) -> Register:
    """x where x > 0, exp(x) - 1 elsewhere."""
    negative = kernel.emit("vfmin.vf", x, constant=0.0)
    power = exponential(kernel, negative, bounded=True)
    kernel.emit("vfsub.vf", power, into=power, constant=1.0)
    mask = Register(first=0, length=1)
    kernel.emit("vmfgt.vf", x, into=mask, constant=0.0)
    kernel.emit("vmerge.vvm", power, x, into=power)
    kernel.release(negative)
    return power


SOFTWARE: dict[str, Emitter] = {
    "exp": exp_kernel,
    "sigmoid": sigmoid,
    "silu": silu,
    "tanh": tanh,
    "quick_gelu": quick_gelu,
    "mish": mish,
    "softplus": softplus,
    "logsigmoid": log_sigmoid,
    "erf": error_function,
    "gelu": lambda kernel, x: _gelu(kernel, x, "gelu"),
    "gelu_tanh": lambda kernel, x: _gelu(kernel, x, "gelu_tanh"),
    "gelu_derivative": lambda kernel, x: gelu_derivative(kernel, x, "gelu_derivative"),
    "gelu_tanh_derivative": lambda kernel, x: gelu_derivative(kernel, x, "gelu_tanh_derivative"),
    "silu_derivative": silu_derivative,
    "hardswish": hardswish,
    "elu": elu,
    "reciprocal": reciprocal,
    "rsqrt": reciprocal_square_root,
    "log": lambda kernel, x: logarithm(kernel, x, evaluate=log_quotient),
    "sin": lambda kernel, x: sine(kernel, x, evaluate=sine_quotient),
    "cos": lambda kernel, x: sine(kernel, x, 0.5, evaluate=sine_quotient),
    "hardsigmoid": hardsigmoid,
    "relu": lambda kernel, x: kernel.emit("vfmax.vf", x, constant=0.0),
    "relu6": lambda kernel, x: kernel.emit(
        "vfmin.vf", kernel.emit("vfmax.vf", x, constant=0.0), constant=6.0
    ),
}
"""What the vector unit's own instructions can do; each takes the kernel and x, and gives the result's registers."""

REDUCED_ON_FLEX_SFU = frozenset({"exp", "log", "sin", "cos"})
"""Functions that Flex-SFU evaluates on a reduced interval. Reciprocal and rsqrt are faster by the estimates
(docs/range_reduction.md)."""

ON_FLEX_SFU = REDUCED_ON_FLEX_SFU | {
    "sigmoid", "silu", "tanh", "mish", "softplus", "erf", "gelu", "gelu_tanh", "hardswish", "elu", "quick_gelu",
    "logsigmoid", "gelu_derivative", "gelu_tanh_derivative", "silu_derivative",
}  # fmt: skip
"""Functions for which a machine with Flex-SFU uses it; the others bend at most twice and are exact in software."""


def activation(kernel: VectorKernel, function: str, x: Register) -> Register:
    """Emit ``function`` for the kernel's machine.

    Raises:
        KeyError: There is no kernel for the function.
    """
    if not kernel.config.flex_sfu.serves("fp16") or function not in ON_FLEX_SFU:
        return SOFTWARE[function](kernel, x)
    if function not in REDUCED_ON_FLEX_SFU:
        return kernel.flex_sfu(x, table=kernel.load_table(function))
    if function == "exp" and not has_reduced_exp(kernel):
        return SOFTWARE[function](kernel, x)
    return REDUCED_KERNELS[function](kernel, x)
