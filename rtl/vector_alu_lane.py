"""One lane of the vector unit's ALU."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lanewise.formats import FORMATS
from lanewise.rtl.vector_alu_control import CONTROL
from lanewise.rtl.vector_compare import VectorCompare
from lanewise.rtl.vector_estimate import VectorEstimate
from lanewise.rtl.vector_shifter import VectorShifter

LANE_BITS, _BYTES = 32, 4

WIDTH = data.StructLayout({"to16": 1, "to32": 1, "fp16": 1})
"""Whether a result's elements are at least 16, and 32 bits wide; whether they are FP16."""


class VectorAluLane(wiring.Component):
    """32 bits of every operation but the permutations. No clock: logic alone.

    One adder for sums and comparisons: between bytes it has a place more, which passes the carry on, or ends one element and
    begins the next. Golden model: :mod:`lanewise.models.vector_elements`.

    Members
    -------
    control : ``In(CONTROL)``
    width : ``In(WIDTH)``
        Of the operation's elements: 2 SEW with ``wide``.
    a, b : ``In(32)``
        Operands: elements of the width, already extended.
    source : ``In(32)``
        The first operand as it was read: of estimates, which come late, what ``a`` will be.
    merge : ``In(4)``
        For each byte the mask's bit of its element.
    slide : ``In(32)``
        The result of a slide.
    y : ``Out(32)``
        The result.
    bits : ``Out(4)``
        Of a comparison, at the top byte of each element; what is at other bytes does not matter.
    """

    control: data.View
    width: data.View
    a: Signal
    b: Signal
    source: Signal
    merge: Signal
    slide: Signal
    y: Signal
    bits: Signal

    def __init__(self) -> None:
        super().__init__({
            "control": In(CONTROL), "width": In(WIDTH), "a": In(LANE_BITS), "b": In(LANE_BITS), "source": In(LANE_BITS),
            "merge": In(_BYTES),
            "slide": In(LANE_BITS), "y": Out(LANE_BITS), "bits": Out(_BYTES),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        control = self.control
        x, y = Signal(LANE_BITS, name="x"), Signal(LANE_BITS, name="z")
        both, differ = Signal(LANE_BITS), Signal(LANE_BITS)
        m.d.comb += [
            x.eq(self.a ^ control.invert_a.replicate(LANE_BITS)),
            y.eq(self.b ^ control.invert_b.replicate(LANE_BITS)),
            both.eq(x & y),
            differ.eq(x ^ y),
        ]
        total, carries = self._sum(m, x, y)
        compare = self._compare(m, differ, carries)
        shifter = self._shifter(m)
        results = {
            "total": total, "both": both, "differ": differ, "pick": self._pick(m, compare, y),
            "right": shifter.y, "left": shifter.reversed, "estimate": self._estimates(m, compare), "slide": self.slide,
        }  # fmt: skip
        chosen: Value = C(0, LANE_BITS)
        for name, result in results.items():
            chosen = chosen | (result & control[name].replicate(LANE_BITS))
        m.d.comb += self.y.eq(chosen)
        return m

    def _sum(self, m: Module, x: Value, y: Value) -> tuple[Value, list[Value]]:
        """``x + y`` in every element, and the carry out of each byte that ends one."""
        carry = self.control.carry
        passed = (self.width.to16, self.width.to32, self.width.to16)  # after bytes 0, 1 and 2
        left, right = [C(1, 1)], [carry]
        for k in range(_BYTES):
            left.append(x[8 * k : 8 * k + 8])
            right.append(y[8 * k : 8 * k + 8])
            if k < _BYTES - 1:
                left.append(passed[k] | carry)
                right.append(~passed[k] & carry)
        total = Signal(LANE_BITS + _BYTES + 1)
        m.d.comb += total.eq(Cat(left) + Cat(right))
        parts = [total[9 * k + 1 : 9 * k + 9] for k in range(_BYTES)]
        return Cat(parts), [total[9 * k + 9] for k in range(_BYTES)]

    def _compare(self, m: Module, differ: Value, carries: list[Value]) -> VectorCompare:
        """Comparison, and its bits."""
        control = self.control
        m.submodules.compare = compare = VectorCompare()
        m.d.comb += [
            compare.a.eq(self.a),
            compare.b.eq(self.b),
            compare.same.eq(differ),  # the second operand is inverted
            compare.carries.eq(Cat(carries)),
            compare.to16.eq(self.width.to16),
            compare.to32.eq(self.width.to32),
            compare.fp16.eq(self.width.fp16),
            compare.signed.eq(control.signed),
            compare.floating.eq(control.floating),
        ]
        for k in range(_BYTES):
            less, equal, unordered = compare.less[k], compare.equal[k], compare.nan_a[k] | compare.nan_b[k]
            outcome = Mux(equal, control.equal, Mux(less, control.less, control.greater))
            m.d.comb += self.bits[k].eq(Mux(unordered, control.unordered, outcome))
        return compare

    def _shifter(self, m: Module) -> VectorShifter:
        m.submodules.shifter = shifter = VectorShifter()
        m.d.comb += [
            shifter.a.eq(self.a),
            shifter.b.eq(self.b),
            shifter.to16.eq(self.width.to16),
            shifter.to32.eq(self.width.to32),
            shifter.left.eq(self.control.left),
            shifter.signed.eq(self.control.signed),
        ]
        return shifter

    def _pick(self, m: Module, compare: VectorCompare, second: Value) -> Value:
        """One operand or the other, by elements; or the first with another sign."""
        control = self.control
        limit = control.minimum | control.maximum
        takes, quiets = [], []
        for k in range(_BYTES):
            first = ~compare.nan_a[k] & (compare.nan_b[k] | (compare.less[k] ^ control.maximum))
            takes.append(limit & ~first)
            quiets.append(limit & compare.nan_a[k] & compare.nan_b[k])
        picked: list[Value] = []
        for k in range(_BYTES):
            take = control.take_b | (control.merge & self.merge[k]) | self._of_element(takes, k)
            picked.append(Mux(take, self.b[8 * k : 8 * k + 8], self.a[8 * k : 8 * k + 8]))
        signs = Signal(2)
        for k, top in enumerate((15, 31)):
            plain = picked[top // 8][7]
            there = control.sign & ((top == 31) | ~self.width.to32)
            m.d.comb += signs[k].eq(Mux(there, second[top] ^ (control.sign_a & self.a[top]), plain))
        word = Cat(*picked[:1], picked[1][:7], signs[0], picked[2], picked[3][:7], signs[1])
        result = Signal(LANE_BITS, name="picked")
        quiet = Mux(self.width.fp16, C(FORMATS["fp16"].nan_bits, 16), C(FORMATS["bf16"].nan_bits, 16))
        # canonical NaNs of FP32 and BF16 are alike in the upper half
        low = self.width.to32
        upper, lower = quiets[3], Mux(low, quiets[3], quiets[1])
        m.d.comb += result.eq(
            Cat(
                Mux(lower, quiet & (~low).replicate(16), word[:16]),
                Mux(upper, quiet, word[16:]),
            )
        )
        return result

    def _estimates(self, m: Module, compare: VectorCompare) -> Value:
        """Two of 16 bits, or one of 32."""
        whole = self.width.to32
        m.submodules.low = low = VectorEstimate(16)
        m.submodules.high = high = VectorEstimate(32)
        m.d.comb += [
            low.x.eq(self.source[:16]),
            low.nan.eq(compare.nan_a[1]),
            high.x.eq(Cat(self.source[:16] & whole.replicate(16), self.source[16:])),
            high.nan.eq(compare.nan_a[3]),
        ]
        for unit in (low, high):
            m.d.comb += [unit.fp16.eq(self.width.fp16), unit.root.eq(self.control.root)]
        return Cat(Mux(whole, high.y[:16], low.y), high.y[16:])

    def _of_element(self, flags: list[Value], byte: int) -> Value:
        """The flag at the top byte of the element that the byte is in."""
        return Mux(self.width.to32, flags[3], Mux(self.width.to16, flags[byte | 1], flags[byte]))
