"""Small components with a known number of flip-flops."""

from amaranth.hdl import Elaboratable, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Delay(wiring.Component):
    """``bits`` delayed by ``stages`` clocks: flip-flops and nothing else."""

    def __init__(self, bits: int, stages: int) -> None:
        self.stages = stages
        super().__init__({"i": In(bits), "o": Out(bits)})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        value = self.i
        for k in range(self.stages):
            register = Signal.like(value, name=f"stage_{k}", reset_less=True)
            m.d.sync += register.eq(value)
            value = register
        m.d.comb += self.o.eq(value)
        return m


class Accumulate(wiring.Component):
    """``o`` adds up ``a * b``; a reset, an enable and a multiplier."""

    def __init__(self, bits: int) -> None:
        super().__init__({"a": In(bits), "b": In(bits), "enable": In(1), "o": Out(2 * bits + 2)})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        total = Signal.like(self.o)
        with m.If(self.enable):
            m.d.sync += total.eq(total + self.a * self.b)
        m.d.comb += self.o.eq(total)
        return m


class Nest(wiring.Component):
    """Three equal delays and a fourth of other length, in a row; an accumulator within a block of its own."""

    def __init__(self) -> None:
        super().__init__({"i": In(4), "j": In(4), "o": Out(4), "enable": In(1), "total": Out(10)})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        value = self.i
        for k, stages in enumerate((2, 2, 2, 5)):
            delay = Delay(4, stages)
            m.submodules[f"delay_{k}"] = delay
            m.d.comb += delay.i.eq(value)
            value = delay.o
        m.d.comb += self.o.eq(value)
        m.submodules.outer = outer = Outer()
        m.d.comb += [
            outer.a.eq(self.i),
            outer.b.eq(self.j),
            outer.enable.eq(self.enable),
            self.total.eq(outer.o),
        ]
        return m


class Outer(wiring.Component):
    """Holds an accumulator and nothing else."""

    a: In(4)
    b: In(4)
    enable: In(1)
    o: Out(10)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.inner = inner = Accumulate(4)
        m.d.comb += [inner.a.eq(self.a), inner.b.eq(self.b), inner.enable.eq(self.enable), self.o.eq(inner.o)]
        return m


class Foreign(wiring.Component):
    """Instantiates a module that nobody wrote."""

    o: Out(1)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.lost = Instance("nobody_wrote_this", o_o=self.o)
        return m
