"""The multiply-add unit of the vector unit: walker and datapath."""

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import MachineConfig
from lanewise.rtl.vector_decoder import Controls
from lanewise.rtl.vector_fma import CONTROL, VectorFma
from lanewise.rtl.vector_walker import VectorWalker, follow, land


class VectorFmaUnit(wiring.Component):
    """Instructions of the unit ``vector_fma``. Latencies and clocks: ``docs/core.md``. No stalls.

    Golden model: :class:`lanewise.models.vector_machine.VectorMachine`.

    Members
    -------
    go, start : ``In``
        As of :class:`~lanewise.rtl.vector_walker.VectorWalker`.
    a_word, b_word, c_word, mask_offset : ``Out``
        Words and mask bits to read.
    a, b, c, mask : ``In``
        What was read, a clock later.
    word, enable, data : ``Out``
        A word to write.
    landed : ``Out(1)``
        The last beat of an instruction is written.
    """

    def __init__(self, config: MachineConfig, controls: Controls) -> None:
        self.config = config
        self._walker = walker = VectorWalker(config, controls)
        bits, size = config.vector.bits_per_clk, config.vector.bits_per_clk // 8
        word = walker.vs2_word.shape()
        super().__init__({
            "go": In(1), "start": In(walker.start.shape()), **{f"{name}_word": Out(word) for name in "abc"},
            "mask_offset": Out(walker.mask_offset.shape()), **{name: In(bits) for name in "abc"}, "mask": In(size),
            "word": Out(word), "enable": Out(size), "data": Out(bits), "landed": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.walker = walker = self._walker
        m.submodules.fma = fma = VectorFma(lanes=self.config.vector.lanes)
        x = walker.x
        follow(m, walker, self)
        m.d.comb += [
            self.a_word.eq(walker.vs2_word),
            self.b_word.eq(walker.vs1_word),
            self.c_word.eq(walker.vd_word),
            fma.control.eq(x.control[: CONTROL.size]),
            fma.sew.eq(x.sew),
            fma.altfmt.eq(x.altfmt),
            fma.part.eq(x.beat[:3]),
            fma.a.eq(self.a),
            fma.b.eq(self.b),
            fma.c.eq(self.c),
            fma.scalar.eq(x.scalar),
        ]
        land(m, walker, self, fma.y, fma.latency_clk)
        return m
