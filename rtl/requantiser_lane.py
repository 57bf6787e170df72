"""The pipeline of one lane of the output path."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import REQUANTISER_FORMATS
from lanewise.rtl.multiply_add_slot import leading_zeros
from lanewise.rtl.pipeline import Pipelined

_INT4, _INT8, _FP16, _BF16 = range(len(REQUANTISER_FORMATS))
_CUT = 17
"""Where a magnitude is cut: products of its parts and the scale's are added in the stage after them."""
_WINDOW = 24
"""Bits kept of a normalised product: 8 before the point and 16 after it of an integer."""
_HIDDEN = _WINDOW - 1
"""Where the leading one of a floating-point number stands."""


class RequantiserLane(Pipelined, wiring.Component):
    """One result: select; add the bias; multiply; add the products; normalise; place; round. The stages advance where ``move`` is 1.

    The product is a magnitude below 2**64 with its sign. Normalised, its leading one is worth 2**e, and 24 bits
    and a sticky one are kept. They are moved right to where the format has its point: an integer's 2**7 to the top, a
    subnormal FP16's last place to bit 13. One adder then rounds all: it adds half a unit of the last place, or the
    random bits as a fraction, and what a negative integer needs to be two's complement, rounded down; the exponent
    stands above a floating-point number's bits and takes the carry. The nearest's tie shows as zeros below the last place.

    Members
    -------
    move : ``In(1)``
    sum, bias, factor : ``In(32)``, ``In(32)``, ``In(16)``
        The column's, at the first stage.
    row_multiplier : ``In(16)``
        At the second stage.
    shift : ``In(6)``
        At the fifth.
    place_form, round_form : ``In(2)``
        The format at the sixth and at the seventh; likewise
    stochastic, random : ``In(1)``, ``In(16)``
        at the seventh.
    y : ``Out(16)``
        Result, not registered: an integer in the low bits.
    """

    def __init__(self) -> None:
        super().__init__({
            "move": In(1), "sum": In(32), "bias": In(32), "factor": In(16), "row_multiplier": In(16),
            "shift": In(6), "place_form": In(2), "round_form": In(2), "stochastic": In(1), "random": In(16),
            "y": Out(16),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        self._stage = 0
        r = self._register(m, sum=self.sum, bias=self.bias, factor=self.factor)

        total = Signal(signed(33))
        m.d.comb += total.eq(r["sum"].as_signed() + r["bias"].as_signed())
        sign = total[-1]
        magnitude = ((total ^ sign.replicate(33)) + sign)[:33]
        scale = r["factor"] * self.row_multiplier
        r = self._register(m, magnitude=magnitude, sign=sign, scale=scale)
        low, high = r["magnitude"][:_CUT], r["magnitude"][_CUT:]
        less, more = r["scale"][:16], r["scale"][16:]
        r = self._register(
            m, low=low * less, high=high * more, one=low * more, other=high * less, sign=r["sign"]
        )
        ends = Cat(r["low"], r["high"])
        whole = ends + Cat(C(0, 16), r["one"]) + Cat(C(0, _CUT), r["other"])
        r = self._register(m, product=whole[:64], sign=r["sign"])

        zeros, none = leading_zeros(m, r["product"])
        normal = Signal(64)
        exponent = Signal(signed(8))
        m.d.comb += [normal.eq(r["product"] << zeros), exponent.eq(63 - zeros - self.shift)]
        kept, rest = normal[64 - _WINDOW :], normal[: 64 - _WINDOW].any()
        r = self._register(
            m, kept=kept, rest=rest, exponent=exponent, sign=r["sign"] & ~none, something=~none
        )

        r = self._placed(m, r)
        self._rounded(m, r)
        return m

    def _placed(self, m: Module, r: dict[str, Signal]) -> dict[str, Signal]:
        form, exponent = self.place_form, r["exponent"].as_signed()
        integer = ~form[1]
        subnormal = exponent < -14
        distance = Signal(7)
        m.d.comb += distance.eq(
            Mux(integer, 7 - exponent, Mux((form == _FP16) & subnormal, -14 - exponent, 0))
        )
        near = distance < 32
        moved = Signal(_WINDOW)
        m.d.comb += moved.eq((r["kept"] >> distance[:5]) & near.replicate(_WINDOW))
        lost = Cat(r["kept"][k] & (~near | (distance[:5] > k)) for k in range(_WINDOW)).any()
        field = Mux(form == _BF16, exponent + 127, Mux(subnormal, 0, exponent + 15))
        field = Cat(field[:8] & r["something"].replicate(8), C(0, 1))
        return self._register(
            m, kept=moved[:_HIDDEN], above=Mux(integer, moved[_HIDDEN], field), rest=r["rest"] | lost, sign=r["sign"],
            over=(exponent > Mux(integer, 7, 15)) & r["something"],
        )  # fmt: skip

    def _rounded(self, m: Module, r: dict[str, Signal]) -> None:
        form = self.round_form
        integer, fp16 = ~form[1], form == _FP16
        random = integer & self.stochastic
        inverted = integer & r["sign"]
        word = Cat(r["kept"], r["above"]) ^ inverted.replicate(32)
        unit = Mux(random, self.random, Cat(C(0, 12), fp16, C(0, 2), ~fp16))
        total = Signal(34)
        m.d.comb += total.eq(Cat(C(1, 1), word) + Cat(inverted & ~r["rest"], unit))
        result = total[1:33]
        tie = ~random & ~r["rest"] & ~result[:13].any() & (fp16 | ~result[13:16].any())
        upper = Cat(result[16] & ~tie, result[17:])  # from 2**0 of an integer, from the last place of BF16
        lower = Cat(result[13] & ~tie, result[14:28])  # from the last place of FP16
        with m.Switch(form):
            with m.Case(_FP16):
                m.d.comb += self.y.eq(Cat(Mux(r["over"], 0x7C00, lower)[:15], r["sign"]))
            with m.Case(_BF16):
                m.d.comb += self.y.eq(Cat(upper[:15], r["sign"]))
            for code, bits in ((_INT4, 4), (_INT8, 8)):
                with m.Case(code):
                    m.d.comb += self.y.eq(_saturated(upper, bits, r["over"], r["sign"]))


def _saturated(word: Value, bits: int, over: Value, sign: Value) -> Value:
    """The low bits of a two's complement number, or the limit on the side of ``sign``."""
    upper = word[bits - 1 : 10]
    beyond = over | (upper.any() & ~upper.all())
    return Mux(beyond, Cat((~sign).replicate(bits - 1), sign), word[:bits])
