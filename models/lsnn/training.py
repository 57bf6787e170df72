"""Training: Adam with StepLR as in the paper, then L-BFGS, full batches in float64."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from lanewise.models.lsnn.config import TrainingConfig
from lanewise.models.lsnn.data import Pairs
from lanewise.models.lsnn.network import GeneratingNetwork, Scales
from lanewise.models.lsnn.plain import PlainMlp
from lanewise.models.one_thread import one_thread

_DECAY = 0.95
_HISTORY = 50

N = TypeVar("N", bound=nn.Module)


def train_generating(pairs: Pairs, config: TrainingConfig, *, seed: int) -> GeneratingNetwork:
    """A generating-function network for the map from ``pairs.start`` to ``pairs.end``, float64.

    The loss is the mean square of ``grad F - (p - P, Q - q)`` in the coordinates in which inputs have unit size.
    """
    scales = Scales.of(pairs.mixed, pairs.increments)
    network = _made(lambda: GeneratingNetwork(config.sizes, scales=scales), seed)
    inputs, targets, unit = pairs.mixed, pairs.increments, scales.spread / scales.gain
    _train(network, lambda: ((network(inputs) - targets) * unit).square().mean(), config)
    return network


def train_plain(pairs: Pairs, config: TrainingConfig, *, seed: int) -> PlainMlp:
    """A plain MLP for the same map, float64; the loss is the mean square of the increments' error at unit size."""
    network = _made(lambda: PlainMlp(config.sizes, pairs), seed)
    unit = (pairs.end - pairs.start).std(0)
    _train(network, lambda: ((network(pairs.start) - pairs.end) / unit).square().mean(), config)
    return network


def _made(make: Callable[[], N], seed: int) -> N:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().double()


def _train(network: nn.Module, loss: Callable[[], Tensor], config: TrainingConfig) -> None:
    with one_thread():
        adam = torch.optim.Adam(network.parameters(), lr=config.rate)
        schedule = torch.optim.lr_scheduler.StepLR(adam, config.decay_every, _DECAY)
        for _ in range(config.adam):
            adam.zero_grad()
            loss().backward()  # type: ignore[no-untyped-call]
            adam.step()
            schedule.step()
        lbfgs = torch.optim.LBFGS(
            network.parameters(), max_iter=config.lbfgs, history_size=_HISTORY, tolerance_grad=0, tolerance_change=0,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure() -> Tensor:
            lbfgs.zero_grad()
            value = loss()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        lbfgs.step(closure)  # type: ignore[no-untyped-call]
    network.requires_grad_(False)
