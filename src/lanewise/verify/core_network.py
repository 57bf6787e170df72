"""A whole small network on the core: what its streams are fed task by task, and external memory before and after."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lanewise.config import MachineConfig
from lanewise.mapping.deploy.network import Deployment, deploy
from lanewise.mapping.lower import Task
from lanewise.sim.program import Program
from lanewise.verify.core_entries import Entry
from lanewise.verify.core_kernels import image, paged
from lanewise.verify.host import Host
from lanewise.verify.tag_counts import TagCounts

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class NetworkTask:
    """A task's Program and what the streams are fed for it."""

    name: str
    program: Program
    entries: list[Entry]


@dataclass(frozen=True, kw_only=True)
class NetworkRun:
    """All tasks, one after another: each ends before the next begins."""

    deployment: Deployment
    tasks: list[NetworkTask]
    before: bytes
    after: bytes

    @property
    def lowered(self) -> tuple[Task, ...]:
        """The network's tasks as ``lanewise simulate`` prices them."""
        return tuple(bound.task for bound in self.deployment.tasks)


def small_network_run(config: MachineConfig, seed: int) -> NetworkRun:
    """:func:`small_network` on the core, weights and inputs drawn from ``seed``."""
    import torch

    torch.manual_seed(seed)
    return network_run(deploy(small_network(), (torch.randn(1, 4, 12, 12),), config))


def small_network() -> "torch.nn.Module":
    """A network of every kind of operator: convolutions with borders and strides, a depthwise one, pooling, a token more, a layer norm, attention of two
    heads, a residual, a mean, linear layers, GELU, SiLU and softmax."""
    from torch import Tensor, cat, nn, randn, softmax

    class SmallNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1)
            self.norm, self.depthwise = nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1, groups=16)
            self.pool, self.row_norm = nn.MaxPool2d(2), nn.LayerNorm(16)
            self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))
            self.head, self.token = nn.Linear(16, 10), nn.Parameter(randn(1, 1, 16))

        def heads(self, x: Tensor) -> Tensor:
            return x.unflatten(2, (2, 8)).transpose(1, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.gelu(self.first(x))
            x = nn.functional.silu(self.norm(self.second(x)))
            tokens = self.pool(self.depthwise(x)).flatten(2).transpose(1, 2)
            tokens = cat([self.token, tokens], 1)
            normed = self.row_norm(tokens)
            scores = self.heads(self.query(normed)) @ self.heads(self.key(normed)).transpose(2, 3) / 4
            mixed = softmax(scores, -1) @ self.heads(self.value(normed))
            tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
            return softmax(self.head(tokens.mean(1)), -1)

    return SmallNetwork().eval()


def network_run(deployment: Deployment) -> NetworkRun:
    """What the core is fed for a network, its tensors in pages of external memory."""
    places, size = paged(deployment.after)
    counts = TagCounts()  # go on from task to task, as the core's do

    def tasks() -> Iterator[NetworkTask]:
        for bound in deployment.tasks:
            program = bound.program(deployment.config)
            tensors = {name: places[tensor] for name, tensor in bound.tensors.items()}
            host = Host(program=program, config=deployment.config, tensors=tensors, counts=counts)
            yield NetworkTask(name=bound.task.name, program=program, entries=host.entries)

    before, after = (image(memory, places, size) for memory in (deployment.before, deployment.after))
    return NetworkRun(deployment=deployment, tasks=list(tasks()), before=before, after=after)
