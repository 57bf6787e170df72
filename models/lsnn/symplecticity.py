"""How far a map is from symplectic: by its Jacobian, and by the area that it gives small loops.

The Jacobian measures smooth maps. Of hardware's bits, and where a table jumps, derivatives mean nothing, but the loop integral of
``p dq`` (Poincare's invariant) does: a map is symplectic if it keeps it for every loop.
"""

import torch
from torch import Tensor

from lanewise.models.lsnn.stepping import Map


def symplectic_form(n: int, kind: torch.dtype = torch.float64) -> Tensor:
    """``J = [[0, I], [-I, 0]]``, shape ``(n, n)``."""
    form = torch.zeros(n, n, dtype=kind)
    half = n // 2
    form[:half, half:] = torch.eye(half)
    form[half:, :half] = -torch.eye(half)
    return form


def defects(step: Map, x: Tensor) -> Tensor:
    """Largest entry of ``|M^T J M - J|`` at each state, M the map's Jacobian by automatic differentiation.

    Args:
        step: A differentiable map.
        x: States, shape ``(batch, n)``; their type is the arithmetic's.

    Returns:
        Shape ``(batch,)``.
    """
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: step(v[None])[0]))(x)
    form = symplectic_form(x.shape[-1], x.dtype)
    change: Tensor = jacobian.mT @ form @ jacobian - form
    return change.abs().amax((-2, -1))


def loop_defects(step: Map, x: Tensor, *, radius: Tensor, points: int, seed: int, planes: int = 4) -> Tensor:
    """Change of the loop integral of ``p dq`` around each state, over the loop's area: what ``M^T J M - J`` is in the mean over a plane.

    Args:
        step: The map.
        x: Centres, shape ``(batch, n)``.
        radius: Of the loop along each coordinate, shape ``(n,)``; its area is in units of their products.
        points: Of a loop. Areas are of trigonometric polynomials through them.
        seed: Of the planes.
        planes: Random ones for each centre, orthonormal in coordinates divided by ``radius``.

    Returns:
        Shape ``(batch, planes)``; in units of the unit circle's area in coordinates divided by ``radius``.
    """
    generator = torch.Generator().manual_seed(seed)
    batch, n = x.shape
    basis = torch.randn(batch, planes, n, 2, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(basis)[0]
    turn = 2 * torch.pi * torch.arange(points, dtype=torch.float64) / points
    circle = basis @ torch.stack([turn.cos(), turn.sin()])
    loops = x[:, None, None, :].double() + radius.double() * circle.mT
    given = loops.to(x.dtype)
    moved = step(given.reshape(-1, n)).reshape(loops.shape).double()
    unit = torch.pi * (radius[: n // 2] * radius[n // 2 :]).double().prod() ** (2 / n)
    change: Tensor = _integral(moved) - _integral(given.double())
    return change.abs() / unit


def _integral(loops: Tensor) -> Tensor:
    """Of ``p dq`` along closed loops of shape ``(..., points, n)``, as of the trigonometric polynomial through the points."""
    points = loops.shape[-2]
    waves = torch.fft.rfft(loops, dim=-2) / points
    q, p = waves.chunk(2, dim=-1)
    number = torch.arange(waves.shape[-2], dtype=torch.float64)[:, None]
    inner = number < points / 2  # the highest wave of an even number of points has no direction
    area: Tensor = 2 * 2 * torch.pi * (number * inner * (p.conj() * q * 1j).real)
    return area.sum((-2, -1))
