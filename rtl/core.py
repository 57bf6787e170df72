"""The core: vector unit, scratchpad, DMA, and the tags that keep them in step."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from lanewise.config import MachineConfig
from lanewise.rtl.axi import read_members, write_members
from lanewise.rtl.dma import AXI_PREFIX, Dma
from lanewise.rtl.dma_walker import descriptor_layout, queued_commands
from lanewise.rtl.scratchpad import Scratchpad
from lanewise.rtl.tags import REQUEST, TAGS, Tags
from lanewise.rtl.vector_sequencer import INSTRUCTION
from lanewise.rtl.vector_unit import LANDINGS, VectorUnit

_ON_THE_WAY = 4
"""DMA commands beyond those that its own queue holds: asked for, walked, and two whose last bytes are being written."""


def command_layout(config: MachineConfig) -> data.StructLayout:
    """A DMA command and what it waits for."""
    return data.StructLayout({"descriptor": descriptor_layout(config), "request": REQUEST})


class Core(wiring.Component):
    """The streams ``vector``, ``load`` and ``store`` of ``docs/core.md``.

    An instruction that is accepted can start in the next clock. Back-pressure: each stream's ready/valid. Golden model:
    :class:`lanewise.models.vector_machine.VectorMachine` and copies of bytes; clocks: :mod:`lanewise.sim.engine`.

    Members
    -------
    vector : ``In(stream.Signature(INSTRUCTION))``
    load, store : ``In(stream.Signature(command_layout(config)))``
    m_axi_* : AXI4 to external memory.
    started : ``Out(3)``
        An instruction of ``vector``, ``load``, ``store`` starts in this clock.
    landed : ``Out(len(LANDINGS))``
        For each unit of the vector unit, see :class:`~lanewise.rtl.vector_unit.VectorUnit`.
    load_free : ``Out(1)``
        The load engine could take a command.
    load_finished, store_read, store_finished : ``Out(1)``
        As of :class:`~lanewise.rtl.dma.Dma`.
    failed : ``Out(2)``
        Since reset: a word was no instruction of the table; external memory answered with an error.
    """

    vector: stream.Interface
    load: stream.Interface
    store: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        bus = read_members(config.dma.bytes_per_clk) | write_members(config.dma.bytes_per_clk)
        super().__init__({
            "vector": In(stream.Signature(INSTRUCTION)),
            "load": In(stream.Signature(command_layout(config))),
            "store": In(stream.Signature(command_layout(config))),
            **{f"{AXI_PREFIX}_{name}": member for name, member in bus.items()},
            "started": Out(3), "landed": Out(len(LANDINGS)), "load_free": Out(1), "load_finished": Out(1), "store_read": Out(1),
            "store_finished": Out(1), "failed": Out(2),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config = self.config
        m.submodules.vector_unit = unit = VectorUnit(config)
        m.submodules.scratchpad = scratchpad = Scratchpad(config)
        m.submodules.dma = dma = Dma(config)
        m.submodules.tags = tags = Tags(askers=3, reporters=4)
        connect(m, unit.i, flipped(self.vector))
        connect(m, unit.read, scratchpad.vector_read)
        connect(m, unit.write, scratchpad.vector_write)
        connect(m, dma.read, scratchpad.dma_read)
        connect(m, dma.write, scratchpad.dma_write)
        for name, member in (
            read_members(config.dma.bytes_per_clk) | write_members(config.dma.bytes_per_clk)
        ).items():
            inner, outer = getattr(dma, f"{AXI_PREFIX}_{name}"), getattr(self, f"{AXI_PREFIX}_{name}")
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        ask, done = tags.ask, tags.done
        m.d.comb += [
            ask[0].request.eq(unit.request),
            ask[0].writes.eq(unit.writes),
            unit.counted.eq(ask[0].counted),
            done[0].tag.eq(unit.read_tag),
            done[0].read.eq(unit.has_read),
            done[1].tag.eq(unit.write_tag),
            done[1].wrote.eq(unit.has_written),
            self.landed.eq(unit.landed),
            self.load_free.eq(dma.load.ready),
            self.load_finished.eq(dma.load_finished),
            self.store_read.eq(dma.store_read),
            self.store_finished.eq(dma.store_finished),
            self.failed.eq(Cat(unit.illegal, dma.failed)),
            ask[1].writes.eq(1),
            done[2].wrote.eq(dma.load_finished),
            done[3].read.eq(dma.store_read),
        ]
        load_starts = self._issue(m, "load", dma.load, ask[1], dma.load_finished, done[2].tag)
        store_starts = self._issue(m, "store", dma.store, ask[2], dma.store_read, done[3].tag)
        m.d.comb += self.started.eq(Cat(unit.started, load_starts, store_starts))
        return m

    def _issue(
        self, m: Module, name: str, engine: stream.Interface, ask: wiring.PureInterface, finished: Signal, tag: Signal
    ) -> Signal:  # fmt: skip
        """Hold a stream's next command until its counts are reached; keep the tags of those that have started."""
        outer = getattr(self, name)
        head, waiting = (
            Signal(command_layout(self.config), name=f"{name}_head", reset_less=True),
            Signal(name=f"{name}_waiting"),
        )
        starts = Signal(name=f"{name}_starts")
        depth = queued_commands(self.config) + _ON_THE_WAY
        m.submodules[f"{name}_tags"] = tags = fifo.SyncFIFO(width=(TAGS - 1).bit_length(), depth=depth)
        go = waiting & ask.counted & tags.w_rdy
        m.d.comb += [
            ask.request.eq(head.request),
            engine.valid.eq(go),
            engine.payload.eq(head.descriptor),
            starts.eq(go & engine.ready),
            outer.ready.eq(~waiting | starts),
            tags.w_data.eq(head.request.tag),
            tags.w_en.eq(starts),
            tags.r_en.eq(finished),
            tag.eq(tags.r_data),
        ]
        with m.If(outer.ready):
            m.d.sync += [waiting.eq(outer.valid), head.eq(outer.payload)]
        return starts
