"""Conversions of one lane of the vector unit: integer to floating point and back, floating point to narrower."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lanewise.formats import FORMATS, NumberFormat
from lanewise.rtl.multiply_add_slot import leading_zeros
from lanewise.rtl.vector_fma_control import BEAT, Kind

_FP16, _BF16, _FP32 = (FORMATS[name] for name in ("fp16", "bf16", "fp32"))

STAGES = 4
"""Take apart; move; round; saturate."""


class VectorConvertLane(wiring.Component):
    """Conversions of an element of 32 bits, or of two of 16, to results of the same width or of half.

    Latency 4 clocks, throughput one beat a clock. No back-pressure.
    Golden model: :func:`lanewise.models.vector_elements.evaluate`.

    Members
    -------
    beats : ``In(ArrayLayout(BEAT, 4))``
        At the input of each stage.
    x : ``In(32)``
        Sources; where the result is wider, already as wide as it.
    product : ``In(32)``
        At the third stage: result of an integer multiply, which travels along from there.
    y : ``Out(32)``
        Results, in the low bits of their sources' places; zero if the operation is neither a conversion nor an integer multiply.
    """

    def __init__(self) -> None:
        super().__init__({
            "beats": In(data.ArrayLayout(BEAT, STAGES)), "x": In(32), "product": In(32), "y": Out(32),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.low = low = VectorConvertSlot(bits=32)
        m.submodules.high = high = VectorConvertSlot(bits=16)
        m.d.comb += [
            low.beats.eq(self.beats),
            high.beats.eq(self.beats),
            low.x.eq(self.x),
            high.x.eq(self.x[16:]),
            low.product.eq(self.product),
            self.y.eq(low.y | Cat(C(0, 16), high.y)),
        ]
        return m


class VectorConvertSlot(wiring.Component):
    """One conversion: take apart; move; round; saturate.

    A source is a magnitude of ``bits`` bits with its sign: an integer's own, or a significand against the upper end.
    One rotation moves it: to the left until an integer's leading one is uppermost; to the right, a floating-point number's, until its
    ones stand at bit 0, or until a subnormal result has its exponent. Bits that come round the end are then below the
    result's last place. (A floating-point source needs no normalising: where it is subnormal, the result is zero, or
    has the same exponents.) One adder rounds; a negative integer -v is made as ``~v + 1``, the one left out if v is rounded up.

    The slot of 32 bits also converts elements of 16, and lets products of integers through; that of 16 gives zero for elements of 32.
    """

    def __init__(self, *, bits: int) -> None:
        self.bits = bits
        self.whole = bits == 32
        self.formats = (_FP16, _BF16, _FP32) if self.whole else (_FP16, _BF16)
        ports = {"beats": In(data.ArrayLayout(BEAT, STAGES)), "x": In(bits), "y": Out(bits)}
        super().__init__(ports | ({"product": In(32)} if self.whole else {}))

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        apart = self._taken_apart(m)
        moved = self._moved(m, apart)
        rounded = self._rounded(m, moved)
        y = Signal(self.bits, name="y_4", reset_less=True)
        m.d.sync += y.eq(self._saturated(m, rounded))
        m.d.comb += self.y.eq(y)
        return m

    def _taken_apart(self, m: Module) -> dict[str, Signal]:
        W, x, beat, word = self.bits, self.x, self.beats[0], self._word(0)
        control = beat.control
        fields = [self._fields(form) for form in self.formats]
        significand, exponent, nan = (
            self._of_source(word, beat.altfmt, [field[k] for field in fields]) for k in range(3)
        )
        integer = x
        if self.whole:
            above = (x[15] & control.signed_a).replicate(16)
            integer = Mux(word, x, Cat(x[:16], above))
        negative = integer[-1] & control.signed_a
        magnitude = Signal(W)
        m.d.comb += magnitude.eq((integer ^ negative.replicate(W)) + negative)

        to_fp16 = control.to_float & control.narrow & ~beat.altfmt
        # The exponent at which a number's leading one stays at the top.
        limits = [C(W - 1 + form.bias, 8) for form in self.formats]
        limit = self._of_source(word, beat.altfmt, limits)
        if self.whole:
            limit = Mux(to_fp16, C(_FP32.bias - _FP16.bias + 1, 8), limit)
        places, right = Signal(9), Signal()
        m.d.comb += [
            places.eq(limit - exponent),
            right.eq(control.from_float & ~places[-1] & (~control.to_float | to_fp16)),
        ]
        gone = right & (places[:8] > W)
        source = Mux(control.from_float, significand & (~gone).replicate(W), magnitude)
        values: dict[str, Value] = {
            "magnitude": source,
            "left": (-places)[: (W - 1).bit_length()] & right.replicate((W - 1).bit_length()),
            "places": places[: W.bit_length()] & right.replicate(W.bit_length()),
            "sign": Mux(control.from_float, Mux(word, x[-1], x[15]) & ~nan, negative),
            # of a result that is an integer: too large
            "special": control.from_float & (nan | (~control.to_float & places[-1])),
        }
        if self.whole:  # of a floating-point result; any, if it is subnormal
            values["exponent"] = Mux(to_fp16, exponent - (_FP32.bias - _FP16.bias), exponent)[:8]
        return self._register(m, 1, values)

    def _moved(self, m: Module, r: dict[str, Signal]) -> dict[str, Signal]:
        W, beat, word = self.bits, self.beats[1], self._word(1)
        control = beat.control
        zeros, _ = leading_zeros(m, r["magnitude"])
        left = Mux(control.from_float, r["left"], zeros)
        value: Value = r["magnitude"]
        for k in range(len(left)):
            step = 1 << k
            value = Mux(left[k], Cat(value[W - step :], value[: W - step]), value)
        bf16 = C(_BF16.bias + W - 1, 8)
        top = Mux(self._as_fp16(beat, word), C(_FP16.bias + W - 1, 8), bf16)
        exponent: Value = (top - zeros)[:8]
        if self.whole:
            exponent = Mux(control.from_float, r["exponent"], exponent)
        kept = {name: r[name] for name in ("places", "sign", "special")}
        return self._register(m, 2, {"value": value, "exponent": exponent, **kept})

    def _rounded(self, m: Module, r: dict[str, Signal]) -> dict[str, Signal]:
        W, beat, word = self.bits, self.beats[2], self._word(2)
        control = beat.control
        value, sign = r["value"], r["sign"]
        places = Signal(range(W + 1))
        m.d.comb += places.eq(r["places"])
        came_round = Signal(W)
        m.d.comb += came_round.eq(Cat(places > W - 1 - k for k in range(W)))
        inside, outside = Signal(W), Signal(W)
        m.d.comb += [inside.eq(value & ~came_round), outside.eq(value & came_round)]

        exponent = r["exponent"] & inside[-1].replicate(8)
        numbers: list[Value] = []
        halves: list[Value] = []
        rests: list[Value] = []
        for form in self.formats:
            last = W - form.precision
            numbers.append(Cat(inside[last : W - 1], exponent)[:W])
            halves.append(inside[last - 1])
            rests.append(inside[: last - 1].any() | outside.any())
        floating, half, rest = (self._of_result(beat, word, parts) for parts in (numbers, halves, rests))
        to_float = control.to_float
        number = Mux(to_float, floating, inside ^ sign.replicate(W))
        half = Mux(to_float, half, outside[-1])
        rest = Mux(to_float, rest, outside[:-1].any())
        odd = Mux(to_float, floating[0], inside[0])
        up = half & (rest | odd) & ~control.truncate
        carry = up ^ (sign & ~to_float)
        if self.whole:
            multiply = control.kind == Kind.MULTIPLY
            number, carry = Mux(multiply, self.product, number), carry & ~multiply
        return self._register(m, 3, {"number": number, "carry": carry, "sign": sign, "special": r["special"]})

    def _saturated(self, m: Module, r: dict[str, Signal]) -> Value:
        W, beat, word = self.bits, self.beats[3], self._word(3)
        control = beat.control
        sign, special = r["sign"], r["special"]
        total = Signal(W + 1)
        m.d.comb += total.eq(Cat(r["number"], sign & ~control.to_float) + r["carry"])
        floats: list[Value] = []
        for form in self.formats:
            magnitude = total[: form.bits - 1]
            if form is _FP16:  # the others' overflow has the bits of an infinity
                over = total[form.fraction_bits : form.fraction_bits + 8] >= (1 << form.exponent_bits) - 1
                magnitude = Mux(over, C(form.infinity_bits, 15), magnitude)
            floats.append(Cat(Mux(special, C(form.nan_bits, form.bits - 1), magnitude), sign))
        floating = self._of_result(beat, word, floats)
        widths = [(8, ~word & control.narrow), (16, (word & control.narrow) | (~word & ~control.narrow))]
        if self.whole:
            widths.append((32, word & ~control.narrow))
        integer: Value = C(0, W)
        for bits, chosen in widths:
            upper = total[bits - 1 :]
            fits = Mux(control.signed_a, ~upper.any() | upper.all(), ~upper[1:].any()) & ~special
            limit = Mux(control.signed_a, Cat((~sign).replicate(bits - 1), sign), (~sign).replicate(bits))
            wrong = ~fits | (sign & ~control.signed_a)
            integer = integer | (Mux(wrong, limit, total[:bits]) & chosen.replicate(bits))
        result = Mux(control.to_float, floating, integer)
        if not self.whole:
            return result & (~(beat.size == 2) & (control.kind == Kind.CONVERT)).replicate(W)
        converted = result & (control.kind == Kind.CONVERT).replicate(W)
        return Mux(control.kind == Kind.MULTIPLY, total[:W], converted)

    def _word(self, stage: int) -> Value:
        """Whether sources have 32 bits."""
        return self.beats[stage].size == 2 if self.whole else C(0, 1)

    def _as_fp16(self, beat: "data.View[data.StructLayout]", word: Value) -> Value:
        """Whether the floating-point result is FP16."""
        return ~beat.altfmt & (~word | beat.control.narrow)

    def _of_source(self, word: Value, altfmt: Value, values: list[Value]) -> Value:
        """That of the source's format: FP16, BF16, FP32."""
        small = Mux(altfmt, values[1], values[0])
        return Mux(word, values[2], small) if self.whole else small

    def _of_result(self, beat: "data.View[data.StructLayout]", word: Value, values: list[Value]) -> Value:
        """That of the result's format: FP16, BF16, FP32."""
        return self._of_source(word & ~beat.control.narrow, beat.altfmt, values)

    def _fields(self, form: NumberFormat) -> tuple[Value, Value, Value]:
        """Significand against the upper end, exponent of 8 bits, whether it is a NaN; a subnormal has the exponent 1 and no hidden bit."""
        fraction, exponent = self.x[: form.fraction_bits], self.x[form.fraction_bits : form.bits - 1]
        normal = exponent.any()
        significand = Cat(C(0, self.bits - form.precision), fraction, normal)
        at_least_1 = Cat(exponent[0] | ~normal, exponent[1:], C(0, 8 - form.exponent_bits))
        return significand, at_least_1, exponent.all() & fraction.any()

    def _register(self, m: Module, stage: int, values: dict[str, Value]) -> dict[str, Signal]:
        registers = {}
        for name, value in values.items():
            registers[name] = Signal(len(value), name=f"{name}_{stage}", reset_less=True)
            m.d.sync += registers[name].eq(value)
        return registers
