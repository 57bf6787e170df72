"""What a kernel takes: its Program with vl and vtype set where they change, on the timing engine."""

from collections import deque
from math import ceil

from lanewise.config import MachineConfig
from lanewise.sim.alignment import with_alignment
from lanewise.sim.engine import Run, run
from lanewise.sim.program import Program
from lanewise.sim.vector_type import with_vector_types

MOST_ACCESSES = 65535
"""How often a buffer may be read between two writes, and half as often written before it is read: the core's counts are of 16 bits."""


_latest: deque[tuple[Program, MachineConfig, Run]] = deque(maxlen=4)
"""What was priced last: a work prices the Programs that it chooses from, and is then priced itself."""


def priced(program: Program, config: MachineConfig) -> Program:
    """What the engine runs for a Program: with vl and vtype set, and every DMA run's place in a word known."""
    return with_vector_types(with_alignment(program, config.dma.bytes_per_clk), config)


def price(program: Program, config: MachineConfig) -> Run:
    """Clocks of a work's or a kernel's Program.

    Raises:
        ValueError: The machine lacks a unit that the Program needs.
    """
    for known, machine, result in _latest:
        if known is program and machine == config:
            return result
    timed = with_alignment(program, config.dma.bytes_per_clk, timed=True)
    result = run(with_vector_types(timed, config), config)
    _latest.append((program, config, result))
    return result


def banks(program: Program, config: MachineConfig) -> int:
    """Banks of the scratchpad that a Program's buffers take, each in banks of its own."""
    return sum(ceil(size / config.scratchpad.bank_bytes) for size in program.buffers_bytes.values())
