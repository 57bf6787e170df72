"""DMA between external memory and scratchpad, with an AXI4 manager port."""

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import DMA_PIPELINE_CLK, MachineConfig
from lanewise.rtl.axi import read_members, write_members
from lanewise.rtl.dma_load import DmaLoad
from lanewise.rtl.dma_store import DmaStore
from lanewise.rtl.dma_walker import descriptor_layout
from lanewise.rtl.scratchpad import read_signature, write_signature

AXI_PREFIX = "m_axi"
"""Of the names of the bus's signals, as in ``m_axi_araddr``."""


class Dma(wiring.Component):
    """A read engine and a write engine that know nothing of each other: what shares bytes is kept in order by tags.

    Bursts are of whole words of ``bytes_per_clk`` bytes at addresses that are multiples of it, incrementing, of at most 256 beats, and never
    cross a multiple of 4096; of what a run does not touch of its words a load writes nothing to the scratchpad, and a store
    has no strobe. One ID; everything in order. Addresses, strides and lengths of commands are of bytes, on both sides; scratchpad addresses are modulo its
    size (strides smaller than it, if that is no power of two). ``runs`` and ``run_bytes`` are at least 1.

    A command that is accepted in clock s holds its engine for ``beats`` = descriptor_clk + n clocks, n the words that its runs touch, each run's
    counted. Where memory takes requests and data at once, answers a read's first beat ``latency_clk - 4`` clocks after its request and then a
    beat a clock, and responds ``latency_clk - 4`` clocks after the last beat of a burst, ``finished`` is 1 in clock
    s + beats + latency_clk - 2: a count that goes up with it lets a reader start ``latency_clk + beats - 1`` clocks after s. Four clocks of
    the latency are the engine's own. Of slower memory nothing is lost.
    Throughput a beat a clock in each direction. Back-pressure: ready/valid. Golden model: copies of bytes, as in the bench; clocks: :mod:`lanewise.sim.dma`.

    Members
    -------
    load, store : ``In(stream.Signature(descriptor_layout(config)))``
        Commands: ``external``, ``scratch``, ``runs``, ``run_bytes``, ``external_stride``, ``scratch_stride``.
    load_started, store_started : ``Out(1)``
        A command is accepted in this clock.
    load_finished, store_finished : ``Out(1)``
        A command's last byte is in the scratchpad at the end of this clock; its last response has come.
    store_read : ``Out(1)``
        A store's last byte has been read from the scratchpad: clock s + beats, without stalls.
    failed : ``Out(1)``
        Since reset, memory has answered with an error, another ID than 0, or a read without a last beat.
    m_axi_* : AXI4, :func:`~lanewise.rtl.axi.read_members` and :func:`~lanewise.rtl.axi.write_members`.
    write, read : ``Out(write_signature(config, bytes_per_clk))``, ``Out(read_signature(config, bytes_per_clk))``
        To the scratchpad's ports ``dma_write`` and ``dma_read``.
    """

    load: stream.Interface
    store: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        count = config.dma.bytes_per_clk
        bus = read_members(count) | write_members(count)
        super().__init__({
            "load": In(stream.Signature(descriptor_layout(config))),
            "store": In(stream.Signature(descriptor_layout(config))),
            **{f"{side}_{event}": Out(1) for side in ("load", "store") for event in ("started", "finished")},
            "store_read": Out(1),
            "failed": Out(1),
            **{f"{AXI_PREFIX}_{name}": member for name, member in bus.items()},
            "write": Out(write_signature(config, count)),
            "read": Out(read_signature(config, count)),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks of its own; external memory's come on top."""
        return DMA_PIPELINE_CLK

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        count = self.config.dma.bytes_per_clk
        m.submodules.load = load = DmaLoad(self.config)
        m.submodules.store = store = DmaStore(self.config)
        for side, engine, members in (
            (self.load, load, read_members(count)), (self.store, store, write_members(count)),
        ):  # fmt: skip
            wiring.connect(m, wiring.flipped(side), engine.i)
            for name, member in members.items():
                inner, outer = getattr(engine, name), getattr(self, f"{AXI_PREFIX}_{name}")
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        wiring.connect(m, load.write, wiring.flipped(self.write))
        wiring.connect(m, store.read, wiring.flipped(self.read))
        m.d.comb += [
            self.load_started.eq(self.load.valid & self.load.ready),
            self.store_started.eq(self.store.valid & self.store.ready),
            self.load_finished.eq(load.finished),
            self.store_finished.eq(store.finished),
            self.store_read.eq(store.read_last),
            self.failed.eq(load.failed | store.failed),
        ]
        return m
