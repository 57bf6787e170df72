"""The small network of the study."""

from math import sqrt

import torch
from torch import nn

from lanewise.models.int4_tasks import SIDE
from lanewise.models.random_cnn.recombined import Filters, RecombinedConv2d

CLASSES = 10


class SmallNetwork(nn.Module):
    """Three recombined convolutions, each with batch normalisation and an activation; mean over positions; a linear layer.

    Args:
        width: Channels of the first two; the third has twice as many. The last two have a stride of 2.
        kernel, expansion, filters: As of :class:`~lanewise.models.random_cnn.recombined.RecombinedConv2d`.
        seed: Of the initial numbers and of generated filters; the same for every kind of filters.
        activation: Class of the activation.
    """

    def __init__(
        self, *, width: int, kernel: int, expansion: int, filters: Filters, seed: int, activation: type[nn.Module] = nn.ReLU
    ) -> None:  # fmt: skip
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        sizes = ((1, width, 1), (width, width, 2), (width, 2 * width, 2))
        for number, (before, after, stride) in enumerate(sizes):
            layers += [
                RecombinedConv2d(
                    (before, after), kernel=kernel, expansion=expansion, filters=filters, generator=generator,
                    stride=stride, seed=len(sizes) * seed + number,
                ),
                nn.BatchNorm2d(after), activation(),
            ]  # fmt: skip
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(2 * width, CLASSES)
        with torch.no_grad():
            bound = 1 / sqrt(2 * width)
            self.head.weight.copy_((torch.rand(self.head.weight.shape, generator=generator) * 2 - 1) * bound)
            self.head.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Shape ``(batch, 8, 8)`` to ``(batch, 10)``."""
        result: torch.Tensor = self.head(self.features(images.view(-1, 1, SIDE, SIDE)).mean((2, 3)))
        return result

    @property
    def blocks(self) -> list[RecombinedConv2d]:
        """The recombined convolutions."""
        return [layer for layer in self.features if isinstance(layer, RecombinedConv2d)]
