"""The beats of a DMA command, one a clock."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import MachineConfig
from lanewise.rtl.scratchpad import address_bits, moved

EXTERNAL_BITS = 40
"""Of an external address."""
RUNS_BITS, RUN_BYTES_BITS, SCRATCH_STRIDE_BITS = 20, 24, 32
MAX_BURST_BEATS = 256
PAGE_BYTES = 4096
"""No burst of AXI4 crosses a multiple of it, nor has more than 256 beats."""


def descriptor_layout(config: MachineConfig, external_bits: int = EXTERNAL_BITS) -> data.StructLayout:
    """A command: ``runs`` times ``run_bytes`` bytes, at least 1 each, from byte addresses that are so far apart on each side."""
    return data.StructLayout({
        "external": external_bits, "scratch": address_bits(config), "runs": RUNS_BITS, "run_bytes": RUN_BYTES_BITS,
        "external_stride": signed(external_bits), "scratch_stride": signed(SCRATCH_STRIDE_BITS),
    })  # fmt: skip


def beat_bits(config: MachineConfig) -> int:
    """Low bits of an external address, which say the byte of a beat."""
    return (config.dma.bytes_per_clk - 1).bit_length()


def queued_commands(config: MachineConfig) -> int:
    """Commands that are on their way at once, at most, where external memory is as fast as the config says."""
    return config.dma.latency_clk // (config.dma.descriptor_clk + 1) + 2


class DmaWalker(wiring.Component):
    """Walks the bytes of a command in beats of the external bus: those of a run that lie in one aligned word of it.

    Byte 0 of the word lies at ``lane`` in the scratchpad, whose access may begin anywhere: so a beat is one access there,
    and nothing is merged or shifted between the sides. A burst ends with its run, and where the external address reaches a
    multiple of 4096 or of 256 beats, whichever is less.

    A command that is accepted in clock s gives its first beat in clock s + ``wait_clk``, and the next command can be accepted the
    clock after its last beat has been taken. Throughput a beat a clock; a beat stays until ``step``.
    Golden model: :func:`lanewise.sim.dma.data_beats` counts them.

    Members
    -------
    i : ``In(stream.Signature(descriptor_layout(config, external_bits)))``
        Commands; ``external_bits`` may be only those that say the byte of a word.
    valid, step : ``Out(1)``, ``In(1)``
        There is a beat; it is taken (only with ``valid``).
    word : ``Out(external_bits)``
        External address of the beat's byte 0, a multiple of the bus's width; absent where ``external_bits`` do not say it.
    lane : ``Out(address_bits)``
        Scratchpad address of the same byte, modulo its size.
    enable : ``Out(bytes_per_clk)``
        Which bytes of the beat belong to the run.
    burst, burst_last, length : ``Out(1)``, ``Out(1)``, ``Out(8)``
        The beat is its burst's first, its last; with the first, the number of its beats less one. Where ``external_bits`` do not
        say where a burst must end, a run is one.
    last : ``Out(1)``
        The beat is its command's last.
    """

    i: stream.Interface

    def __init__(self, config: MachineConfig, *, external_bits: int, wait_clk: int) -> None:
        self.config, self.external_bits, self.wait_clk = config, external_bits, wait_clk
        self._has_words = external_bits > beat_bits(config)
        super().__init__({
            "i": In(stream.Signature(descriptor_layout(config, external_bits))),
            "valid": Out(1),
            "step": In(1),
            **({"word": Out(external_bits)} if self._has_words else {}),
            "lane": Out(address_bits(config)),
            "enable": Out(config.dma.bytes_per_clk),
            "burst": Out(1),
            "burst_last": Out(1),
            "length": Out(8),
            "last": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config, low, count = self.config, beat_bits(self.config), self.config.dma.bytes_per_clk
        command = Signal(self.i.payload.shape(), reset_less=True)  # its addresses are those of the run
        external = Signal(self.external_bits, reset_less=True)
        left = Signal(RUN_BYTES_BITS, reset_less=True)
        busy, waiting = Signal(), Signal(range(max(2, self.wait_clk)))
        m.d.comb += [self.i.ready.eq(~busy), self.valid.eq(busy & (waiting == 0))]

        offset = external[:low]
        begun = [*(offset <= k for k in range(count - 1)), C(1, 1)]
        end, run_last = Signal(RUN_BYTES_BITS + 1), Signal()
        m.d.comb += [
            end.eq(offset + left),
            run_last.eq(end <= count),
            self.enable.eq(Cat(*(reached & (~run_last | (end > k)) for k, reached in enumerate(begun)))),
            self.last.eq(run_last & (command.runs == 1)),
        ]
        word = Cat(offset & 0, external[low:])
        if self._has_words:
            m.d.comb += self.word.eq(word)
        self._bursts(m, external, end, run_last)

        run_external, run_scratch = Signal(self.external_bits), Signal(address_bits(config))
        with m.If(busy):
            m.d.comb += [
                run_external.eq(command.external + command.external_stride),
                run_scratch.eq(moved(config, command.scratch, command.scratch_stride)),
            ]
        with m.Else():
            m.d.comb += [run_external.eq(self.i.p.external), run_scratch.eq(self.i.p.scratch)]
        run_lane = moved(config, run_scratch, -run_external[:low])

        with m.If(~busy):
            m.d.sync += [command.eq(self.i.p), waiting.eq(self.wait_clk - 1), busy.eq(self.i.valid)]
        with m.Elif(waiting != 0):
            m.d.sync += waiting.eq(waiting - 1)
        begin = Signal()
        m.d.comb += begin.eq(~busy | (self.step & run_last))
        with m.If(begin):
            m.d.sync += [
                command.external.eq(run_external),
                command.scratch.eq(run_scratch),
                external.eq(run_external),
                left.eq(Mux(busy, command.run_bytes, self.i.p.run_bytes)),
                self.lane.eq(run_lane),
            ]
        with m.Elif(self.step):
            m.d.sync += [
                external.eq(word + count),
                left.eq(end - count),
                self.lane.eq(moved(config, self.lane, C(count))),
            ]
        with m.If(self.step & run_last):
            m.d.sync += command.runs.eq(command.runs - 1)
        with m.If(self.step & self.last):
            m.d.sync += busy.eq(0)
        return m

    def _bursts(self, m: Module, external: Value, end: Value, run_last: Value) -> None:
        low = beat_bits(self.config)
        boundary = min(PAGE_BYTES, MAX_BURST_BEATS << low)
        place = external[low : boundary.bit_length() - 1]  # of the beat among those up to the boundary
        to_boundary = ~place
        to_end = Signal(RUN_BYTES_BITS + 1)
        begun = Signal()
        m.d.comb += [
            to_end.eq((end - 1) >> low),
            self.length.eq(Mux(to_end < to_boundary, to_end, to_boundary)),
            self.burst.eq(~begun),
            self.burst_last.eq(run_last | (place.all() if len(place) else 0)),
        ]
        with m.If(self.step):
            m.d.sync += begun.eq(~self.burst_last)
