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
    Value,
    signed,
    unsigned,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import SPLIT_BITS, MatrixConfig
from lanewise.rtl.verilog import shared_instance


class MacPe(wiring.Component):
    """Processing element: one multiplier, one accumulator, one drain register.

    Every clock ``accumulator <= (0 if clear else accumulator) + a * w + bias``. The biased product is Baugh and
    Wooley's array of partial products without its constants (IEEE Trans. Computers C-22, 1973): it is never
    negative, so that the upper bits of the accumulator only count carries and no sign is extended. The array
    takes the ``bias`` of every clock off once per column. A 4-bit element has operands of either sign: a flag
    inverts the partial products that a sign makes negative; and it can move its sum left by 4 before it adds
    (``shift``, which is never set with ``clear``). No register has an enable or a reset: ``a`` is zero where
    there is no step, ``clear`` starts a sum.

    Members
    -------
    clk : ``In(1)``
        Clock.
    a, w : ``In(operand_bits)``
        Operands, registered at the array's edge.
    a_signed, w_signed, unlike : ``In(1)``, with ``config.splits``
        Whether ``a`` is two's complement, or unsigned; the same of ``w``; whether one is and the other is not.
    clear : ``In(1)``
        Restart the sum.
    shift : ``In(1)``, with ``config.splits``
        Move the sum left by 4.
    load : ``In(1)``
        Copy the accumulator into the drain register.
    take : ``In(1)``
        Take ``below`` into the drain register.
    below, drain : ``In(32)``, ``Out(32)``
        Drain registers of the next row and of this one.
    """

    def __init__(self, config: MatrixConfig) -> None:
        self.config = config
        operand, accumulator = unsigned(config.operand_bits), unsigned(config.accumulator_bits)
        flags = ("a_signed", "w_signed", "unlike", "shift") if config.splits else ()
        super().__init__({
            "clk": In(1), "a": In(operand), "w": In(operand), **{name: In(1) for name in flags}, "clear": In(1),
            "load": In(1), "take": In(1), "below": In(accumulator), "drain": Out(accumulator),
        })  # fmt: skip

    @staticmethod
    def bias(config: MatrixConfig, *, a_signed: bool = True, w_signed: bool = True) -> int:
        """What a clock adds beyond ``a * w``: the weights of the inverted partial products.

        >>> four = MatrixConfig(operand_bits=4)
        >>> MacPe.bias(four), MacPe.bias(four, w_signed=False), MacPe.bias(four, a_signed=False, w_signed=False)
        (112, 120, 0)
        """
        sign = 1 << (config.operand_bits - 1)
        return (a_signed + w_signed) * sign * (sign - 1) + (a_signed != w_signed) * sign * sign

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True, local=True)
        m.d.comb += ClockSignal().eq(self.clk)
        splits, top = self.config.splits, self.config.operand_bits - 1
        signed_a, signed_w = (self.a_signed, self.w_signed) if splits else (Const(1, 1), Const(1, 1))
        unlike = self.unlike if splits else Const(0, 1)
        partial = []
        for i, w in enumerate(self.w):
            bits = []
            for j, a in enumerate(self.a):
                inverted = {(True, True): unlike, (True, False): signed_w, (False, True): signed_a}
                flag = inverted.get((i == top, j == top))
                bits.append(a & w if flag is None else (a & w) ^ flag)
            partial.append(Cat(*bits) << i)
        product = Signal(2 * self.config.operand_bits)
        accumulator = Signal(self.config.accumulator_bits)
        drain = Signal(self.config.accumulator_bits)
        kept: Value = Mux(self.clear, 0, accumulator)
        if splits:
            kept = Mux(self.shift, accumulator << SPLIT_BITS, kept)
        m.d.comb += [product.eq(sum(partial)), self.drain.eq(drain)]
        m.d.sync += accumulator.eq(kept + product)
        with m.If(self.load):
            m.d.sync += drain.eq(accumulator)
        with m.Elif(self.take):
            m.d.sync += drain.eq(self.below)
        return m


class MacArray(wiring.Component):
    """``c = a @ w`` a tile of ``rows`` x ``columns`` at a time, one k-step a clock, exact modulo 2**32.

    A 4-bit array multiplies wider operands in passes: each step says whether its operands are signed, and whether
    the sums move left by 4 before its products are added, so that Horner's rule over the parts of INT8 operands
    is exact (:func:`lanewise.models.mac_array.steps`). A shift at a tile's first step does nothing.

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
    i : ``In(stream.Signature(StructLayout(a, w[, a_signed, w_signed, shift], last)))``
        One k-step: column k of the left operand (``rows`` values), row k of the right one (``columns``
        values), the flags of a 4-bit array, and whether it is the tile's last. Element 0 in the low bits.
    o : ``Out(stream.Signature(StructLayout(row, last)))``
        One row of the tile, row 0 first; ``last`` marks row ``rows - 1``.
    """

    def __init__(self, config: MatrixConfig) -> None:
        if not config.integers:
            raise ValueError(f"operand_bits must be 4 or 8, not {config.operand_bits!r}")
        self.config = config
        accumulator = signed(config.accumulator_bits)
        row = data.StructLayout({"row": data.ArrayLayout(accumulator, config.columns), "last": 1})
        super().__init__(
            {"i": In(stream.Signature(self.step_layout(config))), "o": Out(stream.Signature(row))}
        )

    @staticmethod
    def step_layout(config: MatrixConfig) -> data.StructLayout:
        """What the array is given each clock."""
        operand = unsigned(config.operand_bits)
        return data.StructLayout({
            "a": data.ArrayLayout(operand, config.rows),
            "w": data.ArrayLayout(operand, config.columns),
            **({"a_signed": 1, "w_signed": 1, "shift": 1} if config.splits else {}),
            "last": 1,
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        rows, columns = self.config.rows, self.config.columns
        step = Signal(self.i.p.shape(), reset_less=True)
        valid = Signal()  # ``step`` waits to be accumulated
        full = Signal()  # the accumulators hold a finished tile
        restart = Signal(init=1)  # the next step begins a tile
        left = Signal(range(rows + 1))  # rows in the drain registers

        free, hold, go, load, take, clear = (
            Signal(name=n) for n in ("free", "hold", "go", "load", "take", "clear")
        )
        m.d.comb += [
            free.eq((left == 0) | ((left == 1) & self.o.ready)),
            hold.eq(full & ~free),
            go.eq(valid & ~hold),
            clear.eq(restart & ~hold),
            load.eq(full & free),
            take.eq(self.o.valid & self.o.ready),
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
        with m.Elif(take):
            m.d.sync += left.eq(left - 1)

        # what the elements' biased products add up to, kept as the elements keep their sums
        bias = Signal(self.config.accumulator_bits, reset_less=True)
        bias_drained = Signal.like(bias, reset_less=True)
        kept: Value = Mux(clear, 0, bias)
        added: Value = Const(MacPe.bias(self.config))
        flags: dict[str, Value] = {}
        if self.config.splits:
            unlike, shift = Signal(name="unlike"), Signal(name="shift")
            m.d.comb += [
                unlike.eq(step.a_signed ^ step.w_signed),
                shift.eq(
                    valid & step.shift & ~restart
                ),  # sums that wait for the drain wait for a restart, too
            ]
            flags = {"a_signed": step.a_signed, "w_signed": step.w_signed, "unlike": unlike, "shift": shift}
            kept = Mux(shift, bias << SPLIT_BITS, kept)
            one = MacPe.bias(self.config, w_signed=False)
            added = Mux(unlike, one, Mux(step.a_signed, added, 0))
        m.d.sync += bias.eq(kept - added)
        with m.If(load):
            m.d.sync += bias_drained.eq(bias)

        element = MacPe(self.config)
        below = [Const(0, self.config.accumulator_bits)] * columns
        for r in reversed(range(rows)):
            a = Signal(self.config.operand_bits, name=f"a_{r}")
            m.d.comb += a.eq(Mux(go, step.a[r], 0))
            for c in range(columns):
                drain = Signal(self.config.accumulator_bits, name=f"drain_{r}_{c}")
                m.submodules[f"pe_{r}_{c}"] = shared_instance(
                    element, "pe", clk=ClockSignal(), a=a, w=step.w[c], **flags,
                    clear=clear, load=load, take=take, below=below[c], drain=drain,
                )  # fmt: skip
                below[c] = drain
        m.d.comb += [self.o.p.row[c].eq(below[c] + bias_drained) for c in range(columns)]
        return m
