"""The pipeline of one multiply-add, for one format or several."""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from operator import or_

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Member, Out

from lanewise.config import multiply_add_latency_clk
from lanewise.formats import NumberFormat
from lanewise.rtl.pipeline import Pipelined

SHIFTS = data.StructLayout({"product": 6, "addend": 5})
"""Of an integer multiply-add: places by which the sum moves right and the addend left."""


def select_bits(formats: Sequence[NumberFormat]) -> int:
    """Bits that tell the formats apart: 0 for one."""
    return (len(formats) - 1).bit_length()


def move_port(stalls: bool) -> dict[str, Member]:
    """The port that lets the stages advance, of a pipeline that can stand still."""
    return {"move": In(1)} if stalls else {}


class MultiplyAddSlot(Pipelined, wiring.Component):
    """One element: multiply; align and add; normalise; round. The stages advance where ``move`` is 1.

    The pipeline is deep where a format has 32 bits: take apart; multiply; align; add; normalise; round. It then multiplies
    by two halves, whose products are added while the addend is aligned, and selects the upper half of the sum by the carry.

    Significands of all floating-point formats lie against the upper end of P bits, P the largest precision;
    exponents keep their own format's bias. The sum is 3 P + 4 bits wide: product at bits 2 to 2 P + 1, the
    addend's last bit at most at bit 2 P + 4, addend bits that fall below bit 0 collected in ``sticky``. A
    leading one at the uppermost bit has the biased exponent ``scale`` + 1. A negative sum -v is never negated:
    its bits inverted are v - 1, and as zeros enter on the right of the sum, the inverted bits are those of v
    with the last one written as 0111...; the rounding allows for that. (v is at least 4, for bits 0 and 1 are
    only reached by addends below the product.)

    Integers share the multiplier (as magnitudes) and the registers.

    Members
    -------
    move : ``In(1)``
        Unless the pipeline never stands still.
    format : ``In(ArrayLayout(select_bits(formats), latency))``
        Index of the element's format as it stands at the input of each stage.
    shifts : ``In(ArrayLayout(StructLayout(product, addend), 2))``
        With an integer format: the shifts where the addend is aligned, and where the sum is normalised.
    a, b, c : ``In(bits)``
    y : ``Out(bits)``
        Zero for a format that is not the slot's.
    """

    def __init__(
        self,
        formats: Sequence[NumberFormat],
        indices: Sequence[int],
        zero_annihilates: bool,
        stalls: bool = True,
    ) -> None:
        """``indices``: places in ``formats`` of those that the slot computes."""
        self.formats = tuple(formats)
        self.indices = tuple(indices)
        self.zero_annihilates = zero_annihilates
        self.latency_clk = multiply_add_latency_clk(self.formats)
        self.deep = self.latency_clk > multiply_add_latency_clk([])
        own = [self.formats[k] for k in self.indices]
        self.bits = max(form.bits for form in own)
        self.floats = [k for k in self.indices if self.formats[k].floating]
        self.integers = [k for k in self.indices if not self.formats[k].floating]
        self.precision = max((self.formats[k].precision for k in self.floats), default=0)
        self.integer_bits = max((self.formats[k].bits for k in self.integers), default=0)
        if not stalls:
            self.move = C(1, 1)
        ports = {**move_port(stalls), **{name: In(self.bits) for name in "abc"}, "y": Out(self.bits)}
        if len(self.formats) > 1:
            ports["format"] = In(data.ArrayLayout(select_bits(formats), self.latency_clk))
        if self.integers:
            ports["shifts"] = In(data.ArrayLayout(SHIFTS, 2))
        super().__init__(ports)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        self._stage = 0
        self._found: dict[tuple[int, ...], Signal] = {}
        P, N, S = self.precision, self.integer_bits, 3 * self.precision + 4
        integer = self._any(m, 0, self.integers)
        offsets = {k: P + 3 - self.formats[k].bias for k in self.floats}
        largest = {
            k: (1 << self.formats[k].exponent_bits) - 1 - self.formats[k].infinities for k in self.floats
        }
        top = max((2 * largest[k] + offsets[k] for k in self.floats), default=0)
        scale_bits = max(top.bit_length(), (S - 1).bit_length())
        sum_bits = 1 + max(scale_bits, *((largest[k] - offsets[k]).bit_length() for k in self.floats), 0)

        # Take apart.
        values: dict[str, Value] = {}
        if P:
            a, b, c = (self._operand(m, name) for name in "abc")
            offset = self._choose(m, 0, {k: C(v % (1 << sum_bits), sum_bits) for k, v in offsets.items()})
            distance = Signal(sum_bits)  # of the addend's leading bit below the uppermost; signed
            m.d.comb += distance.eq(a.exponent + b.exponent - c.exponent + offset)
            on_top = Signal()
            m.d.comb += on_top.eq(distance[-1] | a.zero | b.zero)
            b_infinite = b.infinite & ~a.zero if self.zero_annihilates else b.infinite
            product_infinite, opposite, nan = Signal(), Signal(), Signal()
            invalid = (a.infinite & b.zero) | (b_infinite & a.zero)
            m.d.comb += [
                product_infinite.eq(a.infinite | b_infinite),
                opposite.eq(a.sign ^ b.sign ^ c.sign),
                nan.eq(a.nan | b.nan | c.nan | invalid | (product_infinite & c.infinite & opposite)),
            ]
            infinite = product_infinite | c.infinite
            values |= {
                "exponent": c.exponent,
                "distance": Mux(on_top, 0, distance[:scale_bits]),
                "sign": ~nan & Mux(c.infinite, c.sign, a.sign ^ b.sign),
                "subtract": opposite & ~nan & ~infinite,
                "nan": nan,
                "infinite": infinite,
            }
        if N:
            words = [
                self._choose(m, 0, {k: self._extended(word, k) for k in self.integers})
                for word in (self.a, self.b, self.c)
            ]
            magnitudes = [self._magnitude(m, word, name) for word, name in zip(words[:2], "ab", strict=True)]
            negative = words[0][-1] ^ words[1][-1]
        if P and N:
            factors = [
                Mux(integer, magnitude, operand.significand)
                for magnitude, operand in zip(magnitudes, (a, b), strict=True)
            ]
            values["addend"] = Mux(integer, words[2], c.significand)
            values["sign"] = Mux(integer, negative, values["sign"])
        elif P:
            factors, values["addend"] = [a.significand, b.significand], c.significand
        else:
            factors, values["addend"], values["sign"] = magnitudes, words[2], negative
        r = self._cut(m, multiplicand=factors[0], multiplier=factors[1], **values)

        # Multiply.
        one, other = r.pop("multiplicand"), r.pop("multiplier")
        if self.deep:
            half = len(other) // 2
            r = self._register(m, low=one * other[:half], high=one * other[half:], **r)
            product: Value = (r["low"] + Cat(C(0, half), r["high"]))[: len(one) + len(other)]
        else:
            r = self._register(m, product=one * other, **r)
            product = r["product"]

        # Align: total = (terms[0] + terms[1] + carry).
        values = {"sign": r["sign"]}
        integer = self._any(m, self._stage, self.integers)
        if P:
            aligned, sticky = Signal(S), Signal()
            addend, subtract = r["addend"][:P], r["subtract"]
            m.d.comb += aligned.eq(Cat(C(0, 2 * P + 4), addend) >> r["distance"])
            m.d.comb += sticky.eq(Cat(addend[k] & (r["distance"] > 2 * P + 4 + k) for k in range(P)).any())
            terms = [
                Cat(C(0, 2), product[: 2 * P], C(0, P + 3)),
                Cat(aligned ^ subtract.replicate(S), subtract),
            ]
            carry = subtract & ~sticky
            values |= {
                "sticky": sticky,
                "scale": (r["distance"] + r["exponent"] - 1)[:scale_bits],
                "subtract": subtract,
                "nan": r["nan"],
                "infinite": r["infinite"],
            }
        if N:
            shift = self.shifts[0].addend[: (N - 1).bit_length()]
            word = r["addend"][:N]
            left = Signal(2 * N)
            m.d.comb += left.eq(Cat(word, word[-1].replicate(N)) << shift)
            exact = [product[: 2 * N] ^ r["sign"].replicate(2 * N), left]
            if P:
                terms = [Mux(integer, mine, theirs) for mine, theirs in zip(exact, terms, strict=True)]
                carry = Mux(integer, r["sign"], carry)
            else:
                terms, carry = exact, r["sign"]
        r = self._cut(m, **values, left_term=terms[0], right_term=terms[1], carry=carry)

        # Add.
        terms, carry = [r.pop("left_term"), r.pop("right_term")], r.pop("carry")
        r = self._register(m, total=self._sum(m, terms[0], terms[1], carry), **r)

        # Normalise, or shift to the right.
        values = {}
        integer = self._any(m, self._stage, self.integers)
        half, rest = C(0, 1), C(0, 1)
        if P:
            negative, total = r["total"][S], r["total"][:S]
            magnitude = total ^ negative.replicate(S)
            width = 1 << (S - 1).bit_length()
            zeros, _ = leading_zeros(m, Cat(C((1 << (width - S)) - 1, width - S), magnitude))
            shift = Signal(scale_bits)
            m.d.comb += shift.eq(Mux(zeros < r["scale"], zeros, r["scale"]))
            normal = Signal(S)
            m.d.comb += normal.eq(total << shift[: (S - 1).bit_length()])
            low = {k: S - self.formats[k].precision for k in self.floats}  # the significand's last bit
            top_bits = normal[S - P :] ^ negative.replicate(P)
            kept = self._choose(m, self._stage, {k: top_bits & self._mask(k) for k in self.floats})
            half = self._choose(m, self._stage, {k: normal[place - 1] for k, place in low.items()}) ^ negative
            rest = (
                self._choose(m, self._stage, {k: normal[: place - 1].any() for k, place in low.items()})
                | r["sticky"]
            )
            values |= {
                "kept": kept,
                "negative": negative,
                "exponent": (r["scale"] - shift)[:scale_bits],
                "sign": (r["sign"] ^ negative) & ~(r["subtract"] & ~magnitude.any()),
                "nan": r["nan"],
                "infinite": r["infinite"],
            }
        if N:
            shift = self.shifts[1].product[: (2 * N - 1).bit_length()]
            total = r["total"][: 2 * N]
            moved = Signal(2 * N + 1)
            m.d.comb += moved.eq(Cat(C(0, 1), total).as_signed() >> shift)
            below = Cat(total[j] & (shift > j + 1) for j in range(2 * N - 2)).any()
            upper = moved[N + 1 :]
            values["wide"] = upper.any() & ~upper.all()
            words = moved[1 : N + 2]
            values["kept"] = Mux(integer, words, values["kept"]) if P else words
            values["sign"] = Mux(integer, total[-1], values["sign"]) if P else total[-1]
            half = Mux(integer, moved[0], half) if P else moved[0]
            rest = Mux(integer, below, rest) if P else below
        r = self._register(m, half=half, rest=rest, **values)

        # Round, or saturate.
        results: dict[int, Value] = {}
        if P:
            results |= self._rounded(m, r, scale_bits)
        if N:
            up = r["half"] & (r["kept"][0] | r["rest"])
            total = Signal(N + 2)
            m.d.comb += total.eq(Cat(r["kept"][: N + 1], r["kept"][N]) + up)
            for k in self.integers:
                n = self.formats[k].bits
                upper = total[n - 1 :]
                over = r["wide"] | (upper.any() & ~upper.all())
                limit = Cat((~r["sign"]).replicate(n - 1), r["sign"])
                results[k] = Mux(over, limit, total[:n])
        chosen = self._choose(m, self._stage, results, whole=True)
        r = self._register(m, y=chosen)
        m.d.comb += self.y.eq(r["y"])
        assert self._stage == self.latency_clk
        return m

    def _rounded(self, m: Module, r: dict[str, Signal], scale_bits: int) -> dict[int, Value]:
        """The bits of each floating-point format."""
        P = self.precision
        kept, half, rest, negative = r["kept"][:P], r["half"], r["rest"], r["negative"]
        last = {k: P - self.formats[k].precision for k in self.floats}
        odd = self._choose(m, self._stage, {k: kept[place] for k, place in last.items()})
        up = Signal()
        m.d.comb += up.eq(Mux(negative, half | (odd & ~rest), half & (odd | rest)))
        step = self._choose(
            m, self._stage, {k: Cat(C(0, place), up, C(0, P - 1 - place)) for k, place in last.items()}
        )
        hidden = kept[P - 1]
        exponent = r["exponent"] & hidden.replicate(scale_bits)
        rounded = Signal(P + scale_bits)  # no sign; a carry out of the significand belongs to the exponent
        m.d.comb += rounded.eq(Cat(kept[: P - 1], exponent) + Cat(step[: P - 1], step[P - 1] | hidden))
        results: dict[int, Value] = {}
        for k, place in last.items():
            form = self.formats[k]
            number = rounded[place:]
            magnitude_bits = form.bits - 1
            if form.infinities:
                over = number[form.fraction_bits :] >= (1 << form.exponent_bits) - 1
                limit = form.infinity_bits
            else:
                over = number > form.maximum_bits
                limit = form.maximum_bits
            y = Mux(r["nan"], form.nan_bits, Mux(r["infinite"] | over, limit, number[:magnitude_bits]))
            results[k] = Cat(y[:magnitude_bits], r["sign"])
        return results

    def _mask(self, k: int) -> int:
        form = self.formats[k]
        return ((1 << form.precision) - 1) << (self.precision - form.precision)

    def _extended(self, word: Value, k: int) -> Value:
        """The integer of format ``k``, sign-extended to the widest."""
        bits = self.formats[k].bits
        return Cat(word[:bits], word[bits - 1].replicate(self.integer_bits - bits))

    def _magnitude(self, m: Module, word: Value, name: str) -> Signal:
        magnitude = Signal(self.integer_bits, name=f"{name}_magnitude")
        m.d.comb += magnitude.eq((word ^ word[-1].replicate(self.integer_bits)) + word[-1])
        return magnitude

    def _any(self, m: Module, stage: int, indices: Sequence[int]) -> Value:
        """Whether the element at ``stage`` has one of these formats."""
        if not indices:
            return C(0, 1)
        if set(indices) == set(range(len(self.formats))):
            return C(1, 1)
        if (stage, *indices) not in self._found:
            found = Signal(name=f"format_{stage}_{'_'.join(map(str, indices))}")
            m.d.comb += found.eq(reduce(or_, (self.format[stage] == k for k in indices)))
            self._found[stage, *indices] = found
        return self._found[stage, *indices]

    def _choose(self, m: Module, stage: int, values: dict[int, Value], *, whole: bool = False) -> Value:
        """The value of the format that the element at ``stage`` has; anything for a format that is not there,
        or zero, if ``whole``."""
        if len(values) == 1 and (not whole or len(self.formats) == 1):
            return next(iter(values.values()))
        same: dict[str, tuple[Value, list[int]]] = {}
        for k, value in values.items():
            same.setdefault(repr(value), (value, []))[1].append(k)
        if len(same) == 1 and not whole:
            return next(iter(same.values()))[0]
        width = max(len(value) for value in values.values())
        chosen = [
            value & self._any(m, stage, indices).replicate(len(value)) for value, indices in same.values()
        ]
        result = Signal(width, name=f"chosen_{stage}")
        m.d.comb += result.eq(reduce(or_, chosen))
        return result

    def _operand(self, m: Module, name: str) -> "_Operand":
        word: Value = getattr(self, name)
        return _Operand(
            m, name, [_Fields(word, self.formats[k], self.precision) for k in self.floats],
            lambda values: self._choose(m, 0, dict(zip(self.floats, values, strict=True))),
        )  # fmt: skip

    def _sum(self, m: Module, left: Value, right: Value, carry: Value) -> Value:
        """``left + right + carry``, as wide as the wider. In a deep pipeline, the upper half for either carry."""
        width = max(len(left), len(right))
        ends = [0, width // 2, width] if self.deep else [0, width]
        parts: list[Value] = []
        for start, end in pairwise(ends):
            sums: list[Value] = []
            for bit in (carry,) if start == 0 else (C(0, 1), C(1, 1)):
                total = Signal(end - start + (end < width), name=f"sum_{start}_{len(sums)}")
                m.d.comb += total.eq((Cat(C(1, 1), left[start:end]) + Cat(bit, right[start:end]))[1:])
                sums.append(total)
            chosen = sums[0] if start == 0 else Mux(carry, sums[1], sums[0])
            parts.append(chosen[: end - start])
            carry = chosen[-1]
        return Cat(*parts)

    def _cut(self, m: Module, **values: Value) -> dict[str, Value]:
        """Registers in a deep pipeline, wires in one that is not."""
        return dict(self._register(m, **values)) if self.deep else values


class _Fields:
    """Parts of a bit pattern of one format; a subnormal has the exponent 1 and no hidden bit."""

    def __init__(self, word: Value, form: NumberFormat, precision: int) -> None:
        fraction, exponent = word[: form.fraction_bits], word[form.fraction_bits : form.bits - 1]
        self.normal = exponent.any()
        self.nonzero = fraction.any()
        self.sign = word[form.bits - 1]
        self.exponent = Cat(exponent[0] | ~self.normal, exponent[1:])
        self.significand = Cat(C(0, precision - form.precision), fraction, self.normal)
        largest = exponent.all()
        self.infinite = largest & ~self.nonzero if form.infinities else C(0, 1)
        self.nan = largest & (self.nonzero if form.infinities else fraction.all())


class _Operand:
    """The parts of an operand, whichever format it has."""

    sign: Signal
    exponent: Signal
    significand: Signal
    infinite: Signal
    nan: Signal

    def __init__(
        self, m: Module, name: str, fields: list[_Fields], choose: Callable[[list[Value]], Value]
    ) -> None:
        for part in ("sign", "exponent", "significand", "infinite", "nan"):
            value = choose([getattr(field, part) for field in fields])
            signal = Signal(len(value), name=f"{name}_{part}")
            m.d.comb += signal.eq(value)
            setattr(self, part, signal)
        self.zero = Signal(name=f"{name}_zero")
        m.d.comb += self.zero.eq(~self.significand.any())


def leading_zeros(m: Module, word: Value) -> tuple[Value, Value]:
    """Zeros above the leading one of ``word``, whose length is a power of two; whether all of it is zeros."""
    half = len(word) // 2
    if half == 1:
        return ~word[1], ~word.any()
    (low, low_none), (high, high_none) = (leading_zeros(m, part) for part in (word[:half], word[half:]))
    zeros, none = Signal(len(low) + 1), Signal()
    m.d.comb += [zeros.eq(Cat(Mux(high_none, low, high), high_none)), none.eq(low_none & high_none)]
    return zeros, none
