"""Systolic transposer: lines in, columns out, a block behind the other; or lines, of blocks that are turned already."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class Transposer(wiring.Component):
    """``size`` lines of ``size`` elements make a block; its columns leave while the lines of the next one come.

    A square of registers, each with one multiplexer: it takes its neighbour on the left, or the one above. Lines of one
    block move in from the left and push the columns of the block before out on the right; with the last line the
    direction changes, and what was a line is now what leaves at the bottom as a column. So one square does what double buffering
    needs two for. (Genc et al., Gemmini, DAC 2021, has such an array.) Where the direction does not change, the block leaves as it came: first in,
    first out, in the same clocks. Each of the ``parts`` of an element has a direction of its own; all else they share.

    Latency 1 clock from a block's last line to its first column; throughput a line and a column a clock. A block gives its first
    ``steps`` columns; the others cost the clocks in which the next block's lines come, and nothing where there is no next block.
    A line moves with a column or none, so that a column that is not taken stops the lines; and once a block's first line is
    in, the block before moves only with further lines: who begins a block has all of it. ``i.ready`` is
    combinational in ``o.ready``, ``o.valid`` in ``i.valid``.
    Golden model: numpy's transpose; clocks: :mod:`lanewise.sim.matrix_stream`.

    Members
    -------
    i : ``In(stream.Signature(StructLayout(line, steps, turned)))``
        A line, element 0 in the low bits and in it part 0, of ``bits`` bits; with a block's last line how many columns are wanted of it, 1 to
        ``size``, and of each part whether its block is turned already: then its lines are the columns.
    o : ``Out(stream.Signature(StructLayout(column, first, last)))``
        An element of each line, line 0 in the low bits, or a line; whether the column is its block's first, and the last that is wanted.
    begins, ends : ``Out(1)``
        The line at ``i`` is its block's first; its last.
    """

    i: stream.Interface
    o: stream.Interface
    begins: Signal
    ends: Signal

    def __init__(self, *, size: int, bits: int, parts: int = 1) -> None:
        if size < 2 or bits < 1 or parts < 1:
            raise ValueError(
                f"size must be at least 2, bits and parts at least 1, not {size}, {bits} and {parts}"
            )
        self.size, self.bits, self.parts = size, bits, parts
        elements = data.ArrayLayout(data.ArrayLayout(bits, parts), size)
        block = {"line": elements, "steps": range(size + 1), "turned": parts}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(block))),
            "o": Out(stream.Signature(data.StructLayout({"column": elements, "first": 1, "last": 1}))),
            "begins": Out(1),
            "ends": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        size = self.size
        lines = Signal(range(size))  # of the block that comes in
        left, first = Signal(range(size + 1)), Signal()  # columns of the block that leaves
        down = Signal(self.parts)  # direction
        take, give, move = (Signal(name=name) for name in ("take", "give", "move"))
        m.d.comb += [
            self.begins.eq(lines == 0),
            self.ends.eq(lines == size - 1),
            self.i.ready.eq((left == 0) | self.o.ready),
            self.o.valid.eq((left != 0) & (self.begins | self.i.valid)),
            take.eq(self.i.valid & self.i.ready),
            give.eq(self.o.valid & self.o.ready),
            move.eq(take | give),
        ]
        with m.If(give):
            m.d.sync += [left.eq(left - 1), first.eq(0)]
        with m.If(take):
            m.d.sync += lines.eq(Mux(self.ends, 0, lines + 1))
            with m.If(self.ends):
                m.d.sync += [left.eq(self.i.p.steps), first.eq(1), down.eq(down ^ ~self.i.p.turned)]
        m.d.comb += [self.o.p.first.eq(first), self.o.p.last.eq(left == 1)]
        for part in range(self.parts):
            self._square(m, part, move, down[part])
        return m

    def _square(self, m: Module, part: int, move: Value, down: Value) -> None:
        """A part's registers, from its lines to its columns."""
        size, bits = self.size, self.bits
        # backwards, so that element 0 and line 0 are the first to arrive at the far side
        line = [self.i.p.line[size - 1 - place][part] for place in range(size)]
        rows = [Signal(size * bits, name=f"row_{r}_{part}", reset_less=True) for r in range(size)]
        above: Value = Cat(*line)
        with m.If(move):
            for row, entering in zip(rows, line, strict=True):
                m.d.sync += row.eq(Mux(down, above, Cat(entering, row[: (size - 1) * bits])))
                above = row
        for k in range(size):
            place = size - 1 - k
            at_bottom, at_right = rows[-1].word_select(place, bits), rows[place].word_select(size - 1, bits)
            m.d.comb += self.o.p.column[k][part].eq(Mux(down, at_bottom, at_right))
