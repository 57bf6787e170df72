"""From operands in the scratchpad, k contiguous or lines side by side, to the array's steps."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import SPLIT_BITS, MachineConfig
from lanewise.rtl.mac_array import MacArray
from lanewise.rtl.scratchpad import Client, address_bits, moved, read_signature
from lanewise.rtl.transposer import Transposer

K_BITS = 20
"""Of the steps of a pass."""
SIDES = ("a", "w")
"""Left and right operand: their lines are the array's rows and its columns."""


def operand_clients(config: MachineConfig) -> tuple[Client, ...]:
    """The scratchpad's clients for the operands: a block of an INT8 line is one read.

    >>> [(client.name, client.bytes) for client in operand_clients(MachineConfig())]
    [('a', 32), ('w', 32)]
    """
    width = 1 << (config.matrix.block_steps - 1).bit_length()
    return tuple(Client(name=side, bytes=width, writes=False) for side in SIDES)


def side_layout(config: MachineConfig) -> data.StructLayout:
    """Where an operand of a tile is: ``lines`` lines, the first at ``address``, each ``stride`` bytes behind the one before; ``wide``:
    INT8. A line has its k elements side by side, INT4 two a byte, the first in the low bits. ``turned``: a step has its ``lines`` elements
    side by side, likewise, the first step at ``address``, each ``stride`` bytes behind the one before. Both distances are modulo the
    scratchpad's size and below it."""
    bits = address_bits(config)
    lines = max(config.matrix.rows, config.matrix.columns)
    return data.StructLayout(
        {"address": bits, "stride": bits, "lines": range(lines + 1), "wide": 1, "turned": 1}
    )


def operands_layout(config: MachineConfig) -> data.StructLayout:
    """Steps to make: ``k``, at least 1, for each pass from ``first`` to ``final``, numbered as in :func:`lanewise.models.mac_array.steps`.

    With INT4 both are 0. INT8 operands in chunks of k want all chunks of a pass before the next pass: a command for each pass of
    each chunk. ``shift``: the sums move before the command's first step, which is a later pass's first; the passes within a
    command see to it themselves. ``last``: the steps end a tile.
    """
    side = side_layout(config)
    return data.StructLayout(
        {"a": side, "w": side, "k": K_BITS, "first": 2, "final": 2, "shift": 1, "last": 1}
    )


class OperandFeed(wiring.Component):
    """Reads a line of each operand a clock, turns blocks of them, gives a step a clock.

    A block is ``block_steps`` lines of as many elements, of both operands: an element of the one transposer has a nibble of the left operand and
    one of the right, so that both come and go together. Of a ``turned`` operand a block is as many steps, which leave as they came. INT4
    is read half a port's width a block, INT8 all of it; of INT8 the pass says which half of each element goes on, and each pass
    reads its operands anew: a port of one byte an element is what lets an INT8 pass run at an INT4 pass's pace. Lines that a
    tile has not are zeros and, where they have reads of their own, are not read; of a pass's last block only the steps that
    there are leave, and what is read beyond the end of a line, or the last step, goes nowhere.

    A command that is accepted in clock s reads in clocks s + 1 to s + slots, slots = passes x ceil(k / block_steps) x block_steps; ``has_read``
    is 1 in the last of them, in which the next command can be accepted. Its first step is at ``o`` in clock s + block_steps + 2.
    Throughput a step a clock where k is a multiple of ``block_steps``, from command to command too; if not, the last block of each
    pass costs its whole clocks. A step that is not taken stops everything.
    Golden model: :func:`lanewise.models.mac_array.steps`; clocks: :mod:`lanewise.sim.matrix_stream`.

    Members
    -------
    i : ``In(stream.Signature(operands_layout(config)))``
        Commands.
    a_read, w_read : ``Out(read_signature(config, bytes))``
        To ports of :func:`operand_clients`.
    o : ``Out(MacArray.i's signature)``
        Steps.
    has_read : ``Out(1)``
        A command's last read is in this clock.
    """

    i: stream.Interface
    o: stream.Interface
    has_read: Signal

    def __init__(self, config: MachineConfig) -> None:
        if not config.matrix.splits:
            raise ValueError(f"operand_bits must be {SPLIT_BITS}, not {config.matrix.operand_bits!r}")
        self.config = config
        self.size = config.matrix.block_steps
        reads = {
            f"{client.name}_read": Out(read_signature(config, client.bytes))
            for client in operand_clients(config)
        }
        super().__init__({
            "i": In(stream.Signature(operands_layout(config))),
            **reads,
            "o": Out(stream.Signature(MacArray.step_layout(config.matrix))),
            "has_read": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        size = self.size
        m.submodules.transposer = transposer = Transposer(size=size, bits=SPLIT_BITS, parts=len(SIDES))
        command = Signal(self.i.payload.shape(), reset_less=True)
        busy, step, block_ends, ends, accept = (
            Signal(name=name) for name in ("busy", "step", "block_ends", "ends", "accept")
        )
        line, number = Signal(range(size)), Signal(2)  # of the block; of the pass
        left = Signal(K_BITS, reset_less=True)  # steps of the pass from this block on
        final_block, begun = Signal(), Signal()
        m.d.comb += [
            block_ends.eq(line == size - 1),
            final_block.eq(left <= size),
            ends.eq(block_ends & final_block & (number == command.final)),
            self.i.ready.eq(~busy | (step & ends)),
            accept.eq(self.i.valid & self.i.ready),
            self.has_read.eq(step & ends),
        ]
        with m.If(step):
            m.d.sync += line.eq(Mux(block_ends, 0, line + 1))
            with m.If(block_ends):
                m.d.sync += [left.eq(Mux(final_block, command.k, left - size)), begun.eq(1)]
                with m.If(final_block):
                    m.d.sync += [number.eq(number + 1), begun.eq(0)]
        with m.If(self.i.ready):
            m.d.sync += busy.eq(self.i.valid)
        with m.If(accept):
            m.d.sync += [command.eq(self.i.p), left.eq(self.i.p.k), number.eq(self.i.p.first), begun.eq(0)]
        for side in SIDES:
            self._address(m, side, command[side], accept, step, line, block_ends, final_block)

        # the line that has been read: its data stays at the port until the next read
        valid = Signal()
        flags = {
            name: Signal(name=name, reset_less=True) for name in ("a_signed", "w_signed", "shift", "last")
        }
        steps = Signal(range(size + 1), reset_less=True)
        m.d.comb += [step.eq(busy & (~valid | transposer.i.ready)), transposer.i.valid.eq(valid)]
        lower = {
            "a": command.a.wide & Mux(command.w.wide, number[1], number[0]),
            "w": command.w.wide & number[0],
        }
        shift = Mux(number == command.first, command.shift, number[0])  # the lighter pairs' first passes
        with m.If(step):
            m.d.sync += [
                flags["a_signed"].eq(~lower["a"]),
                flags["w_signed"].eq(~lower["w"]),
                flags["shift"].eq(shift & ~begun),
                flags["last"].eq(command.last & final_block & (number == command.final)),
                steps.eq(Mux(final_block, left, size)),
            ]
        with m.If(step | transposer.i.ready):
            m.d.sync += valid.eq(step)
        m.d.comb += transposer.i.p.steps.eq(steps)
        for place, side in enumerate(SIDES):
            turned = Signal(name=f"{side}_turned", reset_less=True)
            with m.If(step):
                m.d.sync += turned.eq(command[side].turned)
            m.d.comb += transposer.i.p.turned[place].eq(turned)
            for k, nibble in enumerate(self._nibbles(m, side, command[side], step, line, lower[side])):
                m.d.comb += transposer.i.p.line[k][place].eq(nibble)
        self._give(m, transposer, flags)
        return m

    def _address(
        self, m: Module, side: str, operand: data.View, accept: Value, step: Value, line: Value, block_ends: Value, final_block: Value
    ) -> None:  # fmt: skip
        """Of the line, or step, to be read and of the block's first one; reads."""
        block = Signal(address_bits(self.config), name=f"{side}_block", reset_less=True)
        address = Signal.like(block, name=f"{side}_line", reset_less=True)
        width = Mux(operand.wide, self.size, self.size // 2)
        following = Mux(final_block, operand.address, moved(self.config, block, width))
        goes_on = ~block_ends | (operand.turned & ~final_block)
        port = getattr(self, f"{side}_read")
        m.d.comb += [
            port.address.eq(address),
            port.enable.eq(step & (operand.turned | (line < operand.lines))),
        ]
        with m.If(step):
            m.d.sync += address.eq(Mux(goes_on, moved(self.config, address, operand.stride), following))
            with m.If(block_ends):
                m.d.sync += block.eq(following)
        with m.If(accept):
            m.d.sync += [block.eq(self.i.p[side].address), address.eq(self.i.p[side].address)]

    def _nibbles(
        self, m: Module, side: str, operand: data.View, step: Value, line: Value, lower: Value
    ) -> list[Value]:
        """Of the line, or step, that has been read: an element's four bits, or the half of its eight that the pass takes."""
        wide, low = (Signal(name=f"{side}_{name}", reset_less=True) for name in ("wide", "low"))
        there = Signal(range(self.size + 1), name=f"{side}_there", reset_less=True)  # elements
        whole = Mux(line < operand.lines, self.size, 0)
        with m.If(step):
            m.d.sync += [
                there.eq(Mux(operand.turned, operand.lines, whole)),
                wide.eq(operand.wide),
                low.eq(lower),
            ]
        found = getattr(self, f"{side}_read").data
        result: list[Value] = []
        for k in range(self.size):
            byte = found.word_select(k, 2 * SPLIT_BITS)
            half = Mux(low, byte[:SPLIT_BITS], byte[SPLIT_BITS:])
            nibble = Mux(wide, half, found.word_select(k, SPLIT_BITS))
            result.append(nibble & (k < there).replicate(SPLIT_BITS))
        return result

    def _give(self, m: Module, transposer: Transposer, flags: dict[str, Signal]) -> None:
        """Steps, with the flags of their block."""
        kept = {name: Signal(name=f"{name}_kept", reset_less=True) for name in flags}
        with m.If(transposer.i.valid & transposer.i.ready & transposer.ends):
            m.d.sync += [kept[name].eq(flag) for name, flag in flags.items()]
        column, p = transposer.o.p.column, self.o.p
        for place, (side, lines) in enumerate(
            zip(SIDES, (self.config.matrix.rows, self.config.matrix.columns))
        ):
            m.d.comb += [p[side][k].eq(column[k][place]) for k in range(lines)]
        m.d.comb += [
            p.a_signed.eq(kept["a_signed"]),
            p.w_signed.eq(kept["w_signed"]),
            p.shift.eq(kept["shift"] & transposer.o.p.first),
            p.last.eq(kept["last"] & transposer.o.p.last),
            self.o.valid.eq(transposer.o.valid),
            transposer.o.ready.eq(self.o.ready),
        ]
