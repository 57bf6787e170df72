"""Addition of two FP32 numbers in two stages."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import FP32_ADDER_LATENCY_CLK
from lanewise.formats import FORMATS
from lanewise.rtl.fp16_pe import leading_zeros_flat

_FP32 = FORMATS["fp32"]


class Fp32Adder(wiring.Component):
    """``y = a + b``, rounded once to nearest, ties to even; subnormals in and out, RISC-V's canonical NaN.

    Latency 2 clocks, throughput 1 sum a clock; it never waits, and no register has a reset. The first stage swaps by
    magnitude, aligns and adds, so that what is registered is one significand, never negative; the second
    normalises, no farther than the least exponent allows, and rounds. Golden model: numpy's float32.

    Members
    -------
    a, b : ``In(32)``
    y : ``Out(32)``
    """

    a: Signal
    b: Signal
    y: Signal

    def __init__(self) -> None:
        super().__init__({"a": In(32), "b": In(32), "y": Out(32)})

    @property
    def latency_clk(self) -> int:
        """Clocks from the operands to their sum."""
        return FP32_ADDER_LATENCY_CLK

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()

        # Swap, align, add. ``x`` has the larger magnitude.
        swap, subtract = Signal(), Signal()
        x, y = Signal(31), Signal(31)
        ahead, behind, places = Signal(9), Signal(9), Signal(8)
        exponents = [Cat(number[23] | ~number[23:31].any(), number[24:31]) for number in (self.a, self.b)]
        m.d.comb += [
            swap.eq(self.a[:31] < self.b[:31]),
            subtract.eq(self.a[31] ^ self.b[31]),
            x.eq(Mux(swap, self.b[:31], self.a[:31])),
            y.eq(Mux(swap, self.a[:31], self.b[:31])),
            ahead.eq(exponents[0] - exponents[1]),
            behind.eq(exponents[1] - exponents[0]),
            places.eq(Mux(ahead[8], behind, ahead)),
        ]
        moved: Value = Cat(C(0, 2), y[:23], y[23:].any())  # two guard bits
        fallen: Value = C(0, 1)
        for k in reversed(range(5)):
            n = 1 << k
            stage = Signal(26, name=f"moved_{n}")
            fallen |= moved[:n].any() & places[k]
            m.d.comb += stage.eq(Mux(places[k], moved[n:], moved))
            moved = stage
        far = Signal()
        aligned = Signal(27)
        added = Signal(28)
        m.d.comb += [
            far.eq(places[5:].any()),
            # what is farther than that changes nothing, whatever is in ``fallen``
            aligned.eq(Cat(fallen, moved & ~far.replicate(26)) ^ subtract.replicate(27)),
            added.eq((Cat(C(1, 1), C(0, 3), x[:23], x[23:].any()) + Cat(subtract, aligned, subtract))[1:]),
        ]
        total = Signal(28, reset_less=True)
        exponent = Signal(8, reset_less=True)
        sign, cancels, infinite, nan = (
            Signal(name=name, reset_less=True) for name in ("sign", "cancels", "infinite", "nan")
        )
        special = x[23:].all()
        m.d.sync += [
            total.eq(added),
            exponent.eq(Cat(x[23] | ~x[23:].any(), x[24:])),
            sign.eq(Mux(swap, self.b[31], self.a[31])),
            cancels.eq(subtract),
            infinite.eq(special),
            nan.eq(special & (x[:23].any() | (subtract & y[23:].all()))),
        ]

        # Normalise, round. Bit 27 is the carry; a leading one that comes to it has the exponent ``exponent`` + 1 - zeros.
        limit = Cat(*(exponent == 27 - k for k in range(27)))  # the least exponent is reached there
        some, up = Signal(), Signal()
        normal = Signal(28)
        base = Signal(8)
        rounded = Signal(31)
        ends = Signal(28)
        m.d.comb += ends.eq(total | limit)
        zeros = leading_zeros_flat(m, ends)
        m.d.comb += [
            some.eq(total.any()),
            normal.eq(total << zeros),
            base.eq((exponent - zeros) & some.replicate(8)),
            # the leading one is added to the exponent, and so is a carry out of the rounding
            up.eq(normal[3] & (normal[4] | normal[:3].any())),
            rounded.eq(Cat(normal[4:27], base) + Cat(up, C(0, 22), normal[27])),
        ]
        over = infinite | (total[27] & (exponent == 254))
        result = Signal(32, reset_less=True)
        m.d.sync += result.eq(
            Mux(
                nan,
                C(_FP32.nan_bits, 32),
                Cat(
                    Mux(over, C(_FP32.infinity_bits, 31), rounded),
                    sign & (some | ~cancels),
                ),
            )
        )
        m.d.comb += self.y.eq(result)
        return m
