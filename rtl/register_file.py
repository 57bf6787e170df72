"""The vector register file, of flip-flops, one slice a lane."""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import VectorConfig

REGISTERS = 32
"""RVV's."""
READ_PORTS = 3
"""Operands of a multiply-add; a masked instruction merges with the old destination, read by the third."""


class RegisterFile(wiring.Component):
    """32 registers of ``vlen_bits``, one write and three read ports, each a beat of 32 bits a lane per clock.

    Lane ``l`` keeps bits ``32*l`` to ``32*l + 31`` of each beat of each register: no operand crosses lanes.
    A write is whole words. A read port keeps its data while ``enable`` is 0. A read in the clock of a write
    to the same beat gives the old value. The storage has no reset.

    Latency of a read 1 clock; throughput one beat/clock at every port. No back-pressure.
    Golden model: a table of beats, as in the test.

    Members
    -------
    write : ``In(Signature(enable, register, beat, data))``
        Beat to write; ``data`` is ``lanes`` words of 32 bits, lane 0 in the low bits.
    read : ``In(Signature(enable, register, beat, Out(data))).array(3)``
        Beats to read.
    """

    def __init__(self, config: VectorConfig) -> None:
        self.config = config
        word = data.ArrayLayout(32, config.lanes)
        beats = config.vlen_bits // config.bits_per_clk
        place = {"enable": Out(1), "register": Out(range(REGISTERS)), "beat": Out(range(beats))}
        super().__init__({
            "write": In(wiring.Signature({**place, "data": Out(word)})),
            "read": In(wiring.Signature({**place, "data": In(word)})).array(READ_PORTS),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from an enabled read to its data."""
        return 1

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        for k in range(self.config.lanes):
            m.submodules[f"lane_{k}"] = lane = RegisterFileLane(self.config)
            m.d.comb += [
                lane.write_enable.eq(self.write.enable),
                lane.write_address.eq(Cat(self.write.beat, self.write.register)),
                lane.write_data.eq(self.write.data[k]),
            ]
            for port, read in enumerate(self.read):
                m.d.comb += [
                    lane.read_enable[port].eq(read.enable),
                    lane.read_address[port].eq(Cat(read.beat, read.register)),
                    read.data[k].eq(lane.read_data[port]),
                ]
        return m


class RegisterFileLane(wiring.Component):
    """One lane's slice: ``words``, a beat of each register after the other; one write and three read ports.

    Timing and golden model as :class:`RegisterFile`.

    Members
    -------
    write_enable, write_address, write_data : ``In(1)``, ``In(range(words))``, ``In(32)``
        Word to write.
    read_enable, read_address : ``In(3)``, ``In(ArrayLayout(range(words), 3))``
        Words to read.
    read_data : ``Out(ArrayLayout(32, 3))``
        Data of the last enabled reads.
    """

    def __init__(self, config: VectorConfig) -> None:
        self.words = words = REGISTERS * config.vlen_bits // config.bits_per_clk
        super().__init__({
            "write_enable": In(1),
            "write_address": In(range(words)),
            "write_data": In(32),
            "read_enable": In(READ_PORTS),
            "read_address": In(data.ArrayLayout(range(words), READ_PORTS)),
            "read_data": Out(data.ArrayLayout(32, READ_PORTS)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        storage = [Signal(32, name=f"word_{a}", reset_less=True) for a in range(self.words)]
        with m.If(self.write_enable), m.Switch(self.write_address):
            for address, word in enumerate(storage):
                with m.Case(address):
                    m.d.sync += word.eq(self.write_data)
        for port in range(READ_PORTS):
            operand = Signal(32, name=f"operand_{port}", reset_less=True)
            with m.If(self.read_enable[port]):
                m.d.sync += operand.eq(Array(storage)[self.read_address[port]])
            m.d.comb += self.read_data[port].eq(operand)
        return m
