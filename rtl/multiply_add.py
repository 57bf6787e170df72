"""Multiply-add of several number formats in 32-bit lanes."""

from collections.abc import Sequence

from amaranth.hdl import C, Cat, Const, Elaboratable, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import multiply_add_latency_clk
from lanewise.formats import NumberFormat
from lanewise.rtl.multiply_add_slot import SHIFTS, MultiplyAddSlot, move_port, select_bits

LANE_BITS = 32


class MultiplyAdd(wiring.Component):
    """``o = a * b + c`` for each element, rounded once, to nearest, ties to even.

    A lane of 32 bits holds 4 elements of 8 bits, 2 of 16 or 1 of 32; ``format`` of each beat says which
    format its elements have. An element's multiplier stands at its lowest bits, so the one at bit 0 serves
    every width, the one at bit 16 those of 16 and 8 bits, the other two those of 8 bits.

    Floating point: subnormals, infinities and signed zeros as IEEE 754 has them; every NaN result is the
    format's one NaN; no flags. Integers: ``(a * b + (c << shifts.addend)) >> shifts.product``, saturating.

    Latency 4 clocks, 6 with a format of 32 bits, throughput 1 beat/clock; all stages stand still while ``o`` is valid and not taken.
    Golden model: :func:`lanewise.models.multiply_add.multiply_add`.

    Members
    -------
    i : ``In(stream.Signature(StructLayout(a, b, c[, format][, shifts][, beside])))``
        Operands, each ``lanes`` words of 32 bits, lane 0 and element 0 in the low bits. ``format``, with more than
        one format: its index. ``shifts``, with an integer format: :data:`~lanewise.rtl.multiply_add_slot.SHIFTS`. ``beside``: travels along.
    o : ``Out(stream.Signature(StructLayout(y[, beside])))``
        Results, and what was beside the operands.
    busy : ``Out(1)``
        An accepted beat has not left yet.
    """

    i: stream.Interface
    o: stream.Interface
    busy: Signal

    def __init__(
        self,
        *,
        lanes: int,
        formats: Sequence[NumberFormat],
        zero_annihilates: bool = False,
        beside: data.Layout | None = None,
        stalls: bool = True,
    ) -> None:
        """``zero_annihilates``: zero ``a`` times infinite ``b`` is zero instead of NaN. ``stalls``: if not, ``o.ready`` must always be 1."""
        if lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes!r}")
        if not formats:
            raise ValueError("formats must be at least one, not none")
        self.lanes = lanes
        self.formats = tuple(formats)
        self.zero_annihilates = zero_annihilates
        self.beside = beside
        self.stalls = stalls
        vector = data.ArrayLayout(LANE_BITS, lanes)
        operands: dict[str, data.Layout | int] = {"a": vector, "b": vector, "c": vector}
        if len(self.formats) > 1:
            operands["format"] = select_bits(self.formats)
        if not all(form.floating for form in self.formats):
            operands["shifts"] = SHIFTS
        results: dict[str, data.Layout | int] = {"y": vector}
        if beside is not None:
            operands["beside"] = results["beside"] = beside
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(operands))),
            "o": Out(stream.Signature(data.StructLayout(results))),
            "busy": Out(1),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from an accepted beat to its result."""
        return multiply_add_latency_clk(self.formats)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        move: Value = C(1, 1)
        if self.stalls:
            move = Signal(name="move")
            m.d.comb += move.eq(~self.o.valid | self.o.ready)
        valid = Signal(self.latency_clk)
        m.d.comb += [
            self.i.ready.eq(move),
            self.o.valid.eq(valid[-1]),
            self.busy.eq(valid.any()),
        ]
        with m.If(move):
            m.d.sync += valid.eq(Cat(self.i.valid, valid))

        def delayed(value: Value, name: str, stages: int) -> list[Value]:
            """The value at each stage's input, the first's included."""
            line = [value]
            for stage in range(1, stages):
                line.append(Signal.like(value, name=f"{name}_{stage}", reset_less=True))
                with m.If(move):
                    m.d.sync += line[-1].eq(line[-2])
            return line

        fields = self.i.payload.shape().members
        select = delayed(self.i.p.format, "format", self.latency_clk) if "format" in fields else []
        shifts = (
            delayed(Value.cast(self.i.p.shifts), "shifts", self.latency_clk - 1) if "shifts" in fields else []
        )
        if self.beside is not None:
            beside = delayed(Value.cast(self.i.p.beside), "beside", self.latency_clk + 1)
            m.d.comb += self.o.p.beside.eq(beside[-1])
        for k in range(self.lanes):
            m.submodules[f"lane_{k}"] = lane = _Lane(self.formats, self.zero_annihilates, self.stalls)
            m.d.comb += [
                *([lane.move.eq(move)] if self.stalls else []),
                lane.a.eq(self.i.p.a[k]),
                lane.b.eq(self.i.p.b[k]),
                lane.c.eq(self.i.p.c[k]),
                self.o.p.y[k].eq(lane.y),
            ]
            if "format" in fields:
                m.d.comb += lane.format.eq(Cat(select))
            if "shifts" in fields:
                m.d.comb += lane.shifts.eq(Cat(shifts[self.latency_clk // 2 - 1], shifts[-1]))
        return m


class _Lane(wiring.Component):
    """The multiply-adds of one lane. ``format`` and ``shifts`` hold what they are at the stages that read them."""

    def __init__(self, formats: Sequence[NumberFormat], zero_annihilates: bool, stalls: bool) -> None:
        self.formats = tuple(formats)
        self.zero_annihilates = zero_annihilates
        self.stalls = stalls
        ports = {**move_port(stalls), **{name: In(LANE_BITS) for name in "abc"}, "y": Out(LANE_BITS)}
        if len(self.formats) > 1:
            ports["format"] = In(
                data.ArrayLayout(select_bits(formats), multiply_add_latency_clk(self.formats))
            )
        if not all(form.floating for form in formats):
            ports["shifts"] = In(data.ArrayLayout(SHIFTS, 2))
        super().__init__(ports)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        step = min(form.bits for form in self.formats)
        result: Value = Const(0, LANE_BITS)
        for place in range(0, LANE_BITS, step):
            indices = [k for k, form in enumerate(self.formats) if place % form.bits == 0]
            slot = MultiplyAddSlot(self.formats, indices, self.zero_annihilates, self.stalls)
            m.submodules[f"slot_{place // step}"] = slot
            if self.stalls:
                m.d.comb += slot.move.eq(self.move)
            if len(self.formats) > 1:
                m.d.comb += slot.format.eq(self.format)
            if slot.integers:
                m.d.comb += slot.shifts.eq(self.shifts)
            for name in "abc":
                m.d.comb += getattr(slot, name).eq(getattr(self, name)[place : place + slot.bits])
            result = result | Cat(Const(0, place), slot.y)  # a slot that is not asked gives zero
        m.d.comb += self.y.eq(result)
        return m
