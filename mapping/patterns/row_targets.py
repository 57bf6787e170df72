"""Operators along rows, as what they are on numbers."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import torch
from torch import Tensor

from lanewise.mapping.graph import Attribute
from lanewise.mapping.patterns.along import Along
from lanewise.mapping.patterns.targets import probes as all_numbers

SCALES = (1.0, 30.0, 0.1, 1e-3, 2e-5)
"""Of the rows that forms are compared on: what is added under a root shows in the small ones."""
MEANS = (0.0, 3.0, -1.0, 0.01, 0.0)
TOLERANCE = 2e-6
_FLOOR = 1e-6
"""Part of a row's largest element, of which TOLERANCE is no error in a result that is near zero."""

_COLUMNS = 4
_PARTS = (1.0, -0.5, 0.25, 0.0)
_BELOW = (0.0, -1.0, -3.0, -0.5)


@dataclass(frozen=True, kw_only=True)
class RowTarget:
    """A normalisation, softmax or reduction of rows.

    ``values`` takes rows, shape (rows, columns), and gives float64 of that shape, or (rows, 1) of a reduction.
    """

    kind: str
    function: str
    values: Callable[[Tensor, Along], Tensor]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    factor: float = 1.0
    """What the operator's result is multiplied by to be ``values``."""
    exponential: bool = False
    """Whether the largest elements alone count, and neighbours beside them."""


def probes(length: int) -> Tensor:
    """Rows of unlike size and mean, float64, the same ones each time."""
    generator = torch.Generator().manual_seed(length)
    rows = torch.randn(len(SCALES), length, generator=generator, dtype=torch.float64)
    scales, means = (torch.tensor(numbers, dtype=torch.float64)[:, None] for numbers in (SCALES, MEANS))
    return rows * scales + means


def wide_probes(length: int, *, exponential: bool) -> tuple[Tensor, Along]:
    """A row for each finite FP16 number but zero, and how many elements each of its columns stands for.

    Beside the number are parts of it, so that no element is too small to be seen in a sum; or, of what is exponential, numbers a little below.
    The last column stands for all other elements.
    """
    columns = min(_COLUMNS, length)
    return _wide(columns, exponential), Along((*(1,) * (columns - 1), length - columns + 1))


@cache
def _wide(columns: int, exponential: bool) -> Tensor:
    numbers = all_numbers()
    numbers = numbers[numbers != 0][:, None]
    if not exponential:
        return numbers * torch.tensor(_PARTS[:columns], dtype=torch.float64)
    beside = numbers + torch.tensor(_BELOW[:columns], dtype=torch.float64)
    return beside.clamp(numbers.min(), numbers.max())


def unlike(found: Tensor, wanted: Tensor, x: Tensor) -> Tensor:
    """Which rows are not equal, as near as constants of eight digits are; shape (rows,)."""
    scale = torch.maximum(
        wanted.abs().amax(-1, keepdim=True), _FLOOR * x.abs().amax(-1, keepdim=True)
    )  # fmt: skip
    return ~((found - wanted).abs() <= TOLERANCE * scale).all(-1)


def whole_row_targets(length: int, constants: Sequence[float]) -> Iterator[RowTarget]:
    """What makes of a row another one. ``constants``: the numbers that the written form adds or bounds by, of which one may be epsilon."""
    for log in (False, True):
        yield RowTarget(
            kind="softmax", function="", values=partial(_softmax, log=log), attributes={"log": log}, exponential=True
        )  # fmt: skip
    root = 1 / math.sqrt(length)
    for e in dict.fromkeys((*constants, 0.0)):
        yield _norm("rms_norm", e, partial(_divided, epsilon=e))
        yield _norm("layer_norm", e, partial(_centred, epsilon=e))
        yield _norm("rms_norm", e / length, partial(_divided_by_sum, epsilon=e), factor=root)
        yield _norm("rms_norm", e**2 / length, partial(_divided_by_norm, epsilon=e), factor=root)


def _norm(
    function: str, epsilon: float, values: Callable[[Tensor, Along], Tensor], factor: float = 1.0
) -> RowTarget:
    return RowTarget(kind="normalise", function=function, values=values, attributes={"epsilon": epsilon}, factor=factor)  # fmt: skip


def _softmax(x: Tensor, along: Along, *, log: bool) -> Tensor:
    return along.softmax(x, log=log)


def _divided(x: Tensor, along: Along, *, epsilon: float) -> Tensor:
    return x * torch.rsqrt(along.mean(x.square()) + epsilon)


def _centred(x: Tensor, along: Along, *, epsilon: float) -> Tensor:
    return (x - along.mean(x)) * torch.rsqrt(along.variance(x) + epsilon)


def _divided_by_sum(x: Tensor, along: Along, *, epsilon: float) -> Tensor:
    return x * torch.rsqrt(along.sum(x.square()) + epsilon)


def _divided_by_norm(x: Tensor, along: Along, *, epsilon: float) -> Tensor:
    return x / along.norm(x).clamp_min(epsilon)


def reduced_targets(length: int) -> Iterator[RowTarget]:
    """What makes of a row one number."""

    def target(
        function: str, values: Callable[[Tensor, Along], Tensor], *, exponential: bool = False, **attributes: Attribute
    ) -> RowTarget:  # fmt: skip
        return RowTarget(
            kind="reduce", function=function, values=values, attributes=attributes, exponential=exponential
        )

    yield target("mean", lambda x, along: along.mean(x))
    yield target("sum", lambda x, along: along.sum(x))
    yield target("norm", lambda x, along: along.norm(x), order=2.0)
    yield target("variance", lambda x, along: along.variance(x), correction=0.0)
    if length > 1:
        yield target("variance", lambda x, along: along.variance(x, 1.0), correction=1.0)
    yield target("logsumexp", lambda x, along: along.logsumexp(x), exponential=True)
