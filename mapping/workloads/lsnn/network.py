"""The same step as a network that the tracer takes: products on the matrix unit, tanh by Flex-SFU, the fixed point unrolled."""

import torch
from torch import Tensor, nn

from lanewise.models.lsnn.network import GeneratingNetwork
from lanewise.models.lsnn.stepping import implicit_step


class ImplicitStep(nn.Module):
    """States ``(batch, n)`` to those a step later; the derivative is ``1 - t^2``, as nobody traces tables.

    Args:
        sizes: Of the generating network's layers.
        iterations: Of the fixed point.
    """

    def __init__(self, sizes: tuple[int, ...], iterations: int) -> None:
        super().__init__()
        with torch.device("meta"):
            self.network = GeneratingNetwork(sizes)
        self.iterations = iterations

    def forward(self, x: Tensor) -> Tensor:
        """See :func:`~lanewise.models.lsnn.stepping.implicit_step`."""
        return implicit_step(self.network, x, self.iterations)
