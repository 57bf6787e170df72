"""A convolution by filters that are linear combinations of others: random and frozen ones, or learned ones."""

import enum
from math import sqrt

import torch
from torch import nn
from torch.nn import functional

from lanewise.models.weight_generator import VARIANCE, generated_filters

RAW_SQUARE = 21.5
"""Mean square of -8..7: that of :data:`VARIANCE`, and -8's."""


class Filters(enum.StrEnum):
    """Where the spatial filters come from."""

    LEARNED = "learned"
    """Kaiming-uniform to begin with, then trained."""
    UNIFORM = "uniform"
    """Kaiming-uniform in FP32, frozen: the paper's."""
    GENERATED = "generated"
    """INT4 of the weight generator, frozen: :func:`lanewise.models.weight_generator.generated_filters`, scaled to Kaiming-uniform's variance."""
    RAW = "raw"
    """The same register's INT4 with -8 as it is, so that all filters share a mean of -1/2; frozen, and for comparison."""

    @property
    def frozen(self) -> bool:
        """Whether training leaves them as they are."""
        return self is not Filters.LEARNED


class RecombinedConv2d(nn.Module):
    """``c_out * expansion`` filters of k x k, recombined to ``c_out`` by a learned 1x1 convolution with nothing between (the paper's LC block).

    Training and inference use the folded weight, W_eff[i] = sum_j a[i, j] W[j], which is one convolution whatever the expansion. No bias.

    Args:
        channels: Of the input and of the output.
        kernel: Edge of the filters, odd; padding keeps the size, but for ``stride``.
        expansion: Filters for each output.
        filters: Where they come from.
        generator: Of the initial numbers.
        seed: Of generated filters, 0 to 2**32 - 1.
    """

    def __init__(
        self, channels: tuple[int, int], *, kernel: int, expansion: int, filters: Filters, generator: torch.Generator,
        stride: int = 1, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.channels, self.kernel, self.stride, self.filters = channels, kernel, stride, filters
        fan_in, count = channels[0] * kernel**2, channels[1] * expansion
        spatial = self._spatial(count, fan_in, generator, seed)
        self.spatial: torch.Tensor
        if filters.frozen:
            self.register_buffer("spatial", spatial)
        else:
            self.spatial = nn.Parameter(spatial)
        self.pointwise = nn.Parameter(_uniform(channels[1], count, generator))

    def _spatial(self, count: int, fan_in: int, generator: torch.Generator, seed: int) -> torch.Tensor:
        """Shape ``(count, channels * kernel**2)``, of variance 1 / (3 fan_in)."""
        uniform = _uniform(count, fan_in, generator)  # drawn in any case, so that the rest is the same
        if self.filters in (Filters.LEARNED, Filters.UNIFORM):
            return uniform
        symmetric = self.filters is Filters.GENERATED
        codes = torch.from_numpy(generated_filters(seed, count, fan_in, symmetric=symmetric)).to(
            torch.float32
        )
        return codes / sqrt(3 * fan_in * (VARIANCE if symmetric else RAW_SQUARE))

    def weight(self) -> torch.Tensor:
        """The folded weight, shape ``(c_out, c_in, kernel, kernel)``."""
        shape = self.channels[1], self.channels[0], self.kernel, self.kernel
        return (self.pointwise @ self.spatial).view(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape ``(batch, c_in, height, width)`` to ``(batch, c_out, ...)``."""
        return functional.conv2d(x, self.weight(), stride=self.stride, padding=self.kernel // 2)

    def unfolded(self, x: torch.Tensor) -> torch.Tensor:
        """The same as two convolutions, as the paper writes it."""
        count, size = self.spatial.shape[0], self.kernel
        spatial = self.spatial.view(count, self.channels[0], size, size)
        between = functional.conv2d(x, spatial, stride=self.stride, padding=size // 2)
        return functional.conv2d(between, self.pointwise[:, :, None, None])


def _uniform(rows: int, fan_in: int, generator: torch.Generator) -> torch.Tensor:
    """Kaiming-uniform as PyTorch's layers have it: within 1 / sqrt(fan_in)."""
    return (torch.rand(rows, fan_in, generator=generator) * 2 - 1) / sqrt(fan_in)
