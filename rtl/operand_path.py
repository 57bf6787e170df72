"""The forward operand path: floating point in, the array's INT4 out."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import OperandPathConfig
from lanewise.rtl.fixed_point import EXPONENT, block_bits, select_fields
from lanewise.rtl.int4_quantiser import SETTINGS, Int4Quantiser
from lanewise.rtl.row_norms import RowNorms
from lanewise.rtl.walsh_hadamard import WalshHadamard

ROW_BEATS_BITS = 16
"""Width of a tensor's beats a row."""


class OperandPath(wiring.Component):
    """Transform, then quantise: operands of the array as INT4 or INT8, or hi and lo of a gradient, and their rows' norms.

    The settings are a tensor's and are kept once: beside each beat, in ten stages or more, they would be 340
    flip-flops and more, to save two clocks and a latency between two tensors.

    Latency ``config.latency_clk(block)``, throughput 1 beat of ``lanes`` elements a clock whatever the block and
    the rounding. While ``o`` is valid and not taken, the parts whose own outputs are valid stand still. Settings and
    states of the random bits are taken when the accepted beats have left, and no beat is accepted while one of
    them is valid: beats accepted before have the old ones, later beats the new ones. Each beat takes 16 random
    bits a lane. The states have no reset: load settings and states before use, and again after a reset in mid-run.
    The norms are taken from the beats that leave and delay none; but while a row's norms are valid and not taken and the
    last beat of the row behind it has left, no beat leaves, so that ``o.valid`` depends on ``norms.ready``.
    Golden models: :func:`lanewise.models.operand_path.operand_path` and :func:`~lanewise.models.operand_path.word_norms`;
    clocks: :mod:`lanewise.sim.operand_path`.
    Source: Xi, Li, Chen, Zhu, arXiv 2306.11987.

    Members
    -------
    i : ``In(stream.Signature(ArrayLayout(16, lanes)))``
        Elements, element 0 in the low bits. A block's beats follow each other; between settings, whole blocks.
    o : ``Out(stream.Signature(StructLayout(lo, hi, inside)))``
        As :class:`~lanewise.rtl.int4_quantiser.Int4Quantiser`'s.
    norms : ``Out(stream.Signature(StructLayout(lo, hi)))``
        As :class:`~lanewise.rtl.row_norms.RowNorms`'s, one word a row. Of an INT4, lo is its row's; of an INT8 the nibbles are
        squared like a split's, each as two's complement, which is of no use.
    settings : ``In(stream.Signature(StructLayout(quantiser, block, exponent, row_beats[, format])))``
        A tensor's: :data:`~lanewise.rtl.int4_quantiser.SETTINGS`, those of
        :class:`~lanewise.rtl.walsh_hadamard.WalshHadamard`'s beats, and the beats of a row, 16 bits; 0: no norms. Between
        settings, whole rows.
    load : ``In(stream.Signature(StructLayout(address, state)))``
        As :class:`~lanewise.rtl.lfsr.Lfsr`'s.
    busy : ``Out(1)``
        An accepted beat has not left yet. Norms may still be on their way.
    """

    i: stream.Interface
    o: stream.Interface
    norms: stream.Interface
    settings: stream.Interface
    load: stream.Interface
    busy: Signal

    def __init__(self, config: OperandPathConfig) -> None:
        self.config = config
        self._transform = WalshHadamard(config)
        self._quantiser = Int4Quantiser(config)
        self._norms = RowNorms(config)
        settings = {
            "quantiser": SETTINGS, "block": block_bits(config), "exponent": EXPONENT, "row_beats": ROW_BEATS_BITS,
        }  # fmt: skip
        super().__init__({
            "i": In(stream.Signature(data.ArrayLayout(16, config.lanes))),
            "o": Out(self._quantiser.o.signature),
            "norms": Out(self._norms.o.signature),
            "settings": In(stream.Signature(data.StructLayout(settings | select_fields(config)))),
            "load": In(self._quantiser.load.signature.flip()),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.transform = transform = self._transform
        m.submodules.quantiser = quantiser = self._quantiser
        m.submodules.norms = norms = self._norms
        settings = Signal(self.settings.p.shape(), reset_less=True)
        beats_left = Signal(
            ROW_BEATS_BITS, reset_less=True
        )  # of the row whose beats leave; 0 where there are no rows
        accept, counted, leaves = Signal(), Signal(), Signal()
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
            counted.eq(beats_left.any()),
            leaves.eq(norms.i.ready | ~counted),
            self.o.valid.eq(quantiser.o.valid & leaves),
            self.o.payload.eq(quantiser.o.payload),
            quantiser.o.ready.eq(self.o.ready & leaves),
            norms.i.valid.eq(quantiser.o.valid & self.o.ready & counted),
            norms.i.p.lo.eq(quantiser.o.p.lo),
            norms.i.p.hi.eq(quantiser.o.p.hi),
            norms.i.p.last.eq(~beats_left[1:].any()),
            self.norms.valid.eq(norms.o.valid),
            self.norms.payload.eq(norms.o.payload),
            norms.o.ready.eq(self.norms.ready),
            self.busy.eq(Cat(transform.busy, quantiser.busy).any()),
            self.settings.ready.eq(~self.busy),
            self.load.ready.eq(~self.busy),
            quantiser.load.payload.eq(self.load.payload),
            quantiser.load.valid.eq(self.load.valid & ~self.busy),
        ]
        if len(self.config.formats) > 1:
            m.d.comb += transform.i.p.format.eq(settings.format)
        with m.If(self.settings.valid & self.settings.ready):
            m.d.sync += [settings.eq(self.settings.payload), beats_left.eq(self.settings.p.row_beats)]
        with m.Elif(norms.i.valid & norms.i.ready):
            m.d.sync += beats_left.eq(Mux(norms.i.p.last, settings.row_beats, beats_left - 1))
        return m
