"""Estimates of reciprocals and reciprocal square roots, to 7 bits."""

from fractions import Fraction
from math import isqrt

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lanewise.formats import FORMATS

_BITS = 7
_FP16, _BF16, _FP32 = (FORMATS[name] for name in ("fp16", "bf16", "fp32"))


def reciprocal_entry(index: int) -> int:
    """RVV 1.0's table of ``vfrec7``: the fraction of the reciprocal of the middle of the ``index``-th 128th between 1 and 2.

    >>> [reciprocal_entry(index) for index in (0, 1, 64, 127)]
    [127, 125, 42, 0]
    """
    return round(2 ** (_BITS + 1) / (1 + Fraction(2 * index + 1, 2 ** (_BITS + 1)))) - 2**_BITS


def root_entry(index: int) -> int:
    """RVV 1.0's table of ``vfrsqrt7``: the same of the square root; ``index`` has the exponent's lowest bit above six of the fraction.

    >>> [root_entry(index) for index in (0, 63, 64, 127)]
    [52, 0, 127, 53]
    """
    odd, part = divmod(index, 64)
    middle = (1 + Fraction(2 * part + 1, 128)) * (1 if odd else 2)
    square = 4 * 2 ** (2 * _BITS + 2) / middle  # of twice the entry: floor((root + 1) / 2) rounds
    return (isqrt(int(square)) + 1) // 2 - 2**_BITS


class VectorEstimate(wiring.Component):
    """One element's ``vfrec7`` or ``vfrsqrt7``, bit for bit as RVV 1.0 has them, rounding mode to nearest.

    No clock: logic alone. A subnormal is normalised; an output exponent of 0 or -1 makes a subnormal result, whose last
    bits are cut off where BF16 has no room for them. Golden model: :mod:`lanewise.models.vector_elements`.

    Members
    -------
    x : ``In(16 or 32)``
        The element: FP16 or BF16, and with 32 bits FP32 or, in the upper half above zeros, BF16; FP16 in the upper half.
    fp16, root : ``In(1)``, ``In(1)``
        Whether it is FP16; whether the square root's.
    nan : ``In(1)``
        Whether it is a NaN.
    y : ``Out(16 or 32)``
        The result, in the same place; what is below one of 16 bits does not matter.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__({
            "x": In(bits), "fp16": In(1), "root": In(1), "nan": In(1), "y": Out(bits)
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        x, half, bits = self.x, self.fp16, self.bits
        places = max(bits - 1 - _BF16.exponent_bits, _FP16.fraction_bits)  # of the fraction, at the top
        wide, narrow = x[: bits - 9], x[bits - 16 : bits - 6]
        fraction = Signal(places)
        m.d.comb += fraction.eq(
            Mux(half, Cat(C(0, places - 10), narrow), Cat(C(0, places - len(wide)), wide))
        )
        field = Signal(8)
        m.d.comb += field.eq(Mux(half, Cat(x[bits - 6 : bits - 1], C(0, 3)), x[bits - 9 : bits - 1]))
        subnormal, largest = ~field.any(), field[:5].all() & (half | field[5:].all())
        # Normalise: the leading one leaves the fraction, and the exponent falls by the zeros above it.
        zeros, shifted = self._normalised(m, fraction)
        nothing = ~fraction.any()
        significand = Signal(_BITS)
        m.d.comb += significand.eq(Mux(subnormal, shifted, fraction[places - _BITS :]))
        # Inverted exponent, ~e = -1 - e, in 9 bits: ~field of a normal, zeros - 1 of a subnormal.
        inverted = Signal(9)
        m.d.comb += inverted.eq(
            Mux(subnormal, Cat(zeros, C(0, 9 - len(zeros))) + C(-1, 9), Cat(~field, C(1, 1)))
        )
        index = Cat(
            Mux(self.root, significand[1:], significand[: _BITS - 1]),
            Mux(self.root, ~inverted[0], significand[_BITS - 1]),
            self.root,
        )
        entry = _table(m, index, [reciprocal_entry(k) for k in range(128)] + [root_entry(k) for k in range(128)])
        # 2B - 1 - e, and (3B - 1 - e) / 2
        small, large = ([C(times * form.bias, 10) for times in (2, 3)] for form in (_FP16, _BF16))
        exponent = Signal(10)
        m.d.comb += exponent.eq(
            Mux(half, Mux(self.root, small[1], small[0]), Mux(self.root, large[1], large[0]))
            + Cat(inverted, inverted[-1])
        )
        result = Signal(8)
        m.d.comb += result.eq(Mux(self.root, exponent[1:9], exponent[:8]))
        below, zero = ~self.root & exponent[9], ~self.root & ~exponent.any()
        stored = Cat(C(0, 2), entry)  # a subnormal result has its one in the fraction
        stored = Mux(below, Cat(entry, C(1, 2)), Mux(zero, Cat(C(0, 1), entry, C(1, 1)), stored))
        return self._select(m, stored, result & (~below).replicate(8), largest, subnormal, nothing, zeros)

    def _normalised(self, m: Module, fraction: Value) -> tuple[Value, Value]:
        """Zeros above the leading one, and the bits after it."""
        word, zeros = fraction, []
        places = len(fraction)
        for k in reversed(range((places - 1).bit_length())):
            step = 1 << k
            none, moved = Signal(name=f"none_{step}"), Signal(places, name=f"moved_{step}")
            m.d.comb += [none.eq(~word[places - step :].any()), moved.eq(Mux(none, word << step, word))]
            word = moved
            zeros.insert(0, none)
        return Cat(zeros), word[places - 1 - _BITS : places - 1]

    def _select(
        self, m: Module, stored: Value, exponent: Value, largest: Value, subnormal: Value, nothing: Value, zeros: Value
    ) -> Module:  # fmt: skip
        """Put together or replaced: ``stored`` has 9 bits of fraction."""
        half, bits = self.fp16, self.bits
        sign = self.x[bits - 1]
        invalid = self.nan | (self.root & sign & ~(subnormal & nothing))
        infinite = subnormal & (nothing | (~self.root & zeros[1:].any()))
        upper = Mux(half, Cat(C(0, 1), stored, exponent[:5]), Cat(stored[2:], exponent))
        largest_upper = Mux(half, C(_FP16.infinity_bits, 15), C(_BF16.infinity_bits, 15))
        quiet = Mux(half, C(_FP16.nan_bits, 15), C(_BF16.nan_bits, 15))
        number = Cat(
            upper & (~(largest | infinite)).replicate(15) | largest_upper & infinite.replicate(15), sign
        )
        upper = Mux(invalid, Cat(quiet, C(0, 1)), number)
        if bits == 16:
            m.d.comb += self.y.eq(upper)
        else:
            plain = ~(invalid | infinite | largest)
            m.d.comb += self.y.eq(Cat(C(0, 14), stored[:2] & plain.replicate(2), upper))
        return m


def _table(m: Module, index: Value, entries: list[int]) -> Signal:
    """The entry at ``index``, as a tree of multiplexers in which equal parts are one."""
    known: dict[tuple[int, ...], Value] = {}

    def choose(part: tuple[int, ...], level: int) -> Value:
        if len(set(part)) == 1:
            return C(part[0], 1)
        if part not in known:
            known[part] = node = Signal(name=f"node_{len(known)}")
            half = len(part) // 2
            low, high = choose(part[:half], level - 1), choose(part[half:], level - 1)
            m.d.comb += node.eq(Mux(index[level], high, low))
        return known[part]

    entry = Signal(_BITS)
    m.d.comb += entry.eq(
        Cat(choose(tuple(value >> k & 1 for value in entries), len(index) - 1) for k in range(_BITS))
    )
    return entry
