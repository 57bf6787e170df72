"""Reductions of the vector unit, on bit patterns."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.formats import NumberFormat
from lanewise.isa.operations import Operation, Width
from lanewise.models.numbers import Bits, rank
from lanewise.models.vector_floats import FP32, float_format, from_real, is_nan, to_float32
from lanewise.models.vector_integers import extend, signed, unsigned_dtype

Array: TypeAlias = npt.NDArray[Any]


def reduce(
    operation: Operation,
    vs2: Array,
    active: npt.NDArray[np.bool_],
    start: int,
    *,
    sew_bits: int,
    altfmt: bool = False,
) -> int:
    """What a reduction of at least one element, active or not, writes into element 0.

    Integers: modulo the width of the destination. Minimum and maximum of floating-point numbers: minimumNumber and maximumNumber,
    the one NaN where all active elements and the start are NaNs; with no active element the start as it is. Sums: in FP32, see
    :func:`tree_sum`, and the start last.

    Args:
        operation: Any of the ``.vs`` instructions.
        vs2: Bit patterns of the elements, shape ``(vl,)``, unsigned integers of SEW bits.
        active: Which of them count.
        start: Bit pattern of element 0 of ``vs1``, as wide as the destination.
        sew_bits: SEW.
        altfmt: Whether 16-bit floating point is BF16.

    Returns:
        Bit pattern, as wide as the destination.

    Raises:
        ValueError: The operation is no reduction.

    >>> from lanewise.isa.operations import OPERATIONS
    >>> x, all_of_them = np.array([200, 100], np.uint8), np.ones(2, bool)
    >>> [reduce(OPERATIONS[f"{name}.vs"], x, all_of_them, 3, sew_bits=8) for name in ("vredsum", "vwredsum", "vredmin")]
    [47, 47, 200]
    """
    if operation.vd not in (Width.FIRST, Width.FIRST_DOUBLE) or operation.vs2 is None:
        raise ValueError(f"{operation.mnemonic} is no reduction")
    base, bits = operation.base, operation.vd.bits(sew_bits)
    if operation.floating:
        form = float_format(sew_bits, altfmt=altfmt)
        if base in ("vfredmin", "vfredmax"):
            return _extreme(base, vs2[active], start, form)
        with np.errstate(all="ignore"):
            total = tree_sum(vs2, active, form) + _one(start, 32).view(np.float32)
        return int(from_real(total, FP32)[0])
    sign = base not in ("vwredsumu", "vredminu", "vredmaxu")
    values = extend(vs2[active], bits, sign=sign)
    both = np.concatenate([values, _one(start, bits)])
    if base in ("vredmin", "vredmax"):
        both = signed(both)
    return int(_INTEGERS[base](both)) & (1 << bits) - 1


_INTEGERS: dict[str, Callable[[Array], Any]] = {
    "vredsum": lambda x: x.sum(dtype=x.dtype),
    "vwredsum": lambda x: x.sum(dtype=x.dtype),
    "vwredsumu": lambda x: x.sum(dtype=x.dtype),
    "vredand": np.bitwise_and.reduce,
    "vredor": np.bitwise_or.reduce,
    "vredxor": np.bitwise_xor.reduce,
    "vredminu": np.min, "vredmin": np.min,
    "vredmaxu": np.max, "vredmax": np.max,
}  # fmt: skip


def tree_sum(x: Bits, active: npt.NDArray[np.bool_], form: NumberFormat) -> npt.NDArray[np.float32]:
    """The FP32 sum of the active elements: neighbours pairwise, level by level.

    Inactive elements, and those that a power of two lacks, are -0, which changes nothing.

    Args:
        x: Bit patterns, shape ``(n,)``, at least one.
        active: Which of them count.
        form: FP16, BF16 or FP32.

    Returns:
        float32, shape ``(1,)``; NaN is some NaN.

    >>> x = np.array([1, 2**24, 1, 1, 1], np.float32).view(np.uint32)
    >>> [float(tree_sum(x, active, FP32)[0]) for active in (np.ones(5, bool), np.zeros(5, bool))]
    [16777220.0, -0.0]
    """
    level = np.full(1 << (x.size - 1).bit_length(), -0.0, np.float32)
    level[: x.size] = np.where(active, to_float32(x, form), np.float32(-0.0))
    with np.errstate(all="ignore"):
        while level.size > 1:
            level = level[::2] + level[1::2]
    return level


def _extreme(base: str, values: Bits, start: int, form: NumberFormat) -> int:
    if not values.size:
        return start
    both = np.concatenate([values, _one(start, form.bits)])
    numbers = both[~is_nan(both, form)]
    if not numbers.size:
        return form.nan_bits
    ranks = rank(numbers, form)
    return int(numbers[ranks.argmax() if base == "vfredmax" else ranks.argmin()])


def _one(value: int, bits: int) -> Array:
    return np.array([value], unsigned_dtype(bits))
