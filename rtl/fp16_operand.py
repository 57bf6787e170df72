"""FP16 operands as the elements of the FP16 array take them: prepared once for a whole row or column."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lanewise.formats import FORMATS
from lanewise.rtl.multiply_add_slot import leading_zeros

DIGITS = 4
"""Octal digits of a significand."""
_REST = {"exponent": 6, "nonzero": 1, "special": 1}
MULTIPLICAND = data.StructLayout({"single": 12, "triple": 14, **_REST})
"""Significand in two's complement, three times it, and the rest."""
DIGIT = data.StructLayout({"one": 1, "two": 1, "three": 1, "four": 1, "negative": 1})
"""A digit in [-4, 4]: its magnitude as one of four, none for zero, and whether it is taken off."""
MULTIPLIER = data.StructLayout({"digits": data.ArrayLayout(DIGIT, DIGITS), **_REST})


class Fp16Operand(wiring.Component):
    """A number taken apart and normalised, subnormals too: significand x 2**exponent, significand in ±[1, 2).

    What the elements of a row or column would all do is done here: the sign goes into the significand; of the
    multiplicand three times it is added, and the multiplier is recoded in octal digits (Booth, Quart. J. Mech.
    Appl. Math. 4, 1951; radix 8), so that an element adds but four selected multiples.

    Combinational.

    Members
    -------
    i : ``In(16)``
    o : ``Out(MULTIPLICAND)`` or ``Out(MULTIPLIER)``
        The exponent is biased by 24, of a multiplier by 25: the least subnormal has 0, or 1. ``special``: an infinity or NaN.
    """

    def __init__(self, *, multiplier: bool) -> None:
        self.multiplier = multiplier
        super().__init__({"i": In(16), "o": Out(MULTIPLIER if multiplier else MULTIPLICAND)})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        form = FORMATS["fp16"]
        fraction, exponent, sign = self.i[:10], self.i[10:15], self.i[15]
        normal = exponent.any()
        bits = Cat(fraction, normal)
        zeros, _ = leading_zeros(m, Cat(C(31, 5), bits))
        whole = Signal(form.precision)
        significand = Signal(12)
        m.d.comb += [
            whole.eq(bits << zeros),
            significand.eq((whole ^ sign.replicate(12)) + sign),
            self.o.exponent.eq(Mux(normal, exponent, 1) + (form.precision - 2 + self.multiplier) - zeros),
            self.o.nonzero.eq(bits.any()),
            self.o.special.eq(exponent.all()),
        ]
        if not self.multiplier:
            signed = significand.as_signed()
            m.d.comb += [self.o.single.eq(significand), self.o.triple.eq(signed + (signed << 1))]
            return m
        for k, digit in enumerate(self.o.digits):
            low = significand[3 * k - 1] if k else C(0, 1)  # adds one to the digit
            middle, top = significand[3 * k : 3 * k + 2], significand[3 * k + 2]
            size = Signal(3, name=f"size_{k}")
            m.d.comb += [
                size.eq((middle ^ top.replicate(2)) + (low ^ top)),
                *(getattr(digit, name).eq(size == n) for n, name in ((1, "one"), (2, "two"))),
                *(getattr(digit, name).eq(size == n) for n, name in ((3, "three"), (4, "four"))),
                digit.negative.eq(top & (size != 0)),
            ]
        return m
