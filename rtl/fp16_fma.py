"""FP16 fused multiply-add, one per lane."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import FP16_FMA_LATENCY_CLK

_NAN = 0x7E00
_INFINITY = 0x7C00
_SUM_BITS = 37  # addend's 11 bits, 2 between, product's 22, 2 below


class Fp16Fma(wiring.Component):
    """IEEE 754 binary16 ``o[k] = a[k] * b[k] + c[k]`` with one rounding, to nearest, ties to even.

    Subnormals, infinities and signed zeros as the standard has them; every NaN result is 0x7E00; no flags.

    Latency 4 clocks, throughput 1 beat/clock; all stages stand still while ``o`` is valid and not taken.
    Golden model: :func:`lanewise.models.fp16_fma.fp16_fma`.

    Members
    -------
    i : ``In(stream.Signature(StructLayout(a, b, c)))``
        Operands, each ``lanes`` FP16 bit patterns, lane 0 in the low bits.
    o : ``Out(stream.Signature(ArrayLayout(16, lanes)))``
        Results.
    busy : ``Out(1)``
        An accepted beat has not left yet.
    """

    i: stream.Interface
    o: stream.Interface
    busy: Signal

    def __init__(self, *, lanes: int) -> None:
        if lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes!r}")
        self.lanes = lanes
        vector = data.ArrayLayout(16, lanes)
        operands = data.StructLayout({"a": vector, "b": vector, "c": vector})
        super().__init__({
            "i": In(stream.Signature(operands)),
            "o": Out(stream.Signature(vector)),
            "busy": Out(1),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from an accepted beat to its result."""
        return FP16_FMA_LATENCY_CLK

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        move = Signal()
        valid = Signal(self.latency_clk)
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move),
            self.o.valid.eq(valid[-1]),
            self.busy.eq(valid.any()),
        ]
        with m.If(move):
            m.d.sync += valid.eq(Cat(self.i.valid, valid))
        for k in range(self.lanes):
            m.submodules[f"lane_{k}"] = lane = _Lane()
            m.d.comb += [
                lane.move.eq(move),
                lane.a.eq(self.i.p.a[k]),
                lane.b.eq(self.i.p.b[k]),
                lane.c.eq(self.i.p.c[k]),
                self.o.p[k].eq(lane.y),
            ]
        return m


class _Lane(wiring.Component):
    """The stages of one lane: multiply; align and add; normalise; round. They advance where ``move`` is 1.

    The sum is 37 bits wide: product at bits 2 to 23, the addend's last bit at most at bit 26, addend bits
    that fall below bit 0 collected in ``sticky``. A leading one at bit 36 has the biased exponent
    ``scale`` + 1. A negative sum -v is never negated: its bits inverted are v - 1, and as zeros enter on the
    right of the sum, the inverted bits are those of v with the last one written as 0111...; the rounding
    allows for that. (v is at least 4, for bits 0 and 1 are only reached by addends below the product.)
    """

    def __init__(self) -> None:
        super().__init__({"move": In(1), "a": In(16), "b": In(16), "c": In(16), "y": Out(16)})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        self._stage = 0
        # Multiply.
        a, b, c = (_Operand(m, name, getattr(self, name)) for name in "abc")
        distance = Signal(range(-32, 64))  # of the addend's leading bit below bit 36
        on_top = Signal()
        m.d.comb += distance.eq(a.exponent + b.exponent - c.exponent - 1)
        m.d.comb += on_top.eq((distance < 0) | a.zero | b.zero)
        product_infinite = a.infinite | b.infinite
        opposite = Signal()
        m.d.comb += opposite.eq(a.sign ^ b.sign ^ c.sign)
        nan_1 = Signal()
        m.d.comb += nan_1.eq(
            a.nan | b.nan | c.nan | (product_infinite & (a.zero | b.zero | (c.infinite & opposite)))
        )
        infinite_1 = product_infinite | c.infinite
        sign_1 = ~nan_1 & Mux(c.infinite, c.sign, a.sign ^ b.sign)
        product, addend, exponent, distance, sign, subtract, nan, infinite = self._register(
            m,
            product=a.significand * b.significand,
            addend=c.significand,
            exponent=c.exponent,
            distance=Mux(on_top, 0, distance[:6]),
            sign=sign_1,
            subtract=opposite & ~nan_1 & ~infinite_1,
            nan=nan_1,
            infinite=infinite_1,
        )

        # Align and add.
        aligned = Signal(_SUM_BITS)
        sticky_2 = Signal()
        m.d.comb += aligned.eq(Cat(C(0, 26), addend) >> distance)
        m.d.comb += sticky_2.eq(Cat(addend[k] & (distance > 26 + k) for k in range(11)).any())
        term = Cat(aligned ^ subtract.replicate(_SUM_BITS), subtract)
        total_2 = (Cat(C(1, 1), C(0, 2), product, C(0, 13)) + Cat(subtract & ~sticky_2, term))[1:]
        total, sticky, scale, sign, subtract, nan, infinite = self._register(
            m,
            total=total_2[: _SUM_BITS + 1],
            sticky=sticky_2,
            scale=(distance + exponent - 1)[:6],
            sign=sign,
            subtract=subtract,
            nan=nan,
            infinite=infinite,
        )

        # Normalise.
        negative = total[-1]
        total = total[:-1]
        magnitude = total ^ negative.replicate(_SUM_BITS)
        below = 64 - _SUM_BITS
        zeros, _ = _leading_zeros(m, Cat(C((1 << below) - 1, below), magnitude))  # 37 where there is no one
        shift = Signal(6)
        m.d.comb += shift.eq(Mux(zeros < scale, zeros, scale))
        normal = Signal(_SUM_BITS)
        m.d.comb += normal.eq(total << shift)
        significand = normal[-11:] ^ negative.replicate(11)
        significand, half, rest, negative, exponent, sign, nan, infinite = self._register(
            m,
            significand=significand,
            half=normal[-12] ^ negative,
            rest=normal[:-12].any() | sticky,
            negative=negative,
            exponent=(scale - shift)[:6],
            sign=(sign ^ negative) & ~(subtract & ~magnitude.any()),
            nan=nan,
            infinite=infinite,
        )

        # Round.
        odd, hidden = significand[0], significand[10]
        up = Mux(negative, half | (odd & ~rest), half & (odd | rest))
        rounded = Signal(16)  # no sign; a carry out of the significand belongs to the exponent
        exponent = exponent & hidden.replicate(6)
        m.d.comb += rounded.eq(Cat(significand[:10], exponent) + Cat(up, C(0, 9), hidden))
        overflow = rounded[10:] >= 31
        y = Mux(nan, _NAN, Mux(infinite | overflow, _INFINITY, rounded[:15]))
        (y,) = self._register(m, y=Cat(y[:15], sign))
        m.d.comb += self.y.eq(y)
        assert self._stage == FP16_FMA_LATENCY_CLK
        return m

    def _register(self, m: Module, **values: Value) -> list[Signal]:
        """The values one clock later; no reset, for what is not valid does not matter."""
        self._stage += 1
        registers = []
        for name, value in values.items():
            register = Signal(len(value), name=f"{name}_{self._stage}", reset_less=True)
            with m.If(self.move):
                m.d.sync += register.eq(value)
            registers.append(register)
        return registers


class _Operand:
    """Fields of an FP16 bit pattern; a subnormal has the exponent 1 and no hidden bit."""

    def __init__(self, m: Module, name: str, bits: Value) -> None:
        normal, fraction = Signal(name=f"{name}_normal"), bits[:10]
        nonzero, special = Signal(name=f"{name}_nonzero"), Signal(name=f"{name}_special")
        m.d.comb += [normal.eq(bits[10:15].any()), nonzero.eq(fraction.any()), special.eq(bits[10:15].all())]
        self.sign = bits[15]
        self.exponent = Cat(bits[10] | ~normal, bits[11:15])
        self.significand = Cat(fraction, normal)
        self.zero = ~normal & ~nonzero
        self.infinite = special & ~nonzero
        self.nan = special & nonzero


def _leading_zeros(m: Module, word: Value) -> tuple[Value, Value]:
    """Zeros above the leading one of ``word``, whose length is a power of two; whether all of it is zeros."""
    half = len(word) // 2
    if half == 1:
        return ~word[1], ~word.any()
    (low, low_none), (high, high_none) = (_leading_zeros(m, part) for part in (word[:half], word[half:]))
    zeros, none = Signal(len(low) + 1), Signal()
    m.d.comb += [zeros.eq(Cat(Mux(high_none, low, high), high_none)), none.eq(low_none & high_none)]
    return zeros, none
