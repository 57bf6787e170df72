"""The walker of the ALU: permutations read their beats out of order."""

from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import Out

from lanewise.rtl.vector_decoder import Walk
from lanewise.rtl.vector_sequencer import vl_bits
from lanewise.rtl.vector_walker import VectorWalker, thermometer


class VectorAluWalker(VectorWalker):
    """As :class:`VectorWalker`, and for slides, gathers and ``vcompress`` the words that they want.

    A slide reads two words that follow each other, the second by the port of ``vs1``. ``vrgather.vv`` reads an index by that
    port first; the element's word is read in the next clock, by ``gathered``.

    Members
    -------
    zero : ``Out(bytes)``
        Bytes of ``x``'s result that are zero: what comes from beyond the group's end.
    insert : ``Out(bytes)``
        Bytes of ``x``'s result that are the scalar's.
    gathers : ``Out(1)``
        ``x`` is an index.
    """

    def _further(self) -> dict[str, Any]:
        return {"zero": Out(self.beat_bytes), "insert": Out(self.beat_bytes), "gathers": Out(1)}

    def elaborate(self, platform: object) -> Elaboratable:
        m = super().elaborate(platform)
        assert isinstance(m, Module)
        self._words(m)
        self._results(m)
        return m

    def _offset(self, m: Module, beat: Value, name: str) -> tuple[Signal, Signal]:
        """Elements by which a slide moves, no more than there are; and the bytes."""
        offset, in_bytes = (
            Signal(vl_bits(self.config), name=name),
            Signal(vl_bits(self.config) + 2, name=f"{name}_bytes"),
        )
        one = (beat.walk == Walk.SLIDE_1_UP) | (beat.walk == Walk.SLIDE_1_DOWN)
        m.d.comb += [
            offset.eq(Mux(one, 1, Mux(beat.scalar < beat.limit, beat.scalar, beat.limit))),
            in_bytes.eq(offset << beat.sew),
        ]
        return offset, in_bytes

    def _words(self, m: Module) -> None:
        """The words to read."""
        read = self.read
        _, offset = self._offset(m, read, "read_offset")
        words, rest = offset >> self.beat_log2, offset[: self.beat_log2]
        straight = read.vs2 + read.beat
        with m.Switch(read.walk):
            with m.Case(Walk.SLIDE_DOWN, Walk.SLIDE_1_DOWN):
                m.d.comb += [self.vs2_word.eq(straight + words), read.position.eq(rest)]
            with m.Case(Walk.SLIDE_UP, Walk.SLIDE_1_UP):
                m.d.comb += [self.vs2_word.eq(straight - words - (rest != 0)), read.position.eq(-rest)]
            with m.Case(Walk.GATHER):
                m.d.comb += [self.vs2_word.eq(read.vs2 + words), read.position.eq(rest)]
        with m.If(_slides(read.walk)):
            m.d.comb += self.vs1_word.eq(self.vs2_word + 1)

    def _results(self, m: Module) -> None:
        """Where the results go."""
        x, size = self.x, self.beat_bytes
        offset, _ = self._offset(m, x, "offset")
        m.d.comb += self.gathers.eq(x.valid & (x.walk == Walk.GATHER_EACH))
        below, end = Signal(signed(vl_bits(self.config) + 2)), Signal(signed(vl_bits(self.config) + 2))
        m.d.comb += [below.eq(offset - x.element), end.eq(x.limit - offset - x.element)]
        elements = Signal(size)
        with m.Switch(x.walk):
            with m.Case(Walk.FIRST):
                m.d.comb += self.enable.eq(self._spread(Cat(self.active[0]), x.sew))
            with m.Case(Walk.SLIDE_UP):
                m.d.comb += self.enable.eq(self._spread(self.active & ~thermometer(below, size), x.sew))
            with m.Case(Walk.SLIDE_DOWN):
                m.d.comb += elements.eq(~thermometer(end, size))
            with m.Case(Walk.GATHER):
                m.d.comb += elements.eq((x.scalar >= x.limit).replicate(size))
            with m.Case(Walk.SLIDE_1_UP):
                m.d.comb += self.insert.eq(self._spread(Cat(x.first_beat), x.sew))
            with m.Case(Walk.SLIDE_1_DOWN):
                last = Cat(x.left == element + 1 for element in range(size))
                m.d.comb += self.insert.eq(self._spread(last, x.sew))
        m.d.comb += self.zero.eq(self._spread(elements, x.sew))

    def _spread(self, bits: Value, size: Value) -> Value:
        """A bit an element to a bit a byte."""
        padded = Cat(bits)
        ways = [
            Cat(padded[b >> k] if b >> k < len(padded) else 0 for b in range(self.beat_bytes))
            for k in range(3)
        ]
        return Mux(size == 0, ways[0], Mux(size == 1, ways[1], ways[2]))


def _slides(walk: Value) -> Value:
    return (
        (walk == Walk.SLIDE_DOWN)
        | (walk == Walk.SLIDE_1_DOWN)
        | (walk == Walk.SLIDE_UP)
        | (walk == Walk.SLIDE_1_UP)
    )
