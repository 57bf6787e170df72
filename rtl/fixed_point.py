"""Floating point to fixed point, at the head of the operand path."""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import FIXED_POINT_BITS, FIXED_POINT_LATENCY_CLK, OperandPathConfig
from lanewise.formats import NumberFormat

EXPONENT = signed(6)
"""Shape of a tensor's exponent."""
_PRECISION = 11  # of the significand with the most bits, FP16's
_WHOLE = 15  # bits of a magnitude
_FARTHEST = 27  # by so many places shifted, nothing is left that rounds to 1


def select_fields(config: OperandPathConfig) -> dict[str, int]:
    """The ``format`` field of beats, with more than one format."""
    return {"format": 1} if len(config.formats) > 1 else {}


def block_bits(config: OperandPathConfig) -> int:
    """Width of the index of a block."""
    return (len(config.blocks) - 1).bit_length()


class FixedPoint(wiring.Component):
    """``o = rne(i * 2**exponent)``, saturated to +-32767; NaN gives 0, infinities saturate.

    Latency 2 clocks, throughput 1 beat of ``lanes`` elements a clock; both stages stand still while ``o`` is
    valid and not taken. Golden model: :func:`lanewise.models.walsh_hadamard.fixed_point`.

    Members
    -------
    i : ``In(stream.Signature(StructLayout(x, block, exponent[, format])))``
        ``lanes`` words of 16 bits, element 0 in the low bits; exponent, -16 to 31. ``format``, with more than
        one: its index in the config's list.
    o : ``Out(stream.Signature(StructLayout(x, block)))``
        Integers of 16 bits, and the index of the block, which travels along.
    busy : ``Out(1)``
        An accepted beat has not left yet.
    """

    i: stream.Interface
    o: stream.Interface
    busy: Signal

    def __init__(self, config: OperandPathConfig) -> None:
        self.config = config
        block = block_bits(config)
        beat = {"x": data.ArrayLayout(16, config.lanes), "block": block, "exponent": EXPONENT}
        result = {"x": data.ArrayLayout(signed(FIXED_POINT_BITS), config.lanes), "block": block}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(beat | select_fields(config)))),
            "o": Out(stream.Signature(data.StructLayout(result))),
            "busy": Out(1),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from an accepted beat to its result."""
        return FIXED_POINT_LATENCY_CLK

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        move, valid = Signal(), Signal(2)
        blocks = [Signal.like(self.i.p.block, name=f"block_{k}", reset_less=True) for k in range(2)]
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move),
            self.o.valid.eq(valid[1]),
            self.o.p.block.eq(blocks[1]),
            self.busy.eq(valid.any()),
        ]
        with m.If(move):
            m.d.sync += [
                valid.eq(Cat(self.i.valid, valid)),
                blocks[0].eq(self.i.p.block),
                blocks[1].eq(blocks[0]),
            ]
        for k in range(self.config.lanes):
            m.submodules[f"lane_{k}"] = lane = _Lane(self.config)
            m.d.comb += [
                lane.move.eq(move),
                lane.x.eq(self.i.p.x[k]),
                lane.exponent.eq(self.i.p.exponent),
                self.o.p.x[k].eq(lane.y),
            ]
            if len(self.config.formats) > 1:
                m.d.comb += lane.format.eq(self.i.p.format)
        return m


class _Lane(wiring.Component):
    """One element: shift the significand to its place, then round, saturate and negate."""

    def __init__(self, config: OperandPathConfig) -> None:
        self.config = config
        super().__init__({
            "move": In(1), "x": In(16), "exponent": In(EXPONENT), "y": Out(signed(FIXED_POINT_BITS)),
            **{name: In(bits) for name, bits in select_fields(config).items()},
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        # Places to shift down from m * 2**15: below 0 the number is too large, or m is 0.
        significand, places = Signal(_PRECISION), Signal(signed(9))
        infinite, nan = Signal(), Signal()
        read = [self._read(form) for form in self.config.number_formats]
        for target, choices in zip(
            (significand, places, infinite, nan), zip(*read, strict=True), strict=True
        ):
            chosen = choices[0] if len(choices) == 1 else Array(choices)[self.format]
            m.d.comb += target.eq(chosen)
        gone, amount = Signal(), Signal(5)
        m.d.comb += [
            gone.eq((places > _FARTHEST) | nan),
            amount.eq(Mux(places < 0, 0, places[:5])),
        ]
        value: Value = Cat(Const(0, 16), significand)  # one place below the point, for the half
        rest: Value = Const(0, 1)
        for k in range(5):
            rest = rest | (amount[k] & value[: 1 << k].any())
            value = Mux(amount[k], value >> (1 << k), value)

        sign, over, half, below = (
            Signal(name=name, reset_less=True) for name in ("sign", "over", "half", "below")
        )
        magnitude = Signal(_WHOLE, reset_less=True)
        with m.If(self.move):
            m.d.sync += [
                sign.eq(self.x[15]),
                over.eq((value[_WHOLE + 1 :].any() & ~gone) | infinite),
                magnitude.eq(Mux(gone, 0, value[1 : _WHOLE + 1])),
                half.eq(value[0] & ~gone),
                below.eq(rest & ~gone),
            ]

        limited, up = Signal(_WHOLE), Signal()
        y = Signal(signed(FIXED_POINT_BITS), reset_less=True)
        m.d.comb += [
            limited.eq(magnitude | over.replicate(_WHOLE)),
            up.eq(half & (below | magnitude[0]) & ~limited.all()),
            self.y.eq(y),
        ]
        with m.If(self.move):  # -(a + up) = ~a + (1 - up)
            m.d.sync += y.eq(Cat(limited ^ sign.replicate(_WHOLE), sign) + (sign ^ up))
        return m

    def _read(self, form: NumberFormat) -> tuple[Value, Value, Value, Value]:
        """Significand (FP16's places), places to shift, infinity, NaN."""
        fraction = self.x[: form.fraction_bits]
        exponent = self.x[form.fraction_bits : 15]
        normal, special = exponent.any(), exponent.all()
        significand = Cat(Const(0, _PRECISION - form.precision), fraction, normal)
        at_least_1 = Cat(exponent[0] | ~normal, exponent[1:])
        places = (_WHOLE + form.bias + _PRECISION - 1) - at_least_1 - self.exponent
        return significand, places, special & ~fraction.any(), special & fraction.any()
