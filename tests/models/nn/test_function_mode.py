"""What is neither entered nor replaced runs as it is."""

import pytest
import torch
from torch import nn

from lanewise.models.nn import approximate


@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool1d(2), nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(2), nn.MaxPool2d(2, return_indices=True)],
    ids=str,
)
def test_pooling_that_asks_twice_ends(pool):
    """PyTorch chooses between two functions, each of which asks anew whether somebody wants to run the choice."""
    x = torch.randn((2, 3, 8, 8) if not isinstance(pool, nn.MaxPool1d) else (2, 3, 8))
    torch.testing.assert_close(approximate(pool, segments=8)(x), pool(x), rtol=0, atol=0)
