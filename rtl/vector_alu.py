"""The one-clock part of the vector unit: integers, logic, comparisons, estimates, permutations."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lanewise.rtl.vector_alu_control import CONTROL, Second, control_of
from lanewise.rtl.vector_alu_lane import LANE_BITS, WIDTH, VectorAluLane

__all__ = ["CONTROL", "INDEX_BITS", "VectorAlu", "control_of"]

INDEX_BITS = 17
"""Number of an element, of as many as 8 registers of 65536 bits hold."""


class VectorAlu(wiring.Component):
    """Every operation of the ALU but the reductions, of a beat of DLEN = 32 x ``lanes`` bits.

    Latency 1 clock, throughput 1 beat a clock. No handshake: what is at the inputs before a clock edge has its results at the
    outputs after it. Golden model: :mod:`lanewise.models.vector_elements`.

    An element stands at its natural place in a beat, element 0 in the low bits. A beat is one of the widest vector
    operand: narrower ones, raw in ``a`` and ``b``, are used by halves or quarters, of which ``part`` says the one.

    Members
    -------
    control : ``In(CONTROL)``
        :func:`control_of` the instruction.
    sew : ``In(2)``
        0, 1, 2: SEW is 8, 16, 32.
    altfmt : ``In(1)``
        Floating-point numbers of 16 bits are BF16.
    part : ``In(3)``
        Low bits of the beat's number: the lowest selects the half of a narrow source (``vw*``, ``vn*``: of ``b``), the lowest two
        the quarter (``vzext.vf4``, ``vsext.vf4``).
    index : ``In(17)``
        ``vid``: number of the beat's first element, a multiple of the elements of a beat.
    a : ``In(32 * lanes)``
        Of ``vs2``. Slides: the beat in which the first byte of the result is, ``b`` the one after it (with ``position`` 0: anything);
        beyond the end of the group, ``vslidedown`` wants zeros. Gathers and ``vcompress``: the beat in which the element is.
    b : ``In(32 * lanes)``
        Of ``vs1``.
    scalar : ``In(32)``
        ``rs1`` or the extended immediate, used instead of ``b`` by the forms that have one; its lowest SEW bits count. Of slides
        with a scalar element, the walker puts it in its place.
    mask : ``In(4 * lanes)``
        ``vmerge``, ``vfmerge``: bit e is ``v0``'s for element e of the beat.
    position : ``In(log2(4 * lanes))``
        Slides: where in ``a`` the result's first byte is. Gathers and ``vcompress``: where the element's is.
    y : ``Out(32 * lanes)``
        The result, registered. Of ``vn*``, half a beat, in both halves. Of gathers, ``vcompress`` and ``vmv.s.x``, the element in every place.
    bits : ``Out(4 * lanes)``
        Comparisons: bit e is element e's, registered; as SEW grows, the beat's bits are there once, twice and four times.
    """

    control: data.View
    sew: Signal
    altfmt: Signal
    part: Signal
    index: Signal
    a: Signal
    b: Signal
    scalar: Signal
    mask: Signal
    position: Signal
    y: Signal
    bits: Signal

    def __init__(self, lanes: int) -> None:
        if not (1 <= lanes <= 64 and lanes.bit_count() == 1):
            raise ValueError(f"lanes must be a power of two, 1 to 64, not {lanes!r}")
        self.lanes = lanes
        width, size = LANE_BITS * lanes, 4 * lanes
        super().__init__({
            "control": In(CONTROL), "sew": In(2), "altfmt": In(1), "part": In(3), "index": In(INDEX_BITS),
            "a": In(width), "b": In(width), "scalar": In(LANE_BITS), "mask": In(size), "position": In((size - 1).bit_length()),
            "y": Out(width), "bits": Out(size),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        control, lanes = self.control, self.lanes
        to16, to32 = self.sew[0] | self.sew[1], self.sew[1]  # SEW
        width = Signal(WIDTH)
        m.d.comb += [
            width.to16.eq(to16 | control.wide),
            width.to32.eq(to32 | (to16 & control.wide)),
            width.fp16.eq(~self.altfmt & ~self.sew[1]),
        ]
        m.submodules.slide = slide = _Slide(lanes)
        m.d.comb += [slide.a.eq(self.a), slide.b.eq(self.b), slide.position.eq(self.position)]
        element = Mux(control.second == Second.ELEMENT, slide.y[:LANE_BITS], self.scalar)
        splat = Signal(LANE_BITS)
        m.d.comb += splat.eq(
            Cat(
                element[:8],
                Mux(to16, element[8:16], element[:8]),
                Mux(to32, element[16:24], element[:8]),
                Mux(to32, element[24:], Mux(to16, element[8:16], element[:8])),
            )
        )
        results, bits = [], []
        for k in range(lanes):
            m.submodules[f"operands_{k}"] = operands = _Operands()
            m.submodules[f"lane_{k}"] = lane = VectorAluLane()
            m.d.comb += [
                operands.control.eq(control),
                operands.width.eq(width),
                operands.part.eq(self.part),
                operands.a.eq(self.a[LANE_BITS * k :][:LANE_BITS]),
                operands.b.eq(self.b[LANE_BITS * k :][:LANE_BITS]),
                operands.halves_a.eq(Cat(self._slice(self.a, 16, k))),
                operands.halves_b.eq(Cat(self._slice(self.b, 16, k))),
                operands.quarters_a.eq(Cat(self._slice(self.a, 8, k))),
                operands.other.eq(Mux(control.second == Second.INDEX, self._numbers(k), splat)),
                lane.control.eq(control),
                lane.width.eq(width),
                lane.a.eq(operands.x),
                lane.b.eq(operands.y),
                lane.source.eq(operands.a),
                lane.merge.eq(
                    Cat(
                        Mux(to32, self.mask[k], Mux(to16, self.mask[2 * k + (j >> 1)], self.mask[4 * k + j]))
                        for j in range(4)
                    )
                ),
                lane.slide.eq(slide.y[LANE_BITS * k :][:LANE_BITS]),
            ]
            results.append(lane.y)
            bits.append(lane.bits)
        y, outcomes = Signal(LANE_BITS * lanes, reset_less=True), Signal(4 * lanes, reset_less=True)
        narrow = Cat(Mux(width.to32, result[:16], Cat(result[:8], result[16:24])) for result in results)
        by8 = Cat(bits)
        by16 = Cat(by8[1::2], by8[1::2])
        by32 = Cat(by8[3::4]).replicate(4)
        m.d.sync += [
            y.eq(Mux(control.narrow, narrow.replicate(2), Cat(results))),
            outcomes.eq(Mux(to32, by32, Mux(to16, by16, by8))),
        ]
        m.d.comb += [self.y.eq(y), self.bits.eq(outcomes)]
        return m

    def _slice(self, word: Value, bits: int, lane: int) -> list[Value]:
        """What of each half or quarter of a beat goes to a lane: of ``bits`` bits."""
        part = bits * self.lanes
        return [word[start + bits * lane :][:bits] for start in range(0, LANE_BITS * self.lanes, part)]

    def _numbers(self, lane: int) -> Value:
        """Numbers of a lane's elements, by the element's width."""

        def number(bits: int, place: int) -> Value:
            low = (LANE_BITS * self.lanes // bits - 1).bit_length()
            whole = Cat(C(place, low), self.index[low:], C(0, 32))
            return whole[:bits]

        by8, by16, by32 = (
            Cat(number(bits, 32 // bits * lane + j) for j in range(32 // bits)) for bits in (8, 16, 32)
        )
        return Mux(self.sew[1], by32, Mux(self.sew[0], by16, by8))


class _Operands(wiring.Component):
    """A lane's operands: as they are, spread, or something else instead of the second."""

    def __init__(self) -> None:
        super().__init__({
            "control": In(CONTROL), "width": In(WIDTH), "part": In(3), "a": In(LANE_BITS), "b": In(LANE_BITS),
            "halves_a": In(LANE_BITS), "halves_b": In(LANE_BITS), "quarters_a": In(LANE_BITS),
            "other": In(LANE_BITS), "x": Out(LANE_BITS), "y": Out(LANE_BITS),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        control, part = self.control, self.part
        half_a = Mux(part[0], self.halves_a[16:], self.halves_a[:16])
        half_b = Mux(part[0], self.halves_b[16:], self.halves_b[:16])
        quarter = self.quarters_a.word_select(part[:2], 8)
        spread = Signal(LANE_BITS)
        m.d.comb += spread.eq(
            self._spread(
                Mux(control.quarter_a, Cat(quarter, (quarter[7] & control.signed).replicate(8)), half_a)
            )
        )
        with m.If(control.half_a | control.quarter_a):
            m.d.comb += self.x.eq(spread)
        with m.Else():
            m.d.comb += self.x.eq(self.a)
        vector = control.second == Second.VECTOR
        same, narrow = Mux(vector, self.b, self.other), Mux(vector, half_b, self.other[:16])
        m.d.comb += self.y.eq(Mux(control.half_b, self._spread(narrow), same))
        return m

    def _spread(self, half: Value) -> Value:
        """Two elements of 8 bits or one of 16, twice as wide."""
        low, high = half[:8], half[8:]
        signs = [(byte[7] & self.control.signed).replicate(8) for byte in (low, high)]
        wide = self.width.to32
        return Cat(low, Mux(wide, high, signs[0]), Mux(wide, signs[1], high), signs[1])


class _Slide(wiring.Component):
    """Bytes of two beats from ``position`` on."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        width = LANE_BITS * lanes
        super().__init__({
            "a": In(width), "b": In(width), "position": In((4 * lanes - 1).bit_length()), "y": Out(width),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        width = LANE_BITS * self.lanes
        word: Value = Cat(self.a, self.b)
        for k in reversed(range(len(self.position))):
            step = 8 << k
            moved = Signal(width + step - 8, name=f"moved_{1 << k}")
            m.d.comb += moved.eq(Mux(self.position[k], word[step:], word[: width + step - 8]))
            word = moved
        m.d.comb += self.y.eq(word)
        return m
