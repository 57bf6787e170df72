"""What programs of the core must do: external memory before and after, by the golden models; clocks, by the engine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanewise.config import MachineConfig
from lanewise.isa.operations import OPERATIONS, Latency, Unit
from lanewise.models.matrix_commands import MatrixCommands
from lanewise.models.vector_machine import VectorMachine
from lanewise.models.vector_tables import table_words
from lanewise.models.weight_generator import generated_bytes
from lanewise.rtl.vector_unit import LANDINGS
from lanewise.sim.engine import run
from lanewise.sim.program import Instruction, Program
from lanewise.verify.core_entries import Command, Entry, Generate, Issue, Seed
from lanewise.verify.core_tiles import matrix_tables
from lanewise.verify.core_writer import (
    CORNERS_32,
    EXTERNAL_BYTES,
    MATRIX_TABLES,
    REGION_BYTES,
    SOURCE_BYTES,
    TABLE_BYTES,
    TABLES_OF_A_KIND,
)
from lanewise.verify.sfu_tables import random_table


def initial_external(config: MachineConfig, rng: np.random.Generator) -> bytes:
    """External memory: random bytes, and words that are special; behind them the words of random tables."""
    words = rng.integers(0, 2**32, EXTERNAL_BYTES // 4, dtype=np.uint32)
    special = rng.random(words.size) < 0.3
    words[special] = rng.choice(np.array(CORNERS_32, np.uint32), int(special.sum()))
    sfu, at = config.flex_sfu, SOURCE_BYTES // 4
    for _ in range(sfu.banks):
        for form in sfu.number_formats:
            for part in table_words(sfu, random_table(rng, sfu, form)):
                words[at : at + part.size] = part
                at += part.size
    if config.matrix.splits:
        data = words.view(np.uint8)
        for number, table in enumerate(matrix_tables(config.matrix, rng, TABLES_OF_A_KIND)):
            at = MATRIX_TABLES + number * TABLE_BYTES
            data[at : at + table.size] = table
    return words.tobytes()


def expected_external(config: MachineConfig, entries: Sequence[Entry], external: bytes) -> bytes:
    """What the golden machine leaves in external memory."""
    memory, scratchpad = bytearray(external), bytearray(config.scratchpad.bytes)
    machine = VectorMachine(config.vector.vlen_bits, scratchpad, config.flex_sfu)
    stream = MatrixCommands(config.matrix, scratchpad) if config.matrix.splits else None
    states = np.zeros(config.matrix.requantiser_lanes, np.uint32)
    for entry in entries:
        if isinstance(entry, Issue):
            machine.step(entry.word, entry.rs1, entry.rs2)
        elif isinstance(entry, Command):
            _transfer(entry, memory, scratchpad)
        elif isinstance(entry, Generate):
            made = generated_bytes(entry.seed, entry.size).tobytes()
            scratchpad[entry.scratch : entry.scratch + entry.size] = made
        elif isinstance(entry, Seed):
            states[entry.lane] = entry.state
        else:
            assert stream is not None
            if states.any():
                stream.seed(states)
                states[:] = 0
            if entry.output is None:
                stream.accumulate(entry.products)
            else:
                stream.tile(entry.products, entry.output)
    return bytes(memory)


def _transfer(command: Command, memory: bytearray, scratchpad: bytearray) -> None:
    transfer = command.transfer
    for number in range(transfer.runs):
        there = transfer.external + number * transfer.external_stride
        here = command.scratch + number * command.scratch_stride
        if command.stream == "load":
            scratchpad[here : here + transfer.run_bytes] = memory[there : there + transfer.run_bytes]
        else:
            memory[there : there + transfer.run_bytes] = scratchpad[here : here + transfer.run_bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clocks:
    """When things happen, from the first start on."""

    starts: dict[str, list[int]]
    """By stream."""
    ends: dict[str, list[int]]
    """By unit: the clock at whose end the last beat lands."""


def last_end(clocks: Clocks) -> int:
    """Clocks from the first start to the end of everything."""
    return max(max(values, default=0) for values in clocks.ends.values())


class Watched:
    """Sorts what the engine tells of every instruction."""

    def __init__(self) -> None:
        self.clocks = Clocks(
            starts={name: [] for name in STREAMS}, ends={name: [] for name in UNITS_THAT_LAND}
        )

    def add(self, instruction: Instruction, start: int, end: int) -> None:
        """An instruction, in Program order."""
        operation, opcode = OPERATIONS.get(instruction.opcode), instruction.opcode
        if operation is None:
            stream = "matrix" if opcode.startswith("mm.") else opcode.removeprefix("dma.")
            self.clocks.starts[stream].append(start)
            self.clocks.ends[opcode.replace(".", "_")].append(end - 1)
            return
        self.clocks.starts["vector"].append(start)
        if operation.unit is not Unit.SET:
            unit = "reduction" if operation.latency is Latency.REDUCE else str(operation.unit)
            self.clocks.ends[unit].append(end - 1)


def simulated_clocks(
    config: MachineConfig, entries: Sequence[Entry], dma_clk: Sequence[tuple[int, int]]
) -> Clocks:  # fmt: skip
    """What the timing engine says; ``dma_clk`` is :func:`lanewise.sim.engine.run`'s."""
    body = tuple(entry.instruction() for entry in entries if not isinstance(entry, Seed))
    buffers = {access.buffer: REGION_BYTES for entry in entries for access in entry.accesses}
    program = Program(body=body, buffers_bytes=buffers)
    watched = Watched()
    run(program, config, summarise=False, watcher=watched.add, dma_clk=dma_clk)
    return watched.clocks


STREAMS = ("vector", "load", "store", "matrix", "generate")
"""Whose starts are compared, in the order of the core's ``started``."""
UNITS_THAT_LAND = (*LANDINGS, "dma_load", "dma_store", "mm_accumulate", "mm_tile", "dma_generate")
"""Whose ends are compared; those of the vector unit in the order of its ``landed``."""
