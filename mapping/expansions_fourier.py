"""Discrete Fourier transforms as products with their matrices; a complex number is a pair, on a last axis."""

import math
from collections.abc import Mapping
from math import prod

from lanewise.mapping.expansion_parts import Parts, Rule


def _along(parts: Parts, value: int, axis: int, sign: float) -> int:
    """The transform of one axis of pairs."""
    rank = len(parts.shape(value))
    order = (*(a for a in range(rank) if a not in (axis, rank - 1)), axis, rank - 1)
    straight = order == tuple(range(rank))
    moved = value if straight else parts.permuted(value, *order)
    *rows, n, _ = parts.shape(moved)
    matrix = parts.constant(f"dft {n} {sign}", (2 * n, 2 * n))
    product = parts.view(parts.product(parts.view(moved, (prod(rows), 2 * n)), matrix), (*rows, n, 2))
    return product if straight else parts.permuted(product, *(order.index(a) for a in range(rank)))


def _normalised(parts: Parts, value: int, count: int) -> int:
    scale = {0: 1.0, 1: 1 / math.sqrt(count), 2: 1 / count}[int(parts.number("normalisation"))]
    return parts.times(value, scale)


def _transform(parts: Parts) -> int | None:
    """_fft_c2c and _fft_r2c of pairs of parts: products with the transform's matrix, axis by axis."""
    attributes = parts.operator.attributes
    (value,) = parts.operator.inputs
    if "forward" not in attributes or parts.values[value].dtype.startswith("complex"):
        return None
    axes, real = parts.axes, parts.operator.function == "_fft_r2c"
    if real:
        value = parts.padded(parts.view(value, (*parts.shape(value), 1)), -1, 0, 1)
    for axis in axes:
        value = _along(parts, value, axis, -1.0 if attributes["forward"] else 1.0)
    result = _normalised(parts, value, prod(parts.shape(value)[axis] for axis in axes))
    if real and attributes.get("onesided"):
        result = parts.sliced(result, axes[-1], 0, parts.shape(result)[axes[-1]] // 2 + 1)
    return result


def _real_transform(parts: Parts) -> int | None:
    """_fft_c2r: the axes but the last as any; of that the other half is not there, and its matrix has the first half's twice."""
    attributes = parts.operator.attributes
    (value,) = parts.operator.inputs
    if "forward" not in attributes or parts.values[value].dtype.startswith("complex"):
        return None
    *_, axis = axes = parts.axes
    shape = parts.shape(parts.operator.outputs[0])
    rank, n = len(parts.shape(value)), shape[axis]
    for each in axes[:-1]:
        value = _along(parts, value, each, 1.0)
    value = parts.sliced(value, axis, 0, n // 2 + 1)
    order = (*(a for a in range(rank) if a not in (axis, rank - 1)), axis, rank - 1)
    moved = value if order == tuple(range(rank)) else parts.permuted(value, *order)
    *rows, half, _ = parts.shape(moved)
    matrix = parts.constant(f"real {n}", (2 * half, n))
    result = parts.view(parts.product(parts.view(moved, (prod(rows), 2 * half)), matrix), (*rows, n))
    if axis < rank - 2:
        result = parts.permuted(result, *(order[:-1].index(a) for a in range(rank - 1)))
    return _normalised(parts, result, prod(shape[each] for each in axes))


RULES: Mapping[tuple[str, str], Rule] = {
    ("other", "_fft_c2c"): _transform,
    ("other", "_fft_r2c"): _transform,
    ("other", "_fft_c2r"): _real_transform,
}
"""By kind and function."""
