"""Output-stationary array of FP16 multiply-accumulates in FP32: what the INT4 array is compared with."""

from typing import Any

from amaranth.hdl import ClockSignal, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import MatrixConfig
from lanewise.rtl.fp16_operand import MULTIPLICAND, MULTIPLIER, Fp16Operand
from lanewise.rtl.fp16_pe import SUM, Fp16Pe
from lanewise.rtl.fp16_rounder import Fp16Rounder
from lanewise.rtl.verilog import shared_instance


class Fp16Array(wiring.Component):
    """``c = a @ w`` a tile of ``rows`` x ``columns`` at a time, one k-step a clock: FP16 in and out, sums in FP32.

    Structure and streams are those of :class:`~lanewise.rtl.mac_array.MacArray`: output-stationary, operands
    broadcast along rows and columns, a drain register in each element. Products are exact; each is added with
    one rounding to FP32, in the order of the steps; a row leaves rounded once more, to FP16. Operands are taken
    apart once for a row or column, at the input; sums are rounded once for a column, at the output.

    Latency ``config.latency_clk`` clocks from the step with ``last`` to row 0 at ``o``: operands; products; sums;
    drain; rounding. Throughput one step a clock, one tile in ``max(k, rows)`` clocks. A stall of ``o`` stops the
    drain alone, when two rows wait at ``o``; the input stops when the finished sums wait for the drain registers
    and the next tile's first step waits behind them. Golden model: :func:`lanewise.models.fp16_array.fp16_array`;
    clocks: :func:`lanewise.sim.mac_array.mac_array_clk`.

    Members
    -------
    i : ``In(stream.Signature(StructLayout(a, w, last)))``
        One k-step: column k of the left operand (``rows`` values), row k of the right one (``columns``
        values), and whether it is the tile's last. Element 0 in the low bits.
    o : ``Out(stream.Signature(StructLayout(row, last)))``
        One row of the tile, row 0 first; ``last`` marks row ``rows - 1``.
    """

    def __init__(self, config: MatrixConfig) -> None:
        if config.operand_bits != 16:
            raise ValueError(f"operand_bits must be 16, not {config.operand_bits!r}")
        self.config = config
        step = data.StructLayout({
            "a": data.ArrayLayout(16, config.rows), "w": data.ArrayLayout(16, config.columns), "last": 1,
        })  # fmt: skip
        row = data.StructLayout({"row": data.ArrayLayout(16, config.columns), "last": 1})
        super().__init__({"i": In(stream.Signature(step)), "o": Out(stream.Signature(row))})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        rows, columns = self.config.rows, self.config.columns
        valid = Signal()  # a step waits to be multiplied
        last = Signal(reset_less=True)
        ended = Signal()  # the products that are being added are a tile's last
        full = Signal()  # the sums are a finished tile's
        begins = Signal(init=1)  # the next step begins a tile
        left = Signal(range(rows + 1))  # rows in the drain registers
        left_next = Signal.like(left)
        waiting = Signal(2)  # rows at the output
        waiting_next = Signal.like(waiting)

        free, free_next, hold, go, load, take, given, restart = (
            Signal(name=n) for n in ("free", "free_next", "hold", "go", "load", "take", "given", "restart")
        )
        m.d.comb += [
            take.eq((left != 0) & (waiting != 2)),
            given.eq(self.o.valid & self.o.ready),
            free.eq((left == 0) | ((left == 1) & take)),
            load.eq(full & free),
            left_next.eq(Mux(load, rows, left - take)),
            waiting_next.eq(waiting + take - given),
            free_next.eq((left_next == 0) | ((left_next == 1) & (waiting_next != 2))),
            # products cannot wait: a step is multiplied when its products can be added a clock later
            hold.eq((ended | (full & ~free)) & ~free_next),
            go.eq(valid & ~hold),
            restart.eq(go & begins),
            self.i.ready.eq(~valid | ~hold),
            self.o.valid.eq(waiting != 0),
        ]
        clear = Signal(reset_less=True)
        m.d.sync += [
            left.eq(left_next),
            waiting.eq(waiting_next),
            full.eq(ended | (full & ~free)),
            ended.eq(go & last),
            clear.eq(restart),
        ]
        with m.If(go):
            m.d.sync += begins.eq(last)
        with m.If(self.i.ready):
            m.d.sync += valid.eq(self.i.valid)
        taken = self.i.ready & self.i.valid
        with m.If(taken):
            m.d.sync += last.eq(self.i.p.last)

        # a step's operands, nothing while there is no step
        multiplicand, multiplier, element = (
            Fp16Operand(multiplier=False),
            Fp16Operand(multiplier=True),
            Fp16Pe(),
        )
        right = []
        for c in range(columns):
            w = self._operand(m, multiplier, f"w_{c}", self.i.p.w[c], taken)
            right.append(Signal(MULTIPLIER, name=f"right_{c}"))
            m.d.comb += [right[c].eq(w), right[c].special.eq(w.special & go)]
        below: list[Value] = [Const(0, SUM.size)] * columns
        for r in reversed(range(rows)):
            a, left_operand = (
                self._operand(m, multiplicand, f"a_{r}", self.i.p.a[r], taken),
                Signal(MULTIPLICAND, name=f"left_{r}"),
            )
            m.d.comb += [
                left_operand.eq(a),
                *(
                    left_operand[name].eq(Mux(go, a[name], 0))
                    for name in ("single", "triple", "nonzero", "special")
                ),
            ]
            for c in range(columns):
                drain = Signal(SUM, name=f"drain_{r}_{c}")
                m.submodules[f"pe_{r}_{c}"] = shared_instance(
                    element, "pe", clk=ClockSignal(), a=left_operand, w=right[c], restart=restart, clear=clear,
                    load=load, take=take, below=below[c], drain=drain,
                )  # fmt: skip
                below[c] = drain
        self._output(m, below, last=left == 1, take=take, given=given, waiting=waiting)
        return m

    def _operand(self, m: Module, prototype: Fp16Operand, name: str, word: Value, taken: Value) -> Any:
        """The registered operand of a row or column."""
        layout = prototype.o.shape()
        prepared = Signal(layout, name=f"{name}_in")
        kept = Signal(layout, name=name, reset_less=True)
        m.submodules[f"operand_{name}"] = shared_instance(prototype, "operand", i=word, o=prepared)
        with m.If(taken):
            m.d.sync += kept.eq(prepared)
        return kept

    def _output(
        self, m: Module, sums: list[Value], *, last: Value, take: Value, given: Value, waiting: Value
    ) -> None:
        """Rounded rows, of which two can wait."""
        rounder = Fp16Rounder()
        layout = self.o.p.shape()
        rounded = Signal(layout)
        first = Signal(layout, reset_less=True)
        second = Signal(layout, reset_less=True)
        for c, value in enumerate(sums):
            number = Signal(16, name=f"number_{c}")
            m.submodules[f"rounder_{c}"] = shared_instance(rounder, "rounder", i=value, o=number)
            m.d.comb += rounded.row[c].eq(number)
        m.d.comb += [rounded.last.eq(last), self.o.payload.eq(first)]
        with m.If(take):
            m.d.sync += second.eq(rounded)
        with m.If(given & (waiting == 2)):
            m.d.sync += first.eq(second)
        with m.Elif(take & ((waiting == 0) | given)):
            m.d.sync += first.eq(rounded)
