"""Flex-SFU's address decoding unit: a pipelined binary tree of comparisons."""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import FlexSfuConfig


class AddressDecoder(wiring.Component):
    """The segment of each element: the number of breakpoints that are at most ``x``.

    Elements and breakpoints are FP16, compared in the total order of sign-magnitude integers: -0 below +0,
    NaNs outside the infinities on the side of their sign. Level 0 of the tree compares with the breakpoint
    in the middle, level 1 with one of the two in the middle of the halves, and so on. The table serves all
    lanes.

    Latency log2(segments) clocks, throughput 1 beat/clock; all stages stand still while ``o`` is valid and
    not taken. A load waits until every accepted beat has left, and no beat is accepted while a load is valid.
    The table has no reset: load all of it before use.
    Golden model: :func:`lanewise.models.address_decoder.address_decoder`.
    Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546).

    Members
    -------
    i : ``In(stream.Signature(ArrayLayout(16, lanes)))``
        Elements, lane 0 in the low bits.
    o : ``Out(stream.Signature(StructLayout(x, segment)))``
        The elements again, and ``lanes`` segments of log2(segments) bits.
    load : ``In(stream.Signature(StructLayout(address, breakpoint)))``
        One breakpoint, at its place in ascending order. The address segments - 1 has no breakpoint: ignored.
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
        entry = data.StructLayout({"address": config.levels, "breakpoint": 16})
        super().__init__({
            "i": In(stream.Signature(x)),
            "o": Out(stream.Signature(located)),
            "load": In(stream.Signature(entry)),
            "busy": Out(1),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from an accepted beat to its result."""
        return self.config.levels

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        levels = self.config.levels
        move = Signal()
        valid = Signal(levels)
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move & ~self.load.valid),
            self.o.valid.eq(valid[-1]),
            self.busy.eq(valid.any()),
            self.load.ready.eq(~self.busy),
        ]
        with m.If(move):
            m.d.sync += valid.eq(Cat(self.i.valid & ~self.load.valid, valid))

        table = [Signal(16, name=f"key_{a}", reset_less=True) for a in range(self.config.breakpoints)]
        with m.If(self.load.valid & self.load.ready), m.Switch(self.load.p.address):
            for address, key in enumerate(table):
                with m.Case(address):
                    m.d.sync += key.eq(_key(self.load.p.breakpoint))
        for k in range(self.config.lanes):
            m.submodules[f"lane_{k}"] = lane = _Lane(self.config)
            m.d.comb += [
                lane.move.eq(move),
                lane.keys.eq(Cat(table)),
                lane.i.eq(self.i.p[k]),
                self.o.p.x[k].eq(lane.x),
                self.o.p.segment[k].eq(lane.segment),
            ]
        return m


class _Lane(wiring.Component):
    """The comparisons of one lane, a stage each; they advance where ``move`` is 1. The table holds keys."""

    def __init__(self, config: FlexSfuConfig) -> None:
        self.config = config
        table = data.ArrayLayout(16, config.breakpoints)
        super().__init__({
            "move": In(1), "keys": In(table), "i": In(16), "x": Out(16), "segment": Out(config.levels),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        levels = self.config.levels
        table = [self.keys[a] for a in range(self.config.breakpoints)]
        key, segment = _key(self.i), Cat()
        for level in range(levels):
            first, step = (1 << (levels - 1 - level)) - 1, 1 << (levels - level)
            right = key >= (Array(table[first::step])[segment] if level else table[first])
            last = level == levels - 1
            next_key = Signal(16, name="element" if last else f"key_{level}", reset_less=True)
            next_segment = Signal(level + 1, name=f"segment_{level}", reset_less=True)
            with m.If(self.move):
                m.d.sync += next_key.eq(_bits(key) if last else key)
                m.d.sync += next_segment.eq(Cat(right, segment))
            key, segment = next_key, next_segment
        m.d.comb += [self.x.eq(key), self.segment.eq(segment)]
        return m


def _key(bits: Value) -> Value:
    """Rank of an FP16 bit pattern in the total order, as an unsigned integer."""
    return Cat(bits[:15] ^ bits[15].replicate(15), ~bits[15])


def _bits(key: Value) -> Value:
    """Inverse of :func:`_key`."""
    return Cat(Mux(key[15], key[:15], ~key[:15]), ~key[15])
