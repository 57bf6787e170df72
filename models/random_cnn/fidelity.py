"""The study's networks in INT4, folded and as two convolutions."""

from copy import deepcopy

import torch
from torch import nn

from lanewise.models.one_thread import one_thread
from lanewise.models.quantise import best_scale, quantise
from lanewise.models.random_cnn.network import SmallNetwork
from lanewise.models.random_cnn.recombined import Filters, RecombinedConv2d
from lanewise.models.random_cnn.training import data

WEIGHT_BITS = 4
_CALIBRATION = 256
"""Training images by which the activations' scales are chosen."""


class _Quantised(nn.Module):
    """A convolution of operands that are rounded to ``bits``, with one scale for all, of the least squared error on what comes first."""

    def __init__(self, convolution: nn.Conv2d, bits: int) -> None:
        super().__init__()
        self.convolution, self.bits = convolution, bits
        self.scale: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the convolution's."""
        if self.scale is None:
            self.scale = best_scale(x.detach().reshape(1, -1), self.bits)[0, 0]
        result: torch.Tensor = self.convolution(quantise(x, self.scale, self.bits) * self.scale)
        return result


def in_int4(network: SmallNetwork, *, folded: bool, activation_bits: int = 4) -> nn.Module:
    """A copy whose convolutions have INT4 weights, each output channel with a scale of its own, and activations of ``activation_bits``.

    ``folded``: W_eff is rounded. Otherwise the spatial filters and the 1x1 weights are, and what is between them; generated filters are INT4 as they are.
    The head stays in FP32. What is measured is rounding alone: sums are exact in the hardware as well.

    Raises:
        ValueError: ``activation_bits`` is neither 4 nor 8.
    """
    if activation_bits not in (4, 8):
        raise ValueError(f"activation_bits must be 4 or 8, not {activation_bits!r}")
    copy = deepcopy(network)
    for place, layer in enumerate(copy.features):
        if isinstance(layer, RecombinedConv2d):
            copy.features[place] = (
                _folded(layer, activation_bits) if folded else _unfolded(layer, activation_bits)
            )
    copy.eval()
    with one_thread(), torch.no_grad():
        copy(data()[0][0][:_CALIBRATION])
    return copy


def _folded(block: RecombinedConv2d, bits: int) -> nn.Module:
    return _convolution(_rounded(block.weight().detach()), block.stride, bits)


def _unfolded(block: RecombinedConv2d, bits: int) -> nn.Module:
    spatial = block.spatial.detach()
    if block.filters is not Filters.GENERATED:
        spatial = _rounded(spatial)
    spatial = spatial.view(-1, block.channels[0], block.kernel, block.kernel)
    pointwise = _rounded(block.pointwise.detach())[:, :, None, None]
    return nn.Sequential(_convolution(spatial, block.stride, bits), _convolution(pointwise, 1, bits))


def _rounded(weight: torch.Tensor) -> torch.Tensor:
    """To INT4, a scale for each output channel."""
    rows = weight.flatten(1)
    scale = best_scale(rows, WEIGHT_BITS)
    return (quantise(rows, scale, WEIGHT_BITS) * scale).view(weight.shape)


def _convolution(weight: torch.Tensor, stride: int, bits: int) -> nn.Module:
    after, before, size, _ = weight.shape
    made = nn.Conv2d(before, after, size, stride=stride, padding=size // 2, bias=False)
    made.weight = nn.Parameter(weight, requires_grad=False)
    return _Quantised(made, bits)
