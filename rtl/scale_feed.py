"""Row scales and columns' constants from the scratchpad to the matrix unit."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import SCALE_BYTES, MachineConfig
from lanewise.rtl.requantiser import ROW_SCALE, Requantiser
from lanewise.rtl.scratchpad import Client, address_bits, moved, read_signature


class Item(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What is asked for next."""

    SCALE = 0
    BIAS = 1
    MULTIPLIER = 2


def output_client(config: MachineConfig) -> Client:
    """The scratchpad's client of the output side: it takes a beat's biases in one read, and a beat's results in one write.

    >>> output_client(MachineConfig())
    Client(name='output', bytes=32, reads=True, writes=True)
    """
    width = 4 * config.matrix.requantiser_lanes
    return Client(name="output", bytes=1 << (width - 1).bit_length())


def scales_layout(config: MachineConfig) -> data.StructLayout:
    """A tile's scales: ``scale`` for all rows; or, with ``own``, format and rounding of it, and multiplier and shift of each of the first
    ``rows`` rows from ``scales``, :data:`SCALE_BYTES` each. ``scale.reload``: new constants of the columns at ``constants``, ``row_beats``
    words of ``lanes`` INT32 biases and then as many 16-bit multipliers."""
    bits = address_bits(config)
    return data.StructLayout({
        "scale": ROW_SCALE, "own": 1, "rows": range(config.matrix.rows + 1), "scales": bits, "constants": bits,
    })  # fmt: skip


class ScaleFeed(wiring.Component):
    """For each row of each tile its scale, and before a tile that wants them the columns' constants, one read a clock.

    All that a tile wants is asked for in the order in which it is taken: the first row's scale, biases and multipliers of each
    beat, the other rows' scales. What has been read waits at the port, the scale before it in a register: so a scale is there each
    clock, and a word of constants every other clock.

    Latency 3 clocks from a tile to its first scale, 5 to its first constants; throughput as said. What is not taken stops the reads.
    Golden model: the bench of the matrix stream; clocks: :mod:`lanewise.sim.matrix_stream`.

    Members
    -------
    i : ``In(stream.Signature(scales_layout(config)))``
        Tiles; one is taken with its last read.
    read : ``Out(read_signature(config, bytes))``
        To the port of :func:`output_client`.
    scale, load : ``Out(stream.Signature(...))``
        To the matrix unit.
    constants_read, scales_read : ``Out(1)``
        A tile's last read of constants, of scales, is in this clock; the latter whether or not it has such reads.
    """

    i: stream.Interface
    read: wiring.PureInterface
    scale: stream.Interface
    load: stream.Interface
    constants_read: Signal
    scales_read: Signal

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        lanes = config.matrix.requantiser_lanes
        super().__init__({
            "i": In(stream.Signature(scales_layout(config))),
            "read": Out(read_signature(config, output_client(config).bytes)),
            "scale": Out(stream.Signature(ROW_SCALE)),
            "load": Out(stream.Signature(Requantiser.load_layout(lanes))),
            "constants_read": Out(1),
            "scales_read": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config, lanes = self.config, self.config.matrix.requantiser_lanes
        rows, beats = config.matrix.rows, config.matrix.row_beats
        tile = self.i.p
        item, row, beat = Signal(Item), Signal(range(rows)), Signal(range(beats))
        offset = Signal(range(config.matrix.constants_bytes + 1))  # of the constants that are next
        held, valid, ask, own, leaves = Signal(Item), Signal(), Signal(), Signal(), Signal()
        last_item = item == Item.SCALE
        if rows == 1:
            last_item = Mux(tile.scale.reload, self.constants_read, last_item)
        m.d.comb += [
            own.eq(tile.own & (row < tile.rows)),
            ask.eq(self.i.valid & (~valid | leaves)),
            self.read.enable.eq(ask & ((item != Item.SCALE) | own)),
            self.read.address.eq(
                moved(
                    config,
                    Mux(item == Item.SCALE, tile.scales, tile.constants),
                    Mux(item == Item.SCALE, row * SCALE_BYTES, offset),
                )
            ),
            self.constants_read.eq(ask & (item == Item.MULTIPLIER) & (beat == beats - 1)),
            self.scales_read.eq(ask & (row == rows - 1) & last_item),
            self.i.ready.eq(self.scales_read),
        ]
        next_row = Mux(row == rows - 1, 0, row + 1)
        with m.If(ask), m.Switch(item):
            with m.Case(Item.SCALE):
                with m.If((row == 0) & tile.scale.reload):
                    m.d.sync += item.eq(Item.BIAS)
                with m.Else():
                    m.d.sync += row.eq(next_row)
            with m.Case(Item.BIAS):
                m.d.sync += [item.eq(Item.MULTIPLIER), offset.eq(offset + 4 * lanes)]
            with m.Case(Item.MULTIPLIER):
                m.d.sync += [item.eq(Item.BIAS), offset.eq(offset + 2 * lanes), beat.eq(beat + 1)]
                with m.If(beat == beats - 1):
                    m.d.sync += [item.eq(Item.SCALE), row.eq(next_row), offset.eq(0), beat.eq(0)]

        # what has been read, and the scale before it
        given, from_memory = Signal(ROW_SCALE, reset_less=True), Signal(reset_less=True)
        full, bias = Signal(), Signal(32 * lanes, reset_less=True)
        free = ~full | self.scale.ready
        with m.Switch(held):
            with m.Case(Item.SCALE):
                m.d.comb += leaves.eq(free)
            with m.Case(Item.BIAS):
                m.d.comb += leaves.eq(1)
            with m.Default():
                m.d.comb += leaves.eq(self.load.ready)
        with m.If(ask):
            m.d.sync += [
                held.eq(item), given.eq(tile.scale), given.reload.eq(tile.scale.reload & (row == 0)), from_memory.eq(own),
            ]  # fmt: skip
        with m.If(~valid | leaves):
            m.d.sync += valid.eq(ask)
        found = self.read.data
        with m.If(valid & (held == Item.BIAS)):
            m.d.sync += bias.eq(found)
        with m.If(free):
            m.d.sync += [full.eq(valid & (held == Item.SCALE)), self.scale.payload.eq(given)]
            with m.If(from_memory):
                m.d.sync += [self.scale.p.multiplier.eq(found[:16]), self.scale.p.shift.eq(found[16:22])]
        m.d.comb += [
            self.scale.valid.eq(full),
            self.load.valid.eq(valid & (held == Item.MULTIPLIER)),
            Cat(self.load.p.bias, self.load.p.multiplier).eq(Cat(bias, found[: 16 * lanes])),
        ]
        return m
