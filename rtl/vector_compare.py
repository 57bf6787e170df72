"""Comparisons of the elements in a lane, of integers and of floating-point numbers."""

from amaranth.hdl import C, Elaboratable, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

_BITS, _BYTES = 32, 4


class VectorCompare(wiring.Component):
    """Which of two elements is less, from the carries of ``a + ~b + 1``.

    Outcomes are at the top byte of each element: byte 3 of one of 32 bits; 1 and 3, of 16 bits; every byte, of 8 bits.
    Floating-point numbers are FP32, or of 16 bits FP16 or BF16. No clock: logic alone.
    Golden model: :mod:`lanewise.models.vector_elements`.

    Members
    -------
    a, b : ``In(32)``
    same : ``In(32)``
        Where their bits are equal.
    carries : ``In(4)``
        Out of each byte that ends an element.
    to16, to32, fp16 : ``In(1)``
        Whether elements are at least 16, and 32 bits wide; of floating-point numbers of 16 bits, whether they are FP16.
    signed, floating : ``In(1)``
        ``floating`` only with ``signed``.
    less : ``Out(4)``
        Whether a is less, -0 less than 0; if both are the same, or one is a NaN, it does not matter.
    equal : ``Out(4)``
        Whether they are equal, 0 and -0 too.
    nan_a, nan_b : ``Out(4)``
        Whether it is a NaN; at bytes 1 and 3, and 0 without ``floating``.
    """

    def __init__(self) -> None:
        super().__init__({
            "a": In(_BITS), "b": In(_BITS), "same": In(_BITS), "carries": In(_BYTES), "to16": In(1), "to32": In(1),
            "fp16": In(1), "signed": In(1), "floating": In(1),
            "less": Out(_BYTES), "equal": Out(_BYTES), "nan_a": Out(_BYTES), "nan_b": Out(_BYTES),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        alike = [self.same[8 * k : 8 * k + 8].all() for k in range(_BYTES)]
        magnitude = self.a | self.b
        empty = [~magnitude[8 * k : 8 * k + 8].any() for k in range(_BYTES)]
        bare = [~magnitude[8 * k : 8 * k + 7].any() for k in range(_BYTES)]  # but for the sign
        for k in range(_BYTES):
            sign_a, sign_b = self.a[8 * k + 7], self.b[8 * k + 7]
            zeros = self.floating & bare[k] & self._rest(empty, k) if k % 2 else None
            equal = alike[k] & self._rest(alike, k)
            reverse = self.floating & sign_a
            m.d.comb += [
                self.less[k].eq(Mux(self.signed & (sign_a ^ sign_b), sign_a, ~self.carries[k] ^ reverse)),
                self.equal[k].eq(equal if zeros is None else equal | zeros),
            ]
            if k % 2:
                for word, nan in ((self.a, self.nan_a), (self.b, self.nan_b)):
                    m.d.comb += nan[k].eq(self._nan(word, k))
        return m

    def _rest(self, flags: list[Value], top: int) -> Value:
        """Whether all of the element's bytes below its top byte have the flag."""
        if top == 0 or top == 2:
            return C(1, 1)
        pair = ~self.to16 | flags[top - 1]
        return pair if top == 1 else pair & (~self.to32 | (flags[1] & flags[0]))

    def _nan(self, word: Value, top: int) -> Value:
        half = word[8 * top - 8 : 8 * top + 8]
        lower = half[:7].any()
        if top == 3:
            lower |= self.to32 & word[:16].any()
        fp16 = half[:10].any()
        largest, upper = half[10:15].all(), half[7:10]
        return self.floating & largest & Mux(self.fp16, fp16, upper.all() & lower)
