"""Levels of a pairwise FP32 sum over the beats of a vector, several on one adder."""

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import FP32_ADDER_LATENCY_CLK
from lanewise.rtl.fp32_adder import Fp32Adder

PARTIAL = data.StructLayout({"sum": 32, "valid": 1, "first": 1, "last": 1})
"""The sum of some beats, whether there is one, and whether the vector's first and last beat are among them."""


def shared_levels(levels: int) -> list[range]:
    """Which levels, from 1 to ``levels``, have an adder in common; a level's partial sums come two clocks after the level's below.

    Additions at level k and above are begun by beats that are at least 2**(k - 2) + 1 clocks apart, unless the later one's
    addition is at no lower a level than the earlier one's: a vector with an addition there has more than 2**(k - 2) beats, and
    within one vector a lower level adds again after 2**(k - 1) more beats at the earliest. Two additions meet in an adder of
    m levels only if the later beat's is at a lower level and the beats are at most 2 * (m - 1) clocks apart.

    >>> shared_levels(7)
    [range(1, 2), range(2, 3), range(3, 5), range(5, 8)]
    """
    groups = []
    level = 1
    while level <= levels:
        count = 1 + (1 << level >> 2) // FP32_ADDER_LATENCY_CLK
        groups.append(range(level, min(level + count, levels + 1)))
        level += count
    return groups


class ReductionLevels(wiring.Component):
    """``count`` levels of a binary counter of partial sums, on one adder.

    At each level the first of two neighbours is held and added to the second. A vector's last partial sum without a neighbour
    goes on as it is; once it is the whole sum (the first beat is in it), the start value is added to it, and the vector is done.

    Latency 2 clocks a level, throughput 1 partial sum a clock where :func:`shared_levels` gives the levels.

    Members
    -------
    i : ``In(PARTIAL)``
    start : ``In(ArrayLayout(32, count))``
        For each level the start value of the vector whose last beat has come to it.
    o : ``Out(PARTIAL)``
        Valid if the vector is not done.
    total : ``Out(32)``
        Sum of a vector that is done.
    done : ``Out(count)``
        The level at which it was done two clocks before; the sum is in ``total``.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__({
            "i": In(PARTIAL), "start": In(data.ArrayLayout(32, count)), "o": Out(PARTIAL), "total": Out(32),
            "done": Out(count),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.adder = adder = Fp32Adder()
        alone = self.count == 1  # with an adder to itself, a level sends through it what has no neighbour
        waiting = Signal(32, reset_less=True)  # what has none; there is never more than one
        a: Value = C(0, 32)
        b: Value = C(0, 32)
        partial = self.i
        for k in range(self.count):
            held = Signal(PARTIAL, name=f"held_{k}", init={}, reset_less=False)
            pair, total, single = (Signal(name=f"{name}_{k}") for name in ("pair", "total", "single"))
            m.d.comb += [
                pair.eq(partial.valid & held.valid),
                total.eq(partial.valid & ~held.valid & partial.last & partial.first),
                single.eq(partial.valid & ~held.valid & partial.last & ~partial.first),
            ]
            with m.If(partial.valid):
                m.d.sync += held.valid.eq(~held.valid & ~partial.last)
                with m.If(~held.valid & ~partial.last):
                    m.d.sync += [held.sum.eq(partial.sum), held.first.eq(partial.first)]
            adds = pair | total | single if alone else pair | total
            a |= partial.sum & adds.replicate(32)
            b |= (held.sum & pair.replicate(32)) | (self.start[k] & total.replicate(32))
            if alone:
                b |= Cat(C(0, 31), single)  # -0 changes nothing
            after = Signal(PARTIAL, name=f"after_{k}")
            flags = Cat(
                pair | single,
                Mux(pair, held.first, partial.first),
                partial.last,
                total,
                single,
            )
            for stage in range(FP32_ADDER_LATENCY_CLK):
                later = Signal(5, name=f"flags_{k}_{stage}")
                m.d.sync += later.eq(flags)
                flags = later
            m.d.comb += [
                Cat(after.valid, after.first, after.last).eq(flags[:3]),
                after.sum.eq(adder.y if alone else Mux(flags[4], waiting, adder.y)),
                self.done[k].eq(flags[3]),
            ]
            if not alone:
                with m.If(single):
                    m.d.sync += waiting.eq(partial.sum)
            partial = after
        m.d.comb += [adder.a.eq(a), adder.b.eq(b), self.total.eq(adder.y), self.o.eq(partial)]
        return m
