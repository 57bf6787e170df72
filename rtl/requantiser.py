"""Output path of the matrix unit: sums become integers or floating-point numbers."""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import REQUANTISER_BITS, REQUANTISER_FORMATS, REQUANTISER_LATENCY_CLK, MatrixConfig
from lanewise.rtl.lfsr import Lfsr
from lanewise.rtl.requantiser_lane import RequantiserLane

ROW_SCALE = data.StructLayout({"multiplier": 16, "shift": 6, "form": 2, "stochastic": 1, "reload": 1})
"""What goes with a row: multiplier, places of the shift, code of the format, how integers are rounded, and whether new
constants of the columns come before it."""

WORD_BITS = 16
"""Room for one result."""


class Requantiser(wiring.Component):
    """``y = (sum + bias[column]) * row multiplier * multiplier[column] / 2**shift``, exact and rounded once.

    INT4 and INT8 saturate, rounded to nearest, ties to even, or stochastically; FP16 and BF16 are rounded to
    nearest, ties to even, with subnormals and overflow to infinity; a zero is positive. A row says what it is to
    become. The table of the columns' constants has as many words as a row has beats.

    Latency 7 clocks from a beat to its results; throughput ``lanes`` columns a clock, a row in
    ceil(columns / lanes) clocks; all stages stand still while ``o`` is valid and not taken. A row is taken with its
    last beat. A row with ``reload`` first takes the whole table from ``load``, a word a clock, while the rows before it go on
    through the stages: the order of rows and constants is in the rows, whatever stalls. A seed waits until the rows before
    it have left, and no row begins while one is offered. Every beat consumes 16 random bits a lane, whatever its
    format, so that they are a function of the seed and the number of beats. The table has no reset: the first row reloads.
    Golden model: :func:`lanewise.models.requantiser.requantise`; clocks: :mod:`lanewise.sim.requantiser`.

    Members
    -------
    i : ``In(stream.Signature(StructLayout(row, last, scale)))``
        ``columns`` sums, column 0 in the low bits; whether the row is its tile's last; :data:`ROW_SCALE`.
    load : ``In(stream.Signature(StructLayout(bias, multiplier)))``
        Constants of ``lanes`` columns: INT32 biases, 16-bit multipliers; a table has a word for each beat of a row, in order.
    seed : ``In(stream.Signature(StructLayout(lane, state)))``
        As :class:`~lanewise.rtl.lfsr.Lfsr`'s ``load``.
    o : ``Out(stream.Signature(StructLayout(y, last)))``
        A beat: its results packed, column 0 in the low bits, each 4, 8 or 16 bits wide, zeros above; ``last`` marks
        the last beat of the last row. What is beyond the last column is the receiver's to drop.
    busy : ``Out(1)``
        An accepted beat has not left yet, or a row is under way.
    """

    i: stream.Interface
    load: stream.Interface
    seed: stream.Interface
    o: stream.Interface
    busy: Signal

    def __init__(self, config: MatrixConfig) -> None:
        self.config = config
        lanes = config.requantiser_lanes
        self._random = Lfsr(lanes)
        row = data.StructLayout({
            "row": data.ArrayLayout(signed(config.accumulator_bits), config.columns), "last": 1, "scale": ROW_SCALE,
        })  # fmt: skip
        super().__init__({
            "i": In(stream.Signature(row)),
            "load": In(stream.Signature(self.load_layout(lanes))),
            "seed": In(self._random.load.signature.flip()),
            "o": Out(stream.Signature(data.StructLayout({"y": WORD_BITS * lanes, "last": 1}))),
            "busy": Out(1),
        })  # fmt: skip

    @staticmethod
    def load_layout(lanes: int) -> data.StructLayout:
        """A word of the columns' constants."""
        return data.StructLayout(
            {"bias": data.ArrayLayout(signed(32), lanes), "multiplier": data.ArrayLayout(16, lanes)}
        )

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.random = random = self._random
        lanes, beats, latency = self.config.requantiser_lanes, self.config.row_beats, REQUANTISER_LATENCY_CLK
        move, accept, idle = (Signal(name=name) for name in ("move", "accept", "idle"))
        beat = Signal(range(beats))
        final = beat == beats - 1
        valid = Signal(latency)
        wanted, begins = Signal(), Signal()
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            begins.eq((beat != 0) | ~(wanted | self.seed.valid)),
            accept.eq(move & self.i.valid & begins),
            self.i.ready.eq(move & final & begins),
            self.o.valid.eq(valid[-1]),
            self.busy.eq(valid.any() | (beat != 0)),
            idle.eq(~self.busy),
            self.load.ready.eq(self.i.valid & wanted),
            self.seed.ready.eq(idle),
            random.load.payload.eq(self.seed.payload),
            random.load.valid.eq(self.seed.valid & idle),
            random.o.ready.eq(move & valid[-2]),
        ]
        with m.If(move):
            m.d.sync += valid.eq(Cat(accept, valid))
        with m.If(accept):
            m.d.sync += beat.eq(Mux(final, 0, beat + 1))

        def later(value: Value, name: str, stages: int) -> list[Signal]:
            """The value in each of the next stages."""
            line: list[Signal] = []
            for stage in range(1, stages + 1):
                line.append(Signal(len(value), name=f"{name}_{stage}", reset_less=True))
                with m.If(move):
                    m.d.sync += line[-1].eq(value if stage == 1 else line[-2])
            return line

        scale = self.i.p.scale
        multiplier = later(scale.multiplier, "row_multiplier", 1)[-1]
        shift = later(scale.shift, "shift", 4)[-1]
        form = later(scale.form, "form", 6)
        stochastic = later(scale.stochastic, "stochastic", 6)[-1]
        last = later(self.i.p.last & final, "last", latency)[-1]

        bias, factor = self._table(m, beat, accept & final, wanted)
        results: list[Value] = []
        for k in range(lanes):
            m.submodules[f"lane_{k}"] = lane = RequantiserLane()
            columns = range(k, beats * lanes, lanes)
            sums = [
                self.i.p.row[c].as_unsigned() if c < self.config.columns else Const(0, 32) for c in columns
            ]
            m.d.comb += [
                lane.move.eq(move),
                lane.sum.eq(sums[0] if beats == 1 else Array(sums)[beat]),
                lane.bias.eq(bias[k]),
                lane.factor.eq(factor[k]),
                lane.row_multiplier.eq(multiplier),
                lane.shift.eq(shift),
                lane.place_form.eq(form[4]),
                lane.round_form.eq(form[5]),
                lane.stochastic.eq(stochastic),
                lane.random.eq(random.o.p[k]),
            ]
            results.append(lane.y)
        y = Signal(WORD_BITS * lanes, reset_less=True)
        with m.If(move), m.Switch(form[5]):
            for code, name in enumerate(REQUANTISER_FORMATS):
                with m.Case(code):
                    bits = REQUANTISER_BITS[name]
                    m.d.sync += y.eq(Cat(result[:bits] for result in results))
        m.d.comb += [self.o.p.y.eq(y), self.o.p.last.eq(last)]
        return m

    def _table(self, m: Module, beat: Signal, leaves: Value, wanted: Signal) -> tuple[data.View, data.View]:
        """Constants of the beat's columns: biases and multipliers; ``wanted``: the row at the input waits for a table."""
        layout = self.load.payload.shape()
        beats = self.config.row_beats
        loaded, place = Signal(), Signal(range(beats))
        m.d.comb += wanted.eq(self.i.p.scale.reload & ~loaded)
        with m.If(self.load.valid & self.load.ready):
            m.d.sync += [place.eq(Mux(place == beats - 1, 0, place + 1)), loaded.eq(place == beats - 1)]
        with m.If(leaves):
            m.d.sync += loaded.eq(0)
        words = []
        for address in range(beats):
            word = Signal(layout, name=f"constants_{address}", reset_less=True)
            with m.If(self.load.valid & self.load.ready & (place == address)):
                m.d.sync += word.eq(self.load.payload)
            words.append(word)
        read = Signal(layout, name="constants")
        m.d.comb += read.eq(words[0] if len(words) == 1 else Array(Value.cast(word) for word in words)[beat])
        return read.bias, read.multiplier
