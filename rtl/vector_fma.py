"""The vector unit's multiply-add unit: floating-point and integer arithmetic with a multiplier, and conversions."""

from itertools import pairwise

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import multiply_add_latency_clk
from lanewise.formats import FORMATS
from lanewise.rtl.multiply_add import LANE_BITS, MultiplyAdd
from lanewise.rtl.vector_convert_lane import STAGES, VectorConvertLane
from lanewise.rtl.vector_fma_control import BEAT, CONTROL, Kind, control_of
from lanewise.rtl.vector_multiply_lane import VectorMultiplyLane
from lanewise.rtl.vector_operand_lane import VectorOperandLane

__all__ = ["CONTROL", "VectorFma", "control_of"]

_FORMATS = tuple(FORMATS[name] for name in ("fp16", "bf16", "fp32"))
_NONE = len(_FORMATS)
"""A format that no slot of the multiply-add has: the result is zero."""
_CONVERTED = 1
"""Stages before the conversions' first."""


class VectorFma(wiring.Component):
    """All instructions of the table's unit ``vector_fma``, a beat of 32 bits a lane each clock.

    A beat has as many elements as the lanes hold of the widest operand's width, element 0 in the low bits. An operand half
    as wide comes as the whole beat of the register file that it is in; the beat's number says which half of it is meant. A result
    half as wide stands in both halves of ``y``.

    Floating point is :class:`~lanewise.rtl.multiply_add.MultiplyAdd`'s: rounded once, subnormals exact, every NaN RISC-V's. A sum
    multiplies by one, a product adds -0; FP16 and BF16 become FP32 where the result is FP32. Integer multiplies and conversions have
    pipelines of their own and share their last stages.

    Latency 6 clocks, throughput one beat a clock. No back-pressure, no reset: what comes in leaves after 6 clocks.
    Golden model: :func:`lanewise.models.vector_elements.evaluate`.

    Members
    -------
    control : ``In(CONTROL)``
        :func:`~lanewise.rtl.vector_fma_control.control_of` of the instruction.
    sew : ``In(2)``
        log2 of SEW in bytes.
    altfmt : ``In(1)``
        16-bit floating point is BF16.
    part : ``In(3)``
        Low bits of the beat's number; bit 0 says which half of a narrow operand's beat is meant.
    a, b, c : ``In(32 * lanes)``
        Beats of vs2, vs1 and the old vd.
    scalar : ``In(32)``
        In its low bits an element as wide as vs1's would be.
    y : ``Out(32 * lanes)``
        Result.
    """

    def __init__(self, *, lanes: int) -> None:
        if lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes!r}")
        self.lanes = lanes
        bits = LANE_BITS * lanes
        super().__init__({
            "control": In(CONTROL), "sew": In(2), "altfmt": In(1), "part": In(3),
            "a": In(bits), "b": In(bits), "c": In(bits), "scalar": In(32), "y": Out(bits),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from the operands to the result."""
        return multiply_add_latency_clk(_FORMATS)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        beats = [Signal(BEAT, name=f"beat_{stage}", reset_less=True) for stage in range(self.latency_clk)]
        for before, after in pairwise(beats):
            m.d.sync += after.eq(before)
        beat, control = beats[0], self.control
        double = control.widen_a | control.widen_b | control.narrow
        m.d.comb += [
            beat.control.eq(control),
            beat.size.eq(self.sew + double),
            beat.altfmt.eq(self.altfmt),
        ]
        scalar = Signal(32)  # of a narrow operand only the lower half counts
        with m.Switch(self.sew):
            with m.Case(0):
                m.d.comb += scalar.eq(self.scalar[:8].replicate(4))
            with m.Case(1):
                m.d.comb += scalar.eq(self.scalar[:16].replicate(2))
            with m.Default():
                m.d.comb += scalar.eq(self.scalar)
        half = LANE_BITS // 2 * self.lanes
        a_narrow, b_narrow = (Mux(self.part[0], whole[half:], whole[:half]) for whole in (self.a, self.b))

        m.submodules.multiply_add = floating = MultiplyAdd(lanes=self.lanes, formats=_FORMATS, stalls=False)
        form = Mux(beat.size == 2, 2, self.altfmt)
        m.d.comb += [
            floating.i.valid.eq(1),
            floating.o.ready.eq(1),
            floating.i.p.format.eq(Mux(control.kind == Kind.MULTIPLY_ADD, form, _NONE)),
        ]
        natural = Signal(data.ArrayLayout(LANE_BITS, self.lanes))
        for k in range(self.lanes):
            word, part = slice(LANE_BITS * k, LANE_BITS * (k + 1)), slice(16 * k, 16 * (k + 1))
            m.submodules[f"operand_{k}"] = operand = VectorOperandLane()
            m.submodules[f"multiply_{k}"] = multiply = VectorMultiplyLane()
            m.submodules[f"convert_{k}"] = convert = VectorConvertLane()
            m.d.comb += [
                operand.beat.eq(beat),
                operand.a.eq(self.a[word]),
                operand.b.eq(self.b[word]),
                operand.c.eq(self.c[word]),
                operand.a_narrow.eq(a_narrow[part]),
                operand.b_narrow.eq(b_narrow[part]),
                operand.scalar.eq(scalar),
                floating.i.p.a[k].eq(operand.x),
                floating.i.p.b[k].eq(operand.y),
                floating.i.p.c[k].eq(operand.z),
                multiply.multiply.eq(beats[1]),
                multiply.add.eq(beats[2]),
                multiply.x.eq(operand.x_next),
                multiply.y.eq(operand.y_next),
                multiply.z.eq(operand.z_next),
                convert.x.eq(operand.x_next),
                convert.product.eq(multiply.o),
                *(convert.beats[stage].eq(beats[_CONVERTED + stage]) for stage in range(STAGES)),
                natural[k].eq(convert.y),
            ]
        last = beats[_CONVERTED + STAGES]
        narrow = Cat(Mux(last.size == 2, y[:16], Cat(y[:8], y[16:24])) for y in natural)
        result = Signal(LANE_BITS * self.lanes, reset_less=True)
        m.d.sync += result.eq(Mux(last.control.narrow, narrow.replicate(2), natural))
        m.d.comb += self.y.eq(result | Cat(floating.o.p.y))
        return m
