"""The generating-function network: a scalar MLP F(q, P) whose gradient, written by hand, is the map's increment.

Chen and Tao, arXiv 2103.05632: ``p = P + dF/dq(q, P)``, ``Q = q + dF/dP(q, P)``, here with the step inside F. The backward pass needs
``W^T`` of every layer and the activation's derivative, element by element; which functions those are is a :class:`Slopes`.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, cast

import torch
from torch import Tensor, nn


class Slopes(Protocol):
    """An activation function with what the backward pass takes as its derivative."""

    def both(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Function and derivative, shape of ``z``."""


class Tanh:
    """tanh, and ``1 - t^2``: what the networks are trained with."""

    def both(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Slopes`."""
        t = torch.tanh(z)
        return t, 1 - t * t


@dataclass(frozen=True, kw_only=True)
class Scales:
    """What F's inputs and its gradient's targets are brought to unit size by; numbers of the training data, not learned."""

    centre: Tensor
    """Mean of the inputs, shape ``(n,)``."""
    spread: Tensor
    """Their standard deviations."""
    offset: Tensor
    """Mean of the targets: a linear part of F, which keeps the map symplectic."""
    gain: Tensor
    """The unit of F, shape ``()``."""

    @classmethod
    def of(cls, inputs: Tensor, targets: Tensor) -> "Scales":
        """From samples, shape ``(samples, n)``: the gain makes the mean square of the targets in scaled coordinates 1."""
        spread = inputs.std(0)
        rest = (targets - targets.mean(0)) * spread
        return cls(
            centre=inputs.mean(0), spread=spread, offset=targets.mean(0), gain=rest.square().mean().sqrt()
        )


class GeneratingNetwork(nn.Module):
    """``forward`` is the gradient of F, not F itself; shapes ``(batch, n)`` in and out, ``n`` the size of ``(q, P)``.

    Args:
        sizes: Of the layers, ``n`` first and 1 last.
        slopes: The activation.
        scales: Of inputs and gradient; left out: none.
    """

    centre: Tensor
    spread: Tensor
    offset: Tensor
    gain: Tensor

    def __init__(
        self, sizes: Sequence[int], *, slopes: Slopes | None = None, scales: Scales | None = None
    ) -> None:
        super().__init__()
        if len(sizes) < 3 or sizes[-1] != 1 or min(sizes) < 1:
            raise ValueError(f"sizes must be at least three and end with 1, not {tuple(sizes)}")
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.slopes: Slopes = slopes or Tanh()
        self.operand: Callable[[Tensor], Tensor] | None = None
        """What is done to activations before each product, and to what comes back."""
        n = sizes[0]
        unit = Scales(centre=torch.zeros(n), spread=torch.ones(n), offset=torch.zeros(n), gain=torch.ones(()))
        for name, value in vars(scales or unit).items():
            self.register_buffer(name, value.clone())

    @property
    def linear(self) -> list[nn.Linear]:
        """The layers, the input's first."""
        return [cast(nn.Linear, layer) for layer in self.layers]

    def potential(self, x: Tensor) -> Tensor:
        """F itself, shape ``(batch,)``."""
        a = (x - self.centre) / self.spread
        for layer in self.linear[:-1]:
            a = self.slopes.both(layer(a))[0]
        return self.gain * cast(Tensor, self.linear[-1](a)).squeeze(-1) + x @ self.offset

    def forward(self, x: Tensor) -> Tensor:
        """dF/d(q, P): forward pass, then ``delta <- (W^T delta) * derivative`` from the last layer to the first."""
        *hidden, last = self.linear
        taken = self.operand or _as_it_is
        a, slopes = (x - self.centre) / self.spread, []
        for layer in hidden:
            a, slope = self.slopes.both(layer(taken(a)))
            slopes.append(slope)
        delta = last.weight * slopes[-1]
        for layer, slope in zip(reversed(hidden[1:]), reversed(slopes[:-1])):
            delta = (taken(delta) @ layer.weight) * slope
        return (taken(delta) @ hidden[0].weight) * (self.gain / self.spread) + self.offset

    def with_slopes(self, slopes: Slopes, kind: torch.dtype) -> "GeneratingNetwork":
        """A copy with another activation, its numbers of another type."""
        made = copy.deepcopy(self)
        made.slopes = slopes
        return made.to(kind)


def _as_it_is(x: Tensor) -> Tensor:
    return x
