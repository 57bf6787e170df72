"""The vector unit: sequencer, register file, and the units that work on it."""

from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from lanewise.config import MachineConfig
from lanewise.isa.operations import Unit
from lanewise.rtl import vector_alu, vector_fma, vector_memory, vector_reduction
from lanewise.rtl.tags import REQUEST, TAGS
from lanewise.rtl.vector_alu_unit import VectorAluUnit
from lanewise.rtl.vector_decoder import Controls
from lanewise.rtl.vector_fma_unit import VectorFmaUnit
from lanewise.rtl.vector_memory_unit import VectorMemoryUnit
from lanewise.rtl.vector_register_file import VectorRegisterFile
from lanewise.rtl.vector_sequencer import INSTRUCTION, ISSUED, VectorSequencer
from lanewise.rtl.vector_sfu_unit import VectorSfuUnit

CONTROLS: Controls = {
    str(Unit.ALU): (vector_alu.CONTROL, vector_alu.control_of),
    str(Unit.FMA): (vector_fma.CONTROL, vector_fma.control_of),
    str(Unit.MEMORY): (vector_memory.CONTROL_LAYOUT, vector_memory.fields_of),
    "reduction": (vector_reduction.CONTROL, vector_reduction.control_of),
}
LANDINGS = ("vector_fma", "vector_alu", "reduction", "vector_memory", "flex_sfu")
"""What the bits of ``landed`` mean."""


class VectorUnit(wiring.Component):
    """RVV instructions on 32 registers, ``lanes`` x 32 bits a clock: in-order issue, chaining, static latencies.

    Latency and throughput: ``docs/core.md``. Back-pressure: ``i.ready`` falls while an instruction waits; nothing that has started
    ever stalls. Golden model: :class:`lanewise.models.vector_machine.VectorMachine`; clocks: :mod:`lanewise.sim.engine`.

    Members
    -------
    i : ``In(stream.Signature(INSTRUCTION))``
        Instructions with their scalar operands.
    request, writes : ``Out(REQUEST)``, ``Out(1)``
        What the memory access that waits needs of its buffer.
    counted : ``In(1)``
        It has that.
    has_read, read_tag, has_written, write_tag : ``Out``
        A read, or a write, of a buffer has finished.
    read, write : ``Out``
        To the scratchpad.
    started : ``Out(1)``
        An instruction starts.
    landed : ``Out(5)``
        For each of :data:`LANDINGS`: an instruction's last beat lands at the end of this clock.
    illegal : ``Out(1)``
        A word was no instruction of the table.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self._memory = VectorMemoryUnit(config, CONTROLS)
        super().__init__({
            "i": In(stream.Signature(INSTRUCTION)), "request": Out(REQUEST), "writes": Out(1), "counted": In(1),
            "has_read": Out(1), "read_tag": Out(range(TAGS)), "has_written": Out(1), "write_tag": Out(range(TAGS)),
            "read": Out(self._memory.read.signature), "write": Out(self._memory.write.signature), "started": Out(1),
            "landed": Out(len(LANDINGS)), "illegal": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config = self.config
        m.submodules.sequencer = sequencer = VectorSequencer(config, CONTROLS)
        m.submodules.fma = fma = VectorFmaUnit(config, CONTROLS)
        m.submodules.alu = alu = VectorAluUnit(config, CONTROLS)
        m.submodules.memory = memory = self._memory
        units: dict[Unit, Any] = {Unit.FMA: fma, Unit.ALU: alu, Unit.MEMORY: memory}
        if config.flex_sfu.enabled:
            m.submodules.flex_sfu = units[Unit.FLEX_SFU] = VectorSfuUnit(config, CONTROLS)
        reads: list[tuple[Any, str]] = [(fma, "abc"), (alu, "ab"), (memory, "c")]
        if Unit.FLEX_SFU in units:
            reads.append((units[Unit.FLEX_SFU], "a"))
        masked: tuple[Any, ...] = (fma, alu, memory)
        m.submodules.registers = registers = VectorRegisterFile(
            config.vector, reads=sum(len(names) for _, names in reads), writes=len(units), masks=len(masked)
        )
        connect(m, sequencer.i, flipped(self.i))
        connect(m, memory.read, flipped(self.read))
        connect(m, memory.write, flipped(self.write))
        m.d.comb += [
            self.request.eq(sequencer.request),
            self.writes.eq(sequencer.start.stores),
            sequencer.counted.eq(self.counted),
            self.started.eq(sequencer.started),
            self.illegal.eq(sequencer.illegal),
            self.has_read.eq(memory.has_read),
            self.read_tag.eq(memory.read_tag),
            self.has_written.eq(memory.has_written),
            self.write_tag.eq(memory.write_tag),
        ]
        for place, unit in enumerate(ISSUED):
            if unit in units:
                m.d.comb += [units[unit].go.eq(sequencer.go[place]), units[unit].start.eq(sequencer.start)]
        ports = iter(registers.read)
        for component, names in reads:
            for name in names:
                port = next(ports)
                m.d.comb += [
                    port.address.eq(getattr(component, f"{name}_word")),
                    getattr(component, name).eq(port.data),
                ]
        for port, component in zip(registers.write, units.values(), strict=True):
            m.d.comb += [
                port.address.eq(component.word),
                port.enable.eq(component.enable),
                port.data.eq(component.data),
            ]
        m.d.comb += [
            registers.first.address.eq(alu.first_word),
            registers.first.enable.eq(alu.first_enable),
            registers.first.data.eq(alu.first_data),
        ]
        for port, component in zip(registers.mask, masked, strict=True):
            m.d.comb += [port.offset.eq(component.mask_offset), component.mask.eq(port.data)]
        sfu_landed = Signal()
        if Unit.FLEX_SFU in units:
            sfu = units[Unit.FLEX_SFU]
            m.d.comb += [sfu_landed.eq(sfu.landed)]
            for name in ("valid", "coefficients", "first", "index", "data"):
                m.d.comb += getattr(sfu, f"load_{name}").eq(getattr(memory, f"table_{name}"))
        m.d.comb += self.landed.eq(Cat(fma.landed, alu.landed, alu.reduced, memory.landed, sfu_landed))
        return m
