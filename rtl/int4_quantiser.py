"""Quantiser behind the Walsh-Hadamard unit: INT4, INT8, and hi and lo of gradients."""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import INT4_QUANTISER_LATENCY_CLK, OperandPathConfig, Rounding
from lanewise.rtl.lfsr import BITS, Lfsr, load_signature

POINT = BITS
"""Bits below the point after the shift, as many as random ones."""
_WHOLE = 9  # bits of the integer part that are kept: more than any result has
_OFFSET = 147  # 14 * 10 + 7: makes the divisions of a split's hi non-negative, and round

SETTINGS = data.StructLayout({"shift": 6, "rounding": 2, "wide": 1, "multiplier": 16})
"""``shift``, 16 to 47; :class:`~lanewise.config.Rounding`; ``wide``, INT8 instead of INT4; ``multiplier``, 1 to 65535."""


class Int4Quantiser(wiring.Component):
    """``i * multiplier / 2**shift`` as INT4 or INT8, to nearest or stochastic, saturated; or hi and lo of a gradient.

    Each accepted beat takes 16 random bits a lane, whatever its rounding, so that the bits are a function of
    seed, lane and number of beats since the states were loaded, never of stalls.

    Latency 4 clocks, throughput 1 beat of ``lanes`` elements a clock; all stages stand still while ``o`` is
    valid and not taken. A load of a state waits until the accepted beats have left, and no beat is accepted
    while it is valid. The states have no reset: load them before use, and again after a reset in mid-run.
    Golden model: :func:`lanewise.models.int4_quantiser.nibbles` and :func:`~lanewise.models.int4_quantiser.inside`.
    Source: Xi, Li, Chen, Zhu, arXiv 2306.11987 (hi and lo); Esser et al., arXiv 1902.08153 (inside).

    Members
    -------
    i : ``In(stream.Signature(StructLayout(y, settings)))``
        ``lanes`` integers of ``transformed_bits``, element 0 in the low bits, and :data:`SETTINGS`.
    o : ``Out(stream.Signature(StructLayout(lo, hi, inside)))``
        ``lanes`` nibbles each. Split: lo and hi, two's complement. Else ``16 * hi + lo`` is the result, two's
        complement in 8 bits: an INT4 is in lo. ``inside``, a bit a lane: the value was within the result's limits
        before it was rounded, so that a gradient passes; always 1 of a split.
    load : ``In(stream.Signature(StructLayout(address, state)))``
        As :class:`~lanewise.rtl.lfsr.Lfsr`'s.
    busy : ``Out(1)``
        An accepted beat has not left yet.
    """

    i: stream.Interface
    o: stream.Interface
    load: stream.Interface
    busy: Signal

    def __init__(self, config: OperandPathConfig) -> None:
        self.config = config
        elements = data.ArrayLayout(signed(config.transformed_bits), config.lanes)
        nibbles, flags = data.ArrayLayout(4, config.lanes), data.ArrayLayout(1, config.lanes)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"y": elements, "settings": SETTINGS}))),
            "o": Out(stream.Signature(data.StructLayout({"lo": nibbles, "hi": nibbles, "inside": flags}))),
            "load": In(load_signature(config.lanes)),
            "busy": Out(1),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from an accepted beat to its result."""
        return INT4_QUANTISER_LATENCY_CLK

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        move = Signal()
        valid = Signal(self.latency_clk)
        m.submodules.lfsr = lfsr = Lfsr(self.config.lanes)
        settings = [self.i.p.settings]  # at each stage's input
        for stage in range(1, self.latency_clk):
            settings.append(Signal(SETTINGS, name=f"settings_{stage}", reset_less=True))
            with m.If(move):
                m.d.sync += settings[-1].eq(settings[-2])
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move & ~self.load.valid),
            self.o.valid.eq(valid[-1]),
            self.busy.eq(valid.any()),
            lfsr.load.payload.eq(self.load.payload),
            lfsr.load.valid.eq(self.load.valid & ~self.busy),
            self.load.ready.eq(~self.busy),
            lfsr.o.ready.eq(move & valid[1]),
        ]
        with m.If(move):
            m.d.sync += valid.eq(Cat(self.i.valid & ~self.load.valid, valid))
        added, finished = settings[2], settings[3]
        for k in range(self.config.lanes):
            m.submodules[f"lane_{k}"] = lane = _Lane(self.config.transformed_bits)
            m.d.comb += [
                lane.move.eq(move),
                lane.y.eq(self.i.p.y[k]),
                lane.multiplier.eq(settings[0].multiplier),
                lane.places.eq(Cat(settings[1].shift[:4], ~settings[1].shift[4])),  # shift - 16
                lane.random.eq(lfsr.o.p[k]),
                lane.stochastic.eq(added.rounding == Rounding.STOCHASTIC),
                lane.split_added.eq(added.rounding == Rounding.SPLIT),
                lane.wide_added.eq(added.wide),
                lane.split.eq(finished.rounding == Rounding.SPLIT),
                lane.wide.eq(finished.wide),
                self.o.p.lo[k].eq(lane.lo),
                self.o.p.hi[k].eq(lane.hi),
                self.o.p.inside[k].eq(lane.inside),
            ]
        return m


class _Lane(wiring.Component):
    """One element: multiply; shift; add what rounds; saturate, or take apart."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__({
            "move": In(1), "y": In(signed(bits)), "multiplier": In(16), "places": In(5), "random": In(BITS),
            "stochastic": In(1), "split_added": In(1), "wide_added": In(1), "split": In(1), "wide": In(1),
            "lo": Out(4), "hi": Out(4), "inside": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        product = Signal(signed(self.bits + 16), reset_less=True)
        with m.If(self.move):
            m.d.sync += product.eq(self.y * self.multiplier)

        # Shift to 16 bits below the point; what is below that only matters as whether it is 0.
        value, rest = product, Const(0, 1)
        for k in reversed(range(5)):
            shifted = Signal(signed(self.bits + 16), name=f"shifted_{k}")
            rest = rest | (self.places[k] & value[: 1 << k].any())
            m.d.comb += shifted.eq(Mux(self.places[k], value >> (1 << k), value))
            value = shifted
        above = value[POINT + _WHOLE - 1 :]
        sign = value[-1]
        outside = Signal()
        limited = Signal(signed(POINT + _WHOLE), reset_less=True)
        below = Signal(reset_less=True)
        m.d.comb += outside.eq(above.any() & ~above.all())
        limit = Cat(Const(0, POINT), (~sign).replicate(_WHOLE - 1), sign)
        with m.If(self.move):
            m.d.sync += [limited.eq(Mux(outside, limit, value[: POINT + _WHOLE])), below.eq(rest)]

        # To nearest: a half less 1, and 1 where odd or more than what the bits say. Split: at 12 bits below.
        addend, carry, total = Signal(POINT + 8), Signal(), Signal(signed(POINT + _WHOLE + 1))
        split_addend = (_OFFSET << POINT) + 7
        m.d.comb += [
            addend.eq(
                Mux(self.split_added, split_addend, Mux(self.stochastic, self.random, (1 << POINT - 1) - 1))
            ),
            carry.eq(Mux(self.split_added, limited[4] | below, (limited[POINT] | below) & ~self.stochastic)),
            total.eq((Cat(Const(1, 1), limited).as_signed() + Cat(carry, addend))[1:]),
        ]
        whole = Signal(signed(_WHOLE + 1), reset_less=True)
        fraction, random = Signal(12, reset_less=True), Signal(12, reset_less=True)
        passes, inside = Signal(reset_less=True), Signal(reset_less=True)
        within = self._within(m, limited, below)
        with m.If(self.move):
            m.d.sync += [
                passes.eq(within),
                whole.eq(total[POINT:]),
                fraction.eq(total[4:POINT]),
                random.eq(self.random[4:]),
            ]

        lo, hi = Signal(4, reset_less=True), Signal(4, reset_less=True)
        number = self._saturated(m, whole)
        split_lo, split_hi = self._split(m, whole, fraction, random)
        with m.If(self.move):
            m.d.sync += [
                lo.eq(Mux(self.split, split_lo, number[:4])),
                hi.eq(Mux(self.split, split_hi, number[4:])),
                inside.eq(passes),
            ]
        m.d.comb += [self.lo.eq(lo), self.hi.eq(hi), self.inside.eq(inside)]
        return m

    def _within(self, m: Module, limited: Signal, below: Signal) -> Signal:
        """The integer part is in 8 bits, or in 4, and has nothing behind it where it is the greatest; or all of a split."""
        integer, within = limited[POINT:], Signal(name="within")
        from_4, from_8 = integer[3:], integer[7:]
        fits_4, fits_8 = from_4.all() | ~from_4.any(), from_8.all() | ~from_8.any()
        greatest = ~integer[-1] & integer[:3].all() & (~self.wide_added | integer[3:7].all())
        more = limited[:POINT].any() | below
        m.d.comb += within.eq(self.split_added | (Mux(self.wide_added, fits_8, fits_4) & ~(greatest & more)))
        return within

    def _saturated(self, m: Module, whole: Signal) -> Signal:
        """The number in 8 bits, or in 4 with its sign extended."""
        sign, number, outside = whole[-1], Signal(8, name="number"), Signal(name="outside_range")
        from_4, from_8 = whole[3:-1], whole[7:-1]
        m.d.comb += [
            outside.eq(
                Mux(sign, ~from_8.all(), from_8.any())
                | (~self.wide & Mux(sign, ~from_4.all(), from_4.any()))
            ),
            number.eq(Mux(
                outside,
                Cat((~sign).replicate(3), Mux(self.wide, (~sign).replicate(4), sign.replicate(4)), sign),
                whole[:8],
            )),
        ]  # fmt: skip
        return number

    def _split(self, m: Module, whole: Signal, fraction: Signal, random: Signal) -> tuple[Signal, Signal]:
        """lo and hi of ``whole + fraction / 2**12``, to which 147 = 14 * 10 + 7 is added already.

        hi + 10 is a 14th of it, and 7 more than lo's part the remainder: of the half (an eighth ``a`` times 8, and
        ``b``), the 7th is ``a`` and a 7th of ``a + b``, which is below 21 where hi is not at its limit.
        """
        half = whole[1:]
        eighth, both, sevenths = half[3:7], Signal(5, name="both"), Signal(2, name="sevenths")
        remainder, quotient = Signal(3, name="remainder"), Signal(5, name="quotient")
        up, tie, steps = Signal(name="up"), Signal(name="tie"), Signal(4, name="steps")
        lo, hi = Signal(4, name="split_lo"), Signal(4, name="split_hi")
        low, high = Signal(name="low"), Signal(name="high")
        m.d.comb += [
            both.eq(eighth + half[:3]),
            sevenths.eq(Cat((both >= 7) & (both < 14), both >= 14)),
            remainder.eq(Array(Const(k % 7, 3) for k in range(32))[both]),
            quotient.eq(eighth + sevenths),
            low.eq(whole < 56),
            high.eq(whole >= 238),
            up.eq((fraction + random)[12]),
            tie.eq((remainder == 0) & ~whole[0] & ~fraction.any() & quotient[0]),
            steps.eq(Cat(whole[0], remainder) + up),  # lo + 7
            hi.eq(Mux(low, -6, Mux(high, 6, quotient - 10 - tie))),
            lo.eq(Mux(low, -6, Mux(high | tie | (steps > 13), 6, Mux(steps == 0, -6, steps - 7)))),
        ]
        return lo, hi
