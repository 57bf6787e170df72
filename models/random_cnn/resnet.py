"""Residual networks at the paper's shapes, their spatial convolutions plain or recombined: what the core is priced with. Shapes alone, no training."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

SPATIAL = "spatial"
"""Name of the module with the random filters in a block of two convolutions."""
Make = Callable[[int, int, int], nn.Module]
"""A convolution: input channels, output channels, stride."""


def folded(kernel: int = 3) -> Make:
    """One convolution: plain, or recombined and folded."""

    def make(before: int, after: int, stride: int) -> nn.Module:
        return nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)

    return make


def unfolded(expansion: int, kernel: int = 3) -> Make:
    """Random filters, and the 1x1 convolution that recombines them."""

    def make(before: int, after: int, stride: int) -> nn.Module:
        block = nn.Sequential()
        block.add_module(SPATIAL, folded(kernel)(before, after * expansion, stride))
        block.add_module("pointwise", nn.Conv2d(after * expansion, after, 1, bias=False))
        return block

    return make


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and what goes round them: nothing, or pooling and a 1x1 convolution (the variant "d")."""

    def __init__(self, before: int, after: int, stride: int, make: Make, activation: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.first_norm = make(before, after, stride), nn.BatchNorm2d(after)
        self.second, self.second_norm = make(after, after, 1), nn.BatchNorm2d(after)
        self.between, self.behind = activation(), activation()
        self.around: nn.Module = nn.Identity()
        if before != after or stride != 1:
            pool = nn.AvgPool2d(2) if stride == 2 else nn.Identity()
            self.around = nn.Sequential(pool, nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape ``(batch, before, height, width)`` to ``(batch, after, ...)``."""
        inside = self.second_norm(self.second(self.between(self.first_norm(self.first(x)))))
        result: torch.Tensor = self.behind(inside + self.around(x))
        return result


class ResNet(nn.Module):
    """A stem, stages of basic blocks, of which each but the first halves the picture, mean over positions, a linear layer."""

    def __init__(
        self, *, stem: Sequence[nn.Module], widths: Sequence[int], blocks: int, classes: int, make: Make, activation: type[nn.Module]
    ) -> None:  # fmt: skip
        super().__init__()
        stages: list[nn.Module] = []
        before = widths[0]
        for stage, width in enumerate(widths):
            for number in range(blocks):
                stride = 2 if stage and not number else 1
                stages.append(BasicBlock(before, width, stride, make, activation))
                before = width
        self.stem, self.stages = nn.Sequential(*stem), nn.Sequential(*stages)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(before, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Shape ``(batch, 3, height, width)`` to ``(batch, classes)``."""
        result: torch.Tensor = self.head(self.pool(self.stages(self.stem(images))).flatten(1))
        return result


def resnet18d(make: Make, activation: type[nn.Module] = nn.ReLU) -> ResNet:
    """ResNet-18d for 224 x 224: a stem of three 3 x 3 convolutions, pooling, two blocks of 64, 128, 256 and 512 channels each."""
    stem: list[nn.Module] = []
    for before, after, stride in ((3, 32, 2), (32, 32, 1), (32, 64, 1)):
        stem += [make(before, after, stride), nn.BatchNorm2d(after), activation()]
    stem.append(nn.MaxPool2d(3, 2, 1))
    return ResNet(
        stem=stem, widths=(64, 128, 256, 512), blocks=2, classes=1000, make=make, activation=activation
    )


def resnet20(make: Make, activation: type[nn.Module] = nn.ReLU) -> ResNet:
    """ResNet-20 for CIFAR's 32 x 32: a convolution, three blocks of 16, 32 and 64 channels each."""
    stem = [make(3, 16, 1), nn.BatchNorm2d(16), activation()]
    return ResNet(stem=stem, widths=(16, 32, 64), blocks=3, classes=10, make=make, activation=activation)


class SmallShape(nn.Module):
    """The study's small network as the core is given it."""

    def __init__(self, make: Make, width: int, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((1, width, 1), (width, width, 2), (width, 2 * width, 2)):
            layers += [make(before, after, stride), nn.BatchNorm2d(after), activation()]
        self.features, self.pool, self.head = (
            nn.Sequential(*layers),
            nn.AdaptiveAvgPool2d(1),
            nn.Linear(2 * width, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Shape ``(batch, 1, 8, 8)`` to ``(batch, 10)``."""
        result: torch.Tensor = self.head(self.pool(self.features(images)).flatten(1))
        return result
