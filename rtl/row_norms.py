"""Sums of squares of rows of INT4 numbers, as they leave the quantiser."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import ROW_NORM_BITS, ROW_NORMS_LATENCY_CLK, OperandPathConfig


class RowNorms(wiring.Component):
    """Of every row the sum of the squares of its numbers, of both words of a split gradient; exact modulo 2**24.

    A row of fewer than 2**18 numbers cannot wrap: a square is at most 64. Full adders reduce a beat's squares to two rows of
    bits, which are registered; the next clock adds them to the row's sum.

    Latency 2 clocks from a row's last beat to its sums, throughput 1 beat of ``lanes`` numbers a clock, whatever the
    rows. The sums of a row wait in registers of their own, so that ``i`` stops only if they are valid and not taken
    and the next row's last beat has come. Once ready, ``i`` stays ready until it takes a beat; it becomes ready
    in the clock in which sums are taken.
    Golden model: :func:`lanewise.models.row_norms.row_norms`; clocks: :mod:`lanewise.sim.row_norms`.
    Source: Xi, Li, Chen, Zhu, arXiv 2306.11987 (leverage scores).

    Members
    -------
    i : ``In(stream.Signature(StructLayout(lo, hi, last)))``
        ``lanes`` nibbles each, two's complement, element 0 in the low bits; whether the beat is its row's last.
    o : ``Out(stream.Signature(StructLayout(lo, hi)))``
        A row's two sums, 24 bits each.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: OperandPathConfig) -> None:
        self.config = config
        nibbles = data.ArrayLayout(4, config.lanes)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"lo": nibbles, "hi": nibbles, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({"lo": ROW_NORM_BITS, "hi": ROW_NORM_BITS}))),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from a row's accepted last beat to its sums."""
        return ROW_NORMS_LATENCY_CLK

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        beat_valid, last, sums_valid = Signal(), Signal(reset_less=True), Signal()
        free, add = Signal(), Signal()
        m.d.comb += [
            free.eq(~sums_valid | self.o.ready),
            add.eq(beat_valid & (~last | free)),
            self.i.ready.eq(~beat_valid | ~last | free),
            self.o.valid.eq(sums_valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += [beat_valid.eq(self.i.valid), last.eq(self.i.p.last)]
        with m.If(free):
            m.d.sync += sums_valid.eq(beat_valid & last)
        for word in ("lo", "hi"):
            m.submodules[word] = unit = _Word(self.config.lanes)
            m.d.comb += [
                unit.nibbles.eq(self.i.p[word]),
                unit.move.eq(self.i.ready),
                unit.add.eq(add),
                unit.last.eq(last),
                self.o.p[word].eq(unit.sums),
            ]
        return m


class _Word(wiring.Component):
    """One word: squares, adders, the sum of the row so far, and that of the row before."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__({
            "nibbles": In(data.ArrayLayout(4, lanes)), "move": In(1), "add": In(1), "last": In(1),
            "sums": Out(ROW_NORM_BITS),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        squares = [_square(m, nibble, k) for k, nibble in enumerate(self.nibbles)]
        columns = _reduced(
            m, [[bit for bit in bits if bit is not None] for bits in zip(*squares, strict=True)]
        )
        rows = []
        for k in range(2):
            bits = [column[k] if k < len(column) else 0 for column in columns]
            row = Signal(len(bits), name=f"row_{k}", reset_less=True)
            with m.If(self.move):
                m.d.sync += row.eq(Cat(bits))
            rows.append(row & self.add.replicate(len(bits)))
        total, so_far = Signal(ROW_NORM_BITS), Signal(ROW_NORM_BITS)
        sums = Signal(ROW_NORM_BITS, reset_less=True)
        m.d.comb += [total.eq(so_far + (rows[0] + rows[1])), self.sums.eq(sums)]
        m.d.sync += so_far.eq(total)
        with m.If(self.add & self.last):
            m.d.sync += [so_far.eq(0), sums.eq(total)]
        return m


def _square(m: Module, nibble: Value, k: int) -> list[Value | None]:
    """The square of a two's complement nibble, bit by bit: 8 has the magnitude 0 in three bits, and a bit of its own."""
    low, sign = nibble[:3], nibble[3]
    magnitude, square = Signal(3, name=f"magnitude_{k}"), Signal(7, name=f"square_{k}")
    a, b, c = magnitude
    m.d.comb += [
        magnitude.eq((low ^ sign.replicate(3)) + sign),
        square.eq(Cat(a, 0, b & ~a, a & (b ^ c), c & (a | ~b), c & b, sign & ~low.any())),
    ]
    return [None if place == 1 else bit for place, bit in enumerate(square)]


def _reduced(m: Module, columns: list[list[Value]]) -> list[list[Value]]:
    """The same sum with at most two bits of each weight: full adders, each of the three bits that are there first."""
    depths = [[(0, bit) for bit in column] for column in columns]
    for place, column in enumerate(depths):
        while len(column) > 2:
            column.sort(key=lambda entry: entry[0])
            (_, a), (_, b), (depth, c) = column[:3]
            name = f"{place}_{len(column)}"
            either, total, carry = (Signal(name=f"{what}_{name}") for what in ("either", "sum", "carry"))
            m.d.comb += [either.eq(a ^ b), total.eq(either ^ c), carry.eq((a & b) | (either & c))]
            column[:3] = [(depth + 1, total)]
            if place + 1 == len(depths):
                depths.append([])
            depths[place + 1].append((depth + 1, carry))
    return [[bit for _, bit in column] for column in depths]
