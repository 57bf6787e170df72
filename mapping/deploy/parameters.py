"""Values of a network's parameters, as its graph sees them."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lanewise.errors import UserError
from lanewise.mapping.graph import Graph

if TYPE_CHECKING:
    import torch

Reals = npt.NDArray[np.float64]


class Parameters:
    """Parameters and buffers by the id of their value.

    Args:
        graph: What ``module`` was traced to.
        module: On the CPU, with values.
    """

    def __init__(self, graph: Graph, module: "torch.nn.Module") -> None:
        self._graph = graph
        self._named = dict(module.named_parameters()) | dict(module.named_buffers())

    def __getitem__(self, value: int) -> Reals:
        """A parameter in its own shape.

        Raises:
            UserError: The value has no name, or is made of parameters.
        """
        wanted = self._graph.values[value]
        found = self._named.get(wanted.name)
        if found is None:
            raise UserError(
                f"{self._graph.model}: value {value} ({wanted.origin} {wanted.name or 'without a name'}) must be a parameter or a buffer of the "
                "network, not made of them"
            )
        real: Reals = found.detach().to("cpu").double().numpy()
        return real

    def matrix(self, value: int, n: int, k: int, *, turned: bool) -> Reals:
        """The right operand of a product, a line for each column.

        Args:
            turned: The parameter lies with n, not k, contiguous.

        Returns:
            Shape ``(n, k)``.

        Raises:
            UserError: As :meth:`__getitem__`, or the parameter has another size.
        """
        real = self[value]
        if real.size != n * k:
            raise UserError(
                f"{self._graph.model}: parameter {value} must have {n} x {k} elements, not {real.shape}"
            )
        return real.reshape(k, n).T if turned else real.reshape(n, k)
