"""What a kernel takes: its Program with vl and vtype set where they change, on the timing engine."""

from lanewise.config import MachineConfig
from lanewise.sim.engine import Run, run
from lanewise.sim.program import Program
from lanewise.sim.vector_type import with_vector_types


def price(program: Program, config: MachineConfig) -> Run:
    """Clocks of a work's or a kernel's Program.

    Raises:
        ValueError: The machine lacks a unit that the Program needs.
    """
    return run(with_vector_types(program, config), config)
