"""The vector unit with its scratchpad and tags, as a design of its own."""

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from lanewise.config import MachineConfig
from lanewise.rtl.scratchpad import Scratchpad, read_signature, write_signature
from lanewise.rtl.tags import Tags
from lanewise.rtl.vector_sequencer import INSTRUCTION
from lanewise.rtl.vector_unit import LANDINGS, VectorUnit


class VectorHarness(wiring.Component):
    """Members: ``i`` (instructions), ``started``, ``landed``, ``illegal`` (as the unit's), ``fill`` and ``dump`` (the scratchpad's port)."""

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        count = config.dma.bytes_per_clk
        super().__init__({
            "i": In(stream.Signature(INSTRUCTION)), "started": Out(1), "landed": Out(len(LANDINGS)), "illegal": Out(1),
            "fill": In(write_signature(config, count)), "dump": In(read_signature(config, count)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.unit = unit = VectorUnit(self.config)
        m.submodules.scratchpad = scratchpad = Scratchpad(self.config)
        m.submodules.tags = tags = Tags(askers=1, reporters=2)
        connect(m, unit.i, flipped(self.i))
        connect(m, unit.read, scratchpad.vector_read)
        connect(m, unit.write, scratchpad.vector_write)
        connect(m, flipped(self.fill), scratchpad.dma_write)
        connect(m, flipped(self.dump), scratchpad.dma_read)
        m.d.comb += [
            tags.ask[0].request.eq(unit.request),
            tags.ask[0].writes.eq(unit.writes),
            unit.counted.eq(tags.ask[0].counted),
            tags.done[0].tag.eq(unit.read_tag),
            tags.done[0].read.eq(unit.has_read),
            tags.done[1].tag.eq(unit.write_tag),
            tags.done[1].wrote.eq(unit.has_written),
            self.started.eq(unit.started),
            self.landed.eq(unit.landed),
            self.illegal.eq(unit.illegal),
        ]
        return m
