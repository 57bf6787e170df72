"""Flex-SFU: piecewise-linear functions with segments of any width."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from lanewise.config import FlexSfuConfig
from lanewise.rtl.address_decoder import AddressDecoder
from lanewise.rtl.coefficient_table import CoefficientTable
from lanewise.rtl.fp16_fma import Fp16Fma


class FlexSfu(wiring.Component):
    """``o[k] = slope[s] * i[k] + offset[s]``, ``s`` the segment of element ``i[k]``; FP16, one rounding.

    Latency log2(segments) + 5 clocks, throughput 1 beat of ``lanes`` elements a clock. While ``o`` is valid
    and not taken, the parts whose own outputs are valid stand still; no beat is lost, doubled or overtaken.
    A load waits until every accepted beat has left, and no beat is accepted while a load is valid: beats
    accepted before a load see the old table, later ones the new. A load takes one clock; loads of the two
    kinds that are valid at the same time are taken at the same time. The tables have no reset (and survive
    one): load all of them before use.
    Golden model: :func:`lanewise.models.flex_sfu.flex_sfu`; clocks: :mod:`lanewise.sim.flex_sfu`.
    Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546).

    Members
    -------
    i : ``In(stream.Signature(ArrayLayout(16, lanes)))``
        FP16 elements, lane 0 in the low bits. A last beat with fewer elements is the sender's to pad.
    o : ``Out(stream.Signature(ArrayLayout(16, lanes)))``
        FP16 results.
    load_breakpoint : ``In(stream.Signature(StructLayout(address, breakpoint)))``
        As :class:`~lanewise.rtl.address_decoder.AddressDecoder`'s ``load``.
    load_coefficients : ``In(stream.Signature(StructLayout(address, slope, offset)))``
        As :class:`~lanewise.rtl.coefficient_table.CoefficientTable`'s ``load``.
    busy : ``Out(1)``
        An accepted beat has not left yet.
    """

    i: stream.Interface
    o: stream.Interface
    load_breakpoint: stream.Interface
    load_coefficients: stream.Interface
    busy: Signal

    def __init__(self, config: FlexSfuConfig) -> None:
        self.config = config
        self._decoder = AddressDecoder(config)
        self._table = CoefficientTable(config)
        self._fma = Fp16Fma(lanes=config.lanes)
        x = stream.Signature(data.ArrayLayout(16, config.lanes))
        super().__init__({
            "i": In(x),
            "o": Out(x),
            "load_breakpoint": In(self._decoder.load.signature.flip()),
            "load_coefficients": In(self._table.load.signature.flip()),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.decoder = decoder = self._decoder
        m.submodules.table = table = self._table
        m.submodules.fma = fma = self._fma
        assert decoder.latency_clk + table.latency_clk + fma.latency_clk == self.config.latency_clk
        connect(m, decoder.o, table.i)
        m.d.comb += [
            fma.i.valid.eq(table.o.valid),
            table.o.ready.eq(fma.i.ready),
            fma.i.p.a.eq(table.o.p.slope),
            fma.i.p.b.eq(table.o.p.x),
            fma.i.p.c.eq(table.o.p.offset),
            self.o.valid.eq(fma.o.valid),
            self.o.payload.eq(fma.o.payload),
            fma.o.ready.eq(self.o.ready),
            self.busy.eq(decoder.busy | table.busy | fma.busy),
        ]
        load = self.load_breakpoint.valid | self.load_coefficients.valid
        m.d.comb += [
            decoder.i.payload.eq(self.i.payload),
            decoder.i.valid.eq(self.i.valid & ~load),
            self.i.ready.eq(decoder.i.ready & ~load),
        ]
        for outside, inside in ((self.load_breakpoint, decoder.load), (self.load_coefficients, table.load)):
            m.d.comb += [
                inside.payload.eq(outside.payload),
                inside.valid.eq(outside.valid & ~self.busy),
                outside.ready.eq(~self.busy),
            ]
        return m
