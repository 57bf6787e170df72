"""Random bits: one Galois shift register a lane, 16 steps at once."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

STATE_BITS = 32
TAPS = 0x8020_0003
BITS = 16


class Lfsr(wiring.Component):
    """16 random bits a lane: the low bits of its state, which moves on by 16 steps at each ``advance``.

    The state shifts right; a 1 that leaves is added (XOR) at x^32 + x^22 + x^2 + x + 1. Sixteen steps are one
    network of XORs. The states have no reset (and survive one): load all before use, none with zero.

    Latency none: ``o`` is what the states are; throughput one draw a clock. A load is taken at once and goes
    before an ``advance`` of the same clock.
    Golden model: :func:`lanewise.models.lfsr.random_bits`.

    Members
    -------
    advance : ``In(1)``
        The bits of all lanes are being taken.
    o : ``Out(ArrayLayout(16, lanes))``
        The bits.
    load : ``In(stream.Signature(StructLayout(address, state)))``
        A lane and its new state.
    """

    advance: Signal
    o: data.View
    load: stream.Interface

    def __init__(self, *, lanes: int) -> None:
        if lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes!r}")
        self.lanes = lanes
        super().__init__({
            "advance": In(1),
            "o": Out(data.ArrayLayout(BITS, lanes)),
            "load": In(load_signature(lanes)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.d.comb += self.load.ready.eq(1)
        for k in range(self.lanes):
            m.submodules[f"lane_{k}"] = lane = _Lane()
            m.d.comb += [
                lane.advance.eq(self.advance),
                lane.load.eq(self.load.valid & (self.load.p.address == k)),
                lane.new.eq(self.load.p.state),
                self.o[k].eq(lane.o),
            ]
        return m


def load_signature(lanes: int) -> stream.Signature:
    """Of a stream of states, each for the lane ``address``."""
    address = max(1, (lanes - 1).bit_length())
    return stream.Signature(data.StructLayout({"address": address, "state": STATE_BITS}))


class _Lane(wiring.Component):
    """One state."""

    def __init__(self) -> None:
        super().__init__({"advance": In(1), "load": In(1), "new": In(STATE_BITS), "o": Out(BITS)})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        state = Signal(STATE_BITS, reset_less=True)
        m.d.comb += self.o.eq(state[:BITS])
        with m.If(self.load):
            m.d.sync += state.eq(self.new)
        with m.Elif(self.advance):
            m.d.sync += state.eq(_leap(state))
        return m


def _leap(state: Signal) -> Value:
    """The state 16 steps later: of each bit, which bits of today's it is the sum of."""
    sums = [frozenset([k]) for k in range(STATE_BITS)]
    for _ in range(BITS):
        leaving = sums[0]
        sums = [
            (sums[k + 1] if k + 1 < STATE_BITS else frozenset()) ^ (leaving if TAPS >> k & 1 else frozenset())
            for k in range(STATE_BITS)
        ]
    return Cat(reduce(xor, (state[k] for k in sorted(bits))) for bits in sums)
