"""The forward operand path: floating point in, the array's INT4 out."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import OperandPathConfig
from lanewise.rtl.fixed_point import EXPONENT, block_bits, select_fields
from lanewise.rtl.int4_quantiser import SETTINGS, Int4Quantiser
from lanewise.rtl.walsh_hadamard import WalshHadamard


class OperandPath(wiring.Component):
    """Transform, then quantise: operands of the array as INT4 or INT8, or hi and lo of a gradient.

    The settings are a tensor's and are kept once: beside each beat, in ten stages or more, they would be 340
    flip-flops and more, to save two clocks and a latency between two tensors.

    Latency ``config.latency_clk(block)``, throughput 1 beat of ``lanes`` elements a clock whatever the block and
    the rounding. While ``o`` is valid and not taken, the parts whose own outputs are valid stand still. Settings and
    states of the random bits are taken when the accepted beats have left, and no beat is accepted while one of
    them is valid: beats accepted before have the old ones, later beats the new ones. Each beat takes 16 random
    bits a lane. The states have no reset: load settings and states before use, and again after a reset in mid-run.
    Golden model: :func:`lanewise.models.operand_path.operand_path`; clocks: :mod:`lanewise.sim.operand_path`.
    Source: Xi, Li, Chen, Zhu, arXiv 2306.11987.

    Members
    -------
    i : ``In(stream.Signature(ArrayLayout(16, lanes)))``
        Elements, element 0 in the low bits. A block's beats follow each other; between settings, whole blocks.
    o : ``Out(stream.Signature(StructLayout(lo, hi, inside)))``
        As :class:`~lanewise.rtl.int4_quantiser.Int4Quantiser`'s.
    settings : ``In(stream.Signature(StructLayout(quantiser, block, exponent[, format])))``
        A tensor's: :data:`~lanewise.rtl.int4_quantiser.SETTINGS`, and those of
        :class:`~lanewise.rtl.walsh_hadamard.WalshHadamard`'s beats.
    load : ``In(stream.Signature(StructLayout(address, state)))``
        As :class:`~lanewise.rtl.lfsr.Lfsr`'s.
    busy : ``Out(1)``
        An accepted beat has not left yet.
    """

    i: stream.Interface
    o: stream.Interface
    settings: stream.Interface
    load: stream.Interface
    busy: Signal

    def __init__(self, config: OperandPathConfig) -> None:
        self.config = config
        self._transform = WalshHadamard(config)
        self._quantiser = Int4Quantiser(config)
        settings = {"quantiser": SETTINGS, "block": block_bits(config), "exponent": EXPONENT}
        super().__init__({
            "i": In(stream.Signature(data.ArrayLayout(16, config.lanes))),
            "o": Out(self._quantiser.o.signature),
            "settings": In(stream.Signature(data.StructLayout(settings | select_fields(config)))),
            "load": In(self._quantiser.load.signature.flip()),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.transform = transform = self._transform
        m.submodules.quantiser = quantiser = self._quantiser
        settings = Signal(self.settings.p.shape(), reset_less=True)
        accept = Signal()
        m.d.comb += [
            accept.eq(~self.settings.valid & ~self.load.valid),
            transform.i.valid.eq(self.i.valid & accept),
            self.i.ready.eq(transform.i.ready & accept),
            transform.i.p.x.eq(self.i.payload),
            transform.i.p.block.eq(settings.block),
            transform.i.p.exponent.eq(settings.exponent),
            quantiser.i.valid.eq(transform.o.valid),
            transform.o.ready.eq(quantiser.i.ready),
            quantiser.i.p.y.eq(transform.o.payload),
            quantiser.i.p.settings.eq(settings.quantiser),
            self.o.valid.eq(quantiser.o.valid),
            self.o.payload.eq(quantiser.o.payload),
            quantiser.o.ready.eq(self.o.ready),
            self.busy.eq(Cat(transform.busy, quantiser.busy).any()),
            self.settings.ready.eq(~self.busy),
            self.load.ready.eq(~self.busy),
            quantiser.load.payload.eq(self.load.payload),
            quantiser.load.valid.eq(self.load.valid & ~self.busy),
        ]
        if len(self.config.formats) > 1:
            m.d.comb += transform.i.p.format.eq(settings.format)
        with m.If(self.settings.valid & self.settings.ready):
            m.d.sync += settings.eq(self.settings.payload)
        return m
