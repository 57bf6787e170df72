"""Bernoulli selection of rows, and compaction."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import ROW_SAMPLER_LATENCY_CLK, OperandPathConfig
from lanewise.rtl.lfsr import BITS, Lfsr, load_signature
from lanewise.rtl.multiply_add_slot import leading_zeros

POWER_BITS = BITS.bit_length()
_ALWAYS = (1 << BITS) - 1


class RowSampler(wiring.Component):
    """Keeps a row with its probability, and tells the numbers of the kept rows without gaps, and how many they are.

    A row is kept if its probability is 65535 or the generator's 16 bits are below it. Each row takes one draw.
    What it is worth is decided by the same bits: ``random < 2**n - p`` with the least ``2**n >= p`` is a sum
    ``random + p`` of n bits, and as a kept row's ``random < p`` it has n + 1 otherwise. So the power is the
    leading zeros of the sum's 17 bits; of a row that is always kept, 0.

    Latency 1 clock, throughput 1 row a clock. No row is accepted while ``o`` is valid and not taken, nor the last
    row of a list while the count before is valid and not taken. A load is taken at once, and no row is accepted
    while it is valid: rows accepted before it have the old state's bits. The state has no reset: load it before use.
    Golden models: :func:`lanewise.models.row_sampler.row_sampler` and ``row_powers``; clocks: :mod:`lanewise.sim.row_sampler`.
    Source: Xi, Li, Chen, Zhu, arXiv 2306.11987.

    Members
    -------
    i : ``In(stream.Signature(StructLayout(probability, last)))``
        A row's probability, 16 bits, and whether it is the list's last.
    o : ``Out(stream.Signature(StructLayout(row, power)))``
        The number of a kept row, in its list, and the logarithm, 0 to 16, of what it is worth.
    count : ``Out(stream.Signature(row_bits + 1))``
        How many rows of the list were kept: one word behind each list's last row.
    load : ``In(stream.Signature(StructLayout(address, state)))``
        As :class:`~lanewise.rtl.lfsr.Lfsr`'s, of one lane.
    """

    i: stream.Interface
    o: stream.Interface
    count: stream.Interface
    load: stream.Interface

    def __init__(self, config: OperandPathConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"probability": BITS, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({"row": config.row_bits, "power": POWER_BITS}))),
            "count": Out(stream.Signature(config.row_bits + 1)),
            "load": In(load_signature(1)),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from an accepted row to its number or, of the last row, to the count."""
        return ROW_SAMPLER_LATENCY_CLK

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.lfsr = lfsr = Lfsr(1)
        row, kept = Signal(self.config.row_bits), Signal(self.config.row_bits + 1)
        kept_row = Signal(self.o.payload.shape(), reset_less=True)
        total = Signal(self.config.row_bits + 1, reset_less=True)
        row_valid, total_valid = Signal(), Signal()
        keep, taken, counted, sum_kept = (
            Signal(name="keep"), Signal(name="taken"), Signal(name="counted"), Signal.like(total, name="sum_kept"),
        )  # fmt: skip
        probability, always = self.i.p.probability, Signal(name="always")
        m.d.comb += [
            always.eq(probability == _ALWAYS),
            keep.eq(always | (lfsr.o.p[0] < probability)),
            counted.eq(~total_valid | self.count.ready),
            self.i.ready.eq((~row_valid | self.o.ready) & (counted | ~self.i.p.last) & ~self.load.valid),
            taken.eq(self.i.valid & self.i.ready),
            sum_kept.eq(kept + keep),
            lfsr.o.ready.eq(taken),
            lfsr.load.payload.eq(self.load.payload),
            lfsr.load.valid.eq(self.load.valid),
            self.load.ready.eq(1),
            self.o.valid.eq(row_valid),
            self.o.payload.eq(kept_row),
            self.count.valid.eq(total_valid),
            self.count.payload.eq(total),
        ]
        drawn = Signal(BITS + 1, name="drawn")
        m.d.comb += drawn.eq((lfsr.o.p[0] + probability) | (always << BITS))
        zeros, none = leading_zeros(m, drawn[1:])
        with m.If(~row_valid | self.o.ready):
            m.d.sync += [
                row_valid.eq(taken & keep),
                kept_row.row.eq(row),
                kept_row.power.eq(Mux(none, BITS, zeros)),  # a kept row's sum is at least 1
            ]
        with m.If(counted):
            m.d.sync += [total_valid.eq(taken & self.i.p.last), total.eq(sum_kept)]
        with m.If(taken):
            m.d.sync += [row.eq(row + 1), kept.eq(sum_kept)]
            with m.If(self.i.p.last):
                m.d.sync += [row.eq(0), kept.eq(0)]
        return m
