"""A strip of channels of a band: the code of its windows, at the places that a work's layout says."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP
from lanewise.mapping.kernels.epilogue import format_bits
from lanewise.mapping.kernels.window_axes import Group, Layout, Span
from lanewise.mapping.kernels.window_code import INPUT, PLANE_UNITS, ROW_UNITS, WEIGHTS, strip_code
from lanewise.mapping.kernels.window_kinds import Code, Kind, Machine, Windows, fills_table
from lanewise.sim.program import Address, Instruction, Loop, Node, Rotate

if TYPE_CHECKING:
    from lanewise.mapping.kernels.windows import WindowsWork

ROW, COLUMN = "row", "column"
"""Indices of the loops over rows of results and groups of a row."""

Moves = tuple[tuple[str, int, int], ...]
"""By index of a loop, how many positions and how many results each repetition moves."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a strip is computed."""

    vl: int
    ways: int
    """Results of a row that are computed together."""
    rolled: bool
    """Whether the rows of taps are a loop."""


class WindowStrip:
    """Groups of results for one strip of channels.

    Registers that all groups share (constants, weights that stay) are set by :meth:`prologue`; ask for it when all groups are there.

    Raises:
        ValueError: The registers do not hold what a group needs; choose a shorter strip or less results together.
    """

    def __init__(self, work: "WindowsWork", config: MachineConfig, layout: Layout, shape: Shape) -> None:
        self.layout, self.shape, self.operand_bits = layout, shape, config.matrix.operand_bits
        ending = work.ending
        self.middle = "middle" in ending.outputs
        """Whether the results stay in the scratchpad; their code is that of FP16 results."""
        if self.middle:
            ending = replace(ending, outputs=tuple("fp16" if o == "middle" else o for o in ending.outputs))
        planes, rows, columns = work.volume
        kind = Kind(
            function=work.function, taps=(planes.taps, rows.taps, columns.taps), apart=(rows.apart, columns.apart),
            divisor=work.divisor, ending=ending, vl=shape.vl, rolled=shape.rolled,
        )  # fmt: skip
        self.code = strip_code(kind, Machine.of(config, ending.steps))
        self.state = self.code.start
        self.made: dict[Windows, Code] = {}
        self.bytes: dict[str, tuple[int, int]] = {}

    # Places

    def position_bytes(self, buffer: str) -> int:
        """Bytes of a position in a buffer of the band."""
        return self._bytes(buffer, self.layout.channels)

    def _bytes(self, buffer: str, elements: int) -> int:
        form = buffer.removeprefix("@").partition(".")[0]
        return -(-elements * format_bits(form, self.operand_bits) // 8)

    def prologue(self, first: int, strips: int, *, places: bool = True) -> tuple[Node, ...]:
        """Constants and the weights that stay, for ``strips`` strips from channel ``first`` on."""
        constants = [i for i in self.state.constants.setup if not fills_table(i)]
        if not places:
            return (*constants, *self.code.loads)
        return (
            *constants,
            *self.placed(tuple(self.code.loads), inside=0, result=0, first=first, strips=strips),
        )

    def tables(self) -> tuple[Instruction, ...]:
        """What fills Flex-SFU's tables."""
        return tuple(i for i in self.state.constants.setup if fills_table(i))

    def placed(
        self, nodes: tuple[Node, ...], *, inside: int, result: int, first: int, strips: int, moves: Moves = ()
    ) -> tuple[Node, ...]:
        """A group's code where its first window begins at position ``inside`` of the band and its first result is ``result``.

        Args:
            first: Channel of the first strip.
            strips: How many are in the loop over strips.
        """
        places: dict[str, _Places] = {}

        def at(nodes: Iterable[Node]) -> Iterable[Node]:
            for node in nodes:
                if isinstance(node, Loop):
                    yield Loop(node.count, tuple(at(node.body)), node.index)
                elif isinstance(node, Rotate) or node.address is None:
                    yield node
                else:
                    base = node.address.base
                    if base not in places:
                        places[base] = self._places(base, inside, result, first, strips, moves)
                    yield places[base].instruction(node, node.address)

        return tuple(at(nodes))

    def _places(
        self, base: str, inside: int, result: int, first: int, strips: int, moves: Moves
    ) -> "_Places":
        name = "@middle.0" if self.middle and base == "@fp16.0" else base
        steps: list[tuple[str, int]] = []
        if base == INPUT:
            offset = 2 * self.layout.channels * inside
            steps += [(index, 2 * self.layout.channels * positions) for index, positions, _ in moves]
            convert: Callable[[int], int] = self._input
        elif base == WEIGHTS:
            offset, convert = 0, partial(int.__mul__, self.layout.channels)
        elif base in self.code.shared:
            offset, convert = 0, int
        else:
            size = self.position_bytes(base)
            offset, convert = size * result, partial(int.__mul__, size)
            steps += [(index, size * results) for index, _, results in moves]
        if strips > 1:
            steps.append((STRIP, self._bytes(base, self.shape.vl)))
        return _Places(
            name, offset + self._bytes(base, first), tuple(step for step in steps if step[1]), convert
        )

    def _input(self, units: int) -> int:
        planes, rest = divmod(units // 2, PLANE_UNITS)
        rows, column = divmod(rest, ROW_UNITS)
        return 2 * self.layout.channels * (planes * self.layout.plane + rows * self.layout.row + column)

    def unplaced(self, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        """As :meth:`placed`, but for the places."""
        return self.code.middle(nodes) if self.middle else nodes

    # Code

    def group(self, depth: Span, row: Span, group: Group) -> Code:
        """Code of ``ways`` windows, relative to the first one's tap 0 in the first plane that is inside, and to its result."""
        windows = (depth.after(depth.start), row.after(row.start), group.shape)
        code = self.made.get(windows)
        if code is None:
            code, self.state = self.code.group(self.state, windows)
            self.made[windows] = code
        return code


@dataclass(frozen=True, slots=True)
class _Places:
    """Of one buffer: its name, and what its addresses in the code become."""

    name: str
    offset_bytes: int
    steps: tuple[tuple[str, int], ...]
    convert: Callable[[int], int]

    def instruction(self, instruction: Instruction, address: Address) -> Instruction:
        convert = self.convert
        steps = tuple([(index, convert(step)) for index, step in address.steps]) + self.steps
        moved = Address(self.name, self.offset_bytes + convert(address.offset_bytes), steps)
        if self.name != address.base:
            return replace(instruction, writes=(self.name,), address=moved)
        return instruction.at(moved)
