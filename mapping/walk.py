"""Goes through a Program as the host does: loops repeated, buffers in their banks and renamed, addresses worked out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.sim.program import Address, Instruction, Loop, Node, Program, Rotate


@dataclass(frozen=True, slots=True)
class Buffer:
    """A buffer's place in the scratchpad, which goes round with its name."""

    number: int
    """Its place in the Program's list."""
    first: int
    """Address of its first byte."""
    bytes: int


class ProgramWalk(ABC):
    """Calls :meth:`step` for each instruction as often as it runs, in Program order.

    Raises:
        ValueError: The buffers do not fit the scratchpad, or a loop has the index of one around it.
    """

    def __init__(self, program: Program, config: MachineConfig) -> None:
        self.program, self.config = program, config
        self.buffers = _allocated(program, config)
        self.counters: dict[str, int] = {}
        """Of the loops around, by index."""

    def walk(self) -> None:
        """Go through the whole Program."""
        self._nodes(self.program.body)

    @abstractmethod
    def step(self, instruction: Instruction) -> None:
        """An instruction runs; ``counters`` and ``buffers`` are what they are then."""

    def place(self, address: Address) -> int:
        """Where an address is in the scratchpad now."""
        return self.buffers[address.base].first + address.at(self.counters)

    def _nodes(self, body: Sequence[Node]) -> None:
        for node in body:
            if isinstance(node, Instruction):
                self.step(node)
            elif isinstance(node, Rotate):
                moved = [self.buffers[name] for name in (*node.names[1:], node.names[0])]
                self.buffers.update(zip(node.names, moved, strict=True))
            else:
                self._loop(node)

    def _loop(self, loop: Loop) -> None:
        if loop.index and loop.index in self.counters:
            raise ValueError(f"index {loop.index!r} must be one loop's, not two's, one in the other")
        for count in range(loop.count):
            if loop.index:
                self.counters[loop.index] = count
            self._nodes(loop.body)
        self.counters.pop(loop.index, None)


def _allocated(program: Program, config: MachineConfig) -> dict[str, Buffer]:
    """Buffers in whole banks, one after the other."""
    bank, first, buffers = config.scratchpad.bank_bytes, 0, {}
    for number, (name, size) in enumerate(program.buffers_bytes.items()):
        buffers[name] = Buffer(number, first, size)
        first += ceil(size / bank) * bank
    if first > config.scratchpad.bytes:
        raise ValueError(
            f"scratchpad.banks must hold the buffers' {first // bank} banks of {bank} bytes, not {config.scratchpad.banks}"
        )
    return buffers
