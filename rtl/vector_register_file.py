"""The vector register file: a port for every operand of every unit, and a copy of v0 for the masks."""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from lanewise.config import VectorConfig

REGISTERS = 32
"""RVV's."""
LANE_BITS, LANE_BYTES = 32, 4


class VectorRegisterFile(wiring.Component):
    """32 registers of ``vlen_bits``, seen as words of a beat: register ``r`` holds words ``r * beats`` and following.

    Lane ``l`` keeps bits ``32*l`` to ``32*l + 31`` of each word. A read in the clock of a write to the same word gives
    the old value. Two writes of one clock never meet: the scoreboard lets no two instructions write a register at
    the same time. The storage has no reset.

    Latency of a read 1 clock, of a write to a read 1 clock; throughput a word a clock at every port. No back-pressure.
    Golden model: a table of words, as in the test.

    Members
    -------
    read : ``In(Signature(address, Out(data))).array(reads)``
        Words to read; data a clock later.
    write : ``In(Signature(address, enable, data)).array(writes)``
        Words to write; ``enable`` has a bit a byte.
    first : ``In(Signature(address, enable, data))``
        A write of lane 0's 32 bits alone.
    mask : ``In(Signature(offset, Out(data))).array(masks)``
        Bits of v0 from ``lanes * offset`` on, a bit for each byte of a beat; a clock later.
    """

    def __init__(self, config: VectorConfig, *, reads: int, writes: int, masks: int) -> None:
        self.config = config
        self.words = REGISTERS * config.register_beats
        address = Out(range(self.words))
        self._bits, self._bytes = config.bits_per_clk, config.bits_per_clk // 8
        super().__init__({
            "read": In(wiring.Signature({"address": address, "data": In(self._bits)})).array(reads),
            "write": In(
                wiring.Signature({"address": address, "enable": Out(self._bytes), "data": Out(self._bits)})
            ).array(writes),
            "first": In(wiring.Signature({"address": address, "enable": Out(LANE_BYTES), "data": Out(LANE_BITS)})),
            "mask": In(
                wiring.Signature({
                    "offset": Out(range(config.vlen_bits // config.lanes)), "data": In(self._bytes),
                })
            ).array(masks),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        for k in range(self.config.lanes):
            m.submodules[f"lane_{k}"] = lane = _Lane(
                self.words, reads=len(self.read), writes=len(self.write) + (k == 0)
            )
            for port, read in enumerate(self.read):
                m.d.comb += [
                    lane.read[port].address.eq(read.address),
                    read.data[LANE_BITS * k : LANE_BITS * (k + 1)].eq(lane.read[port].data),
                ]
            for port, write in enumerate(self.write):
                m.d.comb += [
                    lane.write[port].address.eq(write.address),
                    lane.write[port].enable.eq(write.enable[LANE_BYTES * k : LANE_BYTES * (k + 1)]),
                    lane.write[port].data.eq(write.data[LANE_BITS * k : LANE_BITS * (k + 1)]),
                ]
            if k == 0:
                port_0 = lane.write[len(self.write)]
                m.d.comb += [
                    port_0.address.eq(self.first.address),
                    port_0.enable.eq(self.first.enable),
                    port_0.data.eq(self.first.data),
                ]
        self._masks(m)
        return m

    def _masks(self, m: Module) -> None:
        """v0 once more, in flip-flops that are read at any multiple of ``lanes`` bits."""
        beats, lanes = self.config.register_beats, self.config.lanes
        copy = [Signal(self._bits, name=f"v0_{beat}", reset_less=True) for beat in range(beats)]
        for beat, word in enumerate(copy):
            for write in (*self.write, self.first):
                with m.If(write.address == beat):
                    for byte in range(len(write.enable)):
                        with m.If(write.enable[byte]):
                            m.d.sync += word[8 * byte : 8 * byte + 8].eq(write.data[8 * byte : 8 * byte + 8])
        bits = Cat(*copy, Const(0, self._bytes))
        windows = [bits[start : start + self._bytes] for start in range(0, self.config.vlen_bits, lanes)]
        for number, mask in enumerate(self.mask):
            window = Signal(self._bytes, name=f"mask_{number}", reset_less=True)
            m.d.sync += window.eq(Array(windows)[mask.offset])
            m.d.comb += mask.data.eq(window)


class _Lane(wiring.Component):
    """32 bits of every word."""

    def __init__(self, words: int, *, reads: int, writes: int) -> None:
        self.words = words
        address = Out(range(words))
        super().__init__({
            "read": In(wiring.Signature({"address": address, "data": In(LANE_BITS)})).array(reads),
            "write": In(
                wiring.Signature({"address": address, "enable": Out(LANE_BYTES), "data": Out(LANE_BITS)})
            ).array(writes),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.storage = storage = Memory(shape=LANE_BITS, depth=self.words, init=[])
        for write in self.write:
            port = storage.write_port(granularity=8)
            m.d.comb += [port.addr.eq(write.address), port.en.eq(write.enable), port.data.eq(write.data)]
        for read in self.read:
            port = storage.read_port()
            m.d.comb += [port.addr.eq(read.address), port.en.eq(1), read.data.eq(port.data)]
        return m
