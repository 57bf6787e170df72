"""DMA's write engine: scratchpad to external memory."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import DMA_PIPELINE_CLK, MachineConfig
from lanewise.rtl.axi import write_members
from lanewise.rtl.dma_walker import EXTERNAL_BITS, DmaWalker, beat_bits, descriptor_layout, queued_commands
from lanewise.rtl.scratchpad import read_signature

_BUFFERED_BEATS = 4
"""A beat is taken three clocks after its walk: one more, so that the room is known without looking at ``wready``."""


class DmaStore(wiring.Component):
    """Commands one after the other; a beat is read from the scratchpad, buffered and handed over; responses are counted.

    A command that is accepted in clock s, of n beats, reads the scratchpad in the clocks s + descriptor_clk to s + descriptor_clk + n - 1, and the
    next can be accepted the clock after. A burst's address is there the clock after its first beat is read, data two
    clocks after. ``read_last`` is 1 the clock after the last read. ``finished`` is 1 the clock after the command's last response: where memory
    gives it ``latency_clk - 4`` clocks after the last beat, in clock s + descriptor_clk + n + latency_clk - 2.
    Throughput a beat a clock, whatever the runs. Back-pressure: an address that is not taken, a full buffer (4 beats) or as many responses to
    come as can be counted hold the walker. Golden model: copies of bytes, as in the bench; clocks: :mod:`lanewise.sim.dma`.

    Members
    -------
    i : ``In(stream.Signature(descriptor_layout(config)))``
        Commands.
    read_last, finished, failed : ``Out(1)`` each
        The last byte of a command has been read from the scratchpad; its last response has come; a response has been an error
        since reset, or had another ID than 0.
    aw*, w*, b* : AXI4's write channels, :func:`~lanewise.rtl.axi.write_members`.
    read : ``Out(read_signature(config, bytes_per_clk))``
        To the scratchpad's port ``dma_read``.
    """

    i: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(descriptor_layout(config))),
            "read_last": Out(1),
            "finished": Out(1),
            "failed": Out(1),
            **write_members(config.dma.bytes_per_clk),
            "read": Out(read_signature(config, config.dma.bytes_per_clk)),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks of its own, from a beat's walk to ``finished``."""
        return DMA_PIPELINE_CLK

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config, count = self.config, self.config.dma.bytes_per_clk
        m.submodules.walker = walker = DmaWalker(
            config, external_bits=EXTERNAL_BITS, wait_clk=config.dma.descriptor_clk
        )
        m.submodules.buffer = buffer = fifo.SyncFIFO(width=9 * count + 1, depth=_BUFFERED_BEATS)
        wiring.connect(m, wiring.flipped(self.i), walker.i)

        # a beat is walked: its burst's address, its read, its place in the buffer
        address_free = ~self.awvalid | self.awready
        buffered, room, counted = Signal(range(_BUFFERED_BEATS + 1)), Signal(), Signal()
        taken = self.wvalid & self.wready
        m.d.comb += [
            room.eq(buffered != _BUFFERED_BEATS),
            walker.step.eq(walker.valid & room & counted & (address_free | ~walker.burst)),
            self.read.enable.eq(walker.step),
            self.read.address.eq(walker.lane),
            self.awsize.eq(beat_bits(config)),
            self.awburst.eq(1),
        ]
        with m.If(address_free):
            m.d.sync += [
                self.awvalid.eq(walker.step & walker.burst),
                self.awaddr.eq(walker.word),
                self.awlen.eq(walker.length),
            ]
        enable, last, arrives = Signal(count, reset_less=True), Signal(reset_less=True), Signal()
        m.d.sync += [
            buffered.eq(buffered + walker.step - taken),
            enable.eq(walker.enable),
            last.eq(walker.burst_last),
            arrives.eq(walker.step),
            self.read_last.eq(walker.step & walker.last),
        ]
        m.d.comb += [
            buffer.w_en.eq(arrives),
            buffer.w_data.eq(Cat(self.read.data, enable, last)),
            buffer.r_en.eq(taken),
            self.wvalid.eq(buffer.r_rdy),
            Cat(self.wdata, self.wstrb, self.wlast).eq(buffer.r_data),
        ]
        self._responses(m, walker, counted)
        return m

    def _responses(self, m: Module, walker: DmaWalker, counted: Signal) -> None:
        """A command has finished when as many responses have come as bursts had been issued at its end."""
        bits = (self.config.dma.latency_clk + 4).bit_length()
        issued, received, after = Signal(bits), Signal(bits), Signal(bits)
        m.submodules.ends = ends = fifo.SyncFIFO(width=bits, depth=queued_commands(self.config))
        outstanding = Signal(bits)
        m.d.comb += [
            after.eq(issued + walker.burst),
            outstanding.eq(issued - received),
            counted.eq((~outstanding.all() | ~walker.burst) & (ends.w_rdy | ~walker.last)),
            ends.w_en.eq(walker.step & walker.last),
            ends.w_data.eq(after),
            self.bready.eq(1),
            self.finished.eq(ends.r_rdy & (ends.r_data == received)),
            ends.r_en.eq(self.finished),
        ]
        with m.If(walker.step):
            m.d.sync += issued.eq(after)
        with m.If(self.bvalid):
            m.d.sync += [
                received.eq(received + 1),
                self.failed.eq(self.failed | self.bresp.any() | self.bid.any()),
            ]
