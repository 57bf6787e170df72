"""Networks of recombined random filters on the core: folded, or as two convolutions with the filters loaded or made on chip."""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lanewise.config import DmaConfig, MachineConfig, WeightGeneratorConfig
from lanewise.mapping.kernels.generated import Generated
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.lower import Lowered, Task, lower
from lanewise.mapping.simulate import OperatorCost, Simulation, simulate_lowered
from lanewise.mapping.user import trace
from lanewise.sim.program import Instruction, Loop, Node

NETWORKS = {"resnet18d": (3, 224), "resnet20": (3, 32), "small": (1, 8)}
"""Channels and edge of a picture."""


class Weights(enum.StrEnum):
    """What becomes of a recombined convolution."""

    FOLDED = "folded"
    """One convolution, its weights from external memory."""
    LOADED = "loaded"
    """Two convolutions, all weights from external memory."""
    GENERATED = "generated"
    """Two convolutions; the random filters are made on chip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A network of :data:`NETWORKS` in one form.

    Raises:
        ValueError: There is no such network or activation, or a number is less than 1.
    """

    network: str
    weights: Weights
    expansion: int = 1
    """Random filters for each output; a folded network is the same for all."""
    batch: int = 1
    activation: str = "relu"
    """``relu`` or ``silu``."""
    kernel: int = 3
    """Edge of the spatial filters; the paper's networks have 3."""
    width: int = 4
    """Of ``small``."""

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ValueError(f"network must be one of {', '.join(NETWORKS)}, not {self.network!r}")
        if self.activation not in ("relu", "silu"):
            raise ValueError(f"activation must be relu or silu, not {self.activation!r}")
        for name in ("expansion", "batch", "kernel", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")

    @property
    def name(self) -> str:
        """In words."""
        if self.weights is Weights.FOLDED:
            return f"{self.network}, folded"
        return f"{self.network}, LCx{self.expansion}, filters {self.weights}"

    @property
    def shape(self) -> str:
        """In words."""
        channels, edge = NETWORKS[self.network]
        kernel = f", {self.kernel} x {self.kernel}" if self.network == "small" else ""
        return f"{self.batch} x {channels} x {edge} x {edge}{kernel}, {'ReLU' if self.activation == 'relu' else 'SiLU'}"

    def lowered(self) -> Lowered:
        """The tasks; those of random filters with generated weights if they are to be.

        All filters have the seed 0 here: a seed decides on bits alone, and equal layers then cost what one costs.
        """
        import torch
        from torch import nn

        from lanewise.models.random_cnn import resnet

        activation = nn.ReLU if self.activation == "relu" else nn.SiLU
        folded = self.weights is Weights.FOLDED
        make = resnet.folded(self.kernel) if folded else resnet.unfolded(self.expansion, self.kernel)
        if self.network == "small":
            module: nn.Module = resnet.SmallShape(make, self.width, activation)
        else:
            module = {"resnet18d": resnet.resnet18d, "resnet20": resnet.resnet20}[self.network](
                make, activation
            )
        channels, edge = NETWORKS[self.network]
        found = lower(trace(module, torch.zeros(self.batch, channels, edge, edge)))
        if self.weights is not Weights.GENERATED:
            return found
        return replace(found, tasks=tuple(map(_generating, found.tasks)))

    def simulate(self, config: MachineConfig) -> Simulation:
        """Cycles on ``config``'s machine, with a weight generator if it needs one, and on the same machine without Flex-SFU.

        Raises:
            UserError: A layer does not fit the machine.
        """
        machine = generating(config) if self.weights is Weights.GENERATED else config
        return simulate_lowered(self.lowered(), machine, model=self.name)


def generating(config: MachineConfig) -> MachineConfig:
    """The machine with a weight generator, its own if it has one."""
    if config.weight_generator.enabled:
        return config
    return replace(config, weight_generator=WeightGeneratorConfig(enabled=True))


def with_bus(config: MachineConfig, bytes_per_clk: int) -> MachineConfig:
    """The machine with another width of external memory."""
    dma: DmaConfig = replace(config.dma, bytes_per_clk=bytes_per_clk)
    return replace(config, dma=dma)


def spatial_bytes(lowered: Lowered) -> int:
    """Bytes of the INT4 random filters, each read once."""
    total = 0
    for task in lowered.tasks:
        if _is_spatial(task) and isinstance(task.work, MatmulWork):
            total += task.work.n * -(-task.work.k // 2)
    return total


def filter_bytes_loaded(simulation: Simulation) -> int:
    """Bytes of random filters that the network's Programs load, as often as they load them."""
    config = simulation.machine.config
    return sum(
        _loaded(task.work.program(config).body, "right")
        for task in simulation.machine.tasks
        if _is_spatial(task) and isinstance(task.work, MatmulWork)
    )


def _loaded(body: Sequence[Node], tensor: str) -> int:
    """Bytes of a tensor that the nodes load, loops repeated."""
    total = 0
    for node in body:
        if isinstance(node, Loop):
            total += node.count * _loaded(node.body, tensor)
        elif isinstance(node, Instruction) and node.external is not None and node.external.base == tensor:
            total += node.runs * node.run_bytes
    return total


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One recombined convolution, folded and as two."""

    name: str
    folded: OperatorCost
    pair: tuple[OperatorCost, OperatorCost]

    @property
    def pair_cycles(self) -> int:
        """Clocks of both convolutions."""
        return sum(cost.cycles for cost in self.pair)

    @property
    def pair_loaded_bytes(self) -> int:
        """Bytes that both load."""
        return sum(cost.loaded_bytes for cost in self.pair)


def layers(folded: Simulation, unfolded: Simulation) -> Iterator[Layer]:
    """The recombined convolutions of a network by name, in order."""
    costs = {
        task.name: cost for task, cost in zip(unfolded.machine.tasks, unfolded.machine.costs, strict=True)
    }
    for task, cost in zip(folded.machine.tasks, folded.machine.costs, strict=True):
        pair = [costs.get(f"{task.name}.{part}") for part in ("spatial", "pointwise")]
        if pair[0] is not None and pair[1] is not None:
            yield Layer(name=task.name, folded=cost, pair=(pair[0], pair[1]))


def each_as_is_faster(folded: Simulation, unfolded: Simulation) -> tuple[int, int, int]:
    """Cycles and loaded bytes of the network whose layers are folded or not, whichever is faster; and how many are not."""
    cycles, loaded = folded.machine.cycles, sum(cost.loaded_bytes for cost in folded.machine.costs)
    count = 0
    for layer in layers(folded, unfolded):
        if layer.pair_cycles < layer.folded.cycles:
            cycles += layer.pair_cycles - layer.folded.cycles
            loaded += layer.pair_loaded_bytes - layer.folded.loaded_bytes
            count += 1
    return cycles, loaded, count


def _is_spatial(task: Task) -> bool:
    return "spatial" in task.name.split(".")


def _generating(task: Task) -> Task:
    """With generated weights, if it is a convolution by random filters."""
    if not _is_spatial(task) or not isinstance(task.work, MatmulWork):
        return task
    return replace(task, work=replace(task.work, generated=Generated()))
