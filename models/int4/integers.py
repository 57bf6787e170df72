"""The golden models' integers, computed fast: floats that hold integers, in operations that cannot round them.

Fixed point is at most 2**15 and a turned value at most 2**21, exact in FP32; a value times a multiplier is at most 2**38, exact in
FP64, and so is what is added or divided by a power of two. Tests compare every function bit for bit with
:mod:`lanewise.models.walsh_hadamard` and :mod:`lanewise.models.int4_quantiser`.
"""

from dataclasses import dataclass
from functools import cache
from math import frexp, ldexp, sqrt

import torch

from lanewise.models.int4_quantiser import (
    SPLIT_BASE,
    SPLIT_LIMIT,
    SPLIT_SATURATION,
    SPLIT_TOP,
    multiplier_of,
)
from lanewise.models.walsh_hadamard import LIMIT

INT4_LOW, INT4_HIGH = -8, 7


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How reals become integers: ``rne(fp16(x) * 2**exponent)``, turned, times ``multiplier / 2**shift``."""

    exponent: int
    block: int
    multiplier: int
    shift: int

    @staticmethod
    def of(peak: float, block: int, units: float) -> "Scaling":
        """Of a tensor.

        Args:
            peak: Its largest magnitude in FP16; ``exponent`` is the largest that keeps it within 16 bits.
            block: Elements that are turned together.
            units: What a turned, normalised 1.0 shall become. Out of the multiplier's range, the nearest that is in it.
        """
        exponent = min(max(15 - frexp(min(peak, 65504.0))[1], -16), 31) if peak > 0 else 0
        wanted = units * ldexp(1 / sqrt(block), -exponent)
        multiplier, shift = multiplier_of(min(max(wanted, 2.0**-32), 65535 * 2.0**-16))
        return Scaling(exponent=exponent, block=block, multiplier=multiplier, shift=shift)

    @property
    def units(self) -> float:
        """What a turned, normalised 1.0 becomes indeed."""
        return self.multiplier * ldexp(sqrt(self.block), self.exponent - self.shift)


@cache
def signs(block: int) -> torch.Tensor:
    """Hadamard matrix of +-1 in Sylvester's order, FP32, shape ``(block, block)``."""
    matrix = torch.ones(1, 1)
    while matrix.shape[0] < block:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def turn(x: torch.Tensor, block: int) -> torch.Tensor:
    """``x`` times the block-diagonal matrix of +-1 along its last axis. Its own inverse, but for a factor ``block``."""
    return x if block == 1 else (x.reshape(-1, block) @ signs(block)).reshape(x.shape)


def peak_of(x: torch.Tensor) -> float:
    """Largest magnitude, NaN aside; 0 of nothing."""
    if not x.numel():
        return 0.0
    low, high = torch.aminmax(x)
    peak = max(-float(low), float(high))
    return peak if peak == peak else float(x.nan_to_num(nan=0.0).abs().max())


def turned_integers(half: torch.Tensor, scaling: Scaling) -> torch.Tensor:
    """:func:`~lanewise.models.walsh_hadamard.walsh_hadamard` of fixed point.

    Args:
        half: FP16, shape ``(rows, n)``.
        scaling: Its exponent and block.

    Returns:
        Integers in FP32, same shape.
    """
    scaled = half.to(torch.float32).mul_(2.0**scaling.exponent).round_().clamp_(-LIMIT, LIMIT)
    return turn(scaled.nan_to_num_(nan=0.0), scaling.block)


def scaled_values(y: torch.Tensor, scaling: Scaling) -> torch.Tensor:
    """``y * multiplier / 2**shift``, exact, FP64."""
    return y.to(torch.float64).mul_(scaling.multiplier * 2.0**-scaling.shift)


def highest(bits: int) -> int:
    """Largest integer of so many bits, two's complement."""
    return (1 << (bits - 1)) - 1


def inside(values: torch.Tensor, bits: int = 4) -> torch.Tensor:
    """Whether a gradient passes the rounding to INT4 or INT8, bool: exactly the limits still do; of :func:`scaled_values`."""
    return (values >= -highest(bits) - 1) & (values <= highest(bits))


def nearest(values: torch.Tensor, bits: int = 4) -> torch.Tensor:
    """INT4 or INT8 in FP32, the nearest, ties to even, saturated; of :func:`scaled_values`."""
    return torch.round(values).clamp_(-highest(bits) - 1, highest(bits)).to(torch.float32)


def stochastic(values: torch.Tensor, random: torch.Tensor, bits: int = 4) -> torch.Tensor:
    """INT4 or INT8 in FP32, rounded up with the fraction's probability.

    Args:
        values: Of :func:`scaled_values`.
        random: 16 bits as integers, same shape.
        bits: Width of the results, 4 or 8.
    """
    moved = values.add(random.to(torch.float64), alpha=2.0**-16)
    return moved.floor_().clamp_(-highest(bits) - 1, highest(bits)).to(torch.float32)


def split(values: torch.Tensor, random: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The words ``(hi, lo)`` of :func:`~lanewise.models.int4_quantiser.split`, in FP32.

    Args:
        values: Of :func:`scaled_values`.
        random: 16 bits as integers, same shape.
    """
    top = float(SPLIT_SATURATION * 4096)
    value = values.mul(4096.0).round_().clamp_(-top, top).to(torch.float32)  # at most 19 bits
    base = float(SPLIT_BASE * 4096)
    hi = (
        (value / base).round_().clamp_(-SPLIT_LIMIT, SPLIT_LIMIT)
    )  # a quotient beside a tie is 1 / base away from it
    low = value.sub_(hi, alpha=base).add_((random >> 4).to(torch.float32)).mul_(1 / 4096)
    return hi, low.floor_().clamp_(-SPLIT_LIMIT, SPLIT_LIMIT)


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """A gradient in INT4, or in INT8: ``sum(weight * word) / units`` is about the gradient."""

    words: tuple[tuple[float, torch.Tensor], ...]
    """Weight and integers in FP32, the gradient's shape; of a split gradient 14 and ``hi``, 1 and ``lo``."""
    units: float
    """What 1.0 becomes."""


def loss_scale(peak: float) -> int:
    """Exponent of the power of two that takes a gradient's largest magnitude into [2**13, 2**14): where FP16 is fine."""
    return min(max(14 - frexp(peak)[1], -126), 127) if 0 < peak < float("inf") else 0


def gradient_scaling(gradient: torch.Tensor, top: float) -> tuple[torch.Tensor, Scaling, int]:
    """``gradient`` in FP16 under its loss scale, how its largest magnitude becomes ``top``, and the loss scale's exponent.

    Args:
        gradient: FP32, any shape.
        top: What the largest magnitude becomes.
    """
    exponent = loss_scale(peak_of(gradient))
    half = (gradient * 2.0**exponent).to(torch.float16)
    peak = min(peak_of(half), 65504.0)
    return half, Scaling.of(peak, 1, top / peak if peak > 0 else 1.0), exponent


def quantised_gradient(
    gradient: torch.Tensor, *, splits: bool, random: torch.Tensor | None = None, bits: int = 4
) -> Gradient:
    """A gradient in one or two INT4 words, or in one of INT8.

    Args:
        gradient: FP32, any shape. NaN becomes 0, infinities saturate.
        splits: Two words, ``hi`` and ``lo``; else one, whose largest magnitude is 7, or 127 of 8 bits.
        random: 16 bits of each element, as integers; one word is rounded to the nearest without.
        bits: Of one word, 4 or 8.

    Raises:
        ValueError: A split lacks random bits.
    """
    half, scaling, exponent = gradient_scaling(gradient, SPLIT_TOP if splits else highest(bits))
    values = scaled_values(turned_integers(half, scaling), scaling)
    units = scaling.units * 2.0**exponent
    if splits:
        if random is None:
            raise ValueError("random must be given for a split, not None")
        hi, lo = split(values, random)
        return Gradient(words=((float(SPLIT_BASE), hi), (1.0, lo)), units=units)
    word = nearest(values, bits) if random is None else stochastic(values, random, bits)
    return Gradient(words=((1.0, word),), units=units)
