"""No beat of a stream is lost, doubled, altered or overtaken, whatever the back-pressure, and none comes late."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from amaranth.hdl import C, Signal, Value
from amaranth.lib import stream

from lanewise.verify.formal.counting import count
from lanewise.verify.formal.harness import Harness, Step


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the pipeline that the harness watches, for its invariants."""

    valid: Value
    """Whether a beat is in it."""
    contents: Value
    """What there is of the beat in it."""
    expected: Value
    """What ought to be there if it is the watched beat."""


class Watch:
    """One beat, any of those accepted: the solver chooses when to begin.

    Counters that see the ports alone say how many beats are in flight (accepted and not yet delivered) and how many of them
    are ahead of the watched one. Make it first, for what it remembers is what stages are compared with.
    """

    def __init__(
        self, harness: Harness, i: stream.Interface, o: stream.Interface, payload: Value, latency_clk: int
    ) -> None:
        """``payload``: what to remember of the beat, as it is when it is accepted."""
        m = harness.m
        self.harness, self.o, self.latency_clk = harness, o, latency_clk
        self.accepted = Signal(name="accepted")
        self.delivered = Signal(name="delivered")
        self.begin = Signal(name="begin")
        self.watching = Signal(name="watching")
        self.payload = Signal(len(payload), name="watched", reset_less=True)
        bits = range(latency_clk + 2).stop.bit_length()
        self.in_flight = Signal(bits, name="in_flight")
        self.ahead = Signal(bits, name="ahead", reset_less=True)
        self.age_clk = Signal(bits, name="age_clk", reset_less=True)
        self.taken_clk = Signal(bits, name="taken_clk", reset_less=True)
        m.d.comb += [
            self.accepted.eq(i.valid & i.ready),
            self.delivered.eq(o.valid & o.ready),
            self.begin.eq(self.accepted & ~self.watching & harness.free("mark")),
        ]
        m.d.sync += self.in_flight.eq(self.in_flight + self.accepted - self.delivered)
        with m.If(self.begin):
            m.d.sync += [
                self.watching.eq(1), self.payload.eq(payload), self.ahead.eq(self.in_flight - self.delivered),
                self.age_clk.eq(1), self.taken_clk.eq(0),
            ]  # fmt: skip
        with m.Elif(self.watching):
            with m.If(self.delivered):
                m.d.sync += self.ahead.eq(self.ahead - 1)
                with m.If(self.ahead == 0):
                    m.d.sync += self.watching.eq(0)
            with m.If(self.age_clk < latency_clk):
                m.d.sync += self.age_clk.eq(self.age_clk + 1)
            m.d.sync += self.taken_clk.eq(0)
            with m.If(o.ready):
                m.d.sync += self.taken_clk.eq(self.taken_clk + 1)

    def check(self, stages: Sequence[Stage], got: Value, expected: Value, held: Value) -> list[Value]:
        """The claims of every stream; returns for each stage whether the watched beat is in it.

        * ``in_flight``: the stages hold as many beats as were accepted and not delivered: none is made or vanishes.
        * ``watched``: when all that were ahead of the watched beat have left, the next delivered is the watched one:
          ``got`` of it is ``expected``.
        * ``held``: what is offered and not taken is offered again, ``held`` of it unchanged.
        * ``no_later``: it leaves at the latest in the ``latency_clk``-th clock in a row in which the receiver takes.
        * ``no_sooner``: nor before ``latency_clk`` clocks. So if the receiver takes all the time, it leaves then.
        """
        harness, m, o = self.harness, self.harness.m, self.o
        valid = [stage.valid for stage in stages]
        harness.hold(Step.INVARIANT, "in_flight", count(valid) == self.in_flight)
        here = []
        for k, stage in enumerate(stages):
            above = count(valid[k + 1 :]) if valid[k + 1 :] else C(0, 1)
            here.append(Signal(name=f"here_{k}"))
            m.d.comb += here[-1].eq(self.watching & stage.valid & (above == self.ahead))
        found = [
            place & (stage.contents == stage.expected) & (self.taken_clk <= k) & (k < self.age_clk)
            for k, (place, stage) in enumerate(zip(here, stages, strict=True))
        ]
        harness.hold(Step.INVARIANT, "somewhere", ~self.watching | reduce(or_, found))

        refused = Signal(name="refused")
        offered = Signal(len(held), name="offered", reset_less=True)
        m.d.sync += [refused.eq(o.valid & ~o.ready), offered.eq(held)]
        harness.hold(Step.INVARIANT, "held", ~refused | (o.valid & (held == offered)))

        due = self.watching & (self.ahead == 0)
        harness.hold(Step.CLAIM, "watched", ~(due & o.valid) | (got == expected))
        harness.hold(Step.CLAIM, "ahead", ~self.watching | (self.ahead < self.in_flight))
        harness.hold(Step.CLAIM, "none_from_nothing", ~o.valid | (self.in_flight != 0))
        harness.hold(Step.CLAIM, "no_later", ~self.watching | (self.taken_clk < self.latency_clk))
        harness.hold(Step.CLAIM, "no_sooner", ~(due & o.valid) | (self.age_clk >= self.latency_clk))
        return here
