"""Operators along rows, as what they are on numbers."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from lanewise.mapping.graph import Attribute

SCALES = (1.0, 30.0, 0.1, 1e-3, 2e-5)
"""Of the rows that forms are compared on: what is added under a root shows in the small ones."""
MEANS = (0.0, 3.0, -1.0, 0.01, 0.0)
TOLERANCE = 2e-6


@dataclass(frozen=True, kw_only=True)
class RowTarget:
    """A normalisation, softmax or reduction of rows.

    ``values`` takes rows, shape (rows, length), and gives float64 of that shape, or (rows, 1) of a reduction.
    """

    kind: str
    function: str
    values: Callable[[Tensor], Tensor]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    factor: float = 1.0
    """What the operator's result is multiplied by to be ``values``."""


def probes(length: int) -> Tensor:
    """Rows of unlike size and mean, float64, the same ones each time."""
    generator = torch.Generator().manual_seed(length)
    rows = torch.randn(len(SCALES), length, generator=generator, dtype=torch.float64)
    scales, means = (torch.tensor(numbers, dtype=torch.float64)[:, None] for numbers in (SCALES, MEANS))
    return rows * scales + means


def alike(found: Tensor, wanted: Tensor) -> bool:
    """Whether all rows are equal, as near as constants of eight digits are."""
    scale = wanted.abs().amax(-1, keepdim=True)
    return bool(((found - wanted).abs() <= TOLERANCE * scale).all())


def whole_row_targets(length: int, constants: Sequence[float]) -> Iterator[RowTarget]:
    """What makes of a row another one. ``constants``: the numbers that the written form adds or bounds by, of which one may be epsilon."""
    yield RowTarget(
        kind="softmax", function="", values=lambda x: torch.softmax(x, -1), attributes={"log": False}
    )
    yield RowTarget(
        kind="softmax", function="", values=lambda x: torch.log_softmax(x, -1), attributes={"log": True}
    )
    root = 1 / math.sqrt(length)
    for e in dict.fromkeys((*constants, 0.0)):
        yield _norm("rms_norm", e, partial(_divided, epsilon=e))
        yield _norm("layer_norm", e, partial(_centred, epsilon=e))
        yield _norm("rms_norm", e / length, partial(_divided_by_sum, epsilon=e), factor=root)
        yield _norm("rms_norm", e**2 / length, partial(_divided_by_norm, epsilon=e), factor=root)


def _norm(
    function: str, epsilon: float, values: Callable[[Tensor], Tensor], factor: float = 1.0
) -> RowTarget:
    return RowTarget(kind="normalise", function=function, values=values, attributes={"epsilon": epsilon}, factor=factor)  # fmt: skip


def _divided(x: Tensor, *, epsilon: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)


def _centred(x: Tensor, *, epsilon: float) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) * torch.rsqrt(x.var(-1, keepdim=True, correction=0) + epsilon)


def _divided_by_sum(x: Tensor, *, epsilon: float) -> Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + epsilon)


def _divided_by_norm(x: Tensor, *, epsilon: float) -> Tensor:
    return x / x.square().sum(-1, keepdim=True).sqrt().clamp_min(epsilon)


def reduced_targets(length: int) -> Iterator[RowTarget]:
    """What makes of a row one number."""

    def target(function: str, values: Callable[[Tensor], Tensor], **attributes: Attribute) -> RowTarget:
        return RowTarget(kind="reduce", function=function, values=values, attributes=attributes)

    yield target("mean", lambda x: x.mean(-1, keepdim=True))
    yield target("sum", lambda x: x.sum(-1, keepdim=True))
    yield target("norm", lambda x: x.square().sum(-1, keepdim=True).sqrt(), order=2.0)
    yield target("variance", lambda x: x.var(-1, keepdim=True, correction=0), correction=0.0)
    if length > 1:
        yield target("variance", lambda x: x.var(-1, keepdim=True, correction=1), correction=1.0)
    yield target("logsumexp", lambda x: torch.logsumexp(x, -1, keepdim=True))
