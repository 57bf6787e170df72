"""Executes a Program on values: from external memory to external memory, bit by bit, without time.

Instructions run one after the other in Program order, which is what the tags make of the decoupled streams. Vector instructions are
those of :class:`~lanewise.models.vector_machine.VectorMachine`, by their words, on the scratchpad's bytes; every buffer lies in whole banks of its
own, as the mapping counts them; a Rotate renames them. Matrix commands are those of :class:`~lanewise.models.matrix_commands.MatrixCommands`. An access
beyond its buffer or its tensor is an error, so a Program that runs here touches only what it has; what the matrix unit reads of a block beyond a line's
end goes nowhere and is no access.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.config import REQUANTISER_BITS, SCALE_BYTES, FlexSfuConfig, MachineConfig
from lanewise.isa.operations import OPERATIONS, Latency, Unit
from lanewise.mapping.assemble import scalar_bits, word
from lanewise.mapping.matrix_commands import output_of, products_of
from lanewise.mapping.walk import ProgramWalk
from lanewise.models.flex_sfu import SfuTable
from lanewise.models.lfsr import States
from lanewise.models.matrix_commands import MatrixCommands
from lanewise.models.vector_machine import VectorMachine
from lanewise.models.vector_tables import Words, table_words
from lanewise.models.weight_generator import block_seed, generated_bytes
from lanewise.sim.program import Address, Instruction, Lines, Program, is_complete, priced_only
from lanewise.sim.vector_type import with_vector_types

Memory: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Tensors of external memory by name, contiguous; what is stored changes them in place."""

"""Of the output path's integers; all others have 16."""
_Bytes: TypeAlias = npt.NDArray[np.uint8]


def table_tensor(config: FlexSfuConfig, table: SfuTable) -> Words:
    """A table as it lies in external memory: its breakpoints' words, then its coefficients'."""
    return np.concatenate(table_words(config, table))


def execute_program(
    program: Program, config: MachineConfig, memory: Memory, states: States | None = None
) -> None:
    """Execute ``program`` on ``memory``.

    Args:
        program: Without what is set of vl and vtype: it is set where the engine prices it.
        memory: Every tensor that the Program names, results included; Flex-SFU's tables are ``table NAME``, of :func:`table_tensor`.
        states: Random states of the matrix unit's output path, shape ``(lanes,)``, where results are rounded stochastically.

    Raises:
        ValueError: An instruction is priced alone or has no model here, is reserved, or reaches beyond a buffer or a tensor;
            or the buffers do not fit the scratchpad.
        KeyError: A tensor is missing.
    """
    if missing := priced_only(program):
        raise ValueError(f"program must have operands for {', '.join(missing)}, which are priced and no more")
    execution = _Execution(with_vector_types(program, config), config, memory)
    if states is not None:
        execution.matrix.seed(states)
    execution.walk()


@dataclass(frozen=True, slots=True)
class _Vector:
    """A vector instruction, encoded once."""

    word: int
    rs1: int
    extent_bytes: int
    """Of a unit-stride access."""
    strided: bool


class _Execution(ProgramWalk):
    def __init__(self, program: Program, config: MachineConfig, memory: Memory) -> None:
        super().__init__(program, config)
        self.memory = {name: _bytes_of(name, tensor) for name, tensor in memory.items()}
        self.scratchpad = bytearray(config.scratchpad.bytes)
        self.machine = VectorMachine(config.vector.vlen_bits, self.scratchpad, config.flex_sfu)
        self.data = np.frombuffer(self.scratchpad, np.uint8)
        self.encoded: dict[int, _Vector] = {}
        self.others: dict[str, Callable[[Instruction], None]] = {
            "dma.load": self._load,
            "dma.store": self._store,
            "dma.generate": self._generate,
            "mm.tile": self._tile,
            "mm.accumulate": self._accumulate,
        }

    @cached_property
    def matrix(self) -> MatrixCommands:
        """The matrix unit."""
        return MatrixCommands(self.config.matrix, self.scratchpad)

    def step(self, instruction: Instruction) -> None:
        """Execute it."""
        other = self.others.get(instruction.opcode)
        if other is not None:
            other(instruction)
            return
        vector = self.encoded.get(id(instruction))
        if vector is None:
            vector = self.encoded[id(instruction)] = self._encode(instruction)
        rs1 = vector.rs1
        if instruction.address is not None:
            extent = vector.extent_bytes
            if vector.strided:
                extent += max(0, instruction.vl - 1) * instruction.stride_bytes
            rs1 = self._place(instruction, instruction.address, extent)
        self.machine.step(vector.word, rs1=rs1, rs2=instruction.stride_bytes)

    def _encode(self, instruction: Instruction) -> _Vector:
        operation = OPERATIONS.get(instruction.opcode)
        if operation is None or not is_complete(instruction):
            raise ValueError(f"{instruction.opcode} cannot be executed: it is priced and no more")
        rs1 = instruction.vl if operation.unit is Unit.SET else scalar_bits(instruction, operation)
        words = operation.latency is Latency.TABLE or not operation.strided
        extent = operation.eew_bits // 8 * (instruction.vl if words else 1)
        return _Vector(word(instruction, self.config), rs1, extent, operation.strided)

    def _place(self, instruction: Instruction, address: Address, extent_bytes: int) -> int:
        """Where an access of a buffer begins in the scratchpad."""
        buffer, offset = self.buffers[address.base], address.at(self.counters)
        if not 0 <= offset <= buffer.bytes - extent_bytes:
            raise ValueError(
                f"{instruction.opcode}: {extent_bytes} bytes at {offset} of {address.base} are beyond its {buffer.bytes} bytes"
            )
        return self.place(address)

    def _accumulate(self, instruction: Instruction) -> None:
        self._check_operands(instruction)
        self.matrix.accumulate(products_of(instruction, self.place))

    def _tile(self, instruction: Instruction) -> None:
        self._check_operands(instruction)
        tile = instruction.tile
        assert tile is not None
        rows, columns = tile.left.lines, tile.right.lines
        accesses = [(tile.scales, SCALE_BYTES * rows), (tile.constants, self.config.matrix.constants_bytes)]
        row = -(-columns * REQUANTISER_BITS[tile.form] // 8)
        accesses.append((tile.results, tile.results_stride_bytes * max(0, rows - 1) + row))
        for address, extent in accesses:
            if address is not None:
                self._place(instruction, address, extent)
        self.matrix.tile(products_of(instruction, self.place), output_of(instruction, self.place))

    def _check_operands(self, instruction: Instruction) -> None:
        assert instruction.tile is not None
        for lines in (instruction.tile.left, instruction.tile.right):
            self._place(instruction, lines.address, _extent(lines, instruction.steps))

    def _runs(self, instruction: Instruction) -> tuple[list[int], int, _Bytes]:
        """Where each run begins in the scratchpad, where the first one does in external memory, and the tensor."""
        assert instruction.address is not None
        assert instruction.external is not None
        size, stride = instruction.run_bytes, instruction.stride_bytes or instruction.run_bytes
        inside = self._place(instruction, instruction.address, stride * max(0, instruction.runs - 1) + size)
        places = [inside + stride * run for run in range(instruction.runs)]
        return places, instruction.external.at(self.counters), self.memory[instruction.external.base]

    def _outside(self, instruction: Instruction, first: int, tensor: _Bytes) -> list[int]:
        assert instruction.external is not None
        numbers: Sequence[int] = range(instruction.runs)
        if instruction.indices is not None:
            at = instruction.indices.at(self.counters)
            numbers = (
                self.memory[instruction.indices.base][at : at + 4 * instruction.runs].view("<u4").tolist()
            )
        distance = instruction.distance_bytes or instruction.run_bytes
        places = [first + distance * number for number in numbers]
        if places and not 0 <= min(places) <= max(places) <= tensor.size - instruction.run_bytes:
            raise ValueError(
                f"{instruction.opcode}: {instruction.run_bytes} bytes at {min(places)} to {max(places)} of {instruction.external.base!r} "
                f"are beyond its {tensor.size} bytes"
            )
        return places

    def _load(self, instruction: Instruction) -> None:
        inside, first, tensor = self._runs(instruction)
        size = instruction.run_bytes
        for to, at in zip(inside, self._outside(instruction, first, tensor), strict=True):
            self.data[to : to + size] = tensor[at : at + size]

    def _generate(self, instruction: Instruction) -> None:
        assert instruction.address is not None
        assert instruction.indices is not None
        size = instruction.run_bytes
        to = self._place(instruction, instruction.address, size)
        seed = block_seed(instruction.seed, instruction.indices.at(self.counters))
        self.data[to : to + size] = generated_bytes(seed, size)

    def _store(self, instruction: Instruction) -> None:
        inside, first, tensor = self._runs(instruction)
        size = instruction.run_bytes
        for at, to in zip(inside, self._outside(instruction, first, tensor), strict=True):
            tensor[to : to + size] = self.data[at : at + size]


def _extent(lines: Lines, steps: int) -> int:
    """Bytes from an operand's first to its last."""
    outer, inner = (steps, lines.lines) if lines.turned else (lines.lines, steps)
    return lines.stride_bytes * max(0, outer - 1) + -(-inner * lines.bits // 8)


def _bytes_of(name: str, tensor: npt.NDArray[Any]) -> _Bytes:
    if not tensor.flags.c_contiguous:
        raise ValueError(f"tensor {name!r} must be contiguous")
    return tensor.reshape(-1).view(np.uint8)
