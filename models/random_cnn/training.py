"""Training of one network of the study, and what it gets right."""

from functools import lru_cache
from math import cos, pi

import torch
from torch import nn
from torch.nn import functional

from lanewise.models.int4_tasks import images
from lanewise.models.one_thread import one_thread
from lanewise.models.random_cnn.config import StudyConfig
from lanewise.models.random_cnn.network import SmallNetwork
from lanewise.models.random_cnn.recombined import Filters

Images = tuple[torch.Tensor, torch.Tensor]


@lru_cache(maxsize=1)
def data() -> tuple[Images, Images]:
    """Digits to train on, 1,198, and to test on, 599: pixels, shape ``(count, 8, 8)``, and classes; real handwriting from scikit-learn.

    Raises:
        UserError: The package is not installed.
    """
    task = images()
    return task.train, task.test


def train(
    config: StudyConfig, *, kernel: int, expansion: int, filters: Filters, seed: int, activation: type[nn.Module] = nn.ReLU
) -> SmallNetwork:  # fmt: skip
    """A trained network in evaluation mode; the same numbers on every machine of one kind, for PyTorch has one thread.

    Raises:
        UserError: The images' package is not installed.
    """
    pixels, classes = data()[0]
    with one_thread():
        network = SmallNetwork(
            width=config.width,
            kernel=kernel,
            expansion=expansion,
            filters=filters,
            seed=seed,
            activation=activation,
        )
        optimiser = torch.optim.SGD(
            network.parameters(), lr=config.learning_rate, momentum=config.momentum, nesterov=True,
            weight_decay=config.weight_decay,
        )  # fmt: skip
        order = torch.Generator().manual_seed(seed)
        each = len(pixels) // config.batch
        for epoch in range(config.epochs):
            places = torch.randperm(len(pixels), generator=order)
            for step in range(each):
                done = (epoch * each + step) / (config.epochs * each)
                optimiser.param_groups[0]["lr"] = config.learning_rate * (1 + cos(pi * done)) / 2
                chosen = places[step * config.batch : (step + 1) * config.batch]
                loss = functional.cross_entropy(network(pixels[chosen]), classes[chosen])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    return network.eval()


def accuracy(network: nn.Module) -> float:
    """Percent of the test images that a network names rightly."""
    pixels, classes = data()[1]
    with one_thread(), torch.no_grad():
        right = network(pixels).argmax(1) == classes
    return 100 * float(right.to(torch.float64).mean())
