"""The ALU of the vector unit: walker, one-clock datapath, reductions, and what becomes of their results."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from lanewise.config import MachineConfig
from lanewise.rtl.delay_line import delayed
from lanewise.rtl.vector_alu import CONTROL, VectorAlu
from lanewise.rtl.vector_alu_walker import VectorAluWalker
from lanewise.rtl.vector_decoder import Controls, Walk
from lanewise.rtl.vector_reduction import CONTROL as REDUCTION_CONTROL
from lanewise.rtl.vector_reduction import VectorReduction
from lanewise.rtl.vector_walker import follow, thermometer


class VectorAluUnit(wiring.Component):
    """Instructions of the unit ``vector_alu``. Latencies and clocks: ``docs/core.md``. No stalls.

    Golden model: :class:`lanewise.models.vector_machine.VectorMachine`.

    Members
    -------
    go, start : ``In``
        As of :class:`~lanewise.rtl.vector_walker.VectorWalker`.
    a_word, b_word, mask_offset : ``Out``
        Words and mask bits to read.
    a, b, mask : ``In``
        What was read, a clock later.
    word, enable, data : ``Out``
        A word to write.
    first_word, first_enable, first_data : ``Out``
        Element 0 of a reduction's result.
    landed, reduced : ``Out(1)``
        The last beat of an instruction is written, a reduction's result is.
    """

    def __init__(self, config: MachineConfig, controls: Controls) -> None:
        self.config = config
        self._walker = walker = VectorAluWalker(config, controls)
        bits, size = config.vector.bits_per_clk, config.vector.bits_per_clk // 8
        word = walker.vs2_word.shape()
        super().__init__({
            "go": In(1), "start": In(walker.start.shape()), "a_word": Out(word), "b_word": Out(word),
            "mask_offset": Out(walker.mask_offset.shape()), "a": In(bits), "b": In(bits), "mask": In(size),
            "word": Out(word), "enable": Out(size), "data": Out(bits),
            "first_word": Out(word), "first_enable": Out(4), "first_data": Out(32), "landed": Out(1), "reduced": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.walker = walker = self._walker
        x = walker.x
        follow(m, walker, self)
        m.d.comb += [
            self.a_word.eq(walker.vs2_word),
            self.b_word.eq(walker.vs1_word),
        ]
        layout = data.StructLayout({
            "beat": x.shape(), "enable": len(walker.enable), "zero": len(walker.zero), "insert": len(walker.insert),
            "active": len(walker.active),
        })  # fmt: skip
        beat = Signal(layout)
        m.d.comb += [
            beat.beat.eq(x),
            beat.enable.eq(walker.enable),
            beat.zero.eq(walker.zero),
            beat.insert.eq(walker.insert),
            beat.active.eq(walker.active),
        ]
        with m.If((x.walk == Walk.GATHER_EACH) | (x.walk == Walk.REDUCE)):
            m.d.comb += beat.beat.valid.eq(0)
        self._compress(m, x, beat)
        late = self._gather(m, x, beat)
        chosen = Signal(layout)
        m.d.comb += chosen.eq(Mux(late.beat.valid, late, beat))

        m.submodules.alu = alu = VectorAlu(self.config.vector.lanes)
        now = chosen.beat
        m.d.comb += [
            alu.control.eq(now.control[: CONTROL.size]),
            alu.sew.eq(now.sew),
            alu.altfmt.eq(now.altfmt),
            alu.part.eq(now.beat[:3]),
            alu.index.eq(now.element),
            alu.a.eq(self.a),
            alu.b.eq(self.b),
            alu.scalar.eq(now.scalar),
            alu.mask.eq(self.mask),
            alu.position.eq(now.position),
        ]
        w = Signal(layout, reset_less=True)
        valid = Signal()
        m.d.sync += [w.eq(chosen), valid.eq(chosen.beat.valid)]
        m.d.comb += self.landed.eq(valid & w.beat.last_beat)
        self._write(m, w, valid, alu)
        self._reduce(m, x, walker.active)
        return m

    def _compress(self, m: Module, x: data.View, beat: data.View) -> None:
        """``vcompress``: each element whose bit is set goes behind those before."""
        log2 = exact_log2(self.config.vector.bits_per_clk // 8)
        kept = Signal(x.element.shape())
        count = Signal.like(kept)
        m.d.comb += count.eq(Mux(x.first_beat, 0, kept))
        keeps = self.b.bit_select(x.element[: log2 + 3], 1) & x.valid & beat.active[0]
        place = Signal(len(count) + 2)
        m.d.comb += place.eq(count << x.sew)
        with m.If(x.walk == Walk.COMPRESS):
            m.d.sync += kept.eq(count + keeps)
            m.d.comb += [
                beat.beat.word.eq(x.vd + (place >> log2)),
                beat.enable.eq(
                    self._walker.bytes_at(place[:log2], x.sew) & keeps.replicate(len(beat.enable))
                ),
            ]

    def _gather(self, m: Module, x: data.View, beat: data.View) -> data.View:
        """``vrgather.vv``: the index is an operand now, its element will be one in the next clock."""
        log2 = exact_log2(self.config.vector.bits_per_clk // 8)
        late = Signal.like(beat, name="late")
        element = self.b >> (x.position << 3)
        index, place = Signal(32), Signal(34)
        m.d.comb += [
            index.eq(Mux(x.sew == 0, element[:8], Mux(x.sew == 1, element[:16], element[:32]))),
            place.eq(index << x.sew),
        ]
        with m.If(self._walker.gathers):
            m.d.comb += self.a_word.eq(x.vs2 + (place >> log2))
        m.d.sync += [
            late.eq(beat),
            late.beat.valid.eq(self._walker.gathers),
            late.beat.position.eq(place[:log2]),
            late.zero.eq((index >= x.limit).replicate(len(late.zero))),
        ]
        return late

    # Results

    def _write(self, m: Module, w: data.View, valid: Signal, alu: VectorAlu) -> None:
        """What is written of the datapath's result."""
        size, beat = len(self.enable), w.beat
        on = valid.replicate(size)
        scalar = [
            beat.scalar[:8].replicate(size),
            beat.scalar[:16].replicate(size // 2),
            beat.scalar.replicate(size // 4),
        ]
        inserted = Mux(beat.sew == 0, scalar[0], Mux(beat.sew == 1, scalar[1], scalar[2]))
        zero, insert = (Cat(bit.replicate(8) for bit in bits) for bits in (w.zero, w.insert))
        m.d.comb += [
            self.word.eq(beat.word),
            self.enable.eq(w.enable & on),
            self.data.eq((alu.y & ~zero & ~insert) | (inserted & insert)),
        ]
        with m.If(beat.walk == Walk.LOGIC):
            bits = 8 * size
            inside = thermometer(beat.left, bits)
            m.d.comb += [
                self.data.eq(alu.y | ~inside),
                self.enable.eq(Cat(beat.left > 8 * byte for byte in range(size)) & on),
            ]
        with m.If(beat.walk == Walk.COMPARE):
            self._write_bits(m, w, on, alu.bits)

    def _write_bits(self, m: Module, w: data.View, on: Value, bits: Value) -> None:
        """A compare's bits: whole bytes; ones where an element takes no part or is not there yet."""
        size, beat = len(self.enable), w.beat
        log2 = exact_log2(size)
        result = bits | ~w.active
        open_byte = Signal(8)
        m.d.comb += self.word.eq(beat.vd + (beat.element >> (log2 + 3)))
        position = beat.element[3 : log2 + 3]
        with m.Switch(beat.grid):
            for grid in range(3):
                count = size >> grid  # elements of a beat
                with m.Case(grid):
                    if count >= 8:
                        bytes_ = thermometer((beat.left + 7) >> 3, count // 8)
                        m.d.comb += [
                            self.data.eq(result[:count].replicate(8 * size // count)),
                            self.enable.eq((bytes_ << position)[:size] & on),
                        ]
                    else:
                        place = beat.element[:3]
                        byte = Signal(8, name=f"byte_{grid}")
                        below = thermometer(place, 8)
                        ones = Cat(result[:count], Const(255, 8))
                        # a byte is written whole: it may be of the mask that the next beats still read
                        full = (place == 8 - count) | beat.last_beat
                        m.d.comb += [
                            byte.eq((open_byte & below) | ((ones << place)[:8] & ~below)),
                            self.data.eq(byte.replicate(size)),
                            self.enable.eq(
                                (Const(1, 1) << position)[:size]
                                & on
                                & (full & (beat.left != 0)).replicate(size)
                            ),
                        ]
                        m.d.sync += open_byte.eq(byte)

    def _reduce(self, m: Module, x: data.View, active: Value) -> None:
        """Reductions: their own pipeline, a result at its end."""
        m.submodules.reduction = reduction = VectorReduction(self.config.vector)
        reduces = x.valid & (x.walk == Walk.REDUCE)
        m.d.comb += [
            reduction.valid.eq(reduces),
            reduction.last.eq(x.last_beat),
            reduction.control.eq(x.control[: REDUCTION_CONTROL.size]),
            reduction.sew.eq(x.sew),
            reduction.altfmt.eq(x.altfmt),
            reduction.part.eq(x.beat[:3]),
            reduction.a.eq(self.a),
            reduction.active.eq(active[: self.config.vector.lanes]),
            reduction.start.eq(self.b[:32]),
        ]
        there = reduces & x.last_beat
        enable = Cat(Const(1, 1), x.vd_bytes != 0, x.vd_bytes[1].replicate(2)) & (x.vl != 0).replicate(4)
        note = delayed(m, Cat(enable, there, x.vd), self.config.vector.reduction_latency_clk - 2, "reduced")
        m.d.comb += [
            self.reduced.eq(note[4]),
            self.first_word.eq(note[5:]),
            self.first_enable.eq(note[:4] & note[4].replicate(4)),
            self.first_data.eq(reduction.y),
        ]
