"""When registers can be read and written: the recurrence of the timing model, as counters."""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lanewise.rtl.vector_register_file import REGISTERS

GROUP = data.StructLayout({"present": 1, "register": 5, "length": 2})
"""A register group: whether there is one, its first register, log2 of its length."""
SOURCES = ("vs2", "vs1", "vd")


class VectorScoreboard(wiring.Component):
    """Whether the instruction at hand may start, as far as registers go; and what a start changes.

    For every register three counters that run down to 0, in clocks from now: until a reader may take its first word, a word a
    clock (``ready``); until all of the instruction that writes it has landed (``last``); until the last read of what is in it
    has been done (``read``). A register that is the k-th of its group comes, and is read, k registers' words later.

    ``free`` is combinational; a start counts from the clock after it. Golden model: :mod:`lanewise.sim.engine`.

    Members
    -------
    vs2, vs1, vd : ``In(GROUP)``
        Registers that are read (``vd``: the old destination).
    result : ``In(GROUP)``
        Registers that are written.
    mask : ``In(1)``
        v0 is read.
    whole : ``In(1)``
        All of ``vs2`` must be there.
    hold : ``In(unsigned)``
        Clocks after which all sources have been read.
    first, ready, last : ``In(unsigned)``
        Clocks from the start until the first beat of the result lands; until a reader may take it, a word a clock; until its
        last beat can be read.
    start : ``In(1)``
        The instruction starts.
    free : ``Out(1)``
        Registers allow it to.
    """

    def __init__(self, counter_bits: int, register_beats: int) -> None:
        self.counter_bits, self.register_beats = counter_bits, register_beats
        number = In(counter_bits)
        super().__init__({
            **{name: In(GROUP) for name in (*SOURCES, "result")}, "mask": In(1), "whole": In(1),
            "hold": number, "first": number, "ready": number, "last": number, "start": In(1), "free": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        bits = self.counter_bits
        waits = []
        for register in range(REGISTERS):
            ready, last, read = (
                Signal(bits, name=f"{name}_{register}") for name in ("ready", "last", "read")
            )
            sources = [self._holds(m, name, register) for name in SOURCES]
            reads = Signal(name=f"reads_{register}")
            m.d.comb += reads.eq(Cat(sources).any() | (self.mask if register == 0 else 0))
            writes = self._holds(m, "result", register)
            late = [
                holds & (ready > self._place(name, register))
                for name, holds in zip(SOURCES, sources, strict=True)
            ]
            if register == 0:
                late.append(self.mask & (ready != 0))
            clash, partial = (Signal(name=f"{name}_{register}") for name in ("clash", "partial"))
            m.d.comb += [
                partial.eq(sources[0] & self.whole & (last != 0)),
                clash.eq((read > self.first) | (last >= self.first)),
            ]
            waits.append(Cat(late).any() | partial | (writes & clash))
            m.d.sync += [counter.eq(Mux(counter == 0, 0, counter - 1)) for counter in (ready, last, read)]
            with m.If(self.start & reads & (read < self.hold)):
                m.d.sync += read.eq(self.hold - 1)
            with m.If(self.start & writes):
                m.d.sync += [
                    ready.eq(self.ready + self._place("result", register) - 1),
                    last.eq(self.last - 1),
                ]
        m.d.comb += self.free.eq(~Cat(waits).any())
        return m

    def _holds(self, m: Module, name: str, register: int) -> Signal:
        """Whether the group ``name`` holds the register. Groups are aligned to their length."""
        group = getattr(self, name)
        holds = Signal(name=f"{name}_{register}")
        same = Cat((group.register >> length) == (register >> length) for length in range(4))
        m.d.comb += holds.eq(group.present & same.bit_select(group.length, 1))
        return holds

    def _place(self, name: str, register: int) -> Value:
        """Words of the group ``name`` before the register."""
        length = getattr(self, name).length
        before = [
            Const(self.register_beats * (register & ((1 << k) - 1)), self.counter_bits) for k in range(4)
        ]
        return Array(before)[length]
