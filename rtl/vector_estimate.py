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
        x, half, root, bits = self.x, self.fp16, self.root, self.bits
        places = max(bits - 1 - _BF16.exponent_bits, _FP16.fraction_bits)  # of the fraction, at the top
        wide, narrow = x[: bits - 9], x[bits - 16 : bits - 6]
        fraction, field = Signal(places), Signal(8)
        m.d.comb += [
            fraction.eq(Mux(half, Cat(C(0, places - 10), narrow), Cat(C(0, places - len(wide)), wide))),
            field.eq(Mux(half, Cat(x[bits - 6 : bits - 1], C(0, 3)), x[bits - 9 : bits - 1])),
        ]
        subnormal = ~field.any()
        zeros, shifted = self._normalised(m, fraction)
        significand = Signal(_BITS)
        m.d.comb += significand.eq(Mux(subnormal, shifted, fraction[places - _BITS :]))
        odd = Mux(subnormal, zeros[0], field[0])
        index = Cat(Mux(root, Cat(significand[1:], odd), significand), root)
        entry = _table(
            m, index, [reciprocal_entry(k) for k in range(128)] + [root_entry(k) for k in range(128)]
        )

        # The exponents 2B - 1 and 2B have reciprocals whose one is in the fraction's first and second place.
        ones = field[2:5].all() & (half | field[5:].all())
        first, second = (~root & ones & field[k] & ~field[1 - k] for k in (0, 1))
        stored = Mux(
            first, Cat(C(0, 1), entry, C(1, 1)), Mux(second, Cat(entry, C(1, 2)), Cat(C(0, 2), entry))
        )
        exponent = Signal(8)
        reciprocal = self._exponent(field, zeros[0]) & (~second).replicate(8)
        m.d.comb += exponent.eq(Mux(root, self._root_exponent(field, zeros), reciprocal))

        sign, nothing = x[bits - 1], ~fraction.any()
        empty = subnormal & nothing
        invalid = self.nan | (root & sign & ~empty)
        infinite = ~invalid & Mux(root, empty, subnormal & ~fraction[places - 2 :].any())
        finite = ~(infinite | invalid | (ones & field[:2].all()))
        quiet, infinity = (
            Mux(half, C(fp16, 16), C(bf16, 16))
            for fp16, bf16 in ((_FP16.nan_bits, _BF16.nan_bits), (_FP16.infinity_bits, _BF16.infinity_bits))
        )
        special = Signal(16)
        m.d.comb += special.eq(
            (quiet & invalid.replicate(16))
            | (infinity & infinite.replicate(16))
            | Cat(C(0, 15), sign & ~invalid)
        )
        number = Mux(half, Cat(C(0, 1), stored, exponent[:5]), Cat(stored[2:], exponent))
        upper = (number & finite.replicate(15)) | special
        if bits == 16:
            m.d.comb += self.y.eq(upper)
        else:
            m.d.comb += self.y.eq(Cat(C(0, 14), stored[:2] & finite.replicate(2), upper))
        return m

    def _normalised(self, m: Module, fraction: Value) -> tuple[Value, Value]:
        """Zeros above the leading one, and the bits after it."""
        word = fraction
        zeros: list[Value] = []
        places = len(fraction)
        for k in reversed(range((places - 1).bit_length())):
            step = 1 << k
            none, moved = Signal(name=f"none_{step}"), Signal(places, name=f"moved_{step}")
            m.d.comb += [none.eq(~word[places - step :].any()), moved.eq(Mux(none, word << step, word))]
            word = moved
            zeros.insert(0, none)
        return Cat(zeros), word[places - 1 - _BITS : places - 1]

    def _exponent(self, field: Value, zero: Value) -> Value:
        """The reciprocal's: 2B - 1 less the exponent, which is ~e - 2 in its bits; a subnormal has no or one ``zero``: e is 0 or -1."""
        low = Mux(field.any(), Cat(~field[0], field[1]), Cat(~zero, zero))
        return Cat(low, ~(field[2:] + field[1])[:6])

    def _root_exponent(self, field: Value, zeros: Value) -> Value:
        """The square root's: 3B - 1 less the exponent, halved and rounded down.

        With e = 2h + p it is ~h + 2**(n - 2) - 2 + (1 - p), of n bits of exponent and n - 1 of ~h; of a subnormal, whose e is the
        zeros with a minus sign, 3 * 2**(n - 2) - 2 + zeros / 2.
        """
        half, normal = self.fp16, field.any()
        halved = Mux(normal, ~field[1:5], zeros[1:5])
        above = Cat(Mux(half, ~normal, normal & ~field[5]), (~field[6:] & normal.replicate(2)), ~normal)
        constant = Cat(C(0b110, 3), (~half).replicate(3))
        return (Cat(C(1, 1), halved, above) + Cat(normal & ~field[0], constant))[1:9]


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
