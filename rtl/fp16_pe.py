"""Multiply-accumulate of FP16 operands in FP32."""

from amaranth.hdl import C, Cat, ClockDomain, ClockSignal, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lanewise.rtl.fp16_operand import MULTIPLICAND, MULTIPLIER

SUM = data.StructLayout({"significand": 13, "carry": 1, "rest": 1, "exponent": 7, "special": 1})
"""A sum as it is drained, with what FP16 needs of it: (significand + carry + something in (0, 1) where ``rest``) x
2**(exponent - 60), significand in two's complement; zero where the significand is, whatever the exponent."""


class Fp16Pe(wiring.Component):
    """Processing element: ``sum <= (0 if clear else sum) + a * w``, rounded to FP32 once, to nearest even.

    Two stages. The first multiplies: four multiples of ``a``, selected by the octal digits of ``w``, are added
    and moved by one place, so that the product lies in ±[1, 2]. The second is the loop, and closes every clock:
    align, add, find the leading bit, normalise. These keep it short and small:

    - Significands are in two's complement, so that there are no signs, no comparison and no negation in it.
    - By how much the next product and the sum will have to move against each other is found at the end of a
      clock from the leading zeros, beside the normalisation, and registered: no exponents are compared first.
    - A sum is kept cut off, with the one that rounding adds (``up``) beside it: the next addition takes it in as
      ones below the sum and a carry. Two guard bits and the OR of all bits below (``rest``) make the rounding exact.
    - Every value is a multiple of 2**-48 and below 2**78 (2**46 of the largest products): exponents have 7 bits,
      biased by 49, and there are no subnormal sums and no overflow.

    A shift of 31 places or more moves everything out; a ``clear``, and a sum of zero, are made a sum that is that far
    below the product. ``special``, an infinity or NaN among the operands, stays until the next ``clear``. No register
    has an enable or a reset: a product is zero where there is no step.

    Members
    -------
    clk : ``In(1)``
        Clock.
    a, w : ``In(MULTIPLICAND)``, ``In(MULTIPLIER)``
        Operands, registered at the array's edge.
    restart, clear : ``In(1)``
        The operands at the ports begin a sum; the product that is being added does. ``clear`` is ``restart`` a clock later.
    load : ``In(1)``
        Copy the sum into the drain register.
    take : ``In(1)``
        Take ``below`` into the drain register.
    below, drain : ``In(SUM)``, ``Out(SUM)``
        Drain registers of the next row and of this one.
    """

    def __init__(self) -> None:
        super().__init__({
            "clk": In(1), "a": In(MULTIPLICAND), "w": In(MULTIPLIER), "restart": In(1), "clear": In(1),
            "load": In(1), "take": In(1), "below": In(SUM), "drain": Out(SUM),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True, local=True)
        m.d.comb += ClockSignal().eq(self.clk)

        # Multiply.
        whole = Signal(23)
        wide = Signal()
        scale = Signal(7)
        product = Signal(23)
        product_scale = Signal(7)
        product_special = Signal()
        some = self.a.nonzero & self.w.nonzero
        m.d.comb += [
            whole.eq(self._multiples()),
            wide.eq(whole[-1] ^ whole[-2]),
            scale.eq((self.a.exponent + self.w.exponent) & some.replicate(7)),
        ]
        m.d.sync += [
            product.eq(Mux(wide, whole, whole << 1)),
            product_scale.eq(scale + wide),
            product_special.eq(self.a.special | self.w.special),
        ]

        # Align and add. ``x`` has the larger exponent; a sum in ``y`` is a place lower, so that ``places`` need no + 1.
        total = Signal(25)
        up = Signal()
        total_scale = Signal(7)
        special = Signal()
        lower = Signal()  # whether the sum is below the product
        places = Signal(5)  # by how much the one that is lower is moved
        x = Signal(28)
        y = Signal(27)
        aligned = Signal(27)
        added = Signal(28)
        up_y = Signal()
        fill = Signal()
        rest = Signal()
        carry = Signal()
        widened = Cat(C(0, 4), product)
        m.d.comb += [
            x.eq(Mux(lower, widened.as_signed(), Cat(up, up, total).as_signed())),
            y.eq(Mux(lower, Cat(up, total, total[-1]), widened)),
            up_y.eq(up & lower & ~self.clear),
            fill.eq(y[-1] & ~self.clear),
        ]
        # With ``up`` in ``y`` ones go on without end below it, and a one at that end: what falls out is nothing
        # where all of it is ones, and the one arrives as a carry.
        moved: Value = y
        fallen: Value = C(0, 1)
        for k in reversed(range(len(places))):
            n = 1 << k
            stage = Signal(27, name=f"moved_{n}")
            fallen |= (moved[:n] ^ up_y.replicate(n)).any() & places[k]
            m.d.comb += stage.eq(Mux(places[k], Cat(moved[n:], fill.replicate(n)), moved))
            moved = stage
        m.d.comb += [
            aligned.eq(moved),
            rest.eq(fallen & ~self.clear),
            carry.eq((up & ~lower) | (up_y & ~rest)),
            added.eq((Cat(C(1, 1), x) + Cat(carry, aligned, fill))[1:]),
        ]

        # Normalise; how far the next product is from the new sum.
        changes = Signal(27)
        normal = Signal(28)
        m.d.comb += changes.eq(added[1:] ^ added[:-1])
        zeros, beyond = leading_zeros_flat(m, changes), ~changes.any() | self.restart
        larger = Signal(7)
        ahead = Signal(8)
        distance = Signal(8)
        gap = distance[:7] ^ distance[7].replicate(7)
        m.d.comb += [
            normal.eq(added << zeros),
            larger.eq(Mux(lower, product_scale, total_scale) + 1),
            ahead.eq(larger - scale),
            distance.eq((Cat(C(1, 1), ahead) + Cat(~wide, ~zeros, C(7, 3)))[1:]),  # ahead - zeros - wide
        ]
        m.d.sync += [
            total.eq(normal[3:]),
            up.eq(normal[2] & (normal[3] | normal[:2].any() | rest)),
            total_scale.eq(larger - zeros),
            lower.eq(distance[7] | beyond),
            places.eq(gap[:5] | (gap[5:].any() | beyond).replicate(5)),
            special.eq((special & ~self.clear) | product_special),
        ]

        # Drain.
        own = Signal(SUM)
        drain = Signal(SUM)
        inexact = Signal()
        m.d.comb += [
            inexact.eq((total[:12] ^ up.replicate(12)).any()),
            own.significand.eq(total[12:]),
            own.carry.eq(up & ~inexact),
            own.rest.eq(inexact),
            own.exponent.eq(total_scale),
            own.special.eq(special),
            self.drain.eq(drain),
        ]
        with m.If(self.load):
            m.d.sync += drain.eq(own)
        with m.Elif(self.take):
            m.d.sync += drain.eq(self.below)
        return m

    def _multiples(self) -> Value:
        """``a * w``: a multiple for each digit.

        A multiple is inverted where it is taken off; the one that is missing then lies below the next multiple,
        where there is room. Upper ends are inverted, so that no sign is extended; a constant makes good for that.
        """
        single, triple = self.a.single, self.a.triple
        one, two, four = (
            Cat(single, single[-1].replicate(2)),
            Cat(C(0, 1), single, single[-1]),
            Cat(C(0, 2), single),
        )
        constant = 0
        terms: list[Value] = []
        missing: Value = C(0, 0)
        for k, digit in enumerate(self.w.digits):
            chosen: Value = C(0, 14)
            for flag, multiple in (
                (digit.one, one),
                (digit.two, two),
                (digit.three, triple),
                (digit.four, four),
            ):
                chosen |= multiple & flag.replicate(14)
            chosen ^= Cat(digit.negative.replicate(13), ~digit.negative)
            terms.append(Cat(missing, chosen) << (3 * k - len(missing)))
            missing = Cat(digit.negative, C(0, 2))
            constant -= 1 << (3 * k + 13)
        return sum([*terms, missing << 9], C(constant % (1 << 23), 23))


def leading_zeros_flat(m: Module, word: Value) -> Value:
    """Zeros above the leading one of a ``word`` of up to 32 bits, less where there is none, with few levels of logic."""
    padded = Cat(C((1 << (32 - len(word))) - 1, 32 - len(word)), word)[::-1]
    groups = [padded[4 * k : 4 * k + 4] for k in range(8)]
    first = [group.any() & ~padded[: 4 * k].any() for k, group in enumerate(groups)]

    def chosen(bits: list[Value]) -> Value:
        return Cat(*(one & bit for one, bit in zip(first, bits, strict=True))).any()

    upper = [Cat(*(first[k] for k in range(8) if k >> bit & 1)).any() for bit in range(3)]
    zeros = Signal(5)
    m.d.comb += zeros.eq(
        Cat(
            chosen([~group[0] & (group[1] | ~group[2]) for group in groups]),
            chosen([~group[:2].any() for group in groups]),
            *upper,
        )
    )
    return zeros
