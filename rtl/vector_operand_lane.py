"""Operands of one lane of the vector unit's multiply-add unit: widened, chosen, given their signs."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lanewise.formats import FORMATS
from lanewise.rtl.multiply_add_slot import leading_zeros
from lanewise.rtl.vector_fma_control import BEAT, Kind, Terms

_FP16, _BF16, _FP32 = (FORMATS[name] for name in ("fp16", "bf16", "fp32"))


class VectorOperandLane(wiring.Component):
    """``x * y + z`` of a lane: what :class:`~lanewise.rtl.vector_fma_control.Terms` says, in elements of the widest operand's width.

    Narrow integers are extended, narrow floating-point numbers become FP32 exactly; subnormals of FP16 are normal
    there. ``y`` and ``z`` of a floating-point operation have their signs changed where it negates.

    Combinational; ``x_next``, ``y_next`` and ``z_next`` are registered, latency 1 clock, throughput one beat a clock. No back-pressure.

    Members
    -------
    beat : ``In(BEAT)``
    a, b, c : ``In(32)``
        vs2, vs1 and vd.
    a_narrow, b_narrow : ``In(16)``
        What the lane takes of vs2 and of vs1 where it is half as wide.
    scalar : ``In(32)``
        Repeated by its width.
    x, y, z : ``Out(32)``
    x_next, y_next, z_next : ``Out(32)``
        Those of the beat before.
    """

    def __init__(self) -> None:
        ports = {name: In(32) for name in ("a", "b", "c", "scalar")}
        results = {name: Out(32) for name in ("x", "y", "z", "x_next", "y_next", "z_next")}
        super().__init__({"beat": In(BEAT), **ports, "a_narrow": In(16), "b_narrow": In(16), **results})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        beat, control = self.beat, self.beat.control
        word = beat.size == 2
        a, b = Signal(32), Signal(32)
        b_narrow = Mux(control.scalar, self.scalar[:16], self.b_narrow)
        b_whole = Mux(control.scalar, self.scalar, self.b)
        m.d.comb += [
            a.eq(Mux(control.widen_a, self._widened(m, "a", self.a_narrow, control.signed_a), self.a)),
            b.eq(Mux(control.widen_b, self._widened(m, "b", b_narrow, control.signed_b), b_whole)),
        ]
        terms = control.terms
        half = Mux(
            beat.altfmt, C(_BF16.bias << _BF16.fraction_bits, 16), C(_FP16.bias << _FP16.fraction_bits, 16)
        )
        one = Mux(word, C(_FP32.bias << _FP32.fraction_bits, 32), Cat(half, half))
        product = (terms == Terms.PRODUCT) | (terms == Terms.ACCUMULATE)
        floating = control.kind == Kind.MULTIPLY_ADD
        negate_y, negate_z = (flag & floating for flag in (control.negate_product, control.negate_addend))
        m.d.comb += [
            self.x.eq(
                (a & product.replicate(32))
                | (self.c & (terms == Terms.OVERWRITE).replicate(32))
                | (one & (terms == Terms.SUM).replicate(32))
            ),
            self.y.eq(b ^ self._signs(word, negate_y)),
            self.z.eq(
                (
                    (self.c & (terms == Terms.ACCUMULATE).replicate(32))
                    | (a & ((terms == Terms.OVERWRITE) | (terms == Terms.SUM)).replicate(32))
                )
                ^ self._signs(word, negate_z)
            ),
        ]
        for name in "xyz":
            register = Signal(32, name=f"{name}_1", reset_less=True)
            m.d.sync += register.eq(getattr(self, name))
            m.d.comb += getattr(self, f"{name}_next").eq(register)
        return m

    def _signs(self, word: Value, negate: Value) -> Value:
        """Ones where the signs of floating-point elements stand, if they are to change."""
        return Cat(C(0, 15), negate & ~word, C(0, 15), negate)

    def _widened(self, m: Module, name: str, narrow: Value, signed: Value) -> Value:
        """One element of 16 bits as 32, or two of 8 as 16 each."""
        control = self.beat.control
        fp32 = Signal(32, name=f"{name}_fp32")
        m.d.comb += fp32.eq(Mux(self.beat.altfmt, Cat(C(0, 16), narrow), self._fp32_of_fp16(m, name, narrow)))
        low, high = (narrow[bit] & signed for bit in (7, 15))
        halves = Cat(narrow[:8], low.replicate(8), narrow[8:], high.replicate(8))
        whole = Cat(narrow, high.replicate(16))
        integer = Mux(self.beat.size == 2, whole, halves)
        return Mux(control.from_float, fp32, integer)

    def _fp32_of_fp16(self, m: Module, name: str, narrow: Value) -> Value:
        """The same number; an infinity stays one, a NaN some NaN."""
        fraction, exponent, sign = narrow[:10], narrow[10:15], narrow[15]
        normal, special = exponent.any(), exponent.all()
        zeros, _ = leading_zeros(m, Cat(C(63, 6), fraction))
        shifted = Signal(11, name=f"{name}_shifted")
        m.d.comb += shifted.eq(Cat(C(0, 1), fraction) << zeros)
        offset = _FP32.bias - _FP16.bias
        above = exponent[4]  # the offset is 0111 0000
        of_normal = Cat(exponent[:4], (~above | special).replicate(3), above)
        of_subnormal = (C(offset, 7) - zeros)[:7] & fraction.any().replicate(7)
        return Cat(
            C(0, 13),
            Mux(normal, fraction, shifted[:10]),
            Mux(normal, of_normal, Cat(of_subnormal, C(0, 1))),
            sign,
        )
