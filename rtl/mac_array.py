"""Output-stationary array of integer multiply-accumulates."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import MatrixConfig


class MacPe(wiring.Component):
    """Processing element: one multiplier, one accumulator, one drain register.

    Every clock ``accumulator <= (0 if clear else accumulator) + a * w``: the array's edge offers ``a = 0`` when
    there is no step, so the accumulator needs no enable. Data registers have no reset: ``clear`` starts them.

    Members
    -------
    a, w : ``In(signed(operand_bits))``
        Operands, registered at the array's edge.
    clear : ``In(1)``
        Restart the sum.
    load : ``In(1)``
        Copy the accumulator into the drain register.
    shift : ``In(1)``
        Take ``below`` into the drain register.
    below, drain : ``In(signed(32))``, ``Out(signed(32))``
        Drain registers of the next row and of this one.
    """

    def __init__(self, config: MatrixConfig) -> None:
        operand, accumulator = signed(config.operand_bits), signed(config.accumulator_bits)
        super().__init__({
            "a": In(operand), "w": In(operand), "clear": In(1), "load": In(1), "shift": In(1),
            "below": In(accumulator), "drain": Out(accumulator),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        accumulator = Signal.like(self.drain, reset_less=True)
        drain = Signal.like(self.drain, reset_less=True)
        m.d.comb += self.drain.eq(drain)
        m.d.sync += accumulator.eq(Mux(self.clear, 0, accumulator) + self.a * self.w)
        with m.If(self.load):
            m.d.sync += drain.eq(accumulator)
        with m.Elif(self.shift):
            m.d.sync += drain.eq(self.below)
        return m


class MacArray(wiring.Component):
    """``c = a @ w`` a tile of ``rows`` x ``columns`` at a time, one k-step a clock, exact modulo 2**32.

    Output-stationary, operands broadcast along rows and columns: accumulators live in the array, so there is no
    accumulator memory, ``k`` has no limit, and sums are exact. A drain register in each element takes the finished
    tile in one clock and hands it out by rows while the next tile accumulates, so a drain costs nothing when
    ``k >= rows``.

    Latency ``config.latency_clk`` clocks from the step with ``last`` to row 0 at ``o``; throughput one step a clock,
    one tile in ``max(k, rows)`` clocks. A stall of ``o`` stops the drain alone; the input stops when the finished
    sums wait for the drain registers and the next tile's first step waits behind them. Sums wrap at 32 bits.
    Golden model: :func:`lanewise.models.mac_array.mac_array`; clocks: :func:`lanewise.sim.mac_array.mac_array_clk`.

    Members
    -------
    i : ``In(stream.Signature(StructLayout(a, w, last)))``
        One k-step: column k of the left operand (``rows`` values), row k of the right one (``columns`` values),
        and whether it is the tile's last. Element 0 in the low bits.
    o : ``Out(stream.Signature(StructLayout(row, last)))``
        One row of the tile, row 0 first; ``last`` marks row ``rows - 1``.
    """

    def __init__(self, config: MatrixConfig) -> None:
        self.config = config
        operand, accumulator = signed(config.operand_bits), signed(config.accumulator_bits)
        step = data.StructLayout({
            "a": data.ArrayLayout(operand, config.rows), "w": data.ArrayLayout(operand, config.columns), "last": 1,
        })  # fmt: skip
        row = data.StructLayout({"row": data.ArrayLayout(accumulator, config.columns), "last": 1})
        super().__init__({"i": In(stream.Signature(step)), "o": Out(stream.Signature(row))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        rows, columns = self.config.rows, self.config.columns
        step = Signal(self.i.p.shape(), reset_less=True)
        valid = Signal()  # ``step`` waits to be accumulated
        full = Signal()  # the accumulators hold a finished tile
        restart = Signal(init=1)  # the next step begins a tile
        left = Signal(range(rows + 1))  # rows in the drain registers

        free, hold, go, load, shift = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq((left == 0) | ((left == 1) & self.o.ready)),
            hold.eq(full & ~free),
            load.eq(full & free),
            shift.eq(self.o.valid & self.o.ready),
            go.eq(valid & ~hold),
            self.i.ready.eq(~valid | ~hold),
            self.o.valid.eq(left != 0),
            self.o.p.last.eq(left == 1),
        ]
        with m.If(self.i.ready):
            m.d.sync += valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += step.eq(self.i.p)
        with m.If(~hold):
            m.d.sync += [full.eq(go & step.last), restart.eq(go & step.last)]
        with m.If(load):
            m.d.sync += left.eq(rows)
        with m.Elif(shift):
            m.d.sync += left.eq(left - 1)

        below = [0] * columns
        for r in reversed(range(rows)):
            a = Signal(signed(self.config.operand_bits), name=f"a_{r}")
            m.d.comb += a.eq(Mux(go, step.a[r], 0))
            for c in range(columns):
                m.submodules[f"pe_{r}_{c}"] = pe = MacPe(self.config)
                m.d.comb += [
                    pe.a.eq(a), pe.w.eq(step.w[c]), pe.clear.eq(restart & ~hold), pe.load.eq(load),
                    pe.shift.eq(shift), pe.below.eq(below[c]),
                ]  # fmt: skip
                below[c] = pe.drain
        m.d.comb += [self.o.p.row[c].eq(below[c]) for c in range(columns)]
        return m
