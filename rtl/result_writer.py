"""Results of the matrix unit to the scratchpad."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import REQUANTISER_BITS, MachineConfig
from lanewise.rtl.requantiser import WORD_BITS
from lanewise.rtl.scale_feed import output_client
from lanewise.rtl.scratchpad import address_bits, moved, write_signature

_NIBBLES = tuple(bits // 4 for bits in REQUANTISER_BITS.values())
"""Of a result, by the format's code."""


def results_layout(config: MachineConfig) -> data.StructLayout:
    """Where a tile's results go: rows at ``stride`` bytes from each other, results side by side, of the first ``rows`` rows and ``columns`` columns."""
    bits = address_bits(config)
    return data.StructLayout({
        "address": bits, "stride": bits, "form": 2,
        "rows": range(config.matrix.rows + 1), "columns": range(config.matrix.columns + 1),
    })  # fmt: skip


class ResultWriter(wiring.Component):
    """A beat of results a clock, to its place; what a tile has not is not written. INT4 results are two a byte, and the upper half of a
    row's last byte is zero if their number is odd.

    Latency: a beat that is taken in clock t is in the scratchpad at the end of clock t + 1. Throughput a beat a clock; no back-pressure but
    that a beat waits for its tile's command.
    Golden model: the bench of the matrix stream; clocks: :mod:`lanewise.sim.matrix_stream`.

    Members
    -------
    i : ``In(stream.Signature(results_layout(config)))``
        Tiles; one is taken with its last beat.
    beat : ``In(stream.Signature(StructLayout(y, last)))``
        As they leave the matrix unit.
    write : ``Out(write_signature(config, bytes))``
        To the port of :func:`~lanewise.rtl.scale_feed.output_client`.
    has_written : ``Out(1)``
        The last byte of a tile is in the scratchpad at the end of this clock.
    """

    i: stream.Interface
    beat: stream.Interface
    write: wiring.PureInterface
    has_written: Signal

    def __init__(self, config: MachineConfig) -> None:
        matrix = config.matrix
        lanes = matrix.requantiser_lanes
        if lanes % 2 and matrix.row_beats > 1:
            raise ValueError(f"output_lanes must be even, or all columns, not {lanes} of {matrix.columns}")
        self.config = config
        super().__init__({
            "i": In(stream.Signature(results_layout(config))),
            "beat": In(stream.Signature(data.StructLayout({"y": WORD_BITS * lanes, "last": 1}))),
            "write": Out(write_signature(config, output_client(config).bytes)),
            "has_written": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config, matrix, lanes = self.config, self.config.matrix, self.config.matrix.requantiser_lanes
        beats, tile = matrix.row_beats, self.i.p
        row, number = Signal(range(matrix.rows)), Signal(range(beats))
        begins = Signal(address_bits(config), reset_less=True)  # of the row, but for the first
        base, offset = Signal.like(begins), Signal(range(2 * lanes * beats))
        take, row_ends = Signal(), number == beats - 1
        m.d.comb += [
            self.beat.ready.eq(self.i.valid),
            take.eq(self.beat.valid & self.i.valid),
            self.i.ready.eq(self.beat.valid & self.beat.p.last),
            base.eq(Mux(row == 0, tile.address, begins)),
            self.write.address.eq(moved(config, base, offset)),
        ]
        with m.If(take):
            m.d.sync += number.eq(Mux(row_ends, 0, number + 1))
            with m.If(row_ends):
                m.d.sync += [
                    row.eq(Mux(row == matrix.rows - 1, 0, row + 1)),
                    begins.eq(moved(config, base, tile.stride)),
                ]
        m.d.sync += self.has_written.eq(take & self.beat.p.last)

        there = [Signal(name=f"there_{k}") for k in range(lanes)]
        m.d.comb += [one.eq(number * lanes + k < tile.columns) for k, one in enumerate(there)]
        kept = Signal(WORD_BITS // 4 * lanes)
        with m.Switch(tile.form):
            for code, nibbles in enumerate(_NIBBLES):
                with m.Case(code):
                    m.d.comb += [
                        kept.eq(Cat(one.replicate(nibbles) for one in there)),
                        offset.eq(number * (lanes * nibbles // 2)),
                    ]
        writes = take & (row < tile.rows)
        each: list[Value] = list(kept)
        m.d.comb += [
            self.write.enable.eq(
                Cat((low | high) & writes for low, high in zip(each[::2], each[1::2], strict=True))
            ),
            self.write.data.eq(self.beat.p.y & Cat(one.replicate(4) for one in each)),
        ]
        return m
