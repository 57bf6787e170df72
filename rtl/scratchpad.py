"""The scratchpad: byte-wide columns of memory, so that an access at any byte takes one clock."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import C, Cat, ClockDomain, ClockSignal, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import MachineConfig
from lanewise.rtl.verilog import shared_instance


@dataclass(frozen=True, kw_only=True)
class Client:
    """Who has ports of its own."""

    name: str
    """Its ports are ``<name>_read`` and ``<name>_write``."""
    bytes: int
    """Bytes of an access, a power of two."""
    reads: bool = True
    """Whether it has a read port."""
    writes: bool = True
    """Whether it has a write port."""


def clients(config: MachineConfig) -> tuple[Client, ...]:
    """The clients of every machine.

    >>> [(client.name, client.bytes) for client in clients(MachineConfig())]
    [('vector', 32), ('dma', 32)]
    """
    return (
        Client(name="vector", bytes=config.vector.bits_per_clk // 8),
        Client(name="dma", bytes=config.dma.bytes_per_clk),
    )


def address_bits(config: MachineConfig) -> int:
    """Bits of a byte's address.

    >>> address_bits(MachineConfig())
    19
    """
    return (config.scratchpad.bytes - 1).bit_length()


def read_signature(config: MachineConfig, count: int) -> wiring.Signature:
    """A read of ``count`` bytes, as its client sees it: ``data`` belongs to the last clock with ``enable``."""
    return wiring.Signature({
        "enable": Out(1), "address": Out(address_bits(config)), "data": In(8 * count),
    })  # fmt: skip


def write_signature(config: MachineConfig, count: int) -> wiring.Signature:
    """A write of up to ``count`` bytes, as its client sees it: an enable a byte, the address of byte 0."""
    return wiring.Signature({
        "enable": Out(count), "address": Out(address_bits(config)), "data": Out(8 * count),
    })  # fmt: skip


def moved(config: MachineConfig, address: Value, distance: Value) -> Value:
    """The address so many bytes further, modulo the scratchpad's size.

    If that is no power of two, ``distance`` must be less than the size, either way.
    """
    size, bits = config.scratchpad.bytes, address_bits(config)
    if size == 1 << bits:
        return (address + distance)[:bits]
    place = (address + _narrow(distance, bits + 1)).as_signed()
    return Mux(place < 0, place + size, Mux(place >= size, place - size, place))[:bits]


def _narrow(distance: Value, bits: int) -> Value:
    return distance[:bits].as_signed() if distance.shape().signed and len(distance) > bits else distance


class Scratchpad(wiring.Component):
    """``config.scratchpad.bytes`` of memory, a read port for each client, and a write port for each that writes.

    A row is as many bytes as the widest client takes, and each byte of it a column with its own address: an access
    takes the last columns of one row and the first ones of the next, and is rotated to its place behind the memory
    (read) or before it (write). A row follows the last one: an access that runs beyond the end goes on at address 0.
    An address must be below ``bytes``.

    Latency of a read 1 clock: enabled in clock t, its data is there in clock t + 1, rotated, and stays until the next
    one. A write that is offered in clock t is rotated, registered, and in the memory at the end of clock t + 1. A read in
    the clock t + 1 of its own client's write sees it; of another client's, the old bytes. Throughput an access a clock at every
    port; no back-pressure. If clients write to one byte in the same clock, one of them wins. Contents have no reset.
    Golden model: an array of bytes, as in the bench.

    Members
    -------
    <name>_read : ``In(read_signature(config, bytes))``
        ``enable``, ``address``; ``data``, byte 0 in the low bits.
    <name>_write : ``In(write_signature(config, bytes))``
        ``enable``, a bit a byte of ``data``; ``address`` of byte 0.
    """

    def __init__(self, config: MachineConfig, further: Sequence[Client] = ()) -> None:
        self.config = config
        self.clients = (*clients(config), *further)
        self.columns = max(client.bytes for client in self.clients)
        self.rows = config.scratchpad.bytes // self.columns
        members = {}
        for client in self.clients:
            if client.reads:
                members[f"{client.name}_read"] = In(read_signature(config, client.bytes))
            if client.writes:
                members[f"{client.name}_write"] = In(write_signature(config, client.bytes))
        super().__init__(members)

    @property
    def latency_clk(self) -> int:
        """Clocks from a read to its data, and from an offered write to the memory's edge."""
        return 1

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        ports: list[dict[str, Value]] = [{"clk": ClockSignal()} for _ in range(self.columns)]
        for client in self.clients:
            if client.reads:
                self._read(m, client.name, ports)
            if client.writes:
                self._write(m, client.name, ports)
        column = ScratchpadColumn(
            self.rows,
            reads=tuple(client.name for client in self.clients if client.reads),
            writes=tuple(client.name for client in self.clients if client.writes),
        )
        for k in range(self.columns):
            m.submodules[f"column_{k}"] = shared_instance(column, "column", **ports[k])
        return m

    def _read(self, m: Module, name: str, ports: list[dict[str, Value]]) -> None:
        port = getattr(self, f"{name}_read")
        rows = self._rows_of(port.address)
        offset = Signal(self.offset_bits, name=f"{name}_read_offset", reset_less=True)
        with m.If(port.enable):
            m.d.sync += offset.eq(port.address)
        found = [Signal(8, name=f"{name}_read_{k}") for k in range(self.columns)]
        for k, (row, byte) in enumerate(zip(rows, found, strict=True)):
            ports[k] |= {
                f"{name}_read_enable": port.enable,
                f"{name}_read_row": row,
                f"{name}_read_data": byte,
            }
        m.d.comb += port.data.eq(rotated(m, Cat(*found), offset, 8, name=f"{name}_read", left=False))

    def _write(self, m: Module, name: str, ports: list[dict[str, Value]]) -> None:
        port = getattr(self, f"{name}_write")
        address = Signal(address_bits(self.config), name=f"{name}_write_address_1", reset_less=True)
        enable = Signal(self.columns, name=f"{name}_write_enable_1")
        data = Signal(8 * self.columns, name=f"{name}_write_data_1", reset_less=True)
        offset = port.address[: self.offset_bits]
        m.d.sync += [
            address.eq(port.address),
            enable.eq(
                rotated(m, _wide(port.enable, self.columns), offset, 1, name=f"{name}_enable", left=True)
            ),
            data.eq(
                rotated(m, _wide(port.data, 8 * self.columns), offset, 8, name=f"{name}_write", left=True)
            ),
        ]
        for k, row in enumerate(self._rows_of(address)):
            ports[k] |= {
                f"{name}_write_enable": enable[k], f"{name}_write_row": row,
                f"{name}_write_data": data.word_select(k, 8),
            }  # fmt: skip

    @property
    def offset_bits(self) -> int:
        """Low bits of an address, which say the column."""
        return (self.columns - 1).bit_length()

    def _rows_of(self, address: Value) -> list[Value]:
        """For each column, the row that an access which begins at ``address`` has there."""
        offset, row = address[: self.offset_bits], address[self.offset_bits :]
        following = Mux(row == self.rows - 1, 0, row + 1)[: len(row)]
        return [*(Mux(offset > k, following, row) for k in range(self.columns - 1)), row]


def _wide(value: Value, bits: int) -> Value:
    return Cat(value, C(0, bits - len(value)))


def rotated(m: Module, value: Value, places: Value, unit: int, *, name: str, left: bool) -> Value:
    """``value`` rotated by ``places`` units of so many bits, a level of multiplexers for each bit of ``places``."""
    for level in range(len(places)):
        turned = value.rotate_left(unit << level) if left else value.rotate_right(unit << level)
        step = Signal(len(value), name=f"{name}_rotated_{level}")
        m.d.comb += step.eq(Mux(places[level], turned, value))
        value = step
    return value


class ScratchpadColumn(wiring.Component):
    """A byte of every row: a memory with the scratchpad's ports.

    Timing and golden model as :class:`Scratchpad`, without rotation: written at the end of the clock, read likewise.

    Members
    -------
    clk : ``In(1)``
        Clock.
    <name>_read_enable, <name>_read_row : ``In(1)``, ``In(range(rows))``
        Byte to read.
    <name>_read_data : ``Out(8)``
        Data of the last enabled read.
    <name>_write_enable, <name>_write_row, <name>_write_data : ``In(1)``, ``In(range(rows))``, ``In(8)``
        Byte to write.
    """

    def __init__(self, rows: int, *, reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
        self.rows, self.reads, self.writes = rows, reads, writes
        members = {"clk": In(1)}
        for name in reads:
            members |= {
                f"{name}_read_enable": In(1), f"{name}_read_row": In(range(rows)), f"{name}_read_data": Out(8),
            }  # fmt: skip
        for name in writes:
            members |= {
                f"{name}_write_enable": In(1), f"{name}_write_row": In(range(rows)), f"{name}_write_data": In(8),
            }  # fmt: skip
        super().__init__(members)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True, local=True)
        m.d.comb += ClockSignal().eq(self.clk)
        m.submodules.memory = storage = memory.Memory(shape=8, depth=self.rows, init=[])
        own = {}
        for name in self.writes:
            own[name] = write = storage.write_port()
            m.d.comb += [
                write.en.eq(getattr(self, f"{name}_write_enable")),
                write.addr.eq(getattr(self, f"{name}_write_row")),
                write.data.eq(getattr(self, f"{name}_write_data")),
            ]
        for name in self.reads:
            read = storage.read_port(transparent_for=(own[name],) if name in own else ())
            m.d.comb += [
                read.en.eq(getattr(self, f"{name}_read_enable")),
                read.addr.eq(getattr(self, f"{name}_read_row")),
                getattr(self, f"{name}_read_data").eq(read.data),
            ]
        return m
