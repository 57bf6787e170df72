"""Issues vector instructions in order, each at the first clock in which the machine's state allows it."""

from collections.abc import Mapping

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from lanewise.config import MachineConfig
from lanewise.isa.operations import Rate, Unit, Width
from lanewise.rtl.tags import REQUEST
from lanewise.rtl.vector_decoder import (
    LATENCIES,
    RATES,
    UNITS,
    WIDTHS,
    Controls,
    Set,
    VectorDecoder,
    Walk,
    control_bits,
    decoded_layout,
)
from lanewise.rtl.vector_scoreboard import VectorScoreboard

INSTRUCTION = data.StructLayout({"word": 32, "rs1": 32, "rs2": 32, "request": REQUEST})
"""A vector instruction with its scalar operands and, of a memory access, the counts that it waits for."""
ISSUED = tuple(unit for unit in UNITS if unit is not Unit.SET)
"""Units that an instruction can be issued to."""
FIXED = 15
"""A shift that makes every beat's number 0."""


def start_layout(config: MachineConfig, controls: Controls) -> data.StructLayout:
    """What a unit gets to know of an instruction that starts."""
    words = range(32 * config.vector.register_beats)
    return data.StructLayout({
        "control": control_bits(controls), "sew": 2, "altfmt": 1, "scalar": 32, "stride": 32, "index": 5,
        "vl": vl_bits(config), "limit": vl_bits(config), "beats": vl_bits(config), "vd": words, "vs2": words, "vs1": words,
        "vd_shift": 4, "vs2_shift": 4, "vs1_shift": 4, "vd_bytes": 2, "grid": 2,
        "rate": 3, "walk": Walk, "masked": 1, "stores": 1, "table": 2, "tag": REQUEST["tag"].shape,
    })  # fmt: skip


def vl_bits(config: MachineConfig) -> int:
    """Width of a number of elements: up to 8 registers of bytes."""
    return config.vector.vlen_bits.bit_length()


class VectorSequencer(wiring.Component):
    """Takes an instruction a clock, decodes it, and starts it when ``docs/core.md`` says.

    Latency 1 clock from an accepted instruction to the first in which it can start; throughput an instruction a clock.
    The stream's ``ready`` falls while an instruction waits. Golden model: :mod:`lanewise.sim.engine`.

    Members
    -------
    i : ``In(stream.Signature(INSTRUCTION))``
    request : ``Out(REQUEST)``
        What the instruction that waits needs of its buffer.
    counted : ``In(1)``
        Its counts are reached.
    go : ``Out(len(ISSUED))``
        An instruction starts in this unit.
    started : ``Out(1)``
        An instruction starts (``vset`` among them).
    start : ``Out(start_layout(config, controls))``
    vl, sew, altfmt : ``Out``
        The state that ``vset`` sets.
    illegal : ``Out(1)``
        A word was none of the table's, since reset; it was dropped.
    """

    def __init__(self, config: MachineConfig, controls: Controls) -> None:
        self.config, self.controls = config, controls
        self.latency = {latency: config.vector_latency_clk(latency) for latency in LATENCIES}
        longest = 2 * config.vector.vlen_bits + 2 * max(self.latency.values()) + config.flex_sfu.levels
        self.counter_bits = longest.bit_length()
        super().__init__({
            "i": In(stream.Signature(INSTRUCTION)), "request": Out(REQUEST), "counted": In(1), "go": Out(len(ISSUED)),
            "started": Out(1), "start": Out(start_layout(config, controls)), "vl": Out(vl_bits(config)), "sew": Out(2),
            "altfmt": Out(1), "illegal": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.decoder = decoder = VectorDecoder(self.controls)
        m.submodules.scoreboard = scoreboard = VectorScoreboard(
            self.counter_bits, self.config.vector.register_beats
        )
        head = Signal(decoded_layout(self.controls), reset_less=True)
        waiting, request = Signal(), Signal(REQUEST, reset_less=True)
        stride = Signal(32, reset_less=True)
        m.d.comb += [
            decoder.word.eq(self.i.p.word),
            decoder.rs1.eq(self.i.p.rs1),
            decoder.rs2.eq(self.i.p.rs2),
            self.i.ready.eq(~waiting | self.started),
            self.request.eq(request),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                waiting.eq(self.i.valid & decoder.o.known),
                head.eq(decoder.o),
                stride.eq(self.i.p.rs2),
                request.eq(self.i.p.request),
            ]
        with m.If(self.i.ready & self.i.valid & ~decoder.o.known):
            m.d.sync += self.illegal.eq(1)

        lmul, grid = Signal(signed(3)), Signal(2)
        m.d.comb += grid.eq(
            Array([self.sew, (self.sew + 1)[:2], head.eew, Const(2, 2)])[head.grid.as_value()]
        )
        sizes = {name: self._bytes(m, head, name) for name in ("vd", "vs2", "vs1")}
        self._set(m, head, lmul)
        beats, hold = self._beats(m, head, grid)
        first, ready, last = self._landing(m, head, sizes["vd"], beats)
        self._groups(m, head, lmul, sizes, scoreboard)
        self._bundle(m, head, grid, sizes, beats)
        m.d.comb += [
            self.start.stride.eq(stride),
            self.start.tag.eq(request.tag),
            scoreboard.whole.eq(head.whole),
            scoreboard.mask.eq(head.reads_mask),
            scoreboard.hold.eq(hold),
            scoreboard.first.eq(first),
            scoreboard.ready.eq(ready),
            scoreboard.last.eq(last),
            scoreboard.start.eq(self.started),
        ]
        free = scoreboard.free & self._tables(m, head, hold, last) & self._units(m, head, hold)
        counts = head.unit == UNITS.index(Unit.MEMORY)
        m.d.comb += self.started.eq(waiting & free & (self.counted | ~counts))
        return m

    def _set(self, m: Module, head: data.View, lmul: Signal) -> None:
        """vl and vtype."""
        vlen = self.config.vector.vlen_bits
        vtype, new_lmul = head.vtype, Signal(signed(3))
        vlmax = Signal(vl_bits(self.config))
        m.d.comb += [
            new_lmul.eq(vtype[:3].as_signed()),
            vlmax.eq((Const(vlen) >> vtype[3:5]) >> (3 - new_lmul)[:3].as_unsigned()),
            self.start.limit.eq((Const(vlen) >> self.sew) >> (3 - lmul)[:3].as_unsigned()),
        ]
        with m.If(self.started & (head.set != Set.NONE)):
            m.d.sync += [
                lmul.eq(new_lmul),
                self.sew.eq(vtype[3:5]),
                self.altfmt.eq(vtype[8]),
                self.vl.eq(Mux(head.scalar < vlmax, head.scalar, vlmax)),
            ]

    def _bytes(self, m: Module, head: data.View, name: str) -> Value:
        """log2 of the bytes of an operand's elements; SEW's where it is not elements that the operand holds."""
        size = Signal(2, name=f"{name}_bytes")
        m.d.comb += size.eq(self.sew)
        with m.Switch(getattr(head, f"{name}_width")):
            with m.Case(WIDTHS.index(Width.DOUBLE), WIDTHS.index(Width.FIRST_DOUBLE)):
                m.d.comb += size.eq(self.sew + 1)
            with m.Case(WIDTHS.index(Width.HALF)):
                m.d.comb += size.eq(self.sew - 1)
            with m.Case(WIDTHS.index(Width.QUARTER)):
                m.d.comb += size.eq(self.sew - 2)
            with m.Case(WIDTHS.index(Width.EEW)):
                m.d.comb += size.eq(head.eew)
        return size

    def _beats(self, m: Module, head: data.View, grid: Value) -> tuple[Signal, Signal]:
        """Beats, and the clocks for which the unit is held."""
        width = vl_bits(self.config)
        beat_bytes = self.config.vector.bits_per_clk // 8
        beats, least, hold = Signal(width), Signal(width, name="at_least_one"), Signal(self.counter_bits)
        m.d.comb += beats.eq(((self.vl << grid) + (beat_bytes - 1)) >> exact_log2(beat_bytes))
        with m.Switch(head.rate):
            with m.Case(RATES.index(Rate.ONE)):
                m.d.comb += beats.eq(self.vl)
            with m.Case(RATES.index(Rate.MASK)):
                m.d.comb += beats.eq((self.vl + (8 * beat_bytes - 1)) >> exact_log2(8 * beat_bytes))
            with m.Case(RATES.index(Rate.SINGLE)):
                m.d.comb += beats.eq(1)
        m.d.comb += [least.eq(Mux(beats == 0, 1, beats)), hold.eq(least + (head.walk == Walk.GATHER_EACH))]
        return least, hold

    def _landing(
        self, m: Module, head: data.View, size: Value, beats: Signal
    ) -> tuple[Signal, Signal, Signal]:
        """Clocks from the start: until the first beat lands, until a reader may follow it, until the last one is there.

        A reader takes a word of the register file a clock at most. A result that takes longer for a word (a narrow one, bits,
        single elements) counts as if its words came one a clock, the last one when it really does.
        """
        beat_bytes = self.config.vector.bits_per_clk // 8
        latency, first, ready, last = (
            Signal(self.counter_bits, name=n) for n in ("latency", "lands_first", "ready_at", "lands_last")
        )
        words, least = (Signal(vl_bits(self.config), name=n) for n in ("words", "words_at_least"))
        clocks = Array(Const(self.latency[kind], self.counter_bits) for kind in LATENCIES)
        m.d.comb += words.eq(((self.vl << size) + (beat_bytes - 1)) >> exact_log2(beat_bytes))
        with m.Switch(head.vd_width):
            with m.Case(WIDTHS.index(Width.MASK)):
                m.d.comb += words.eq((self.vl + (8 * beat_bytes - 1)) >> exact_log2(8 * beat_bytes))
            with m.Case(*(WIDTHS.index(w) for w in _FIRSTS)):
                m.d.comb += words.eq(1)
        m.d.comb += [
            least.eq(Mux(words == 0, 1, words)),
            latency.eq(clocks[head.latency]),
            last.eq(latency + beats - 1),
            first.eq(Mux(head.walk == Walk.REDUCE, last, latency)),
            ready.eq(Mux(head.chained, last - (least - 1), last)),
        ]
        return first, ready, last

    def _units(self, m: Module, head: data.View, hold: Signal) -> Value:
        """Whether the instruction's unit is free."""
        waits = []
        for place, unit in enumerate(ISSUED):
            busy, own = Signal(self.counter_bits, name=f"busy_{unit}"), Signal(name=f"for_{unit}")
            m.d.comb += [own.eq(head.unit == UNITS.index(unit)), self.go[place].eq(self.started & own)]
            m.d.sync += busy.eq(Mux(busy == 0, 0, busy - 1))
            with m.If(self.go[place]):
                m.d.sync += busy.eq(hold - 1)
            waits.append(own & (busy != 0))
        return ~Cat(waits).any()

    def _tables(self, m: Module, head: data.View, hold: Signal, last: Signal) -> Value:
        """Whether Flex-SFU's table is there to be used, or to be loaded."""
        waits = []
        uses = head.unit == UNITS.index(Unit.FLEX_SFU)
        for bank in range(self.config.flex_sfu.banks if self.config.flex_sfu.enabled else 0):
            ready, read = (
                Signal(self.counter_bits, name=f"table_{bank}_{name}") for name in ("ready", "read")
            )
            own = head.index[0] == bank if self.config.flex_sfu.banks > 1 else Const(1)
            m.d.sync += [counter.eq(Mux(counter == 0, 0, counter - 1)) for counter in (ready, read)]
            until = hold + self.config.flex_sfu.levels
            with m.If(self.started & own & uses & (read < until)):
                m.d.sync += read.eq(until - 1)
            with m.If(self.started & own & head.table.any()):
                m.d.sync += ready.eq(last - 1)
            waits.append(
                own & (((uses | head.table.any()) & (ready != 0)) | (head.table.any() & (read != 0)))
            )
        return ~Cat(waits).any() if waits else Const(1)

    def _groups(
        self, m: Module, head: data.View, lmul: Signal, sizes: Mapping[str, Value], scoreboard: VectorScoreboard
    ) -> None:  # fmt: skip
        """The register groups of the operands."""
        for name, size in sizes.items():
            width, length = getattr(head, f"{name}_width"), Signal(signed(5), name=f"{name}_length")
            group = getattr(scoreboard, name)
            m.d.comb += [
                length.eq(lmul + size - self.sew),
                group.register.eq(getattr(head, name)),
                group.length.eq(Mux(length < 0, 0, length[:2])),
                group.present.eq(width != 0),
            ]
            with m.Switch(width), m.Case(*(WIDTHS.index(w) for w in (Width.MASK, *_FIRSTS))):
                m.d.comb += group.length.eq(0)
        m.d.comb += [
            scoreboard.result.eq(scoreboard.vd),
            scoreboard.result.present.eq(head.writes_vd),
        ]
        with m.If(~head.reads_vd):
            m.d.comb += scoreboard.vd.present.eq(0)

    def _bundle(
        self, m: Module, head: data.View, grid: Value, sizes: Mapping[str, Value], beats: Signal
    ) -> None:
        """What the unit gets to know."""
        start, single = self.start, head.rate == RATES.index(Rate.ONE)
        beat_log2 = exact_log2(self.config.vector.bits_per_clk // 8)
        m.d.comb += [
            start.control.eq(head.control),
            start.sew.eq(self.sew),
            start.altfmt.eq(self.altfmt),
            start.scalar.eq(head.scalar),
            start.index.eq(head.index),
            start.vl.eq(self.vl),
            start.beats.eq(beats),
            start.grid.eq(grid),
            start.rate.eq(head.rate),
            start.walk.eq(head.walk),
            start.masked.eq(head.reads_mask & head.masked),
            start.stores.eq(head.stores),
            start.table.eq(head.table),
            start.vd_bytes.eq(sizes["vd"]),
        ]
        for name, size in sizes.items():
            shift = getattr(start, f"{name}_shift")
            m.d.comb += [
                getattr(start, name).eq(getattr(head, name) << exact_log2(self.config.vector.register_beats)),
                shift.eq(Mux(single, beat_log2 - size, grid - size)),
            ]
            with m.Switch(getattr(head, f"{name}_width")):
                with m.Case(WIDTHS.index(Width.MASK)):
                    m.d.comb += shift.eq(Mux(single, beat_log2 + 3, 0))
                with m.Case(*(WIDTHS.index(w) for w in _FIRSTS)):
                    m.d.comb += shift.eq(FIXED)


_FIRSTS = (Width.FIRST, Width.FIRST_DOUBLE)
