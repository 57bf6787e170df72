"""Elements on their way into a reduction, and integer results on their way out."""

import enum

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lanewise.formats import FORMATS
from lanewise.isa.operations import Latency, Operation, Width


class Function(enum.IntEnum):
    """What two keys are made into; the number is what selects it."""

    ADD = 0
    MIN = 1
    """Of signed numbers."""
    AND = 2
    XOR = 3


CONTROL = data.StructLayout({
    "sums": 1,  # FP32 sum: the others are done on keys
    "function": 2,
    "inverted": 1,  # keys are inverted: max is min, or is and
    "unsigned": 1,
    "floating": 1,  # keys of floating-point numbers
    "doubled": 1,  # the result is 2 * SEW wide
})  # fmt: skip
"""What a reduction does."""

_FUNCTIONS = {
    "vredsum": Function.ADD, "vwredsum": Function.ADD, "vredand": Function.AND, "vredor": Function.AND,
    "vredxor": Function.XOR, "vredmin": Function.MIN, "vredmax": Function.MIN, "vfredmin": Function.MIN,
    "vfredmax": Function.MIN, "vfredusum": Function.ADD, "vfwredusum": Function.ADD,
}  # fmt: skip


def control_of(operation: Operation) -> dict[str, int]:
    """``CONTROL`` of a reduction.

    Raises:
        ValueError: The operation is no reduction.

    >>> from lanewise.isa.operations import OPERATIONS
    >>> control_of(OPERATIONS["vredmaxu.vs"])
    {'sums': 0, 'function': 1, 'inverted': 1, 'unsigned': 1, 'floating': 0, 'doubled': 0}
    """
    if operation.latency is not Latency.REDUCE:
        raise ValueError(f"operation must be a reduction, not {operation.mnemonic}")
    base = operation.base
    unsigned = base.endswith("u")
    name = base.removesuffix("u")
    function = _FUNCTIONS[name]
    return {
        "sums": int(operation.floating and function is Function.ADD),
        "function": int(function),
        "inverted": int(name.endswith(("max", "or")) and function is not Function.XOR),
        "unsigned": int(unsigned),
        "floating": int(operation.floating),
        "doubled": int(operation.vd is Width.FIRST_DOUBLE),
    }


class ReductionElement(wiring.Component):
    """An element as 32 bits: an FP32 number for a sum, else a key. Combinational.

    Keys are combined by ADD, signed MIN, AND and XOR alone. An integer is extended to 32 bits; of an unsigned one that is compared the top bit
    is inverted. A floating-point number, a 16-bit one in the upper half, has the bits below its sign inverted where
    it is negative, so that keys are ordered as numbers are, -0 below +0. What does not take part, NaNs among it, has the function's identity.

    Members
    -------
    word, half, byte : ``In(32)``, ``In(16)``, ``In(8)``
        The element if it is of 32, 16 or 8 bits.
    size : ``In(2)``
        log2 of its bytes.
    altfmt : ``In(1)``
        A 16-bit floating-point number is BF16.
    active : ``In(1)``
    control : ``In(CONTROL)``
    y : ``Out(32)``
    """

    def __init__(self) -> None:
        super().__init__({
            "word": In(32), "half": In(16), "byte": In(8), "size": In(2), "altfmt": In(1), "active": In(1),
            "control": In(CONTROL), "y": Out(32),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        control, wide, half, byte = self.control, self.size[1], self.half, self.byte
        single = wide | self.altfmt  # FP32, or BF16, which is its upper half
        integer, number, nan = Signal(32), Signal(32), Signal()
        m.d.comb += [
            number.eq(Mux(wide, self.word, Cat(C(0, 16), half))),
            nan.eq(
                Mux(
                    single,
                    number[23:31].all() & number[:23].any(),
                    number[26:31].all() & number[16:26].any(),
                )
            ),
        ]
        with m.If(wide):
            m.d.comb += integer.eq(self.word)
        with m.Elif(self.size[0]):
            m.d.comb += integer.eq(Cat(half, (half[15] & ~control.unsigned).replicate(16)))
        with m.Else():
            m.d.comb += integer.eq(Cat(byte, (byte[7] & ~control.unsigned).replicate(24)))

        value, turned, identity, part = Signal(32), Signal(32), Signal(32), Signal()
        minimum = control.function == Function.MIN
        negative = number[31] & control.floating & ~control.sums
        with m.If(~control.floating):
            m.d.comb += value.eq(integer)
        with m.Elif(control.sums & ~single):
            m.d.comb += value.eq(self._widened(m))
        with m.Else():
            m.d.comb += value.eq(number)
        m.d.comb += [
            # an FP32 number of a sum stays as it is
            turned.eq(
                Cat(
                    (control.inverted ^ negative).replicate(31),
                    control.inverted ^ (control.unsigned & minimum),
                )
            ),
            identity.eq(
                Cat(
                    (minimum | (control.function == Function.AND)).replicate(31),
                    control.sums | (control.function == Function.AND),
                )
            ),
            part.eq(self.active & ~(control.floating & ~control.sums & nan)),
            self.y.eq(Mux(part, value ^ turned, identity)),
        ]
        return m

    def _widened(self, m: Module) -> Value:
        """The FP16 number ``half`` in FP32."""
        fraction, exponent = self.half[:10], self.half[10:15]
        normal, special = exponent.any(), exponent.all()
        up, below, moved = Signal(4), Signal(10), Signal(10)
        m.d.comb += up.eq(10)
        for place in range(10):  # the highest one wins
            with m.If(fraction[place]):
                m.d.comb += up.eq(10 - place)
        m.d.comb += [moved.eq(fraction << up), below.eq(Mux(normal, fraction, moved))]
        scale = Signal(8)
        with m.If(special):
            m.d.comb += scale.eq(255)
        with m.Elif(normal):
            m.d.comb += scale.eq(exponent + 112)
        with m.Elif(fraction.any()):
            m.d.comb += scale.eq(113 - up)
        return Cat(C(0, 13), below, scale, self.half[15])


class ReductionKeys(wiring.Component):
    """Two keys made into one. Combinational.

    Members
    -------
    function : ``In(2)``
        :class:`Function`.
    a, b : ``In(32)``
    y : ``Out(32)``
    """

    def __init__(self) -> None:
        super().__init__({"function": In(2), "a": In(32), "b": In(32), "y": Out(32)})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        compare, less = Signal(), Signal()
        a, b = self.a, Signal(32)  # AND and XOR of these are in the adder as well
        total = Signal(32)
        m.d.comb += [
            compare.eq(self.function == Function.MIN),
            b.eq(self.b ^ compare.replicate(32)),
            total.eq((Cat(C(1, 1), a) + Cat(compare, b))[1:]),
            less.eq(
                Mux(a[31] ^ b[31], total[31], a[31])
            ),  # of different signs the negative one; b's is inverted
        ]
        with m.Switch(self.function):
            with m.Case(Function.ADD):
                m.d.comb += self.y.eq(total)
            with m.Case(Function.MIN):
                m.d.comb += self.y.eq(Mux(less, a, self.b))
            with m.Case(Function.AND):
                m.d.comb += self.y.eq(a & b)
            with m.Case(Function.XOR):
                m.d.comb += self.y.eq(a ^ b)
        return m


def result_of(
    m: Module, key: Value, control: data.View, size: Value, altfmt: Value, some: Value, start: Value
) -> Signal:
    """The result that a key stands for, upper bits zero; ``size`` is its own.

    Without an active element (``some``) a NaN is the start value as it was.
    """
    plain, number, y = Signal(32), Signal(32), Signal(32, name="result")
    flip = control.unsigned & (control.function == Function.MIN)
    m.d.comb += [
        plain.eq(key ^ control.inverted.replicate(32)),
        number.eq(Cat(plain[:31] ^ plain[31].replicate(31), plain[31])),
    ]
    none = ~key[31] & key[16:31].all()  # of all numbers not one: no number's key is so large
    narrow = Mux(altfmt, C(FORMATS["bf16"].nan_bits, 16), C(FORMATS["fp16"].nan_bits, 16))
    nan = Mux(some, Mux(size[1], C(FORMATS["fp32"].nan_bits, 32), narrow), start)
    keep = Cat(C(255, 8), (size != 0).replicate(8), size[1].replicate(16))
    with m.If(control.floating & none):
        m.d.comb += y.eq(nan & keep)
    with m.Elif(control.floating):
        m.d.comb += y.eq(Mux(size[1], number, number[16:]))
    with m.Else():
        m.d.comb += y.eq(Cat(plain[:31], plain[31] ^ flip) & keep)
    return y
