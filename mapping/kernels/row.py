"""One row of softmax, a norm, a sum, a mean or a maximum, held in registers."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

from lanewise.mapping.kernels.activations import exp_kernel, reciprocal, reciprocal_square_root
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.epilogue import Operand, emit_steps, store_outputs
from lanewise.mapping.kernels.reduced import MASK, exponential_nonpositive, has_reduced_exp
from lanewise.models.reduction import LOWEST
from lanewise.models.rows import HIGHEST, square_sums
from lanewise.sim.program import Address

if TYPE_CHECKING:
    from lanewise.mapping.kernels.rows import RowsWork

Scalar: TypeAlias = Callable[[VectorKernel, Register, int], Register]
"""Emits a function of elements of so many bits."""


def nonpositive_exponential(kernel: VectorKernel, x: Register, work: "RowsWork") -> Register:
    """exp of x, at most 0, by what the machine has; x's registers are the result's, or given back."""
    if kernel.config.flex_sfu.serves("fp16"):
        if work.exponential == "reduced" and has_reduced_exp(kernel):
            return exponential_nonpositive(kernel, x, into=x)
        # a mask's infinity is kept finite: the tail's slope may be more than zero
        kernel.emit("vfmax.vf", x, into=x, constant=LOWEST)
        return kernel.flex_sfu(x, into=x, table=kernel.load_table("exp"))
    result = exp_kernel(kernel, x, bounded=True)
    kernel.release(x)
    return result


class RowKernel:
    """Emits one row, held in registers or strip by strip."""

    def __init__(self, work: "RowsWork", kernel: VectorKernel, affine: Sequence[Register]) -> None:
        self.work, self.kernel, self.affine = work, kernel, affine

    def emit(self) -> None:
        kernel = self.kernel
        value = kernel.load("@in.0")
        if self.work.function in ("sum", "mean", "max"):
            self.finish(self.total(value, narrow=True), vl=1)
            kernel.release(value)
            return
        for constant in (0.0, 1.0, *([] if self.work.function == "softmax" else [self.work.epsilon])):
            kernel.splat(
                constant, 32, 1
            )  # before the strip takes the places where they would be out of the way
        if self.work.function == "softmax":
            peak = self.spread(self.reduce("vfredmax.vs", value, 16))
            kernel.emit("vfsub.vv", value, peak, into=value)
            kernel.release(peak)
            value = nonpositive_exponential(kernel, value, self.work)
            scale = self.inverse(self.reduce("vfwredusum.vs", value, 32))
            self.scale(value, scale)
        else:
            if self.work.function == "layer_norm":
                mean = self.spread(self.total(value, narrow=True))
                kernel.emit("vfsub.vv", value, mean, into=value)
                kernel.release(mean)
            self.scale(value, self.deviation(value))
            self.weigh(value)
        self.finish(value)

    def shift(self) -> None:
        """First pass of a split softmax: x less the row's maximum."""
        value = self.kernel.load("@in.0")
        peak = self.spread(self.reduce("vfredmax.vs", value, 16))
        self.kernel.emit("vfsub.vv", value, peak, into=value)
        self.kernel.store("@shifted", value)
        self.kernel.release(value, peak)

    def scale_by_sum(self) -> None:
        """Last pass of a split softmax: exp(x) / sum."""
        value = self.kernel.load("@powers")
        self.scale(value, self.inverse(self.reduce("vfwredusum.vs", value, 32)))
        self.finish(value)

    def reduce(self, opcode: str, value: Register, bits: int) -> Register:
        """One element, if of 16 bits then where :meth:`spread` finds it; the start value is a constant."""
        start = self.kernel.splat(-65504.0 if "max" in opcode else 0.0, bits, 1)
        into = self.kernel.allocate(32, 1) if bits == 32 else self.kernel.allocate_first()
        return self.kernel.emit(opcode, value, start, into=into, sew_bits=16)

    def add_squares(self, value: Register, into: Register | None = None) -> Register:
        """FP32 sums of squares, as many as a register has FP16 elements; the squares are exact. Added to ``into``."""
        kernel, sums = self.kernel, into
        step = square_sums(kernel.vl, kernel.config.vector.vlen_bits)
        for index in range(ceil(kernel.vl / step)):
            elements = min(step, kernel.vl - index * step)
            part = Register(first=value.first + index, length=1)
            if sums is None:
                sums = kernel.emit("vfwmul.vv", part, part, result_bits=32, vl=elements)
            else:
                kernel.emit("vfwmacc.vv", part, part, into=sums, result_bits=32, vl=elements)
        assert sums is not None
        return sums

    def reduce_squares(self, sums: Register) -> Register:
        """The sum of :meth:`add_squares`' sums, one element."""
        kernel = self.kernel
        elements = square_sums(self.work.length, kernel.config.vector.vlen_bits)
        total = kernel.allocate(32, 1)
        zero = kernel.splat(0.0, 32, 1)
        kernel.emit("vfredusum.vs", sums, zero, into=total, sew_bits=32, vl=elements)
        kernel.release(sums)
        return total

    def total(self, value: Register, *, narrow: bool) -> Register:
        """Sum, mean or maximum, one element."""
        kernel = self.kernel
        if self.work.function == "max":
            return self.reduce("vfredmax.vs", value, 16)
        total = self.reduce("vfwredusum.vs", value, 32)
        if self.work.function != "sum":
            kernel.emit("vfmul.vf", total, into=total, sew_bits=32, vl=1, constant=1 / self.work.length)
        return self.narrowed(total) if narrow else total

    def narrowed(self, wide: Register) -> Register:
        """One FP32 element as FP16, where :meth:`spread` finds it."""
        result = self.kernel.emit("vfncvt.f.f.w", wide, into=self.kernel.allocate_first(), sew_bits=32, vl=1)
        self.kernel.release(wide)
        return result

    def spread(self, single: Register) -> Register:
        """The one element in every element."""
        result = self.kernel.spread(single)
        self.kernel.release_first(single)
        return result

    def inverse(self, total: Register) -> Register:
        """1/total on one FP32 element, rounded to FP16 and spread; finite where the total is 0, as of a masked row."""
        factor = single_element(self.kernel, reciprocal, total)
        self.kernel.emit("vfmin.vf", factor, into=factor, sew_bits=32, vl=1, constant=HIGHEST)
        return self.spread(self.narrowed(factor))

    def deviation(self, value: Register) -> Register:
        """1/sqrt(mean square + epsilon), spread."""
        return self.inverse_root(self.reduce_squares(self.add_squares(value)))

    def inverse_root(self, total: Register) -> Register:
        """1/sqrt(total / length + epsilon) of one FP32 element, rounded to FP16 and spread; a NaN stays one."""
        kernel = self.kernel
        epsilon, mean = kernel.splat(self.work.epsilon, 32, 1), 1 / self.work.length
        kernel.emit("vfmadd.vf", epsilon, into=total, sew_bits=32, vl=1, constant=mean)
        factor = single_element(kernel, reciprocal_square_root, total)
        kernel.emit("vmfgt.vf", factor, into=MASK, sew_bits=32, vl=1, constant=HIGHEST)
        kernel.emit("vfmerge.vfm", factor, into=factor, sew_bits=32, vl=1, constant=HIGHEST)
        return self.spread(self.narrowed(factor))

    def scale(self, value: Register, factor: Register) -> None:
        self.kernel.emit("vfmul.vv", value, factor, into=value)
        self.kernel.release(factor)

    def weight(self, name: str) -> str | Address:
        """Where the numbers of the elements at hand are: the same in every row."""
        return name if self.kernel.places is not None else Address(name)

    def weigh(self, value: Register) -> None:
        """Scale and offset, from registers or the scratchpad."""
        if not self.work.affine:
            return
        kernel = self.kernel
        weights = list(self.affine) or [kernel.load(self.weight(name)) for name in self.work.weights]
        if self.work.function == "layer_norm":
            kernel.emit("vfmadd.vv", weights[0], weights[1], into=value)
        else:
            kernel.emit("vfmul.vv", value, weights[0], into=value)
        if not self.affine:
            kernel.release(*weights)

    def finish(self, value: Register, vl: int | None = None) -> None:
        kernel = self.kernel
        if vl == 1:  # a row's single result
            for form in self.work.outputs:
                kernel.store(f"@{form}.0", value, vl=1)
        else:
            steps, outputs = self.work.steps, self.work.outputs
            operands: dict[int, Operand] = {
                i: f"@operand{i}.0" for i, step in enumerate(steps) if step.operand == "tensor"
            }
            value = emit_steps(kernel, value, steps, operands)
            places = {form: f"@{form}.0" for form in outputs}
            store_outputs(kernel, value, outputs, places, self.work.inverse_step)
        kernel.release(value)


def single_element(kernel: VectorKernel, function: Scalar, value: Register) -> Register:
    """A scalar kernel on one FP32 element: the same instructions with vl = 1."""
    inner = VectorKernel(
        config=kernel.config,
        vl=1,
        used=kernel.used,
        written=kernel.written,
        splats=kernel.splats,
        tables=kernel.tables,
        setup=kernel.setup,
    )
    result = function(inner, value, 32)
    kernel.code += inner.code
    kernel.release(value)
    return result
