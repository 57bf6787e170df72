"""Reductions of the vector unit: sums, minima, maxima and bitwise operations over the elements of a vector."""

from typing import TypeAlias

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import FP32_ADDER_LATENCY_CLK, VectorConfig, reduction_levels, reduction_stages_clk
from lanewise.rtl.fp32_adder import Fp32Adder
from lanewise.rtl.reduction_element import CONTROL, ReductionElement, ReductionKeys, control_of, result_of
from lanewise.rtl.reduction_levels import PARTIAL, ReductionLevels, shared_levels

__all__ = ["CONTROL", "VectorReduction", "control_of"]

Results: TypeAlias = dict[int, list[tuple[Value, Value]]]
"""Clocks after a vector's last beat -> whether its result is there, and the result."""


class VectorReduction(wiring.Component):
    """One result of a vector's elements and a start value; ``lanes`` elements a beat, a beat a clock.

    Sums of floating-point numbers are FP32: neighbours pairwise, level by level over all elements, then the start value; what is
    not active is -0. First the lanes of a beat are added, then beats on fewer and fewer adders. All else is done on keys of 32
    bits: over the lanes of a beat, then beat by beat.
    A vector has one slot in a line of registers: its start value waits there, and its result takes the place.

    Latency :func:`lanewise.config.reduction_stages_clk` clocks from a vector's last beat to its result, whatever its length;
    throughput 1 beat a clock, and the next vector's first beat may follow the last one's at once. It never waits: there is
    no back-pressure. Vectors have at most the beats of eight registers of FP16, of integers any number.
    Golden model: :mod:`lanewise.models.vector_reductions`.

    Members
    -------
    valid, last : ``In(1)``
        There is a beat; it is the last of its vector.
    control : ``In(CONTROL)``
        :func:`control_of` the operation; with ``sew`` and ``altfmt`` the same for all beats of a vector.
    sew : ``In(2)``
        log2 of SEW in bytes.
    altfmt : ``In(1)``
        16-bit floating-point numbers are BF16, not FP16.
    part : ``In(3)``
        Low bits of the beat's number: which half or quarter of ``a`` has its elements.
    a : ``In(32 * lanes)``
        A beat of the register file.
    active : ``In(lanes)``
        Elements that take part.
    start : ``In(32)``
        Element 0 of ``vs1``, with the last beat; bits above its width do not matter.
    o_valid, y : ``Out(1)``, ``Out(32)``
        A result in the destination's width; upper bits are zero.
    """

    valid: Signal
    last: Signal
    sew: Signal
    altfmt: Signal
    part: Signal
    a: Signal
    active: Signal
    start: Signal
    o_valid: Signal
    y: Signal
    control: data.View

    def __init__(self, config: VectorConfig) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__({
            "valid": In(1), "last": In(1), "control": In(CONTROL), "sew": In(2), "altfmt": In(1), "part": In(3),
            "a": In(32 * lanes), "active": In(lanes), "start": In(32), "o_valid": Out(1), "y": Out(32),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from a vector's last beat to its result."""
        return reduction_stages_clk(self.config.lanes, self.config.vlen_bits)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        # ``slots[k]`` and ``ended[k]``: of the vector whose last beat was at the input k clocks ago
        slots = [self.start, *(Signal(32, name=f"slot_{k}") for k in range(1, self.latency_clk + 1))]
        ended = Signal(self.latency_clk)
        m.d.sync += ended.eq(Cat(self.valid & self.last, ended))
        replaced: Results = {}
        elements = self._elements(m)
        begun = Signal()  # a vector has
        with m.If(self.valid):
            m.d.sync += begun.eq(~self.last)
        self._sum(m, elements, begun, slots, replaced)
        self._keys(m, elements, begun, slots, replaced)
        for k in range(1, self.latency_clk + 1):
            waits = Signal(32, name=f"waits_{k}", reset_less=True)
            m.d.sync += waits.eq(slots[k - 1])
            slot: Value = waits
            for there, result in replaced.get(k, []):
                slot = Mux(there, result, slot)
            m.d.comb += slots[k].eq(slot)
        m.d.comb += [self.o_valid.eq(ended[-1]), self.y.eq(slots[-1])]
        return m

    def _elements(self, m: Module) -> list[Value]:
        """A beat's elements, registered."""
        lanes = self.config.lanes
        elements: list[Value] = []
        for k in range(lanes):
            m.submodules[f"element_{k}"] = element = ReductionElement()
            place = 32 * k
            halves = data.View(data.ArrayLayout(16 * lanes, 2), self.a)
            quarters = data.View(data.ArrayLayout(8 * lanes, 4), self.a)
            y = Signal(32, name=f"element_{k}_y", reset_less=True)
            m.d.comb += [
                element.word.eq(self.a[place : place + 32]),
                element.half.eq(halves[self.part[:1]].word_select(k, 16)),
                element.byte.eq(quarters[self.part[:2]].word_select(k, 8)),
                element.size.eq(self.sew),
                element.altfmt.eq(self.altfmt),
                element.active.eq(self.active[k]),
                element.control.eq(self.control),
            ]
            m.d.sync += y.eq(element.y)
            elements.append(y)
        return elements

    def _sum(
        self, m: Module, elements: list[Value], begun: Signal, slots: list[Signal], replaced: Results
    ) -> None:
        """Over the lanes, then over the beats."""
        lane_levels, beat_levels = reduction_levels(self.config.lanes, self.config.vlen_bits)
        flags: Value = Cat(self.valid & self.control.sums, ~begun, self.last)
        numbers = elements
        for k in range(1 + FP32_ADDER_LATENCY_CLK * lane_levels):
            later = Signal(3, name=f"flags_{k}")
            m.d.sync += later.eq(flags)
            flags = later
        for level in range(lane_levels):
            pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
            numbers = []
            for k, (a, b) in enumerate(pairs):
                m.submodules[f"lanes_{level}_{k}"] = adder = Fp32Adder()
                m.d.comb += [adder.a.eq(a), adder.b.eq(b)]
                numbers.append(adder.y)
        partial = Signal(PARTIAL)
        m.d.comb += partial.eq(Cat(numbers[0], flags))
        clk = 1 + FP32_ADDER_LATENCY_CLK * lane_levels
        for group in shared_levels(beat_levels):
            m.submodules[f"beats_{group[0]}"] = unit = ReductionLevels(len(group))
            m.d.comb += unit.i.eq(partial)
            for k in range(len(group)):
                m.d.comb += unit.start[k].eq(slots[clk])
                clk += FP32_ADDER_LATENCY_CLK
                replaced.setdefault(clk, []).append((unit.done[k], unit.total))
            partial = Signal(PARTIAL, name=f"partial_{group[-1]}")
            m.d.comb += partial.eq(unit.o)

    def _keys(
        self, m: Module, elements: list[Value], begun: Signal, slots: list[Signal], replaced: Results
    ) -> None:
        """Over the lanes, a level a clock; into the vector's key so far; with the start value."""
        layout = data.StructLayout({
            "valid": 1, "first": 1, "last": 1, "some": 1, "size": 2, "altfmt": 1, "control": CONTROL,
        })  # fmt: skip
        now = Signal(layout, name="keys_0")
        m.d.comb += [
            now.valid.eq(self.valid & ~self.control.sums),
            now.first.eq(~begun),
            now.last.eq(self.last),
            now.some.eq(self.active.any()),
            now.size.eq(self.sew + self.control.doubled),
            now.altfmt.eq(self.altfmt),
            now.control.eq(self.control),
        ]
        clk = 0

        def one_more_clk() -> data.View:
            nonlocal clk
            clk += 1
            later = Signal(layout, name=f"keys_{clk}")
            m.d.sync += later.eq(now)
            return later

        def combined(name: str, a: Value, b: Value) -> Signal:
            m.submodules[name] = unit = ReductionKeys()
            m.d.comb += [unit.function.eq(now.control.function), unit.a.eq(a), unit.b.eq(b)]
            return unit.y

        now, keys = one_more_clk(), elements
        while len(keys) > 1:
            pairs = enumerate(zip(keys[::2], keys[1::2], strict=True))
            keys = []
            for k, (a, b) in pairs:
                key = Signal(32, name=f"key_{clk}_{k}", reset_less=True)
                m.d.sync += key.eq(combined(f"keys_{clk}_{k}", a, b))
                keys.append(key)
            now = one_more_clk()

        so_far, start = Signal(32, reset_less=True), Signal(32, reset_less=True)
        some = Signal()  # a beat so far has an active element
        m.submodules.start = first = ReductionElement()
        longer = combined("so_far", so_far, keys[0])
        m.d.comb += [
            first.word.eq(slots[clk]),
            first.half.eq(slots[clk][:16]),
            first.byte.eq(slots[clk][:8]),
            first.size.eq(now.size),
            first.altfmt.eq(now.altfmt),
            first.active.eq(1),
            first.control.eq(now.control),
        ]
        m.d.sync += start.eq(first.y)
        with m.If(now.valid):
            m.d.sync += [
                so_far.eq(Mux(now.first, keys[0], longer)),
                some.eq(now.some | (some & ~now.first)),
            ]
        now = one_more_clk()
        whole = combined("whole", so_far, start)
        result = result_of(m, whole, now.control, now.size, now.altfmt, some, slots[clk])
        y, done = Signal(32, name="keys_y", reset_less=True), Signal(name="keys_done")
        m.d.sync += [y.eq(result), done.eq(now.valid & now.last)]
        replaced.setdefault(clk + 1, []).append((done, y))
