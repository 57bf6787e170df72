"""Shifts of the elements in a lane."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

_BITS, _BYTES = 32, 4


class VectorShifter(wiring.Component):
    """Shifts each element of 32 bits: four of 8, two of 16, or one of 32 bits; right, or, of the bits the other way round, left.

    One shifter for all widths: a stage moves a bit from its neighbour in the same element, and takes the sign from outside.
    No clock: logic alone. Golden model: :mod:`lanewise.models.vector_elements`.

    Members
    -------
    a, b : ``In(32)``
        Elements, and by how many places: the lowest bits of each element, as many as matter.
    to16, to32 : ``In(1)``
        Whether elements are at least 16, and 32 bits wide.
    left : ``In(1)``
    signed : ``In(1)``
        To the right, whether signs come in.
    y : ``Out(32)``
        Right: the result.
    reversed : ``Out(32)``
        Left: the result.
    """

    a: Signal
    b: Signal
    to16: Signal
    to32: Signal
    left: Signal
    signed: Signal
    y: Signal
    reversed: Signal

    def __init__(self) -> None:
        super().__init__({
            "a": In(_BITS), "b": In(_BITS), "to16": In(1), "to32": In(1), "left": In(1), "signed": In(1),
            "y": Out(_BITS), "reversed": Out(_BITS),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        word, sign = Signal(_BITS, name="word"), Signal(_BYTES)
        tops = [self.a[8 * k + 7] for k in range(_BYTES)]
        m.d.comb += [
            word.eq(Mux(self.left, self.a[::-1], self.a)),
            sign.eq(self._of_element(tops) & (self.signed & ~self.left).replicate(_BYTES)),
        ]
        places = self._places(m)
        for k, step in enumerate((1, 2, 4, 8, 16)):
            moved = Signal(_BITS, name=f"moved_{step}")
            for bit in range(_BITS):
                byte, source = bit // 8, bit + step
                other: Value = sign[byte]
                if source < _BITS:
                    other = word[source]
                    crossed = range(byte, source // 8)  # edges between bytes
                    if 1 in crossed and step < 16:
                        other = Mux(self.to32, other, sign[byte])
                    elif crossed and step < 8:
                        other = Mux(self.to16, other, sign[byte])
                m.d.comb += moved[bit].eq(Mux(places[byte][k], other, word[bit]))
            word = moved
        m.d.comb += [self.y.eq(word), self.reversed.eq(word[::-1])]
        return m

    def _of_element(self, flags: list[Value]) -> Value:
        """For each byte the flag of its element's top byte."""
        return Cat(Mux(self.to32, flags[3], Mux(self.to16, flags[k | 1], flags[k])) for k in range(_BYTES))

    def _places(self, m: Module) -> list[Signal]:
        """By how many places each byte of the (reversed) word moves."""
        amounts = []
        for byte in range(_BYTES):
            own, half, whole = (self.b[8 * k :] for k in (byte, byte & 2, 0))
            amount = Signal(5, name=f"amount_{byte}")
            m.d.comb += amount.eq(
                Cat(
                    Mux(self.to32, whole[:3], Mux(self.to16, half[:3], own[:3])),
                    Mux(self.to32, whole[3], half[3]) & self.to16,
                    whole[4] & self.to32,
                )
            )
            amounts.append(amount)
        places = []
        for byte in range(_BYTES):
            place = Signal(5, name=f"places_{byte}")
            m.d.comb += place.eq(Mux(self.left, amounts[_BYTES - 1 - byte], amounts[byte]))
            places.append(place)
        return places
