"""Complex fast Fourier transforms, in the order of operations of :mod:`lanewise.mapping.kernels.fft`.

Stockham's self-sorting form (Cochran et al., "What is the fast Fourier transform?", 1967; Van Loan, "Computational frameworks for
the fast Fourier transform", 1992, 1.7), decimation in frequency, radix 4; where the length is no power of 4, radix 2 in the last stage, whose
twiddles are all 1. FP32; a complex product is two products and two fused multiply-adds.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.models.vector import canonical, fused_multiply_add

Float: TypeAlias = npt.NDArray[np.float32]
Pair: TypeAlias = tuple[Float, Float]
"""Real and imaginary parts."""

LENGTHS = tuple(1 << k for k in range(3, 13))


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """``count`` butterflies of ``radix`` inputs, each of ``width`` neighbours."""

    radix: int
    count: int
    width: int
    table: int
    """Where its twiddles begin in the table, in numbers; of a butterfly there are :data:`TWIDDLES`."""

    @property
    def twiddled(self) -> bool:
        """Whether there are other twiddles than 1."""
        return self.count > 1


TWIDDLES = 6
"""Numbers of a butterfly in the table: real and imaginary part of w, w ** 2, w ** 3."""


def stages(length: int) -> tuple[Stage, ...]:
    """From input to output.

    Raises:
        ValueError: The length is none of :data:`LENGTHS`.

    >>> [(stage.radix, stage.count, stage.width) for stage in stages(32)]
    [(4, 8, 1), (4, 2, 4), (2, 1, 16)]
    """
    if length not in LENGTHS:
        raise ValueError(f"length must be a power of two from {LENGTHS[0]} to {LENGTHS[-1]}, not {length}")
    made, width, table = [], 1, 0
    while width < length:
        radix = 4 if 4 * width <= length else 2
        stage = Stage(radix=radix, count=length // width // radix, width=width, table=table)
        made.append(stage)
        table += TWIDDLES * stage.count * stage.twiddled
        width *= radix
    return tuple(made)


def twiddle_table(length: int) -> Float:
    """The tensor of twiddles, stage by stage: of each butterfly its numbers, but of the first stage each number of all butterflies.

    >>> twiddle_table(8).reshape(6, 2)[:2] + 0  # no -0
    array([[ 1.        ,  0.70710677],
           [ 0.        , -0.70710677]], dtype=float32)
    """
    parts = []
    for stage in stages(length):
        if not stage.twiddled:
            continue
        angle = -2 * np.pi * np.arange(stage.count) / (4 * stage.count)
        powers = [np.exp(1j * angle * power) for power in (1, 2, 3)]
        numbers = np.stack([part for w in powers for part in (w.real, w.imag)])
        parts.append((numbers if stage.width == 1 else numbers.T).reshape(-1))
    return np.concatenate(parts).astype(np.float32)


def fft(real: Float, imaginary: Float, *, inverse: bool = False) -> Pair:
    """The transform of the last axis, of a length of :data:`LENGTHS`; the inverse has the factor 1 / length.

    The inverse is the transform with real and imaginary parts exchanged, before and after.
    """
    if inverse:
        imaginary, real = fft(imaginary, real)
        scale = np.float32(1 / real.shape[-1])
        return canonical(real * scale), canonical(imaginary * scale)
    length = real.shape[-1]
    table = twiddle_table(length)
    x = real, imaginary
    for stage in stages(length):
        x = _stage(stage, x, table)
    return x


def _stage(stage: Stage, x: Pair, table: Float) -> Pair:
    shape = x[0].shape
    inputs = [part.reshape(-1, stage.radix, stage.count, stage.width) for part in x]
    branches = [(inputs[0][:, q], inputs[1][:, q]) for q in range(stage.radix)]
    with np.errstate(all="ignore"):
        if stage.radix == 2:
            made = [_sum(branches[0], branches[1]), _difference(branches[0], branches[1])]
        else:
            a, b, c, d = branches
            even, odd, low, high = _sum(a, c), _sum(b, d), _difference(a, c), _difference(b, d)
            made = [
                _sum(even, odd),
                (low[0] + high[1], low[1] - high[0]),
                _difference(even, odd),
                (low[0] - high[1], low[1] + high[0]),
            ]
    if stage.twiddled:
        numbers = table[stage.table : stage.table + TWIDDLES * stage.count]
        planes = numbers.reshape(TWIDDLES, -1) if stage.width == 1 else numbers.reshape(-1, TWIDDLES).T
        for power in (1, 2, 3):
            wr, wi = (planes[2 * power - 2 + k][:, None] for k in (0, 1))
            made[power] = _product(made[power], wr, wi)
    out = [np.stack([canonical(branch[k]) for branch in made], axis=2).reshape(shape) for k in (0, 1)]
    return out[0], out[1]


def _sum(x: Pair, y: Pair) -> Pair:
    return x[0] + y[0], x[1] + y[1]


def _difference(x: Pair, y: Pair) -> Pair:
    return x[0] - y[0], x[1] - y[1]


def _product(x: Pair, wr: Any, wi: Any) -> Pair:
    with np.errstate(all="ignore"):
        return fused_multiply_add(x[0], wr, -(x[1] * wi)), fused_multiply_add(x[1], wr, x[0] * wi)
