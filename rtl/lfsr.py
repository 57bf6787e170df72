"""Random bits: one 32-bit Galois shift register a lane."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Const, Elaboratable, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

STATE_BITS = 32
BITS = 16
"""Bits that a beat consumes unless told otherwise."""
TAPS = 0x8020_0003
"""x^32 + x^22 + x^2 + x + 1: the maximal register of 32 bits of Alfke, Xilinx XAPP 052 (1996)."""


class Lfsr(wiring.Component):
    """16 random bits a lane and beat: a function of the loaded state and the number of beats taken since.

    A lane's register moves right 16 places a beat, at once: each bit of the next state is the exclusive or of up
    to 12 of this one's.

    Latency 0: a beat is always there; throughput 1 beat/clock. What is not taken stays. A load is taken at
    once; a beat that is taken in the same clock is of the old state. No reset: load every lane before use, with
    something other than 0. Golden model: :func:`lanewise.models.lfsr.random_bits`.

    Members
    -------
    load : ``In(stream.Signature(StructLayout(lane, state)))``
        State of one lane.
    o : ``Out(stream.Signature(ArrayLayout(16, lanes)))``
        Bits, always valid.
    """

    load: stream.Interface
    o: stream.Interface

    def __init__(self, lanes: int, *, bits: int = 16) -> None:
        """``bits``: how many each beat consumes, 1 to 32."""
        if lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes!r}")
        if not 1 <= bits <= STATE_BITS:
            raise ValueError(f"bits must be 1 to {STATE_BITS}, not {bits!r}")
        self.lanes = lanes
        self.bits = bits
        super().__init__({
            "load": In(load_signature(lanes)),
            "o": Out(stream.Signature(data.ArrayLayout(bits, lanes))),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.d.comb += [self.load.ready.eq(1), self.o.valid.eq(1)]
        for k in range(self.lanes):
            state = Signal(STATE_BITS, name=f"state_{k}", reset_less=True)
            m.d.comb += self.o.p[k].eq(state[: self.bits])
            with m.If(self.load.valid & (self.load.p.lane == k)):
                m.d.sync += state.eq(self.load.p.state)
            with m.Elif(self.o.ready):
                m.d.sync += state.eq(_advanced(state, self.bits))
        return m


def load_signature(lanes: int) -> stream.Signature:
    """Of a stream of states, each for a lane."""
    return stream.Signature(
        data.StructLayout({"lane": max(1, (lanes - 1).bit_length()), "state": STATE_BITS})
    )


def _advanced(state: Signal, steps: int) -> Value:
    """The state after ``steps`` single steps."""
    depends = [{k} for k in range(STATE_BITS)]  # bits of the first state that each bit is the exclusive or of
    for _ in range(steps):
        low = depends[0]
        moved = [*depends[1:], set()]
        depends = [bits ^ low if TAPS >> k & 1 else bits for k, bits in enumerate(moved)]
    return Cat(reduce(xor, (state[j] for j in sorted(bits)), Const(0, 1)) for bits in depends)
