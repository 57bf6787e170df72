"""The vector unit's loads and stores: addresses, the scratchpad's ports, elements to and from their place."""

from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import MachineConfig
from lanewise.isa.operations import CUSTOM_0, OPERATIONS, Operation, Unit
from lanewise.rtl.scratchpad import address_bits, moved, read_signature, write_signature

SCALAR_BITS = 32
"""Of an ``x`` register."""


class Step(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What a beat takes, and how far the next one is."""

    BEAT = 0
    """DLEN / 8 bytes that lie one behind the other."""
    STRIDE = 1
    """One element; the next one is ``stride`` bytes further."""
    WORD = 2
    """One word of a table; the next one is 4 bytes further."""


CONTROL_LAYOUT = data.StructLayout({"store": 1, "step": Step, "width": 2})
"""What an instruction asks of the unit; ``width`` is log2 of an element's bytes."""


def fields_of(operation: Operation) -> dict[str, Any]:
    """The fields of ``CONTROL_LAYOUT`` of an operation of unit MEMORY.

    >>> fields_of(OPERATIONS["vsse8.v"])
    {'store': True, 'step': <Step.STRIDE: 1>, 'width': 0}

    Raises:
        ValueError: It is of another unit.
    """
    if operation.unit is not Unit.MEMORY:
        raise ValueError(f"operation must be of unit {Unit.MEMORY}, not {operation.mnemonic!r}")
    step = Step.STRIDE if operation.strided else Step.BEAT
    if operation.major == CUSTOM_0:
        step = Step.WORD
    return {"store": operation.stores, "step": step, "width": (operation.eew_bits // 8).bit_length() - 1}


def control_of(operation: Operation) -> int:
    """The bits of ``CONTROL_LAYOUT`` of an operation of unit MEMORY.

    >>> control_of(OPERATIONS["vle16.v"]), control_of(OPERATIONS["vsse8.v"]), control_of(OPERATIONS["sfu.breakpoints"])
    (8, 3, 20)

    Raises:
        ValueError: It is of another unit.
    """
    return int(CONTROL_LAYOUT.const(fields_of(operation)).as_value().value)


CONTROL = {
    operation.mnemonic: control_of(operation)
    for operation in OPERATIONS.values()
    if operation.unit is Unit.MEMORY
}
"""By mnemonic."""


class VectorMemory(wiring.Component):
    """Moves beats and single elements between register file and scratchpad, without stalls.

    What surrounds it walks through an access: in the clock t of each beat (s + 1 + j for beat j of an instruction that starts in
    clock s) ``valid`` with the access's scalars and control, in clock t + 1 what is stored. The unit keeps the running address.
    A load's data is there in clock t + 3, so that the register file has it at its end and a reader can start at s + 4.
    A store's bytes are in the scratchpad at the end of clock t + 2 (s + 3 + j). A load that follows a store sees
    it. Clocks without a beat may lie anywhere.

    Clock t + 1: the address is registered, the memory is read; a store's element is taken from its beat, bytes are rotated. Clock t + 2:
    a store's bytes are written; a load's bytes have been rotated, its element is repeated. Clock t + 3: ``o_data``.

    Latency 3 clocks, throughput a beat a clock. No back-pressure. Golden model: an array of bytes, as in the bench.

    Members
    -------
    valid, first : ``In(1)``, ``In(1)``
        A beat is walked; it is its access's first.
    base, stride : ``In(32)``, ``In(signed(32))``
        Byte address of the access (with ``first``), distance of elements (``Step.STRIDE``); both modulo the scratchpad's size if that is
        a power of two, else within it.
    control : ``In(CONTROL_LAYOUT)``
        ``CONTROL[mnemonic]``, in each beat.
    data, enable, position : ``In(DLEN)``, ``In(DLEN / 8)``, ``In(range(DLEN / 8))``
        The clock after, of a store: the beat from the register file, and which bytes to store. With ``Step.STRIDE``: the beat in
        which the element is, bit 0 of ``enable`` alone, and the element's first byte in the beat (a multiple of its width).
    o_valid, o_data : ``Out(1)``, ``Out(DLEN)``
        Three clocks after a load's beat: its bytes; of a single element or word, as often as the beat holds it.
    read, write : ``Out(read_signature(config, DLEN / 8))``, ``Out(write_signature(config, DLEN / 8))``
        To the scratchpad's ports ``vector_read`` and ``vector_write``.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.bytes = count = config.vector.bits_per_clk // 8
        super().__init__({
            "valid": In(1),
            "first": In(1),
            "base": In(SCALAR_BITS),
            "stride": In(signed(SCALAR_BITS)),
            "control": In(CONTROL_LAYOUT),
            "data": In(8 * count),
            "enable": In(count),
            "position": In(range(count)),
            "o_valid": Out(1),
            "o_data": Out(8 * count),
            "read": Out(read_signature(config, count)),
            "write": Out(write_signature(config, count)),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from a beat to a load's data."""
        return 3

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        address = Signal(address_bits(self.config), reset_less=True)
        distance = Signal(signed(SCALAR_BITS))
        with m.Switch(self.control.step):
            with m.Case(Step.BEAT):
                m.d.comb += distance.eq(self.bytes)
            with m.Case(Step.STRIDE):
                m.d.comb += distance.eq(self.stride)
            with m.Default():
                m.d.comb += distance.eq(4)
        with m.If(self.valid):
            m.d.sync += address.eq(Mux(self.first, self.base, moved(self.config, address, distance)))

        valid_1, valid_2 = Signal(), Signal()
        control_1 = Signal(CONTROL_LAYOUT, reset_less=True)
        step, width = Signal(Step, reset_less=True), Signal(2, reset_less=True)
        m.d.sync += [
            valid_1.eq(self.valid),
            control_1.eq(self.control),
            valid_2.eq(self.read.enable),
            step.eq(control_1.step),
            width.eq(control_1.width),
            self.o_valid.eq(valid_2),
        ]
        m.d.comb += [
            self.read.enable.eq(valid_1 & ~control_1.store),
            self.read.address.eq(address),
            self.write.address.eq(address),
        ]
        self._store(m, valid_1 & control_1.store, control_1)
        with m.If(valid_2):
            m.d.sync += self.o_data.eq(Mux(step == Step.BEAT, self.read.data, self._repeated(width)))
        return m

    def _store(self, m: Module, valid: Value, control: data.View) -> None:
        element: Value = self.data
        for level in reversed(range(len(self.position))):  # the element to the low bytes
            element = Mux(self.position[level], element >> (8 << level), element)[: 8 * max(4, 1 << level)]
        single = Signal(4)
        with m.Switch(control.width):
            for width in range(3):
                with m.Case(width):
                    m.d.comb += single.eq((1 << (1 << width)) - 1)
        beat = control.step == Step.BEAT
        enable = Mux(beat, self.enable, Mux(self.enable[0], single, 0))
        m.d.comb += [
            self.write.enable.eq(Mux(valid, enable, 0)),
            self.write.data.eq(Mux(beat, self.data, element)),
        ]

    def _repeated(self, width: Value) -> Value:
        """The element that was read, in every place of its width."""
        whole = 8 * self.bytes
        byte, half, word = (Cat(*[self.read.data[:bits]] * (whole // bits)) for bits in (8, 16, 32))
        return Mux(width == 0, byte, Mux(width == 1, half, word))
