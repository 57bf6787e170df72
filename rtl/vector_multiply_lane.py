"""Integer multiply of one lane of the vector unit."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lanewise.rtl.vector_fma_control import BEAT


class VectorMultiplyLane(wiring.Component):
    """``x * y + z``, or the upper half of ``x * y``, of 4 elements of 8 bits, 2 of 16 or 1 of 32.

    Four signed multipliers of 17 bits serve all widths: they are the four products of halves of a word; the
    two of the outer ones are those of elements of 16 bits; each of them is that of an element of 8 bits, which
    lies in the upper half of a factor where that saves moving it. ``z - x * y`` is ``~(x * y + ~z)``.

    Latency 2 clocks, throughput one beat a clock. No back-pressure.
    Golden model: :func:`lanewise.models.vector_elements.evaluate`.

    Members
    -------
    multiply : ``In(BEAT)``
        Of the first stage.
    add : ``In(BEAT)``
        Of the second.
    x, y, z : ``In(32)``
        Signedness of ``x`` is ``signed_a``, that of ``y`` is ``signed_b``; neither matters to a lower half.
    o : ``Out(32)``
        Results, the low half or the high half of each.
    """

    def __init__(self) -> None:
        super().__init__({
            "multiply": In(BEAT), "add": In(BEAT), "x": In(32), "y": In(32), "z": In(32), "o": Out(32),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        products = []
        factors = zip(self._factors(self.x, "x"), self._factors(self.y, "y"), strict=True)
        for k, ((x, y), bits) in enumerate(zip(factors, (32, 33, 33, 32), strict=True)):
            product = Signal(bits, name=f"product_{k}", reset_less=True)
            m.d.sync += product.eq(x.as_signed() * y.as_signed())
            products.append(product)
        addend = Signal(32, reset_less=True)
        m.d.sync += addend.eq(self.z ^ self.multiply.control.negate_product.replicate(32))

        control, byte, word = self.add.control, self.add.size == 0, self.add.size == 2
        of_bytes = [products[k][start : start + 16] for k, start in enumerate((0, 16, 8, 16))]
        of_halves = [products[0], products[3]]
        picked = Mux(byte, self._halves(of_bytes, control.high), self._halves(of_halves, control.high))
        carried = (~byte, C(0, 1), ~byte, C(0, 1))  # a one lets the carry of the byte below pass
        summed = Signal(36)
        m.d.comb += summed.eq(self._spread(picked, carried) + self._spread(addend, (C(0, 1),) * 4))
        parts = Cat(*(summed[9 * k : 9 * k + 8] for k in range(4)))
        inner = [product.as_signed() for product in products[1:3]]
        total = Signal(64)
        m.d.comb += total.eq(Cat(products[0], products[3]) + (inner[0] << 16) + (inner[1] << 16) + addend)
        result = Mux(word, Mux(control.high, total[32:], total[:32]), parts)
        o = Signal(32, name="o_1", reset_less=True)
        m.d.sync += o.eq(result ^ control.negate_product.replicate(32))
        m.d.comb += self.o.eq(o)
        return m

    def _factors(self, value: Value, name: str) -> list[Value]:
        """The four multipliers' factors of 17 bits: low x low, low x high, high x low, high x high halves of a word.

        Of bytes: byte 0 in the lower half; 1 in the upper; 2 in the lower of ``x``, in the upper of ``y``; 3 in the upper.
        """
        control = self.multiply.control
        signed = control.signed_a if name == "x" else control.signed_b
        byte, word = self.multiply.size == 0, self.multiply.size == 2
        low, high = value[:16], value[16:]
        bytes_ = [value[8 * k : 8 * k + 8] for k in range(4)]
        signs = [part[-1] & signed for part in bytes_]

        def lower(half: Value, k: int, top: Value) -> Value:
            """The half, or byte ``k``, extended."""
            return Mux(byte, Cat(bytes_[k], signs[k].replicate(9)), Cat(half, top))

        def upper(half: Value, k: int, top: Value) -> Value:
            """The half, or byte ``k`` and zeros below it."""
            return Cat(
                half[:8] & (~byte).replicate(8), Mux(byte, bytes_[k], half[8:]), Mux(byte, signs[k], top)
            )

        outer = [lower(low, 0, signs[1] & ~word), upper(high, 3, signs[3])]
        of_x = [upper(low, 1, C(0, 1)), lower(high, 2, signs[3])]
        of_y = [upper(high, 1, signs[3]), upper(low, 2, C(0, 1))]
        return [outer[0], *(of_x if name == "x" else of_y), outer[1]]

    def _halves(self, products: list[Value], high: Value) -> Value:
        """The lower or the upper halves of the elements' products."""
        bits = 32 // len(products)
        return Cat(*(Mux(high, product[bits : 2 * bits], product[:bits]) for product in products))

    def _spread(self, word: Value, above: tuple[Value, ...]) -> Value:
        """The bytes with a bit above each."""
        return Cat(*(part for k in range(4) for part in (word[8 * k : 8 * k + 8], above[k])))
