"""Output-stationary array of integer multiply-accumulates."""

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    Elaboratable,
    Module,
    Mux,
    Signal,
    signed,
    unsigned,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import MatrixConfig
from lanewise.rtl.verilog import shared_instance


class MacPe(wiring.Component):
    """Processing element: one multiplier, one accumulator, one drain register.

    Every clock ``accumulator <= (0 if clear else accumulator) + (a * w + bias if step else 0)``. The biased
    product is Baugh and Wooley's array of partial products without its two constants (IEEE Trans. Computers
    C-22, 1973): it is never negative, so that the upper bits of the accumulator only count carries and no
    sign is extended. The array takes ``bias`` times the number of steps off once per column. Neither register
    has an enable or a reset: ``step`` low adds nothing, ``clear`` starts a sum.

    Members
    -------
    clk : ``In(1)``
        Clock.
    a, w : ``In(operand_bits)``
        Operands, two's complement, registered at the array's edge.
    step : ``In(1)``
        There is a step to accumulate.
    clear : ``In(1)``
        Restart the sum.
    load : ``In(1)``
        Copy the accumulator into the drain register.
    shift : ``In(1)``
        Take ``below`` into the drain register.
    below, drain : ``In(32)``, ``Out(32)``
        Drain registers of the next row and of this one.
    """

    def __init__(self, config: MatrixConfig) -> None:
        self.config = config
        operand, accumulator = unsigned(config.operand_bits), unsigned(config.accumulator_bits)
        super().__init__({
            "clk": In(1), "a": In(operand), "w": In(operand), "step": In(1), "clear": In(1), "load": In(1),
            "shift": In(1), "below": In(accumulator), "drain": Out(accumulator),
        })  # fmt: skip

    @staticmethod
    def bias(config: MatrixConfig) -> int:
        """What a step adds beyond ``a * w``: 2**(2b-1) - 2**b for ``b`` operand bits.

        >>> MacPe.bias(MatrixConfig(operand_bits=4))
        112
        """
        return (1 << (2 * config.operand_bits - 1)) - (1 << config.operand_bits)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True, local=True)
        m.d.comb += ClockSignal().eq(self.clk)
        top = self.config.operand_bits - 1
        partial = []
        for i, w in enumerate(self.w):
            bits = [~(a & w) if (i == top) != (j == top) else a & w for j, a in enumerate(self.a)]
            partial.append(Cat(bit & self.step for bit in bits) << i)
        product = Signal(2 * self.config.operand_bits)
        accumulator = Signal(self.config.accumulator_bits)
        drain = Signal(self.config.accumulator_bits)
        m.d.comb += [product.eq(sum(partial)), self.drain.eq(drain)]
        m.d.sync += accumulator.eq(Mux(self.clear, 0, accumulator) + product)
        with m.If(self.load):
            m.d.sync += drain.eq(accumulator)
        with m.Elif(self.shift):
            m.d.sync += drain.eq(self.below)
        return m


class MacArray(wiring.Component):
    """``c = a @ w`` a tile of ``rows`` x ``columns`` at a time, one k-step a clock, exact modulo 2**32.

    Output-stationary, operands broadcast along rows and columns: accumulators live in the array, so there is
    no accumulator memory, ``k`` has no limit, and sums are exact. A drain register in each element takes the
    finished tile in one clock and hands it out by rows while the next tile accumulates, so a drain costs
    nothing when ``k >= rows``.

    Latency ``config.latency_clk`` clocks from the step with ``last`` to row 0 at ``o``; throughput one step a
    clock, one tile in ``max(k, rows)`` clocks. A stall of ``o`` stops the drain alone; the input stops when
    the finished sums wait for the drain registers and the next tile's first step waits behind them. Sums wrap
    at 32 bits. Golden model: :func:`lanewise.models.mac_array.mac_array`; clocks:
    :func:`lanewise.sim.mac_array.mac_array_clk`.

    Members
    -------
    i : ``In(stream.Signature(StructLayout(a, w, last)))``
        One k-step: column k of the left operand (``rows`` values), row k of the right one (``columns``
        values), and whether it is the tile's last. Element 0 in the low bits.
    o : ``Out(stream.Signature(StructLayout(row, last)))``
        One row of the tile, row 0 first; ``last`` marks row ``rows - 1``.
    """

    def __init__(self, config: MatrixConfig) -> None:
        self.config = config
        operand, accumulator = signed(config.operand_bits), signed(config.accumulator_bits)
        step = data.StructLayout({
            "a": data.ArrayLayout(operand, config.rows),
            "w": data.ArrayLayout(operand, config.columns),
            "last": 1,
        })  # fmt: skip
        row = data.StructLayout({"row": data.ArrayLayout(accumulator, config.columns), "last": 1})
        super().__init__({"i": In(stream.Signature(step)), "o": Out(stream.Signature(row))})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        rows, columns = self.config.rows, self.config.columns
        step = Signal(self.i.p.shape(), reset_less=True)
        valid = Signal()  # ``step`` waits to be accumulated
        full = Signal()  # the accumulators hold a finished tile
        restart = Signal(init=1)  # the next step begins a tile
        left = Signal(range(rows + 1))  # rows in the drain registers

        free, hold, go, load, shift, clear = (
            Signal(name=n) for n in ("free", "hold", "go", "load", "shift", "clear")
        )
        m.d.comb += [
            free.eq((left == 0) | ((left == 1) & self.o.ready)),
            hold.eq(full & ~free),
            go.eq(valid & ~hold),
            clear.eq(restart & ~hold),
            load.eq(full & free),
            shift.eq(self.o.valid & self.o.ready),
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

        # what the elements' biased products add up to, kept as the elements keep their sums
        bias = Signal(self.config.accumulator_bits, reset_less=True)
        bias_drained = Signal.like(bias, reset_less=True)
        m.d.sync += bias.eq(Mux(clear, 0, bias) - Mux(go, MacPe.bias(self.config), 0))
        with m.If(load):
            m.d.sync += bias_drained.eq(bias)

        element = MacPe(self.config)
        below = [Const(0, self.config.accumulator_bits)] * columns
        for r in reversed(range(rows)):
            for c in range(columns):
                drain = Signal(self.config.accumulator_bits, name=f"drain_{r}_{c}")
                m.submodules[f"pe_{r}_{c}"] = shared_instance(
                    element, "pe", clk=ClockSignal(), a=step.a[r].as_unsigned(), w=step.w[c].as_unsigned(),
                    step=go, clear=clear, load=load, shift=shift, below=below[c], drain=drain,
                )  # fmt: skip
                below[c] = drain
        m.d.comb += [self.o.p.row[c].eq(below[c] + bias_drained) for c in range(columns)]
        return m
