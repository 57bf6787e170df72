"""Flex-SFU's tables for tanh and its derivative: pairs that match, and pairs that do not.

The map of a generating function is symplectic because ``grad F`` has a symmetric Jacobian. A gradient network whose forward pass
takes T for tanh and whose backward pass takes D for its derivative has

    ``D(grad F) = sum over layers of B_l^T diag(r_l D'(z_l)) K_l``,

``K_l`` the derivative of ``z_l`` by the inputs, in which T' stands, ``B_l`` the same with D in its place, ``r_l`` what comes back to the
layer. It is symmetric where ``B_l = K_l``: in the first layer always, in all others if ``D = T'``. So T must be the integral of D,
number by number: with D continuous and piecewise linear, T is a quadratic spline of the same breakpoints, its slope's
coefficients ``c1`` and ``2 c2``, which floating point doubles exactly. How well either approximates tanh does not matter for that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lanewise.models.fit import fit
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.functions import Function, Reals
from lanewise.models.nn.fast_fp32 import FastFp32
from lanewise.models.numbers import bits_dtype, decode
from lanewise.models.pwl import REAL
from lanewise.models.pwl_scaling import Scaling

KINDS = ("square", "separate", "matched")
"""``square``: T fitted, the derivative ``1 - T^2``; ``separate``: T and D each fitted on its own; ``matched``: T is D's integral."""

VALUE, SLOPE = "lsnn tanh", "lsnn tanh derivative"
"""What Programs call the two tables."""

RANGE = 8.0
"""Fits count errors on [-8, 8]."""


def _secant_square(x: Tensor) -> Tensor:
    return 1 / torch.cosh(x).square()


TANH_DERIVATIVE = Function(
    name="tanh_derivative",
    torch=_secant_square,
    range=(-RANGE, RANGE),
    left=(0.0, 0.0),
    right=(0.0, 0.0),
    source="1 - tanh^2",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class TablePair:
    """What stands for tanh and for its derivative on the hardware."""

    kind: str
    """One of :data:`KINDS`."""
    value: SfuTable
    slope: SfuTable | None
    """``None``: ``1 - t^2`` by the vector unit."""

    @property
    def segments(self) -> int:
        """Of the tables."""
        return self.value.segments

    def bits(self) -> "TableBits":
        """As the hardware computes it."""
        return TableBits(self)

    def reals(self) -> "TableReals":
        """The same numbers without rounding."""
        return TableReals(self)


class TableBits:
    """Activation by Flex-SFU's bits: tensors of the tables' format, float32 or float16."""

    def __init__(self, pair: TablePair) -> None:
        self.value = _evaluator(pair.value)
        self.slope = None if pair.slope is None else _evaluator(pair.slope)

    def both(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`~lanewise.models.lsnn.network.Slopes`."""
        t = self.value(z)
        return t, 1 - t * t if self.slope is None else self.slope(z)


def _evaluator(table: SfuTable) -> Callable[[Tensor], Tensor]:
    """Flex-SFU's bits for tensors of the table's format."""
    kind = bits_dtype(table.form)
    evaluate = FastFp32(table) if table.format == "fp32" else partial(flex_sfu, table=table)

    def look_up(z: Tensor) -> Tensor:
        numbers = z.detach().contiguous().numpy()
        return torch.from_numpy(evaluate(numbers.view(kind)).view(numbers.dtype))

    return look_up


class TableReals:
    """The tables' piecewise polynomials in PyTorch, differentiable; in float64 what the hardware would compute if it did not round."""

    def __init__(self, pair: TablePair) -> None:
        self.value = _polynomials(pair.value)
        self.slope = None if pair.slope is None else _polynomials(pair.slope)

    def both(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`~lanewise.models.lsnn.network.Slopes`."""
        t = _evaluated(z, *self.value)
        return t, 1 - t * t if self.slope is None else _evaluated(z, *self.slope)


def _polynomials(table: SfuTable) -> tuple[Tensor, Tensor]:
    """Breakpoints ``(segments - 1,)`` and coefficients ``(segments, degree + 1)``."""
    return tuple(
        torch.from_numpy(decode(bits, table.form)) for bits in (table.breakpoints, table.coefficients)
    )  # type: ignore[return-value]


def _evaluated(z: Tensor, breakpoints: Tensor, coefficients: Tensor) -> Tensor:
    breakpoints, coefficients = breakpoints.to(z.dtype), coefficients.to(z.dtype)
    numbers = coefficients[torch.searchsorted(breakpoints, z.detach().contiguous(), right=True)]
    result = numbers[..., -1]
    for power in range(coefficients.shape[1] - 2, -1, -1):
        result = result * z + numbers[..., power]
    return result


@cache
def table_pair(kind: str, *, segments: int, degree: int, format: str = "fp32") -> TablePair:
    """Tables of tanh and its derivative.

    Args:
        kind: One of :data:`KINDS`.
        segments: Of each table, tails included.
        degree: Of T's table; a matched D has a degree less, but the table's shape, so that both suit the unit.
        format: ``fp32`` or ``fp16``.

    Raises:
        ValueError: The kind is unknown, or the format another.
    """
    if format not in ("fp32", "fp16"):
        raise ValueError(f"format must be fp32 or fp16, not {format!r}")
    if kind == "matched":
        return _matched(segments, degree, format)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    value, slope = (_fitted(function, segments, degree, format) for function in ("tanh", TANH_DERIVATIVE))
    return TablePair(kind=kind, value=value, slope=None if kind == "square" else slope)


def _fitted(function: str | Function, segments: int, degree: int, format: str) -> SfuTable:
    """Fitted in the format where its rounding matters; FP32's is far below the fit's error."""
    if format == "fp32":
        return fit(function, segments=segments, degree=degree, format=REAL).table(format)
    return fit(function, segments=segments, degree=degree, format=format).table()


def _matched(segments: int, degree: int, format: str) -> TablePair:
    """Right half first: T's constants are such that its pieces meet; the left half is its mirror image."""
    knots, heights = spline(segments, degree - 1)
    kind = np.float32 if format == "fp32" else np.float16
    knots = knots.astype(kind).astype(np.float64)
    slope, value = np.zeros((segments, degree + 1)), np.zeros((segments, degree + 1))
    middle = segments // 2
    right = slice(middle, segments - 1)
    if degree == 1:
        slope[right, 0] = heights[middle - 1 :]
    else:
        slope[right, 1] = (np.diff(heights) / np.diff(knots))[middle - 1 :].astype(kind)
        slope[right, 0] = heights[middle - 1 : -1] - slope[right, 1] * knots[middle - 1 : -1]
    slope = slope.astype(kind).astype(np.float64)
    value[:, 1:] = slope[:, :degree] / np.arange(1, degree + 1)
    powers = np.arange(degree + 1)
    for place in range(middle + 1, segments):
        before, after = (value[k] @ knots[place - 1] ** powers for k in (place - 1, place))
        value[place, 0] = kind(before - after)
    mirrored = (-1.0) ** powers
    slope[:middle] = slope[: middle - 1 : -1] * mirrored
    value[:middle] = value[: middle - 1 : -1] * -mirrored
    scaling = Scaling(format=format, coefficient_scales=(1.0,) * (degree + 1))
    value, slope = value + 0.0, slope + 0.0  # no -0
    return TablePair(kind="matched", value=scaling.table(knots, value), slope=scaling.table(knots, slope))


@cache
def spline(segments: int, degree: int) -> tuple[Reals, Reals]:
    """A derivative of tanh as a spline: least squares on [-8, 8], 0 beyond its outer knots, even.

    Args:
        segments: Tails included, an even number.
        degree: 1: continuous and piecewise linear; 0: steps.

    Returns:
        Knots, shape ``(segments - 1,)``, and heights: at the knots ``(segments - 1,)``, or of the steps ``(segments - 2,)``.
    """
    best: tuple[float, Reals, Reals] | None = None
    x = np.linspace(0, RANGE, 4001)
    target = 1 / np.cosh(x) ** 2
    for reach in np.linspace(1.5, 7.5, 61):
        knots = _knots(segments // 2, reach, degree)
        basis = _basis(x, knots, degree)
        heights: Reals = np.linalg.lstsq(basis, target, rcond=None)[0].astype(np.float64)
        error = float(np.square(basis @ heights - target).sum())
        if best is None or error < best[0]:
            best = error, knots, heights
    assert best is not None
    _, half, heights = best
    knots = np.concatenate([-half[:0:-1], half])
    if degree == 0:
        return knots, np.concatenate([heights[::-1], heights])
    heights = np.append(heights, 0.0)
    return knots, np.concatenate([heights[:0:-1], heights])


def _knots(count: int, reach: float, degree: int) -> Reals:
    """``count`` knots from 0 to ``reach``, their density ``|D^(degree + 1)|^(2 / (2 degree + 3))``, the best for many pieces."""
    x = np.linspace(0, reach, 2001)
    t = np.tanh(x)
    bend = np.abs(2 * t * (1 - t**2)) if degree == 0 else np.abs((1 - t**2) * (6 * t**2 - 2))
    density = np.maximum(bend, 1e-6) ** (2 / (2 * degree + 3))
    total = np.append(0.0, np.cumsum((density[1:] + density[:-1]) / 2))
    return np.asarray(np.interp(np.linspace(0, total[-1], count), total, x))


def _basis(x: Reals, knots: Reals, degree: int) -> Reals:
    """Steps between the knots, or hats at all but the last."""
    if degree == 0:
        return np.stack([(x >= a) & (x < b) for a, b in pairwise(knots)], axis=1).astype(np.float64)
    return np.stack([np.interp(x, knots, row) for row in np.eye(len(knots))[:-1]], axis=1)
