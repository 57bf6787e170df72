"""Bits of the matrix unit's output path: bias, scales, one rounding to an integer or to 16-bit floating point."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.config import REQUANTISER_FORMATS
from lanewise.formats import FORMATS
from lanewise.models.numbers import encode

Int = npt.NDArray[np.integer]


def requantise(
    sums: Int, *, bias: npt.ArrayLike, column_multiplier: npt.ArrayLike, row_multiplier: npt.ArrayLike,
    shift: npt.ArrayLike, form: str, random: npt.ArrayLike | None = None,
) -> npt.NDArray[Any]:  # fmt: skip
    """``(sums + bias) * row_multiplier * column_multiplier / 2**shift``, rounded once.

    Args:
        sums: INT32, shape ``(rows, columns)``.
        bias: INT32, shape ``(columns,)``, in units of the sums.
        column_multiplier: 0 to 65535, shape ``(columns,)``.
        row_multiplier: 0 to 65535, shape ``(rows,)``.
        shift: 0 to 63, shape ``(rows,)``, or one for all.
        form: ``int4`` or ``int8``, saturating; ``fp16`` or ``bf16``, as :func:`lanewise.models.numbers.encode`
            rounds; a zero is positive.
        random: 16 bits for each result, shape of ``sums``: integers are rounded down after the bits were added as
            a fraction, so that the mean of the results is the value. Default: to nearest, ties to even. Floating
            point takes no notice.

    Returns:
        int8 for ``int4`` and ``int8``; uint16 bit patterns for ``fp16`` and ``bf16``. Shape of ``sums``.

    Raises:
        ValueError: The format is none of these, or a value is out of its range.

    >>> scale = dict(bias=[4], column_multiplier=[3], row_multiplier=[1, 1, 1], shift=2)
    >>> sums = np.array([[-2], [10], [4000]])
    >>> requantise(sums, form="int8", **scale).T
    array([[  2,  10, 127]], dtype=int8)
    >>> requantise(sums, form="fp16", **scale).view(np.float16).T
    array([[1.500e+00, 1.050e+01, 3.004e+03]], dtype=float16)
    """
    if form not in REQUANTISER_FORMATS:
        raise ValueError(f"form must be one of {', '.join(REQUANTISER_FORMATS)}, not {form!r}")
    added = _within("sums", sums, -(1 << 31), (1 << 31) - 1) + _within(
        "bias", bias, -(1 << 31), (1 << 31) - 1
    )
    by_row = _within("row_multiplier", row_multiplier, 0, 65535)[:, None]
    by_column = _within("column_multiplier", column_multiplier, 0, 65535)
    places = _within("shift", shift, 0, 63).reshape(-1, 1)
    scale = by_row.astype(np.uint64) * by_column.astype(np.uint64)
    magnitude = np.abs(added).astype(np.uint64) * scale  # at most 2**32 * 65535**2: fits 64 bits
    negative = (added < 0) & (magnitude > 0)
    if FORMATS.get(form, FORMATS["int8"]).floating:
        return _floating(magnitude, negative, places, form)
    low, high = (-8, 7) if form == "int4" else (-128, 127)
    places = places.astype(np.uint64)
    if random is None:
        rounded = _nearest(magnitude, negative, places)
    else:
        bits = _within("random", random, 0, 65535).astype(np.uint64)
        rounded = _stochastic(magnitude, negative, places, bits)
    saturated: npt.NDArray[np.int8] = np.clip(rounded, low, high).astype(np.int8)
    return saturated


def _floating(magnitude: Any, negative: Any, places: Any, form: str) -> npt.NDArray[Any]:
    """Bits that float64 has no room for are collected in the last one it has, far below those that are kept."""
    wide = magnitude >> np.uint64(53) > 0
    cut = magnitude >> np.uint64(12) | (magnitude & np.uint64(4095) > 0)
    exact = np.ldexp(np.where(wide, cut, magnitude).astype(np.float64), 12 * wide - places)
    return encode(np.where(negative, -exact, exact), FORMATS[form])


def _nearest(magnitude: Any, negative: Any, places: Any) -> Any:
    whole, rest = _parted(magnitude, places)
    half = (np.uint64(1) << places) >> np.uint64(1)
    up = (rest > half) | ((rest == half) & (half > 0) & (whole & np.uint64(1) > 0))
    limited = np.minimum(whole, 1 << 15).astype(np.int64) + up
    return np.where(negative, -limited, limited)


def _stochastic(magnitude: Any, negative: Any, places: Any, bits: Any) -> Any:
    whole, rest = _parted(magnitude, places)
    limited = np.minimum(whole, 1 << 15).astype(np.int64)
    unit = np.uint64(1) << places
    down = np.where(negative, -limited - (rest > 0), limited)
    above = np.where(negative & (rest > 0), unit - rest, rest)  # what rounding down takes off
    sixteen = np.uint64(16)
    draw = np.where(
        places >= sixteen,
        bits << (np.maximum(places, sixteen) - sixteen),
        bits >> (sixteen - np.minimum(places, sixteen)),
    )
    return down + (above + draw >= unit)


def _parted(magnitude: Any, places: Any) -> tuple[Any, Any]:
    """Whole part, and the rest in units of the last place."""
    return magnitude >> places, magnitude & ((np.uint64(1) << places) - np.uint64(1))


def _within(name: str, values: npt.ArrayLike, low: int, high: int) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    if array.size and not (low <= array.min() and array.max() <= high):
        raise ValueError(f"{name} must be in [{low}, {high}], not {array.min()} to {array.max()}")
    return array.astype(np.int64)
