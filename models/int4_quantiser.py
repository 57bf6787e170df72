"""Bits of the quantiser behind the Walsh-Hadamard unit: nearest, stochastic, and hi and lo of a gradient.

Source of the split: Xi, Li, Chen, Zhu, arXiv 2306.11987: B = 2**4 - 2 = 14, s = 196 / (2 max|g|), g ~ (14 hi + lo) / s.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.config import Rounding

Ints = npt.NDArray[np.int64]

SPLIT_BASE = 14
"""Weight of hi."""
SPLIT_LIMIT = 6
"""Largest magnitude of hi and of lo."""
SPLIT_TOP = 98
"""What the largest gradient becomes: ``s max|g|``."""
SPLIT_SATURATION = 100
"""Of the value that is split, in steps of lo."""
_SATURATION = SPLIT_SATURATION << 12


@dataclass(frozen=True, kw_only=True)
class QuantiserSettings:
    """What the quantiser does with a tensor: an element ``y`` stands for ``y * multiplier / 2**shift`` steps."""

    multiplier: int
    """1 to 65535."""
    shift: int
    """16 to 47."""
    rounding: Rounding = Rounding.NEAREST
    bits: int = 4
    """Width of the results, 4 or 8; 4 with :attr:`Rounding.SPLIT`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rounding", Rounding(self.rounding))
        if not 1 <= self.multiplier <= 65535:
            raise ValueError(f"multiplier must be 1 to 65535, not {self.multiplier}")
        if not 16 <= self.shift <= 47:
            raise ValueError(f"shift must be 16 to 47, not {self.shift}")
        if self.bits not in (4, 8):
            raise ValueError(f"bits must be 4 or 8, not {self.bits}")
        if self.rounding is Rounding.SPLIT and self.bits != 4:
            raise ValueError(f"bits must be 4 with split, not {self.bits}")


def multiplier_of(scale: float) -> tuple[int, int]:
    """The multiplier from 2**15 to 2**16 - 1 and the shift with ``multiplier / 2**shift`` nearest to ``scale``.

    Raises:
        ValueError: No shift from 16 to 47 reaches the scale.

    >>> multiplier_of(0.25), multiplier_of(1 / 3)
    ((32768, 17), (43691, 17))
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive and finite, not {scale!r}")
    fraction, exponent = math.frexp(scale)
    multiplier, shift = round(fraction * 65536), 16 - exponent
    if multiplier == 65536:
        multiplier, shift = 32768, shift - 1
    if not 16 <= shift <= 47:
        raise ValueError(f"scale must be 2**-32 to 1 - 2**-17, not {scale!r}")
    return multiplier, shift


def quantise(
    y: npt.NDArray[np.integer[Any]],
    settings: QuantiserSettings,
    random: npt.NDArray[np.uint16] | None = None,
) -> Ints:
    """Integers of 4 or 8 bits, saturated: to nearest, ties to even, or stochastic. Shape of ``y``.

    Stochastic: ``floor((v + random * 2**(shift - 16)) / 2**shift)`` with ``v = y * multiplier``: up with the
    probability that the 16 bits below the point say.

    Args:
        y: Transformed elements, at most 22 bits.
        random: The lanes' random bits, shape of ``y``; only for stochastic.

    Raises:
        ValueError: The rounding is split, or the random bits are missing.

    >>> quantise(np.array([6, -10, 3, 100]), QuantiserSettings(multiplier=32768, shift=17)).tolist()
    [2, -2, 1, 7]
    """
    v = y.astype(np.int64) * settings.multiplier
    if settings.rounding is Rounding.NEAREST:
        q = _nearest(v, settings.shift)
    elif settings.rounding is Rounding.STOCHASTIC:
        q = ((v >> (settings.shift - 16)) + _drawn(random)) >> 16
    else:
        raise ValueError("rounding must be nearest or stochastic, not split")
    top = 1 << (settings.bits - 1)
    return np.clip(q, -top, top - 1)


def split(
    y: npt.NDArray[np.integer[Any]], settings: QuantiserSettings, random: npt.NDArray[np.uint16] | None
) -> tuple[Ints, Ints]:
    """``(hi, lo)``, each in [-6, 6], with ``14 * hi + lo`` near ``v / 2**shift``: hi to nearest, lo stochastic.

    ``v = y * multiplier`` is first rounded to 12 bits below the point, and the random bits are cut to 12.

    >>> hi, lo = split(np.array([50, -7, 7, 21]), QuantiserSettings(multiplier=1 << 15, shift=16, rounding=Rounding.SPLIT),
    ...                np.zeros(4, np.uint16))
    >>> hi.tolist(), lo.tolist()
    ([2, 0, 0, 1], [-3, -4, 3, -4])
    """
    if settings.rounding is not Rounding.SPLIT:
        raise ValueError(f"rounding must be split, not {settings.rounding.name.lower()}")
    t = np.clip(
        _nearest(y.astype(np.int64) * settings.multiplier, settings.shift - 12), -_SATURATION, _SATURATION
    )
    unit = SPLIT_BASE << 12
    doubled = 2 * t + unit  # floor(t / unit + 1/2), one less where that is odd and a tie
    hi = doubled // (2 * unit)
    hi -= (doubled % (2 * unit) == 0) & (hi % 2 == 1)
    hi = np.clip(hi, -SPLIT_LIMIT, SPLIT_LIMIT)
    lo = np.clip((t - unit * hi + (_drawn(random) >> 4)) >> 12, -SPLIT_LIMIT, SPLIT_LIMIT)
    return hi, lo


def nibbles(
    y: npt.NDArray[np.integer[Any]],
    settings: QuantiserSettings,
    random: npt.NDArray[np.uint16] | None = None,
) -> tuple[Ints, Ints]:
    """What leaves the unit as ``(hi, lo)``, 4 bits each, as unsigned numbers; shapes of ``y``.

    Split: hi and lo, two's complement. Else the number is ``16 * hi + lo``, two's complement in 8 bits, so that
    an INT4 is in lo.
    """
    if settings.rounding is Rounding.SPLIT:
        hi, lo = split(y, settings, random)
        return hi & 15, lo & 15
    q = quantise(y, settings, random)
    return (q >> 4) & 15, q & 15


def inside(y: npt.NDArray[np.integer[Any]], settings: QuantiserSettings) -> npt.NDArray[np.bool_]:
    """Where ``v / 2**shift`` is within the results' limits before it is rounded: [-8, 7] or [-128, 127]. Shape of ``y``.

    There, and only there, a gradient passes straight through the rounding (LSQ: Esser et al., arXiv 1902.08153). All of
    a split, which is a gradient itself.

    >>> inside(np.array([-17, -16, 14, 15]), QuantiserSettings(multiplier=32768, shift=16)).tolist()
    [False, True, True, False]
    """
    if settings.rounding is Rounding.SPLIT:
        return np.ones(y.shape, np.bool_)
    v, top = y.astype(np.int64) * settings.multiplier, 1 << (settings.bits - 1)
    return (v >= -top << settings.shift) & (v <= (top - 1) << settings.shift)


def _nearest(v: Ints, shift: int) -> Ints:
    """``v / 2**shift`` to the nearest integer, ties to even."""
    if shift == 0:
        return v
    half = np.int64(1) << (shift - 1)
    return (v + (half - 1) + ((v >> shift) & 1)) >> shift


def _drawn(random: npt.NDArray[np.uint16] | None) -> Ints:
    if random is None:
        raise ValueError("random must be the lanes' random bits, not None")
    return random.astype(np.int64)
