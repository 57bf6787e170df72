"""tanh of FP32 on vectors without Flex-SFU: the baseline's.

``tanh(x) = 1 - 2 / (exp(2 x) + 1)``, the reciprocal from the 7-bit estimate by two of Newton's steps. Its error is absolute, of a few
2^-24: what is added up next to numbers of size 1 does not see more.
"""

from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.exponential import software_exponential32

MOST = 20.0
"""Of 2 x: beyond, tanh is 1 in FP32, and the denominator still finite."""


def software_tanh32(kernel: VectorKernel, x: Register, *, into: Register) -> Register:
    """tanh of every FP32 number; ``x`` is overwritten. A NaN becomes 1, as ``vfmin`` takes the number."""
    kernel.emit("vfadd.vv", x, x, into=x, sew_bits=32)
    kernel.emit("vfmin.vf", x, into=x, sew_bits=32, constant=MOST)
    denominator = software_exponential32(kernel, x, into=into)
    kernel.emit("vfadd.vf", denominator, into=denominator, sew_bits=32, constant=1.0)
    inverse = kernel.emit("vfrec7.v", denominator, into=x, sew_bits=32)
    rest = kernel.allocate(32)
    for _ in range(2):
        kernel.emit("vfmul.vv", denominator, inverse, into=rest, sew_bits=32)
        kernel.emit("vfrsub.vf", rest, into=rest, sew_bits=32, constant=2.0)
        kernel.emit("vfmul.vv", inverse, rest, into=inverse, sew_bits=32)
    kernel.emit("vfmul.vf", inverse, into=inverse, sew_bits=32, constant=-2.0)
    kernel.release(rest)
    return kernel.emit("vfadd.vf", inverse, into=into, sew_bits=32, constant=1.0)
