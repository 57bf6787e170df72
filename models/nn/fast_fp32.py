"""Flex-SFU in FP32, bit by bit as :func:`lanewise.models.flex_sfu.flex_sfu` and an order of magnitude faster.

Segments are looked up by an element's upper 16 bits; where a breakpoint shares them, the golden model decides. A float64
multiply-add rounded to FP32 is the fused one unless the float64 is the middle of two FP32 numbers or leaves their normal
ones: those few are computed by the golden model.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS
from lanewise.models.address_decoder import address_decoder
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.numbers import Bits, Reals, decode

_CHUNK = 1 << 15
"""Elements computed at a time, so that the intermediates stay in the cache."""
_FP32 = FORMATS["fp32"]
_LOWER, _MIDDLE = (1 << 29) - 1, 1 << 28
"""Bits of a float64 that FP32 has not, and what they are in the middle of two FP32 numbers."""


class FastFp32:
    """A table of FP32, ready for use.

    >>> from lanewise.models.fit import fit
    >>> table = fit("tanh", segments=8, format="fp32").table()
    >>> x = np.linspace(-9, 9, 999, dtype=np.float32).view(np.uint32)
    >>> np.array_equal(FastFp32(table)(x), flex_sfu(x, table))
    True
    """

    def __init__(self, table: SfuTable) -> None:
        if table.format != "fp32":
            raise ValueError(f"table must be of fp32, not {table.format}")
        self.table = table
        edges = np.arange(0, 1 << 32, 1 << 16).astype(np.uint32)
        first = address_decoder(edges, table.breakpoints, _FP32)
        last = address_decoder(edges + np.uint32(0xFFFF), table.breakpoints, _FP32)
        self._segments = first.astype(np.uint8)
        self._shared = first != last
        self._coefficients: list[Reals] = list(np.ascontiguousarray(decode(table.coefficients, _FP32).T))

    def __call__(self, bits: Bits) -> Bits:
        """Bit patterns of the results, shape of ``bits``."""
        flat = np.ascontiguousarray(bits).reshape(-1)
        result = np.empty(flat.shape, np.uint32)
        for part in _chunks(flat.size):
            result[part] = self._chunk(flat[part])
        return result.reshape(bits.shape)

    def _chunk(self, bits: Bits) -> Bits:
        upper = bits >> 16
        segments = self._segments.take(upper)
        shared = np.flatnonzero(self._shared.take(upper))
        segments[shared] = address_decoder(bits[shared], self.table.breakpoints, _FP32)
        with np.errstate(all="ignore"):
            x = bits.view(np.float32).astype(np.float64)
            y = self._coefficients[-1].take(segments)
            doubtful = np.zeros(bits.shape, np.bool_)
            for coefficients in self._coefficients[-2::-1]:
                wide = y * x + coefficients.take(segments)
                doubtful |= _doubtful(wide)
                narrow = wide.astype(np.float32)
                y = narrow.astype(np.float64)
        result = narrow.view(np.uint32)
        places = np.flatnonzero(doubtful)
        result[places] = flex_sfu(bits[places], self.table)
        return result


def _doubtful(wide: Reals) -> npt.NDArray[np.bool_]:
    """Whether a float64 may round to another FP32 number than the exact sum, or is no number."""
    size = np.abs(wide)
    ordinary = ((size >= 2.0**-126) & (size < 2.0**127)) | (size == 0)
    return np.asarray(~ordinary | ((wide.view(np.int64) & _LOWER) == _MIDDLE))


def _chunks(size: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, size, _CHUNK))
