"""Vector instructions that move elements between places, on bit patterns."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.isa.operations import Operation

Array: TypeAlias = npt.NDArray[Any]


def permute(
    operation: Operation, vs2: Array, vs1: Array | int, active: npt.NDArray[np.bool_]
) -> tuple[Array, Array]:
    """The result of a slide, a gather, ``vcompress`` or ``vid``.

    Args:
        operation: Which.
        vs2: Bit patterns of the whole group, shape ``(vlmax,)``; of ``vid`` only its type matters.
        vs1: The scalar: offset or index, unsigned, or of the slides by one the element; of ``vrgather.vv`` the indices, of
            ``vcompress`` the mask as bools, shape ``(vl,)``.
        active: Which elements of the result may be written, shape ``(vl,)``.

    Returns:
        Shape ``(vl,)``: bit patterns, and which of them are written.

    Raises:
        ValueError: The operation is none of these.

    >>> from lanewise.isa.operations import OPERATIONS
    >>> x, all_of_them = np.arange(10, 14, dtype=np.uint8), np.ones(3, bool)
    >>> permute(OPERATIONS["vslide1down.vx"], x, 7, all_of_them)[0], permute(OPERATIONS["vslidedown.vx"], x, 2, all_of_them)[0]
    (array([11, 12,  7], dtype=uint8), array([12, 13,  0], dtype=uint8))
    """
    vl, base = active.size, operation.base
    place = np.arange(vl)
    if base == "vid":
        return place.astype(vs2.dtype), active
    if isinstance(vs1, int) and base in ("vslideup", "vslidedown", "vrgather"):
        distance = min(vs1, vs2.size)
        if base == "vslideup":
            return _take(vs2, place - distance), active & (place >= distance)
        return _take(vs2, place + distance if base == "vslidedown" else place * 0 + distance), active
    if isinstance(vs1, int) and "slide1" in base:
        up = base.endswith("up")
        result = _take(vs2, place - 1 if up else place + 1)
        result[0 if up else vl - 1] = vs1
        return result, active
    if not isinstance(vs1, int) and base == "vrgather":
        return _take(vs2, vs1.astype(np.int64)), active
    if not isinstance(vs1, int) and base == "vcompress":
        kept = vs2[:vl][vs1]
        result = np.zeros(vl, vs2.dtype)
        result[: kept.size] = kept
        return result, place < kept.size
    raise ValueError(f"{operation.mnemonic} is no permutation")


def _take(x: Array, index: npt.NDArray[np.int64]) -> Array:
    """Elements of ``x``, 0 where there are none."""
    inside = (index >= 0) & (index < x.size)
    return np.where(inside, x[np.where(inside, index, 0)], x.dtype.type(0))
