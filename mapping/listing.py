"""A network's Programs as one file of assembler text: what ``lanewise simulate --listing`` writes."""

from pathlib import Path

from lanewise.files import write_text
from lanewise.mapping.assemble import listing
from lanewise.mapping.lower import Work
from lanewise.mapping.simulate import Simulation, as_stored


def write_listing(simulation: Simulation, path: Path) -> None:
    """Write each task's Program: with Flex-SFU, or in software where that is as fast. Of equal works the first is written."""
    parts: list[str] = []
    written: dict[Work, str] = {}
    machine, baseline = simulation.machine, simulation.baseline
    for task, cost, other in zip(machine.tasks, machine.costs, baseline.costs, strict=True):
        parts.append(f"# {task.name} ({task.kind})\n")
        if task.work in written:
            parts.append(f"# as {written[task.work]}\n\n")
            continue
        written[task.work] = task.name
        config = baseline.config if cost is other else machine.config
        parts.append(listing(as_stored(task.work, config).program(config), config) + "\n")
    write_text(path, "".join(parts))
