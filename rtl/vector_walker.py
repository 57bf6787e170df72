"""Steps a vector unit through the beats of its instruction."""

from typing import Any

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from lanewise.config import MachineConfig
from lanewise.isa.operations import Rate
from lanewise.rtl.delay_line import delayed
from lanewise.rtl.vector_decoder import RATES, Controls
from lanewise.rtl.vector_sequencer import start_layout, vl_bits


def beat_layout(config: MachineConfig, controls: Controls) -> data.StructLayout:
    """A beat whose operands are in the operand registers: the instruction's fields, and where the beat stands."""
    start = start_layout(config, controls)
    kept = ("control", "sew", "altfmt", "scalar", "stride", "index", "vl", "limit", "beats", "vd", "vs2", "vd_bytes", "grid", "rate", "walk", "masked",
            "stores", "table", "tag")  # fmt: skip
    beat_bytes = config.vector.bits_per_clk // 8
    return data.StructLayout({
        **{name: start[name].shape for name in kept},
        "valid": 1, "first_beat": 1, "last_beat": 1, "beat": vl_bits(config),
        "element": vl_bits(config), "left": vl_bits(config), "word": start["vd"].shape, "position": range(beat_bytes),
    })  # fmt: skip


class VectorWalker(wiring.Component):
    """Gives the words to read in one clock, and what is to be done with them in the next.

    ``go`` at clock s: beat j is read in clock s + 1 + j and is on ``x`` in clock s + 2 + j, beside its operands. No stalls: the
    sequencer starts an instruction when the one before has given its last beat.

    Members
    -------
    go : ``In(1)``
        ``start`` is this unit's.
    start : ``In(start_layout(config, controls))``
    vs2_word, vs1_word, vd_word : ``Out``
        Words of the operands to read.
    mask_offset : ``Out``
        Bits of v0 to read.
    read : ``Out(beat_layout(config, controls))``
        The beat that is being read; ``valid`` says whether there is one.
    x : ``Out(beat_layout(config, controls))``
        The beat whose operands have been read.
    mask : ``In(bytes)``
        Bits of v0 that belong to ``x``.
    active : ``Out(bytes)``
        Bit e: element e of ``x`` is inside vl and not masked off.
    enable : ``Out(bytes)``
        Bytes of the word ``x.word`` that the beat's results go to.
    """

    def __init__(self, config: MachineConfig, controls: Controls) -> None:
        self.config, self.controls = config, controls
        vector = config.vector
        self.beat_bytes = vector.bits_per_clk // 8
        self.beat_log2 = exact_log2(self.beat_bytes)
        word = start_layout(config, controls)["vd"].shape
        beat = beat_layout(config, controls)
        super().__init__({
            "go": In(1), "start": In(start_layout(config, controls)), "vs2_word": Out(word), "vs1_word": Out(word),
            "vd_word": Out(word), "mask_offset": Out(range(vector.vlen_bits // vector.lanes)), "read": Out(beat), "x": Out(beat),
            "mask": In(self.beat_bytes), "active": Out(self.beat_bytes), "enable": Out(self.beat_bytes),
            **self._further(),
        })  # fmt: skip

    def _further(self) -> dict[str, Any]:
        """Members that a unit's own walker adds."""
        return {}

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        held = Signal(self.start.shape(), reset_less=True)
        running, beat = Signal(), Signal(vl_bits(self.config), reset_less=True)
        read = self.read
        one = held.rate == RATES.index(Rate.ONE)
        for name in beat_layout(self.config, self.controls).members:
            if name in held.shape().members:
                m.d.comb += getattr(read, name).eq(getattr(held, name))
        m.d.comb += [
            read.valid.eq(running),
            read.beat.eq(beat),
            read.first_beat.eq(beat == 0),
            read.last_beat.eq(beat == held.beats - 1),
            read.element.eq((beat << self.beat_log2) >> held.grid),
            read.left.eq(held.vl - read.element),
            read.word.eq(held.vd + (beat >> held.vd_shift)),
            read.position.eq(beat << held.grid),
            self.vs2_word.eq(held.vs2 + (beat >> held.vs2_shift)),
            self.vs1_word.eq(held.vs1 + (beat >> held.vs1_shift)),
            self.vd_word.eq(read.word),
            self.mask_offset.eq(read.element >> exact_log2(self.config.vector.lanes)),
        ]
        with m.If(one):
            m.d.comb += read.element.eq(beat)
        with m.If(held.rate == RATES.index(Rate.MASK)):
            m.d.comb += read.element.eq(beat << (self.beat_log2 + 3))
        m.d.sync += [beat.eq(beat + 1), self.x.eq(read)]
        with m.If(running & read.last_beat):
            m.d.sync += running.eq(0)
        with m.If(self.go):
            m.d.sync += [held.eq(self.start), running.eq(1), beat.eq(0)]
        self._elements(m)
        return m

    def _elements(self, m: Module) -> None:
        """Which elements of ``x`` take part, and which bytes their results are."""
        x, lanes = self.x, self.config.vector.lanes
        one = x.rate == RATES.index(Rate.ONE)
        allowed = Signal(self.beat_bytes)
        m.d.comb += allowed.eq(self.mask | (~x.masked).replicate(self.beat_bytes))
        with m.If(one):
            bit = self.mask.bit_select(x.element[: exact_log2(lanes)], 1) if lanes > 1 else self.mask[0]
            m.d.comb += allowed.eq(bit | ~x.masked)
        m.d.comb += self.active.eq(
            allowed & thermometer(x.left, self.beat_bytes) & x.valid.replicate(self.beat_bytes)
        )
        spread = Signal(self.beat_bytes)
        with m.Switch(x.vd_bytes):
            for size in range(3):
                with m.Case(size):
                    m.d.comb += spread.eq(Cat(self.active[byte >> size] for byte in range(self.beat_bytes)))
        half = self.beat_bytes // 2
        m.d.comb += self.enable.eq(spread)
        with m.If(one):
            m.d.comb += self.enable.eq(
                self.bytes_at(x.position, x.vd_bytes) & self.active[0].replicate(self.beat_bytes)
            )
        with m.Elif(x.grid != x.vd_bytes):  # a result of half the width
            m.d.comb += self.enable.eq(Mux(x.beat[0], Cat(Const(0, half), spread[:half]), spread[:half]))

    def bytes_at(self, position: Value, size: Value) -> Value:
        """The bytes of an element (``size``: log2 of its bytes) at ``position`` of a word."""
        element = Cat(Const(1, 1), size != 0, size[1].replicate(2))
        return (element << position)[: self.beat_bytes]


def follow(m: Module, walker: VectorWalker, unit: Any) -> None:
    """Connect a unit's ``go``, ``start``, ``mask`` and ``mask_offset`` to its walker."""
    m.d.comb += [
        walker.go.eq(unit.go),
        walker.start.eq(unit.start),
        walker.mask.eq(unit.mask),
        unit.mask_offset.eq(walker.mask_offset),
    ]


def land(m: Module, walker: VectorWalker, unit: Any, data: Value, clocks: int) -> None:
    """Write ``data``, which is there ``clocks`` clocks after its operands, where the beat's results go: a unit's ``word``,
    ``enable``, ``data`` and ``landed``."""
    x, size = walker.x, walker.beat_bytes
    place = delayed(m, Cat(walker.enable, x.valid & x.last_beat, x.word), clocks, "place")
    m.d.comb += [
        unit.enable.eq(place[:size]),
        unit.landed.eq(place[size]),
        unit.word.eq(place[size + 1 :]),
        unit.data.eq(data),
    ]


def thermometer(count: Value, bits: int) -> Value:
    """As many ones as ``count``, from bit 0 on, at most ``bits``."""
    return Cat(count > bit for bit in range(bits))
