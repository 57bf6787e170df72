"""Flex-SFU as a unit of the vector unit: walker, tables, lanes."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import MachineConfig
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.rtl.vector_decoder import Controls
from lanewise.rtl.vector_walker import VectorWalker, land


class VectorSfuUnit(wiring.Component):
    """Instructions of the unit ``flex_sfu``, and the loads of its tables, whose words the memory unit brings. No stalls.

    Golden model: :class:`lanewise.models.vector_machine.VectorMachine`.

    Members
    -------
    go, start : ``In``
        As of :class:`~lanewise.rtl.vector_walker.VectorWalker`.
    a_word : ``Out``
        Word to read.
    a : ``In``
        What was read, a clock later.
    word, enable, data : ``Out``
        A word to write.
    landed : ``Out(1)``
        The last beat of an instruction is written.
    load_valid, load_coefficients, load_first, load_index, load_data : ``In``
        A word for a table: of the coefficients or of the breakpoints, the first of its instruction, table and format.
    """

    def __init__(self, config: MachineConfig, controls: Controls) -> None:
        if config.flex_sfu.lanes != config.vector.lanes:
            raise ValueError(
                f"flex_sfu.lanes must be vector.lanes = {config.vector.lanes} in the core, not {config.flex_sfu.lanes}"
            )
        self.config = config
        self._walker = walker = VectorWalker(config, controls)
        bits, size = config.vector.bits_per_clk, config.vector.bits_per_clk // 8
        word = walker.vs2_word.shape()
        super().__init__({
            "go": In(1), "start": In(walker.start.shape()), "a_word": Out(word), "a": In(bits),
            "word": Out(word), "enable": Out(size), "data": Out(bits), "landed": Out(1),
            "load_valid": In(1), "load_coefficients": In(1), "load_first": In(1), "load_index": In(5), "load_data": In(32),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        sfu = self.config.flex_sfu
        m.submodules.walker = walker = self._walker
        m.submodules.unit = unit = FlexSfu(sfu)
        x = walker.x
        m.d.comb += [
            walker.go.eq(self.go),
            walker.start.eq(self.start),
            self.a_word.eq(walker.vs2_word),
            unit.i.valid.eq(x.valid),
            unit.i.p.x.eq(self.a),
            unit.o.ready.eq(1),
        ]
        if len(sfu.formats) > 1:
            m.d.comb += unit.i.p.format.eq(x.index[1:])
        if sfu.double_buffered:
            m.d.comb += unit.i.p.bank.eq(x.index[0])
        land(m, walker, self, unit.o.payload, sfu.latency_clk)
        self._load(m, unit)
        return m

    def _load(self, m: Module, unit: FlexSfu) -> None:
        """Words to table entries: a breakpoint each; of the coefficients, a segment's words are gathered first."""
        sfu = self.config.flex_sfu
        words = sfu.degree + 1 + sfu.integers
        entry, place = Signal(range(sfu.segments)), Signal(range(words + 1))
        entry_now, place_now = Signal.like(entry), Signal.like(place)
        m.d.comb += [
            entry_now.eq(Mux(self.load_first, 0, entry)),
            place_now.eq(Mux(self.load_first, 0, place)),
        ]
        kept = [Signal(32, name=f"word_{k}", reset_less=True) for k in range(words - 1)]
        whole = place_now == words - 1
        step = Signal()
        m.d.comb += step.eq(~self.load_coefficients | whole)
        with m.If(self.load_valid):
            m.d.sync += [
                entry.eq(entry_now + step),
                place.eq(Mux(whole, 0, place_now + 1)),
            ]
            for k, word in enumerate(kept):
                with m.If(place_now == k):
                    m.d.sync += word.eq(self.load_data)
        breakpoint_, coefficients = unit.load_breakpoint, unit.load_coefficients
        word_bits = sfu.word_bits
        parts = [*kept, self.load_data]
        m.d.comb += [
            breakpoint_.valid.eq(self.load_valid & ~self.load_coefficients),
            breakpoint_.p.address.eq(entry_now),
            breakpoint_.p.breakpoint.eq(self.load_data[:word_bits]),
            coefficients.valid.eq(self.load_valid & self.load_coefficients & whole),
            coefficients.p.address.eq(entry_now),
        ]
        m.d.comb += [coefficients.p.coefficients[k].eq(parts[k][:word_bits]) for k in range(sfu.degree + 1)]
        if sfu.integers:
            m.d.comb += coefficients.p.shifts.eq(parts[sfu.degree + 1])
        for load in (breakpoint_, coefficients):
            if len(sfu.formats) > 1 and "format" in load.payload.shape().members:
                m.d.comb += load.p.format.eq(self.load_index[1:])
            if sfu.double_buffered:
                m.d.comb += load.p.bank.eq(self.load_index[0])
