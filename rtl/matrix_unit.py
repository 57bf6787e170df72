"""Matrix unit: multiply-accumulate array and output path."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import MatrixConfig
from lanewise.rtl.mac_array import MacArray
from lanewise.rtl.requantiser import ROW_SCALE, Requantiser


class MatrixUnit(wiring.Component):
    """``o = requantise(a @ w)`` a tile of ``rows`` x ``columns`` at a time.

    In it: the array with its accumulators, which keep a tile over any number of k tiles, and the drain registers, from
    which a finished tile leaves while the next accumulates; the columns' constants, the output path and its random
    generators. Not in it: operand buffers, which are the scratchpad's, and skew, of which operands that are
    broadcast along rows and columns need none. Steps that are offered one a clock are taken one a clock, from tile to tile too, as
    long as a tile has at least ``rows * row_beats`` steps.

    Latency ``config.result_latency_clk`` from the step with ``last`` to the first results; throughput one step
    a clock, a tile in ``max(steps, config.leave_clk())`` clocks. A stall of ``o``, or a row whose scale or constants have
    not come, stops output path and drain; the array goes on until its next tile is finished.
    Golden model: :func:`lanewise.models.matrix_unit.matrix_tile`; clocks: :mod:`lanewise.sim.matrix_unit`.

    Members
    -------
    i : ``In(stream.Signature(StructLayout(a, w[, a_signed, w_signed, shift], last)))``
        Steps, as :class:`~lanewise.rtl.mac_array.MacArray` takes them.
    scale : ``In(stream.Signature(ROW_SCALE))``
        For each row of each tile, in order: its multiplier, shift, format and rounding, and whether new constants come before it.
    load, seed : ``In(stream.Signature(...))``
        Columns' constants and random states, as :class:`~lanewise.rtl.requantiser.Requantiser` takes them.
    o : ``Out(stream.Signature(StructLayout(y, last)))``
        Results, a beat of ``lanes`` columns at a time, packed; ``last`` marks a tile's last beat.
    busy : ``Out(1)``
        A row is in the output path.
    """

    i: stream.Interface
    scale: stream.Interface
    load: stream.Interface
    seed: stream.Interface
    o: stream.Interface
    busy: Signal

    def __init__(self, config: MatrixConfig) -> None:
        if not config.integers:
            raise ValueError(
                f"operand_bits must be 4 or 8 for the output path of integer sums, not {config.operand_bits!r}"
            )
        self.config = config
        self._array = MacArray(config)
        self._output = Requantiser(config)
        super().__init__({
            "i": In(self._array.i.signature.flip()),
            "scale": In(stream.Signature(ROW_SCALE)),
            "load": In(self._output.load.signature.flip()),
            "seed": In(self._output.seed.signature.flip()),
            "o": Out(self._output.o.signature),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.array = array = self._array
        m.submodules.output = output = self._output
        for outer, inner in ((self.i, array.i), (self.load, output.load), (self.seed, output.seed)):
            m.d.comb += [
                inner.payload.eq(outer.payload),
                inner.valid.eq(outer.valid),
                outer.ready.eq(inner.ready),
            ]
        m.d.comb += [
            output.i.p.row.eq(array.o.p.row),
            output.i.p.last.eq(array.o.p.last),
            output.i.p.scale.eq(self.scale.payload),
            output.i.valid.eq(array.o.valid & self.scale.valid),
            array.o.ready.eq(output.i.ready & self.scale.valid),
            self.scale.ready.eq(output.i.ready & array.o.valid),
            self.o.payload.eq(output.o.payload),
            self.o.valid.eq(output.o.valid),
            output.o.ready.eq(self.o.ready),
            self.busy.eq(output.busy),
        ]
        return m
