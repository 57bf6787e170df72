"""The map of a generating function: an implicit equation for P, solved by a fixed number of iterations, then Q."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Gradient: TypeAlias = Callable[[Tensor], Tensor]
"""dF/d(q, P) of ``(q, P)``, shape ``(..., n)``."""
Map: TypeAlias = Callable[[Tensor], Tensor]
"""A step: states ``(q, p)``, shape ``(..., n)``."""

TURN = 2 * torch.pi


def implicit_step(gradient: Gradient, x: Tensor, iterations: int) -> Tensor:
    """``P <- p - F_q(q, P)``, ``iterations`` times from ``P = p``; then ``Q = q + F_P(q, P)``. ``iterations + 1`` gradients."""
    q, p = x.chunk(2, dim=-1)
    last = p
    for _ in range(iterations):
        last = p - gradient(torch.cat([q, last], -1)).chunk(2, dim=-1)[0]
    increment = gradient(torch.cat([q, last], -1)).chunk(2, dim=-1)[1]
    return torch.cat([q + increment, last], -1)


def residuals(gradient: Gradient, x: Tensor, iterations: int) -> list[float]:
    """Largest change of P in each iteration."""
    q, p = x.chunk(2, dim=-1)
    last, found = p, []
    for _ in range(iterations):
        following = p - gradient(torch.cat([q, last], -1)).chunk(2, dim=-1)[0]
        found.append(float((following - last).abs().max()))
        last = following
    return found


def enough_iterations(gradient: Gradient, x: Tensor, tolerance: float, most: int = 100) -> int:
    """The fewest iterations after which P changes by ``tolerance`` at most.

    Raises:
        ArithmeticError: ``most`` are not enough.
    """
    for count, change in enumerate(residuals(gradient, x, most), 1):
        if change <= tolerance:
            return count
    raise ArithmeticError(
        f"iterations must reach {tolerance} within {most}: F bends too much for a fixed point"
    )


def follow(step: Map, x: Tensor, steps: int, *, angle: bool = False) -> Tensor:
    """States after each of ``steps`` steps, shape ``(steps + 1, ..., n)``.

    Args:
        angle: ``q2`` is one: it is brought to [0, 2 pi), where the network has learned, before each step.
    """
    states = [x]
    for _ in range(steps):
        now = states[-1]
        if angle:
            now = now.clone()
            now[..., 1] %= TURN
        states.append(step(now))
    return torch.stack(states)
