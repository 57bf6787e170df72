"""The bits of Flex-SFU: a piecewise-linear function with segments of any width."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.config import SEGMENT_COUNTS
from lanewise.models.address_decoder import address_decoder, fp16_key
from lanewise.models.coefficient_table import coefficient_table
from lanewise.models.fp16_fma import fp16_fma

Bits: TypeAlias = npt.NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True, eq=False)
class SfuTable:
    """A function as Flex-SFU holds it; the arrays are FP16 bit patterns.

    Raises:
        TypeError: An array is not uint16.
        ValueError: The sizes are no Flex-SFU's, a breakpoint is smaller than its predecessor in the order of
            :func:`~lanewise.models.address_decoder.fp16_key`, or a value is NaN.
    """

    breakpoints: Bits
    """Shape ``(segments - 1,)``, ascending; equal ones make a segment that no element falls in."""
    slopes: Bits
    """Shape ``(segments,)``, the tails' included."""
    offsets: Bits
    """Shape ``(segments,)``: the values of the segments' lines at zero."""

    def __post_init__(self) -> None:
        for name in ("breakpoints", "slopes", "offsets"):
            bits = getattr(self, name)
            if not isinstance(bits, np.ndarray) or bits.dtype != np.uint16:
                raise TypeError(f"{name} must be a uint16 array, not {getattr(bits, 'dtype', bits)!r}")
            segments = self.slopes.size
            shape = (segments - 1,) if name == "breakpoints" else (segments,)
            if segments not in SEGMENT_COUNTS:
                raise ValueError(f"slopes must hold one of {SEGMENT_COUNTS} segments, not {segments}")
            if bits.shape != shape:
                raise ValueError(f"{name} must be of shape {shape}, not {bits.shape}")
            nan = np.flatnonzero((bits & 0x7FFF) > 0x7C00)
            if nan.size:
                raise ValueError(f"{name} must not be NaN, not {int(bits[nan[0]]):#06x} at index {nan[0]}")
            bits = bits.copy()  # so that nobody else can change it
            bits.flags.writeable = False
            object.__setattr__(self, name, bits)
        descents = np.flatnonzero(np.diff(fp16_key(self.breakpoints).astype(np.int64)) < 0)
        if descents.size:
            low, high = (self.breakpoints[descents[0] + k].view(np.float16) for k in (0, 1))
            raise ValueError(f"breakpoints must be ascending, not {low} before {high} at index {descents[0]}")

    @property
    def segments(self) -> int:
        """Segments, tails included."""
        return self.slopes.size


def flex_sfu(x: Bits, table: SfuTable) -> Bits:
    """``slope[s] * x + offset[s]`` with one rounding, ``s`` the segment of ``x``.

    A NaN falls in one of the tails and gives NaN, as 0 x infinity does in a tail of slope zero.

    Args:
        x: Bit patterns, uint16, any shape.
        table: The function.

    Returns:
        Bit patterns of the results, shape of ``x``.

    Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546).

    >>> slopes, offsets = np.array([[0, 0, 0, 0x3C00], [0, 0, 0, 0]], np.uint16)
    >>> relu = SfuTable(breakpoints=np.zeros(3, np.uint16), slopes=slopes, offsets=offsets)
    >>> flex_sfu(np.array([-2.5, -0.0, 0.0, 7.0], np.float16).view(np.uint16), relu).view(np.float16)
    array([0., 0., 0., 7.], dtype=float16)
    """
    segment = address_decoder(x, table.breakpoints)
    slopes, offsets = coefficient_table(segment, table.slopes, table.offsets)
    return fp16_fma(slopes, x, offsets)
