"""Values of a network's parameters, as its graph sees them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lanewise.errors import UserError
from lanewise.mapping.expansion_parts import constant_elements
from lanewise.mapping.graph import Graph

if TYPE_CHECKING:
    import torch

Reals = npt.NDArray[np.float64]


class Parameters:
    """Parameters, buffers, and what is made of them alone, by the id of their value.

    Args:
        graph: What ``module`` was traced to.
        module: On the CPU, with values.
        folded: What the trace made of parameters and constants, by the id of its value.
    """

    def __init__(self, graph: Graph, module: "torch.nn.Module", folded: "Mapping[int, torch.Tensor]") -> None:
        self._graph, self._folded = graph, folded
        self._named = dict(module.named_parameters()) | dict(module.named_buffers())

    def __getitem__(self, value: int) -> Reals:
        """A parameter in its own shape.

        Raises:
            UserError: Nothing is known of the value.
        """
        wanted = self._graph.values[value]
        if (elements := constant_elements(wanted)) is not None:
            return np.array(elements, np.float64).reshape(wanted.shape)
        found = self._folded.get(value, self._named.get(wanted.name))
        if found is None:
            raise UserError(
                f"{self._graph.model}: value {value} ({wanted.origin} {wanted.name or 'without a name'}) must be a parameter or a buffer of the "
                "network, or made of them"
            )
        real: Reals = found.detach().to("cpu").double().numpy()
        return real

    def lines(self, value: int, n: int, k: int) -> Reals:
        """The right operand of a product, a line for each column.

        Returns:
            Shape ``(n, k)``.

        Raises:
            UserError: As :meth:`__getitem__`, or the parameter has another size.
        """
        real = self[value]
        if real.size != n * k:
            raise UserError(
                f"{self._graph.model}: parameter {value} must have {k} x {n} elements, not {real.shape}"
            )
        return real.reshape(k, n).T
