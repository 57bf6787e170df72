"""Flex-SFU's lookup table of coefficients."""

from amaranth.hdl import Array, C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import COEFFICIENT_TABLE_LATENCY_CLK, FlexSfuConfig
from lanewise.rtl.address_decoder import beat_layout, load_layout, repeated, same_bank, slots
from lanewise.rtl.multiply_add import LANE_BITS
from lanewise.rtl.multiply_add_slot import SHIFTS


class CoefficientTable(wiring.Component):
    """The coefficients of each element's segment, beside the element. The table serves all lanes.

    Each slot of a lane reads its piece of the words of its own segment, so that it does not matter here how wide
    the elements are; a narrow coefficient is repeated in its word.

    Latency 1 clock, throughput 1 beat/clock; stalls while ``o`` is valid and not taken.
    A load is taken at once; no beat of its table is accepted while it is valid.
    The tables have no reset: load all before use.
    Golden model: :func:`lanewise.models.coefficient_table.coefficient_table`.
    Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546).

    Members
    -------
    i : ``In(stream.Signature(StructLayout(x, segment[, format][, bank])))``
        As :class:`~lanewise.rtl.address_decoder.AddressDecoder`'s ``o``.
    o : ``Out(stream.Signature(StructLayout(x, coefficients[, shifts][, format])))``
        The elements again, and ``degree + 1`` times ``lanes`` words of coefficients, lowest power first. ``shifts``, with an integer
        format: one for each multiply-add, in the order in which they are computed.
    load : ``In(stream.Signature(StructLayout(address, coefficients[, shifts][, format][, bank])))``
        Coefficients of the segment ``address``, each in the low bits of its word. ``shifts`` are the
        whole table's; those of the last load count.
    """

    i: stream.Interface
    o: stream.Interface
    load: stream.Interface

    def __init__(self, config: FlexSfuConfig) -> None:
        self.config = config
        words = data.ArrayLayout(config.word_bits, config.degree + 1)
        vectors = data.ArrayLayout(data.ArrayLayout(LANE_BITS, config.lanes), config.degree + 1)
        shifts = {"shifts": data.ArrayLayout(SHIFTS, config.degree)} if config.integers else {}
        results = dict(beat_layout(config, coefficients=vectors, **shifts).members)
        results.pop("bank", None)
        segment = data.ArrayLayout(config.levels, slots(config))
        super().__init__({
            "i": In(stream.Signature(beat_layout(config, segment=segment))),
            "o": Out(stream.Signature(data.StructLayout(results))),
            "load": In(stream.Signature(load_layout(config, coefficients=words, **shifts))),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from an accepted beat to its result."""
        return COEFFICIENT_TABLE_LATENCY_CLK

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config = self.config
        valid, move, accept = Signal(), Signal(), Signal()
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            accept.eq(~(self.load.valid & same_bank(config, self.i.p, self.load.p))),
            self.i.ready.eq(move & accept),
            self.o.valid.eq(valid),
            self.load.ready.eq(1),
        ]
        with m.If(move):
            m.d.sync += valid.eq(self.i.valid & accept)
        if len(config.formats) > 1:
            select = Signal.like(self.i.p.format, reset_less=True)
            with m.If(move):
                m.d.sync += select.eq(self.i.p.format)
            m.d.comb += self.o.p.format.eq(select)

        words = [
            repeated(m, config, self.load.p, self.load.p.coefficients[power])
            for power in range(config.degree + 1)
        ]
        tables = []
        for k in range(config.banks):
            taken = Signal(name=f"taken_{k}")
            m.d.comb += taken.eq(self.load.valid & (self.load.p.bank == k if config.banks == 2 else C(1, 1)))
            table = [
                Signal(len(words) * config.word_bits, name=f"segment_{k}_{a}", reset_less=True)
                for a in range(config.segments)
            ]
            with m.If(taken), m.Switch(self.load.p.address):
                for address, entry in enumerate(table):
                    with m.Case(address):
                        m.d.sync += entry.eq(Cat(words))
            if config.integers:
                table.append(Signal(len(Value.cast(self.load.p.shifts)), name=f"shifts_{k}", reset_less=True))
                with m.If(taken):
                    m.d.sync += table[-1].eq(self.load.p.shifts)
            tables.append(table)
        entries: list[Value] = list(tables[0])
        if config.banks == 2:
            for address, pair in enumerate(zip(*tables, strict=True)):
                entries[address] = Signal.like(pair[0], name=f"segment_{address}")
                m.d.comb += entries[address].eq(Mux(self.i.p.bank, pair[1], pair[0]))
        if config.integers:
            shifts = Signal.like(entries[-1], name="shifts", reset_less=True)
            with m.If(move):
                m.d.sync += shifts.eq(entries.pop())
            m.d.comb += self.o.p.shifts.eq(shifts)

        for k in range(config.lanes):
            m.submodules[f"lane_{k}"] = lane = _Lane(config)
            first = k * (LANE_BITS // config.slot_bits)
            m.d.comb += [
                lane.move.eq(move),
                lane.entries.eq(Cat(entries)),
                lane.i.eq(self.i.p.x[k]),
                *(segment.eq(self.i.p.segment[first + j]) for j, segment in enumerate(lane.segment)),
                self.o.p.x[k].eq(lane.x),
                *(self.o.p.coefficients[power][k].eq(lane.o[power]) for power in range(config.degree + 1)),
            ]
        return m


class _Lane(wiring.Component):
    """The read of one lane: a multiplexer and a register for each slot, which take their value where ``move`` is 1."""

    def __init__(self, config: FlexSfuConfig) -> None:
        self.config = config
        entry = data.ArrayLayout(config.word_bits, config.degree + 1)
        super().__init__({
            "move": In(1), "entries": In(data.ArrayLayout(entry, config.segments)), "i": In(LANE_BITS),
            "segment": In(data.ArrayLayout(config.levels, LANE_BITS // config.slot_bits)), "x": Out(LANE_BITS),
            "o": Out(data.ArrayLayout(LANE_BITS, config.degree + 1)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config, width = self.config, self.config.slot_bits
        pieces = config.word_bits // width
        x = Signal(LANE_BITS, reset_less=True)
        with m.If(self.move):
            m.d.sync += x.eq(self.i)
        m.d.comb += self.x.eq(x)
        for power in range(config.degree + 1):
            word = Signal(LANE_BITS, name=f"coefficient_{power}", reset_less=True)
            for j in range(LANE_BITS // width):
                piece = slice((j % pieces) * width, (j % pieces + 1) * width)
                choices = Array(self.entries[a][power][piece] for a in range(config.segments))
                with m.If(self.move):
                    m.d.sync += word[j * width : (j + 1) * width].eq(choices[self.segment[j]])
            m.d.comb += self.o[power].eq(word)
        return m
