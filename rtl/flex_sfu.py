"""Flex-SFU: piecewise polynomials with segments of any width."""

from amaranth.hdl import Elaboratable, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from lanewise.config import FlexSfuConfig
from lanewise.rtl.address_decoder import AddressDecoder, bank_of, same_bank
from lanewise.rtl.coefficient_table import CoefficientTable
from lanewise.rtl.multiply_add import LANE_BITS, MultiplyAdd
from lanewise.rtl.multiply_add_slot import SHIFTS, select_bits


class FlexSfu(wiring.Component):
    """``o = c1[s] * i + c0[s]``, or ``(c2[s] * i + c1[s]) * i + c0[s]``, ``s`` the segment of element ``i``.

    A lane of 32 bits takes 4 elements of 8 bits, 2 of 16 or 1 of 32 a clock. Each multiply-add rounds once;
    zero coefficients times infinity are zero.

    Latency log2(segments) + 5 clocks, 4 more for degree 2 (with a format of 32 bits + 7, and 6 more); throughput 1 beat of ``lanes`` words a clock. While
    ``o`` is valid and not taken, the parts whose own outputs are valid stand still; no beat is lost, doubled or
    overtaken. A load waits until the accepted beats of its table have left the breakpoint tree, and no beat of
    that table is accepted while the load is valid: beats accepted before a load see the old table, later ones
    the new. A load takes one clock; loads of the two kinds that are valid at the same time may be taken at the
    same time. With two tables (``double_buffered``) the beats of one pass the loads of the other. The tables have
    no reset (and survive one): load all before use.
    Golden model: :func:`lanewise.models.flex_sfu.flex_sfu`; clocks: :mod:`lanewise.sim.flex_sfu`.
    Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546).

    Members
    -------
    i : ``In(stream.Signature(StructLayout(x[, format][, bank])))``
        ``lanes`` words of 32 bits, lane 0 and element 0 in the low bits. A last beat with fewer elements is the
        sender's to pad. ``format``, with more than one: its index in the config's list. ``bank``, if
        double-buffered: the table to use; it must have been loaded in that format.
    o : ``Out(stream.Signature(ArrayLayout(32, lanes)))``
        Results, in the elements' format.
    load_breakpoint : ``In(stream.Signature(StructLayout(address, breakpoint[, format][, bank])))``
        As :class:`~lanewise.rtl.address_decoder.AddressDecoder`'s ``load``.
    load_coefficients : ``In(stream.Signature(StructLayout(address, coefficients[, shifts][, format][, bank])))``
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
        vector = data.ArrayLayout(LANE_BITS, config.lanes)
        self._multiply_adds = horner_steps(config)
        super().__init__({
            "i": In(self._decoder.i.signature.flip()),
            "o": Out(stream.Signature(vector)),
            "load_breakpoint": In(self._decoder.load.signature.flip()),
            "load_coefficients": In(self._table.load.signature.flip()),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config = self.config
        m.submodules.decoder = decoder = self._decoder
        m.submodules.table = table = self._table
        for step, unit in enumerate(self._multiply_adds, 1):
            m.submodules[f"multiply_add_{step}"] = unit
        latency = decoder.latency_clk + table.latency_clk + sum(u.latency_clk for u in self._multiply_adds)
        assert latency == config.latency_clk
        connect(m, decoder.o, table.i)

        first, last = self._multiply_adds[0], self._multiply_adds[-1]
        read = table.o.p
        m.d.comb += [
            first.i.valid.eq(table.o.valid),
            table.o.ready.eq(first.i.ready),
            first.i.p.a.eq(read.coefficients[config.degree]),
            first.i.p.b.eq(read.x),
            first.i.p.c.eq(read.coefficients[config.degree - 1]),
        ]
        self._pass(m, read, first.i.p, 0)
        if config.degree == 2:
            beside = first.i.p.beside
            m.d.comb += [beside.x.eq(read.x), beside.c0.eq(read.coefficients[0])]
            self._pass(m, read, beside, 1)
            kept = first.o.p.beside
            m.d.comb += [
                last.i.valid.eq(first.o.valid),
                first.o.ready.eq(last.i.ready),
                last.i.p.a.eq(first.o.p.y),
                last.i.p.b.eq(kept.x),
                last.i.p.c.eq(kept.c0),
            ]
            self._pass(m, kept, last.i.p, None)
        m.d.comb += [
            self.o.valid.eq(last.o.valid),
            self.o.payload.eq(last.o.p.y),
            last.o.ready.eq(self.o.ready),
            self.busy.eq(
                decoder.busy.any() | table.o.valid | Value.cast(_any(u.busy for u in self._multiply_adds))
            ),
        ]

        accept = Signal()
        loads = ((self.load_breakpoint, decoder.load), (self.load_coefficients, table.load))
        blocked = _any(load.valid & same_bank(config, self.i.p, load.p) for load, _ in loads)
        m.d.comb += [
            accept.eq(~blocked),
            decoder.i.payload.eq(self.i.payload),
            decoder.i.valid.eq(self.i.valid & accept),
            self.i.ready.eq(decoder.i.ready & accept),
        ]
        for outside, inside in loads:
            free = ~bank_of(config, decoder.busy, outside.p)
            m.d.comb += [
                inside.payload.eq(outside.payload),
                inside.valid.eq(outside.valid & free),
                outside.ready.eq(free),
            ]
        return m

    def _pass(self, m: Module, source: data.View, target: data.View, step: int | None) -> None:
        """Hand on format and shifts; the shifts of multiply-add ``step`` of the table's, or those that came beside."""
        if len(self.config.formats) > 1:
            m.d.comb += target.format.eq(source.format)
        if self.config.integers:
            m.d.comb += target.shifts.eq(source.shifts if step is None else source.shifts[step])


def horner_steps(config: FlexSfuConfig) -> list[MultiplyAdd]:
    """The unit's multiply-adds, in the order of Horner's rule. Beside the first of two travels what the second needs."""
    vector = data.ArrayLayout(LANE_BITS, config.lanes)
    beside: dict[str, data.Layout | int] = {"x": vector, "c0": vector}
    if len(config.formats) > 1:
        beside["format"] = select_bits(config.number_formats)
    if config.integers:
        beside["shifts"] = SHIFTS
    return [
        MultiplyAdd(
            lanes=config.lanes, formats=config.number_formats, zero_annihilates=True,
            beside=data.StructLayout(beside) if remaining else None,
        )
        for remaining in range(config.degree - 1, -1, -1)
    ]  # fmt: skip


def _any(bits) -> Value:  # type: ignore[no-untyped-def]
    """Whether one of the bits is set."""
    result: Value | None = None
    for bit in bits:
        result = bit if result is None else result | bit
    assert result is not None
    return result
