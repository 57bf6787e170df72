"""The vector register file, of flip-flops: a port for every operand of every unit, and windows of v0 for the masks."""

from collections.abc import Sequence
from functools import partial

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import VectorConfig
from lanewise.rtl.scratchpad import rotated
from lanewise.rtl.verilog import SharedSubmodule

REGISTERS = 32
"""RVV's."""
LANE_BITS, LANE_BYTES = 32, 4
COLUMNS = 4
"""Parts of a window of v0: it begins at any of them."""


class VectorRegisterFile(wiring.Component):
    """32 registers of ``vlen_bits``, seen as words of a beat: register ``r`` holds words ``r * beats`` and following.

    Column ``k`` keeps byte ``k`` of each word. A read in the clock of a write to the same word gives
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
        reads = [self._select(m, port.address, f"read_select_{k}") for k, port in enumerate(self.read)]
        ports = (*self.write, self.first)
        writes = [self._select(m, port.address, f"write_select_{k}") for k, port in enumerate(ports)]
        shown = []
        make = partial(_Column, self.words, reads=len(reads), shown=self.config.register_beats)
        every = SharedSubmodule(partial(make, writes=len(self.write)), "column")
        lowest = SharedSubmodule(partial(make, writes=len(ports)), "column")
        for k in range(self._bytes):
            places: dict[str, ValueLike] = {
                "shown": Signal(8 * self.config.register_beats, name=f"shown_{k}")
            }
            for number, (port, select) in enumerate(zip(self.read, reads, strict=True)):
                places |= {
                    f"read__{number}__select": select,
                    f"read__{number}__data": port.data.word_select(k, 8),
                }
            written = zip(ports[: None if k < LANE_BYTES else -1], writes, strict=False)
            for number, (write, select) in enumerate(written):
                places |= {
                    f"write__{number}__select": select, f"write__{number}__enable": write.enable[k],
                    f"write__{number}__data": write.data.word_select(k, 8),
                }  # fmt: skip
            (lowest if k < LANE_BYTES else every).add(m, f"column_{k}", **places)
            shown.append(places["shown"])
        self._masks(
            m,
            Cat(
                column.word_select(beat, 8) for beat in range(self.config.register_beats) for column in shown
            ),
        )
        return m

    def _select(self, m: Module, address: Value, name: str) -> Signal:
        """A bit for each word, decoded once for all columns."""
        select = Signal(self.words, name=name)
        m.d.comb += select.eq(Const(1) << address)
        return select

    def _masks(self, m: Module, v0: Value) -> None:
        """Windows of v0: four columns, each with a row of its own, as the scratchpad's; zeros behind the end."""
        lanes = self.config.lanes
        rows = self.config.vlen_bits // self._bytes
        for number, mask in enumerate(self.mask):
            shift, row = mask.offset[:2], mask.offset[2:]
            columns = []
            for k in range(COLUMNS):
                entries = [v0.word_select(COLUMNS * r + k, lanes) for r in range(rows)]
                columns.append(Array([*entries, Const(0, lanes)])[row + (shift > k)])
            window = Signal(self._bytes, name=f"mask_{number}", reset_less=True)
            m.d.sync += window.eq(rotated(m, Cat(*columns), shift, lanes, name=f"mask_{number}", left=False))
            m.d.comb += mask.data.eq(window)


class _Column(wiring.Component):
    """A byte of every word: flip-flops, written and read by the ports' selects.

    Members
    -------
    read : ``In(Signature(select, Out(data))).array(reads)``
        A bit a word: which is read; a clock later, its byte.
    write : ``In(Signature(select, enable, data)).array(writes)``
        A bit a word: which is written, if ``enable``.
    shown : ``Out(8 * shown)``
        Bytes of the first words.
    """

    def __init__(self, words: int, *, reads: int, writes: int, shown: int) -> None:
        self.words = words
        super().__init__({
            "read": In(wiring.Signature({"select": Out(words), "data": In(8)})).array(reads),
            "write": In(wiring.Signature({"select": Out(words), "enable": Out(1), "data": Out(8)})).array(writes),
            "shown": Out(8 * shown),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        selects, values = [], []  # of each port: the word that it writes, if any, and what
        for number, write in enumerate(self.write):
            select = Signal(self.words, name=f"write_{number}")
            m.d.comb += select.eq(Mux(write.enable, write.select, 0))
            selects.append(select)
            values.append(write.data)
        hit = Signal(self.words)
        m.d.comb += hit.eq(any_of(selects))
        words = [Signal(8, name=f"word_{k}", reset_less=True) for k in range(self.words)]
        for k, word in enumerate(words):
            new = [Mux(select[k], value, 0) for select, value in zip(selects, values, strict=True)]
            m.d.sync += word.eq(any_of([Mux(hit[k], 0, word), *new]))
        for number, read in enumerate(self.read):
            operand = Signal(8, name=f"operand_{number}", reset_less=True)
            m.d.sync += operand.eq(any_of([Mux(read.select[k], word, 0) for k, word in enumerate(words)]))
            m.d.comb += read.data.eq(operand)
        m.d.comb += self.shown.eq(Cat(words[: len(self.shown) // 8]))
        return m


def any_of(values: Sequence[Value]) -> Value:
    """The bitwise or of at least one value, as a balanced tree."""
    if len(values) == 1:
        return values[0]
    half = (len(values) + 1) // 2
    return any_of(values[:half]) | any_of(values[half:])
