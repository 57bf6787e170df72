"""What the accuracy study asks of a pretrained network."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

Contexts = Callable[[], Sequence[Any]]
"""Makes the contexts of one run of the network, the outermost first."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a reader has to know of a network and its task."""

    name: str
    """On the command line and in file names."""
    title: str
    packages: tuple[str, ...]
    """Whose versions decide the numbers; the one with the weights comes first."""
    licence: str
    """Of the weights."""
    task: str
    data: str
    score: str
    """The task's own measure."""
    larger_is_better: bool
    decision: str
    """What is compared as top-1."""
    feature: str
    """What is compared by its angle."""
    functions: tuple[str, ...]
    """What the network computes that the hardware's bits replace, as an
    :class:`~lanewise.models.nn.session.Observation` names it."""
    count: int
    """Samples of the full study."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Inputs with what their score needs. What ``values`` and ``truth`` are, each network says."""

    count: int
    values: Any
    truth: Any = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """What a run gives, a row for each thing that is decided.

    Raises:
        ValueError: The rows are not as many, or not finite.
    """

    features: torch.Tensor
    """Shape ``(rows, width)``, FP32."""
    decisions: torch.Tensor
    """Shape ``(rows,)``, integers."""
    details: torch.Tensor
    """Shape ``(rows, ...)``, whatever else the score needs."""

    def __post_init__(self) -> None:
        rows = {len(values) for values in (self.features, self.decisions, self.details)}
        if len(rows) != 1:
            raise ValueError(f"features, decisions and details must have as many rows, not {sorted(rows)}")
        if not torch.isfinite(self.features).all():
            raise ValueError("features must be finite, not NaN or infinite")


class PretrainedNetwork(Protocol):
    """A trained network with a task to score it by. Weights and data come from installed packages."""

    facts: Facts

    def load(self) -> nn.Module:
        """The network in FP32, in evaluation mode.

        Raises:
            UserError: Its package is not installed or is not what it was.
        """
        ...

    def samples(self, count: int, seed: int) -> Samples:
        """Inputs of the task, chosen by ``seed``; the same for the same arguments.

        Raises:
            UserError: There are not so many.
        """
        ...

    def run(self, module: nn.Module, samples: Samples, contexts: Contexts) -> Outputs:
        """What ``module`` gives, run inside ``contexts``; all that follows the network is outside, in FP32."""
        ...

    def score(self, samples: Samples, outputs: Outputs) -> float:
        """The task's own measure."""
        ...


@contextmanager
def in_contexts(contexts: Contexts) -> Iterator[None]:
    """One run of a network: inside ``contexts``, without gradients."""
    with torch.no_grad(), ExitStack() as stack:
        for context in contexts():
            stack.enter_context(context)
        yield
