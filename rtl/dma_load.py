"""DMA's read engine: external memory to scratchpad."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import DMA_PIPELINE_CLK, MachineConfig
from lanewise.rtl.axi import read_members
from lanewise.rtl.dma_walker import (
    EXTERNAL_BITS,
    DmaWalker,
    beat_bits,
    descriptor_layout,
    queued_commands,
)
from lanewise.rtl.scratchpad import write_signature


class DmaLoad(wiring.Component):
    """Commands one after the other, requests ahead of data without a limit of their own, data in the order of requests.

    Two walkers have the same commands: one asks for the bursts, a beat of each a clock whether or not it asks; the other one has the
    next beat ready when data comes, and takes it into the scratchpad. So nothing is kept for a burst on its way,
    only commands: as many as are on their way while external memory has the config's latency.

    A command that is accepted in clock s, of n beats, asks for its first burst in clock s + descriptor_clk + 1. The next can be accepted in
    clock s + descriptor_clk + n. Data that comes in clock r is in the scratchpad at the end of clock r + 2. ``finished`` is 1 in that clock for the
    command's last beat: where memory answers ``latency_clk - 4`` clocks after the request, in clock s + descriptor_clk + n + latency_clk - 2.
    Throughput a beat a clock, whatever the runs. Back-pressure: a request that is not taken holds the walker.
    Golden model: copies of bytes, as in the bench; clocks: :mod:`lanewise.sim.dma`.

    Members
    -------
    i : ``In(stream.Signature(descriptor_layout(config)))``
        Commands.
    finished, failed : ``Out(1)``, ``Out(1)``
        The last byte of a command is in the scratchpad at the end of this clock; data has come since reset
        with an error, with another ID than 0, or for a run's end without a burst's.
    ar*, r* : AXI4's read channels, :func:`~lanewise.rtl.axi.read_members`.
    write : ``Out(write_signature(config, bytes_per_clk))``
        To the scratchpad's port ``dma_write``.
    """

    i: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(descriptor_layout(config))),
            "finished": Out(1),
            "failed": Out(1),
            **read_members(config.dma.bytes_per_clk),
            "write": Out(write_signature(config, config.dma.bytes_per_clk)),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks of its own, from a beat's walk to the end of its write."""
        return DMA_PIPELINE_CLK

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config, low = self.config, beat_bits(self.config)
        m.submodules.requests = requests = DmaWalker(
            config, external_bits=EXTERNAL_BITS, wait_clk=config.dma.descriptor_clk
        )
        m.submodules.beats = beats = DmaWalker(config, external_bits=low, wait_clk=1)
        layout = descriptor_layout(config, low)
        m.submodules.commands = commands = fifo.SyncFIFO(width=layout.size, depth=queued_commands(config))

        m.d.comb += [
            self.i.ready.eq(requests.i.ready & commands.w_rdy),
            requests.i.valid.eq(self.i.valid & commands.w_rdy),
            requests.i.payload.eq(self.i.payload),
            commands.w_en.eq(self.i.valid & requests.i.ready),
            commands.w_data.eq(Cat(*(self.i.p[name][: field.width] for name, field in layout))),
            beats.i.valid.eq(commands.r_rdy),
            commands.r_en.eq(beats.i.ready),
            beats.i.payload.eq(commands.r_data),
        ]

        free = ~self.arvalid | self.arready
        m.d.comb += [
            requests.step.eq(requests.valid & (free | ~requests.burst)),
            self.arsize.eq(low),
            self.arburst.eq(1),
        ]
        with m.If(free):
            m.d.sync += [
                self.arvalid.eq(requests.valid & requests.burst),
                self.araddr.eq(requests.word),
                self.arlen.eq(requests.length),
            ]

        last, wrong = Signal(), Signal()
        m.d.comb += wrong.eq(self.rresp.any() | self.rid.any() | (beats.burst_last & ~self.rlast))
        m.d.comb += [self.rready.eq(beats.valid), beats.step.eq(beats.valid & self.rvalid)]
        m.d.sync += [
            self.write.enable.eq(Mux(beats.step, beats.enable, 0)),
            self.write.address.eq(beats.lane),
            self.write.data.eq(self.rdata),
            last.eq(beats.step & beats.last),
            self.finished.eq(last),
            self.failed.eq(self.failed | (beats.step & wrong)),
        ]
        return m
