"""The stream ``matrix``: tiles of products from operands in the scratchpad to results in the scratchpad."""

from math import ceil

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.matrix_unit import MatrixUnit
from lanewise.rtl.operand_feed import OperandFeed, operand_clients, operands_layout
from lanewise.rtl.result_writer import ResultWriter, results_layout
from lanewise.rtl.scale_feed import ScaleFeed, output_client, scales_layout
from lanewise.rtl.scratchpad import Client

MATRIX_STROBES = ("operands_read", "constants_read", "scales_read", "results_written")
"""Of :class:`MatrixStream`."""
_STOPPED = 5
"""Tiles on their way when nothing moves: one leaves the array, one waits for that in it, and of each of the next three there is a step in the
array's register, a line in the transposer, a line at the port."""
_OUTPUT_CLK = 16
"""At least what a tile's command waits beyond its own blocks and rows: reads, array, output path, write."""


def matrix_clients(config: MachineConfig) -> tuple[Client, ...]:
    """The scratchpad's clients for the stream: ``a`` and ``w`` read operands; ``output`` reads constants and scales, and writes results.

    >>> [client.name for client in matrix_clients(MachineConfig())]
    ['a', 'w', 'output']
    """
    return (*operand_clients(config), output_client(config))


def matrix_command_layout(config: MachineConfig) -> data.StructLayout:
    """A command. Without ``operands.last`` (``mm.accumulate``) only ``operands`` counts; with it (``mm.tile``) ``scales`` and
    ``results`` do; their rows and columns are those of the operands' lines."""
    scales, results = scales_layout(config), results_layout(config)
    return data.StructLayout({
        "operands": operands_layout(config),
        "scale": scales["scale"].shape, "own_scales": 1, "scales": scales["scales"].shape, "constants": scales["constants"].shape,
        "address": results["address"].shape, "stride": results["stride"].shape,
    })  # fmt: skip


def queued_tiles(config: MatrixConfig) -> int:
    """Tiles that can be on their way at once, at most: so no command waits for room.

    >>> queued_tiles(MatrixConfig())
    7
    """
    return _STOPPED + 1 + ceil(_OUTPUT_CLK / min(config.block_steps, config.leave_clk()))


class MatrixStream(wiring.Component):
    """Operand feed, matrix unit, scale feed and result writer, and the tiles that are on their way between them.

    A command that is accepted in clock s has started in it; it holds the stream for the clocks of its blocks, and so has read its operands.
    When its results are written is :class:`lanewise.sim.matrix_stream.MatrixStream`'s recurrence; with nothing before it, of ``blocks``
    clocks of blocks of which the last has ``steps`` steps, in clock
    ``s + blocks + steps + rows * row_beats + 11``, with new constants ``2 * row_beats - 1`` clocks later. Throughput a step a clock.
    Back-pressure: ``i`` alone. Golden model: :func:`lanewise.models.matrix_unit.matrix_tile`.

    Members
    -------
    i : ``In(stream.Signature(matrix_command_layout(config)))``
        Commands.
    seed : ``In(stream.Signature(...))``
        Random states, as :class:`~lanewise.rtl.matrix_unit.MatrixUnit` takes them.
    a_read, w_read, output_read, output_write : ``Out(...)``
        To the scratchpad's ports of :func:`matrix_clients`.
    operands_read : ``Out(1)``
        A command's last read of operands is in this clock; one for each command, in order.
    constants_read : ``Out(1)``
        A tile's last read of constants is in this clock; one for each tile with new constants.
    scales_read : ``Out(1)``
        A tile's last read of scales is in this clock, or would be; one for each tile.
    results_written : ``Out(1)``
        The last byte of a tile is in the scratchpad at the end of this clock.
    """

    i: stream.Interface
    seed: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self._feed, self._unit = OperandFeed(config), MatrixUnit(config.matrix)
        self._scales, self._writer = ScaleFeed(config), ResultWriter(config)
        super().__init__({
            "i": In(stream.Signature(matrix_command_layout(config))),
            "seed": In(self._unit.seed.signature.flip()),
            "a_read": Out(self._feed.a_read.signature),
            "w_read": Out(self._feed.w_read.signature),
            "output_read": Out(self._scales.read.signature),
            "output_write": Out(self._writer.write.signature),
            **dict.fromkeys(MATRIX_STROBES, Out(1)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.feed, m.submodules.unit = feed, unit = self._feed, self._unit
        m.submodules.scales, m.submodules.writer = scales, writer = self._scales, self._writer
        connect(m, feed.o, unit.i)
        connect(m, scales.scale, unit.scale)
        connect(m, scales.load, unit.load)
        connect(m, unit.o, writer.beat)
        connect(m, flipped(self.seed), unit.seed)
        for inner, outer in (
            (feed.a_read, self.a_read), (feed.w_read, self.w_read), (scales.read, self.output_read), (writer.write, self.output_write),
        ):  # fmt: skip
            connect(m, inner, flipped(outer))

        depth = queued_tiles(self.config.matrix)
        command, operands = self.i.p, self.i.p.operands
        scale_tile, result_tile = Signal(scales_layout(self.config)), Signal(results_layout(self.config))
        m.submodules.scale_tiles = scale_tiles = fifo.SyncFIFO(width=len(scale_tile.as_value()), depth=depth)
        m.submodules.result_tiles = result_tiles = fifo.SyncFIFO(
            width=len(result_tile.as_value()), depth=depth
        )
        room = Signal()
        m.d.comb += [
            room.eq(~operands.last | (scale_tiles.w_rdy & result_tiles.w_rdy)),
            feed.i.payload.eq(operands),
            feed.i.valid.eq(self.i.valid & room),
            self.i.ready.eq(feed.i.ready & room),
            scale_tile.scale.eq(command.scale),
            scale_tile.own.eq(command.own_scales),
            scale_tile.rows.eq(operands.a.lines),
            scale_tile.scales.eq(command.scales),
            scale_tile.constants.eq(command.constants),
            result_tile.address.eq(command.address),
            result_tile.stride.eq(command.stride),
            result_tile.form.eq(command.scale.form),
            result_tile.rows.eq(operands.a.lines),
            result_tile.columns.eq(operands.w.lines),
            Cat(getattr(self, name) for name in MATRIX_STROBES).eq(
                Cat(feed.has_read, scales.constants_read, scales.scales_read, writer.has_written)
            ),
        ]
        for queue, entry, tile in (
            (scale_tiles, scale_tile, scales.i),
            (result_tiles, result_tile, writer.i),
        ):
            m.d.comb += [
                queue.w_data.eq(entry),
                queue.w_en.eq(self.i.valid & self.i.ready & operands.last),
                tile.payload.eq(queue.r_data),
                tile.valid.eq(queue.r_rdy),
                queue.r_en.eq(tile.ready & queue.r_rdy),
            ]
        return m
