"""Steps at the paper's and at small shapes, on the machine and on its baseline."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lanewise.config import MachineConfig
from lanewise.mapping.simulate import OperatorCost, Simulation, work_cost
from lanewise.mapping.workloads.lsnn.step_work import GeneratingStepWork
from lanewise.models.lsnn.config import PAPER_SIZES, PARTITION_STEPS, SMALL_SIZES, STANDARD_MAP_SIZES

SMALL_ITERATIONS, LARGE_ITERATIONS = 5, 11
"""Of the fixed point: what the trained networks need for a small step, and for one of two partitions."""
ORBITS = 32
"""Of a batch: as many as a register of the default machine holds."""


@dataclass(frozen=True, kw_only=True)
class StepCase:
    """Steps by the FP32 kernel."""

    name: str
    shape: str
    machine: str
    work: GeneratingStepWork
    cost: OperatorCost
    baseline: OperatorCost


def fp32_machine(config: MachineConfig) -> MachineConfig:
    """The machine with what the FP32 kernel's matched tables want: FP32 in Flex-SFU, quadratic pieces, two tables."""
    formats = tuple(dict.fromkeys((*config.flex_sfu.formats, "fp32")))
    return replace(config, flex_sfu=replace(config.flex_sfu, formats=formats, degree=2, double_buffered=True))


def step_cases(config: MachineConfig, *, small: bool) -> Iterator[StepCase]:
    """A thousand small steps at every shape, and a large step beside the small ones that lead as far.

    Args:
        small: The paper's shape with a batch of orbits, and ours, only.
    """
    machine, length = fp32_machine(config), 2 * PARTITION_STEPS
    wanted: list[tuple[str, tuple[int, ...], int, int, int]] = [
        ("1,000 small steps", PAPER_SIZES, ORBITS, 1000, SMALL_ITERATIONS),
        ("1,000 small steps", SMALL_SIZES, ORBITS, 1000, SMALL_ITERATIONS),
        ("two partitions by small steps", PAPER_SIZES, ORBITS, length, SMALL_ITERATIONS),
        ("two partitions by one large step", PAPER_SIZES, ORBITS, 1, LARGE_ITERATIONS),
    ]
    if not small:
        wanted += [
            ("1,000 small steps", PAPER_SIZES, 1, 1000, SMALL_ITERATIONS),
            ("1,000 small steps", SMALL_SIZES, 1, 1000, SMALL_ITERATIONS),
        ]
    for name, sizes, orbits, steps, iterations in wanted:
        work = GeneratingStepWork(sizes=sizes, orbits=orbits, steps=steps, iterations=iterations, angle=True)
        yield StepCase(
            name=f"{name}, FP32 vector kernel", shape=shape_of(sizes, orbits, iterations), machine="FP32 tables of degree 2, two of them", work=work,
            cost=work_cost(work, machine), baseline=work_cost(work, machine.baseline()),
        )  # fmt: skip


def traced_cases(config: MachineConfig, *, small: bool) -> Iterator[tuple[str, str, str, Simulation]]:
    """Name, shape, machine and simulation of one step whose products are the matrix unit's; ``small``: our shape only."""
    import torch

    from lanewise.mapping.user import simulate
    from lanewise.mapping.workloads.lsnn.network import ImplicitStep

    wide = replace(config, matrix=replace(config.matrix, operand_bits=16))
    wanted: list[tuple[tuple[int, ...], int, str, MachineConfig]] = [(SMALL_SIZES, ORBITS, "default", config)]
    if not small:
        wanted += [
            (PAPER_SIZES, ORBITS, "default", config),
            (PAPER_SIZES, 1, "default", config),
            (PAPER_SIZES, ORBITS, "FP16 array of as many elements", wide),
            (STANDARD_MAP_SIZES, ORBITS, "default", config),
        ]
    for sizes, orbits, machine, described in wanted:
        module, states = ImplicitStep(sizes, SMALL_ITERATIONS), torch.zeros(orbits, sizes[0], device="meta")
        result = simulate(module, states, config=described)
        form = "INT4" if described.matrix.operand_bits == 4 else f"{described.matrix.operand_bits}-bit"
        yield f"one small step, {form} products", shape_of(sizes, orbits, SMALL_ITERATIONS), machine, result


def shape_of(sizes: tuple[int, ...], orbits: int, iterations: int) -> str:
    """In words."""
    count = "an orbit" if orbits == 1 else f"{orbits} orbits"
    return f"{'-'.join(map(str, sizes))}, {count}, {iterations} iterations"
