"""Writes INT4 weights into the scratchpad that a shift register makes of a seed."""

from functools import reduce
from operator import xor

from amaranth.hdl import C, Cat, Const, Elaboratable, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import MachineConfig
from lanewise.rtl.lfsr import STATE_BITS, TAPS
from lanewise.rtl.scratchpad import Client, address_bits, moved, write_signature

SIZE_BITS = 24
"""Of the bytes of a command."""


def generate_layout(config: MachineConfig) -> data.StructLayout:
    """A command: ``size`` bytes, at least 1, from the byte address ``scratch`` on, of the stream that begins with the state ``seed``, not 0."""
    return data.StructLayout({"scratch": address_bits(config), "size": SIZE_BITS, "seed": STATE_BITS})


def generator_client(config: MachineConfig) -> Client:
    """Its port of the scratchpad."""
    return Client(name="generator", bytes=config.weight_generator.bytes_per_clk, reads=False)


class WeightGenerator(wiring.Component):
    """Commands one after the other; of each a word of ``bytes_per_clk`` bytes a clock.

    The register makes all bits of a word at once: each is the exclusive or of some of the state's, and so is each bit of the next state.
    Of each four bits, -8 becomes 0.

    A command that is accepted in clock s, of n words, is written in the clocks s + 1 to s + n, and the next one can be accepted in clock s + n.
    ``finished`` is 1 in clock s + n + 2, at whose end the last byte is in the scratchpad. Throughput a word a clock; it waits for nothing.
    Back-pressure: ready/valid of commands. Golden model: :func:`lanewise.models.weight_generator.generated_bytes`; clocks:
    :mod:`lanewise.sim.weight_generator`.

    Members
    -------
    i : ``In(stream.Signature(generate_layout(config)))``
        Commands; addresses are modulo the scratchpad's size.
    finished : ``Out(1)``
        A command's last byte is in the scratchpad at the end of this clock.
    generator_write : ``Out(write_signature(config, bytes_per_clk))``
        To the scratchpad's port of this name.
    """

    i: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(generate_layout(config))),
            "finished": Out(1),
            "generator_write": Out(write_signature(config, config.weight_generator.bytes_per_clk)),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from a command's start to that of a reader, if it has one word."""
        return self.config.weight_generator.latency_clk

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config, count = self.config, self.config.weight_generator.bytes_per_clk
        state, left = Signal(STATE_BITS, reset_less=True), Signal(SIZE_BITS, reset_less=True)
        address = Signal(address_bits(config), reset_less=True)
        busy, ends, last, write = Signal(), Signal(), Signal(), self.generator_write
        bits, after = _leap(state, 8 * count)
        m.d.comb += [ends.eq(busy & (left <= count)), self.i.ready.eq(~busy | ends)]
        with m.If(self.i.ready):
            m.d.sync += [
                busy.eq(self.i.valid), state.eq(self.i.p.seed), left.eq(self.i.p.size), address.eq(self.i.p.scratch),
            ]  # fmt: skip
        with m.Else():
            m.d.sync += [
                state.eq(after), left.eq(left - count), address.eq(moved(config, address, C(count))),
            ]  # fmt: skip
        enabled = Cat(busy & (~ends | (left > k)) for k in range(count))
        m.d.sync += [
            write.enable.eq(enabled),
            write.address.eq(address),
            write.data.eq(Cat(_symmetric(bits[k : k + 4]) for k in range(0, 8 * count, 4))),
            last.eq(ends),
            self.finished.eq(last),
        ]
        return m


def _symmetric(code: list[Value]) -> Value:
    """INT4's bits, of -8 those of 0."""
    return Cat(*code[:3], code[3] & (code[0] | code[1] | code[2]))


def _leap(state: Signal, steps: int) -> tuple[list[Value], Value]:
    """The bits that fall out in so many single steps, in order, and the state then."""
    depends = [
        frozenset([k]) for k in range(STATE_BITS)
    ]  # bits of the first state that each bit is the exclusive or of
    fallen = []
    for _ in range(steps):
        low = depends[0]
        fallen.append(low)
        shifted = [*depends[1:], frozenset()]
        depends = [bits ^ low if TAPS >> k & 1 else bits for k, bits in enumerate(shifted)]

    def value(bits: frozenset[int]) -> Value:
        return reduce(xor, (state[j] for j in sorted(bits)), Const(0, 1))

    return [value(bits) for bits in fallen], Cat(value(bits) for bits in depends)
