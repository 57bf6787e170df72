"""The memory unit of the vector unit: walker, loads and stores, words for Flex-SFU's tables."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from lanewise.config import MachineConfig
from lanewise.isa.operations import Rate
from lanewise.rtl.delay_line import delayed
from lanewise.rtl.vector_decoder import COEFFICIENTS, RATES, Controls
from lanewise.rtl.vector_memory import CONTROL_LAYOUT, VectorMemory
from lanewise.rtl.vector_walker import VectorWalker, follow


class VectorMemoryUnit(wiring.Component):
    """Instructions of the unit ``vector_memory``. Latencies and clocks: ``docs/core.md``. No stalls.

    Golden model: :class:`lanewise.models.vector_machine.VectorMachine`.

    Members
    -------
    go, start : ``In``
        As of :class:`~lanewise.rtl.vector_walker.VectorWalker`.
    c_word, mask_offset : ``Out``
        Words and mask bits to read.
    c, mask : ``In``
        What was read, a clock later.
    word, enable, data : ``Out``
        A word to write.
    landed : ``Out(1)``
        A reader of the last beat could start in the next clock.
    has_read, read_tag, has_written, write_tag : ``Out``
        A read, or a write, of a buffer has finished.
    table_valid, table_coefficients, table_first, table_index, table_data : ``Out``
        A word for Flex-SFU's table.
    read, write : ``Out``
        To the scratchpad.
    """

    def __init__(self, config: MachineConfig, controls: Controls) -> None:
        self.config = config
        self._walker = walker = VectorWalker(config, controls)
        self._memory = memory = VectorMemory(config)
        bits, size = config.vector.bits_per_clk, config.vector.bits_per_clk // 8
        word, tag = walker.vs2_word.shape(), walker.x.tag.shape()
        super().__init__({
            "go": In(1), "start": In(walker.start.shape()), "c_word": Out(word),
            "mask_offset": Out(walker.mask_offset.shape()), "c": In(bits), "mask": In(size),
            "word": Out(word), "enable": Out(size), "data": Out(bits), "landed": Out(1),
            "read_tag": Out(tag), "has_read": Out(1), "write_tag": Out(tag), "has_written": Out(1),
            "table_valid": Out(1), "table_coefficients": Out(1), "table_first": Out(1), "table_index": Out(5), "table_data": Out(32),
            "read": Out(memory.read.signature), "write": Out(memory.write.signature),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.walker = walker = self._walker
        m.submodules.memory = memory = self._memory
        read, x, size = walker.read, walker.x, len(self.enable)
        follow(m, walker, self)
        one = x.rate == RATES.index(Rate.ONE)
        connect(m, memory.read, flipped(self.read))
        connect(m, memory.write, flipped(self.write))
        m.d.comb += [
            self.c_word.eq(walker.vd_word),
            memory.valid.eq(read.valid),
            memory.first.eq(read.first_beat),
            memory.base.eq(read.scalar),
            memory.stride.eq(read.stride),
            memory.control.eq(read.control[: CONTROL_LAYOUT.size]),
            memory.data.eq(self.c),
            memory.enable.eq(Mux(one, walker.active[0], walker.enable)),
            memory.position.eq(x.position),
            self.data.eq(memory.o_data),
            self.table_data.eq(memory.o_data[:32]),
        ]
        loads = x.valid & ~x.stores & ~x.table.any()
        place = delayed(m, Cat(walker.enable & loads.replicate(size), x.word), 2, "place")
        table = delayed(
            m, Cat(x.valid & x.table.any() & (x.vl != 0), x.table == COEFFICIENTS, x.first_beat, x.index), 2, "table"
        )  # fmt: skip
        m.d.comb += [
            self.enable.eq(place[:size]),
            self.word.eq(place[size:]),
            Cat(self.table_valid, self.table_coefficients, self.table_first, self.table_index).eq(table),
        ]
        self._finish(m)
        return m

    def _finish(self, m: Module) -> None:
        """What has finished: a load's reads when its last beat is addressed, a store's writes when its last beat is in the memory."""
        read = self._walker.read
        last = Signal()
        m.d.comb += [
            last.eq(read.valid & read.last_beat),
            self.has_read.eq(last & ~read.stores),
            self.read_tag.eq(read.tag),
        ]
        stored = delayed(m, Cat(last & read.stores, read.tag), 2, "stored")
        loaded = delayed(m, last & ~read.stores & ~read.table.any(), 3, "loaded")
        filled = delayed(m, last & read.table.any(), 2, "filled")
        counted = delayed(m, stored[0], 1, "counted")
        m.d.comb += [
            self.has_written.eq(stored[0]),
            self.write_tag.eq(stored[1:]),
            self.landed.eq(loaded | filled | counted),
        ]
