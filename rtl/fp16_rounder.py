"""From a drained sum of the FP16 array to FP16."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lanewise.formats import FORMATS
from lanewise.rtl.fp16_pe import SUM


class Fp16Rounder(wiring.Component):
    """One rounding to nearest, ties to even; subnormals are exact, an overflow gives infinity.

    An exact zero is positive; what is rounded to zero keeps its sign. Combinational.

    Members
    -------
    i : ``In(SUM)``
    o : ``Out(16)``
    """

    def __init__(self) -> None:
        super().__init__({"i": In(SUM), "o": Out(16)})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        i, form = self.i, FORMATS["fp16"]
        sign = i.significand[-1]
        magnitude = Signal(13)  # 1 is at bit 11
        nonzero = Signal()
        one = Mux(sign, ~(i.carry | i.rest), i.carry)
        m.d.comb += [
            magnitude.eq((i.significand ^ sign.replicate(13)) + one),
            nonzero.eq(magnitude[11:].any()),
        ]
        least = 35  # the exponent of FP16's least normal number
        under = Signal(8)
        places = Signal(4)
        m.d.comb += [
            under.eq(least - i.exponent),
            places.eq(Mux(under[7], 0, Mux(under[4:7].any(), 15, under[:4]))),
        ]
        moved = Signal(28)
        m.d.comb += moved.eq(Cat(C(0, 15), magnitude) >> places)
        kept, half = moved[16:], moved[15]
        rest = moved[:15].any() | i.rest
        above = Mux(under[7], i.exponent - least, 0)[:7] & nonzero.replicate(7)
        rounded = Signal(17)  # a carry out of the significand belongs to the exponent
        m.d.comb += rounded.eq(Cat(C(0, 10), above) + kept + (half & (kept[0] | rest)))
        over = rounded[10:] >= (1 << form.exponent_bits) - 1
        number = Mux(over, C(form.infinity_bits, 15), rounded[:15])
        m.d.comb += self.o.eq(Mux(i.special, C(form.nan_bits, 16), Cat(number, sign)))
        return m
