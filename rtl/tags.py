"""Counts of finished reads and writes, which keep the streams in step."""

from amaranth.hdl import Array, Elaboratable, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

TAGS = 64
"""Buffers that can be told apart."""
COUNT_BITS = 16
"""Counts are modulo 2**16: a buffer is never read so often between two writes."""

REQUEST = data.StructLayout({"tag": range(TAGS), "reads": COUNT_BITS, "writes": COUNT_BITS})
"""What an instruction waits for: the buffer's finished reads (a writer only) and at least so many of its writes."""


class Tags(wiring.Component):
    """For each buffer, how many reads and writes have finished.

    ``counted`` is combinational; what finishes in a clock is seen from the next one on. No back-pressure.
    Golden model: :mod:`lanewise.sim.engine`.

    Members
    -------
    ask : ``In(Signature(request, writes, In(counted))).array(askers)``
        Whether the counts that an instruction needs are reached; ``writes``: it writes the buffer.
    done : ``In(Signature(tag, read, wrote)).array(reporters)``
        A read, or a write, of the buffer has finished.
    """

    def __init__(self, *, askers: int, reporters: int) -> None:
        ask = wiring.Signature({"request": Out(REQUEST), "writes": Out(1), "counted": In(1)})
        done = wiring.Signature({"tag": Out(range(TAGS)), "read": Out(1), "wrote": Out(1)})
        super().__init__({"ask": In(ask).array(askers), "done": In(done).array(reporters)})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        reads = Array(Signal(COUNT_BITS, name=f"reads_{tag}") for tag in range(TAGS))
        writes = Array(Signal(COUNT_BITS, name=f"writes_{tag}") for tag in range(TAGS))
        for place, ask in enumerate(self.ask):
            request = ask.request
            ahead = Signal(COUNT_BITS, name=f"ahead_{place}")
            m.d.comb += [
                ahead.eq(writes[request.tag] - request.writes),
                ask.counted.eq(~ahead[-1] & (~ask.writes | (reads[request.tag] == request.reads))),
            ]
        for tag in range(TAGS):
            own = [done.tag == tag for done in self.done]
            m.d.sync += [
                reads[tag].eq(reads[tag] + sum(o & done.read for o, done in zip(own, self.done))),
                writes[tag].eq(writes[tag] + sum(o & done.wrote for o, done in zip(own, self.done))),
            ]
        return m
