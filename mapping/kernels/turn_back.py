"""The end of a gradient's way back: from products of sampled INT4 rows to the gradient of the real operand.

What the array gave is the gradient of the turned operand. It passes where the value was within the quantiser's range, and is turned
back: log2(block) levels of butterflies, each two slides, the second masked, and a multiply-add. With q the INT4 operand, x the real one and s the step, the
step's gradient is ``sum(g q) - sum(dx x) / s``: turning is orthogonal, so the sum over turned values is one over real ones. All of
this is linear in g, so the kept rows of both words are turned back one by one and added in memory.

Source: Xi, Li, Chen, Zhu, arXiv 2306.11987; the learned step is LSQ's (Esser et al., 2020).
"""

from math import ceil

from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.sim.program import Instruction

TURN_BACK = "turn_back"
"""Name of the step; its constant is the block."""

BUFFERS = {"q": 0.5, "inside": 0.125, "x": 2.0}
"""What is read beside the gradient, and its bytes an element: INT4 operand, flags, FP16 operand."""


def turn_back(kernel: VectorKernel, value: Register, block: int) -> Register:
    """``turn(mask * value)`` in new registers, or in ``value``'s; both sums of the step's gradient go to accumulators."""
    q = _integers(kernel)
    kernel.emit("vfmacc.vv", value, q, into=kernel.accumulator("g q"))
    kernel.release(q)
    flags = max(1, ceil(kernel.vl / 8))
    kernel.code.append(
        Instruction(opcode="vle8.v", writes=("v0",), reads=("@inside.0",), vl=flags, sew_bits=8)
    )
    kernel.emit("vmerge.vvm", value, value, into=value)
    distance = 1
    while (
        distance < block
    ):  # x[i ^ distance] +- x[i]: slides down and, where i has the bit, up; and a register of +-1
        signs, upper = kernel.splat(float(distance)), kernel.splat(-float(distance), vl=1)
        kernel.emit("vmor.mm", upper, upper, into=Register(first=0, length=1))
        turned = kernel.emit("vslidedown.vx", value, constant=distance)
        kernel.emit("vslideup.vx", value, into=turned, constant=distance, masked=True)
        kernel.emit("vfmacc.vv", value, signs, into=turned)
        kernel.release(value)
        value, distance = turned, 2 * distance
    x = kernel.load("@x.0")
    kernel.emit("vfmacc.vv", value, x, into=kernel.accumulator("dx x"))
    kernel.release(x)
    return value


def _integers(kernel: VectorKernel) -> Register:
    """INT4 operands as FP16: each pair to 16 bits, its nibbles to the upper ends of two bytes, bytes sign-extended, then to FP16."""
    half = max(1, kernel.vl // 2)
    packed = kernel.load("@q.0", sew_bits=8, vl=half)
    wide = kernel.emit("vzext.vf2", packed, sew_bits=8, result_bits=16, vl=half)
    kernel.release(packed)
    low = kernel.emit("vsll.vi", wide, sew_bits=16, vl=half, constant=4)
    kernel.emit("vand.vx", low, into=low, sew_bits=16, vl=half, constant=255)
    kernel.emit("vsll.vi", wide, into=wide, sew_bits=16, vl=half, constant=8)
    kernel.emit("vor.vv", wide, low, into=wide, sew_bits=16, vl=half)
    kernel.release(low)
    kernel.emit("vsra.vi", wide, into=wide, sew_bits=8, constant=4)
    result = kernel.emit("vfwcvt.f.x.v", wide, sew_bits=8, result_bits=16)
    kernel.release(wide)
    return result
