"""Parameters that are multiplied or added along any axis of a value, on values: near to PyTorch's."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.mapping.deploy.network import deploy

CONFIG = MachineConfig(matrix=MatrixConfig(rows=8, columns=8, output_lanes=4))


class Along(nn.Module):
    """Behind a product, a convolution, or alone."""

    def __init__(self, shape: tuple[int, ...], first: nn.Module | None = None) -> None:
        super().__init__()
        self.gain, self.first = nn.Parameter(torch.randn(shape)), first or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.first(x) * self.gain)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (lambda: Along((8, 1)), (3, 8, 8)),
        (lambda: Along((8,)), (3, 8, 8)),
        (lambda: Along((4, 1, 1)), (2, 4, 4, 6)),
        (lambda: Along((8, 1)), (3, 8, 1)),
        (lambda: Along((8, 1), nn.Linear(8, 8, bias=False)), (3, 8, 8)),
        (lambda: Along((1, 5, 1), nn.Linear(8, 8, bias=False)), (2, 5, 8)),
        (lambda: Along((6, 1, 1), nn.Conv2d(4, 6, 3, bias=False)), (1, 4, 8, 8)),
        (lambda: Along((6,), nn.Conv2d(4, 6, 3, bias=False)), (1, 4, 8, 8)),
    ],
)
def test_results_are_near_to_pytorch_s(module: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(4)
    network, x = module().eval(), torch.randn(shape)
    found = deploy(network, (x,), CONFIG).results[0].astype(np.float64).ravel()
    with torch.no_grad():
        real = network(x).numpy().astype(np.float64).ravel()
    assert float(found @ real / np.sqrt(found @ found * (real @ real))) > 0.97
