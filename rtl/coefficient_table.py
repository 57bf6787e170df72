"""Flex-SFU's lookup table of slopes and offsets."""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import COEFFICIENT_TABLE_LATENCY_CLK, FlexSfuConfig

_ENTRY = data.StructLayout({"slope": 16, "offset": 16})


class CoefficientTable(wiring.Component):
    """Slope and offset of each element's segment, beside the element. The table serves all lanes.

    Latency 1 clock, throughput 1 beat/clock; stalls while ``o`` is valid and not taken.
    A load waits until every accepted beat has left, and no beat is accepted while a load is valid.
    The table has no reset: load all of it before use.
    Golden model: :func:`lanewise.models.coefficient_table.coefficient_table`.
    Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546).

    Members
    -------
    i : ``In(stream.Signature(StructLayout(x, segment)))``
        ``lanes`` FP16 elements, lane 0 in the low bits, and as many segments of log2(segments) bits.
    o : ``Out(stream.Signature(StructLayout(x, slope, offset)))``
        The elements again, and ``lanes`` FP16 slopes and offsets.
    load : ``In(stream.Signature(StructLayout(address, slope, offset)))``
        Coefficients of the segment ``address``, FP16.
    busy : ``Out(1)``
        An accepted beat has not left yet.
    """

    i: stream.Interface
    o: stream.Interface
    load: stream.Interface
    busy: Signal

    def __init__(self, config: FlexSfuConfig) -> None:
        self.config = config
        x = data.ArrayLayout(16, config.lanes)
        located = data.StructLayout({"x": x, "segment": data.ArrayLayout(config.levels, config.lanes)})
        entry = data.StructLayout({"address": config.levels, "slope": 16, "offset": 16})
        super().__init__({
            "i": In(stream.Signature(located)),
            "o": Out(stream.Signature(data.StructLayout({"x": x, "slope": x, "offset": x}))),
            "load": In(stream.Signature(entry)),
            "busy": Out(1),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from an accepted beat to its result."""
        return COEFFICIENT_TABLE_LATENCY_CLK

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        valid, move = Signal(), Signal()
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move & ~self.load.valid),
            self.o.valid.eq(valid),
            self.busy.eq(valid),
            self.load.ready.eq(~self.busy),
        ]
        with m.If(move):
            m.d.sync += valid.eq(self.i.valid & ~self.load.valid)

        table = [Signal(_ENTRY, name=f"segment_{a}", reset_less=True) for a in range(self.config.segments)]
        with m.If(self.load.valid & self.load.ready), m.Switch(self.load.p.address):
            for address, coefficients in enumerate(table):
                with m.Case(address):
                    m.d.sync += coefficients.slope.eq(self.load.p.slope)
                    m.d.sync += coefficients.offset.eq(self.load.p.offset)

        for k in range(self.config.lanes):
            m.submodules[f"lane_{k}"] = lane = _Lane(self.config)
            m.d.comb += [
                lane.move.eq(move),
                lane.entries.eq(Cat(table)),
                lane.i.eq(self.i.p.x[k]),
                lane.segment.eq(self.i.p.segment[k]),
                self.o.p.x[k].eq(lane.x),
                self.o.p.slope[k].eq(lane.o.slope),
                self.o.p.offset[k].eq(lane.o.offset),
            ]
        return m


class _Lane(wiring.Component):
    """The read of one lane: a multiplexer and a register, which takes its value where ``move`` is 1."""

    def __init__(self, config: FlexSfuConfig) -> None:
        self.config = config
        super().__init__({
            "move": In(1), "entries": In(data.ArrayLayout(_ENTRY, config.segments)), "i": In(16),
            "segment": In(config.levels), "x": Out(16), "o": Out(_ENTRY),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        entries = Array(self.entries[a] for a in range(self.config.segments))
        x, coefficients = Signal(16, reset_less=True), Signal(_ENTRY, reset_less=True)
        with m.If(self.move):
            m.d.sync += [x.eq(self.i), coefficients.eq(entries[self.segment])]
        m.d.comb += [self.x.eq(x), self.o.eq(coefficients)]
        return m
