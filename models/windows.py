"""What pooling, depthwise convolution and sums over positions compute, in the order of the vector kernels' additions.

FP16 in and out, channels innermost. A window's taps are taken in their order, the last axis fastest; those in the padding are left out, nothing
is added for them. A depthwise convolution begins with the bias and rounds once for each multiply-add; an average is the sum times the rounded
1 / divisor. Sums of whole images add blocks of :data:`BLOCK` taps in FP16 and the blocks' sums in FP32, and are rounded at the end.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.models.vector import execute, fused_multiply_add

Half: TypeAlias = npt.NDArray[np.float16]

BLOCK = 16
"""Taps that are added in FP16 before the sum goes on in FP32."""

Spans: TypeAlias = Sequence[tuple[Sequence[tuple[int, int]], int]]
"""For each result along an axis: (tap, position) of the taps inside the input, in order, and how many positions an average divides by."""


def _windows(
    axes: Sequence[Spans],
) -> Iterator[tuple[tuple[int, ...], list[tuple[tuple[int, ...], tuple[int, ...]]], int]]:
    for place in product(*(range(len(spans)) for spans in axes)):
        spans = [axis[index] for axis, index in zip(axes, place, strict=True)]
        taps = [
            (tuple(tap for tap, _ in taken), tuple(position for _, position in taken))
            for taken in product(*(inside for inside, _ in spans))
        ]
        yield place, taps, int(np.prod([counted for _, counted in spans]))


def _at(x: Half, position: Sequence[int]) -> Half:
    """A position of every image."""
    for place in position:
        x = x[:, place]
    return x


def _largest(a: Half, b: Half) -> Half:
    return execute("vfmax", [np.ascontiguousarray(a), np.ascontiguousarray(b)], 16).view(np.float16)


def pooled(x: Half, axes: Sequence[Spans], function: str, divisor: float | None = None) -> Half:
    """Maximum (``max``), ``sum`` or ``average`` of windows.

    Args:
        x: Images, an axis of positions for each of ``axes``, channels.
        divisor: Of an average, in place of the number of positions.
    """
    results = np.zeros((x.shape[0], *(len(spans) for spans in axes), x.shape[-1]), np.float16)
    with np.errstate(all="ignore"):
        for place, taps, counted in _windows(axes):
            values = [_at(x, position) for _, position in taps]
            if not values:
                nothing = -np.inf if function == "max" else 0
                values = [np.full((x.shape[0], x.shape[-1]), nothing, np.float16)]
            total = values[0]
            for value in values[1:]:
                total = _largest(total, value) if function == "max" else total + value
            if function == "average":
                total = total * np.float16(1 / (divisor or max(1, counted)))
            _at(results, place)[...] = total
    return results


def depthwise(x: Half, weights: Half, bias: Half, axes: Sequence[Spans]) -> Half:
    """Weighted sums of windows, each channel with weights of its own.

    Args:
        x: Images, an axis of positions for each of ``axes``, channels.
        weights: An axis of taps for each of ``axes``, channels.
        bias: Channels.
    """
    results = np.zeros((x.shape[0], *(len(spans) for spans in axes), x.shape[-1]), np.float16)
    for place, taps, _ in _windows(axes):
        total = np.broadcast_to(bias, (x.shape[0], x.shape[-1])).copy()
        for tap, position in taps:
            total = fused_multiply_add(weights[tap], _at(x, position), total)
        _at(results, place)[...] = total
    return results


def summed(x: Half, function: str, divisor: float | None = None) -> Half:
    """Maximum, sum or average of all positions.

    Args:
        x: Images, positions, channels.
    """
    with np.errstate(all="ignore"):
        if function == "max":
            largest = np.full_like(x[:, 0], -np.inf)
            for tap in range(x.shape[1]):
                largest = _largest(largest, x[:, tap])
            return largest
        total = np.zeros((x.shape[0], x.shape[2]), np.float32)
        for first in range(0, x.shape[1], BLOCK):
            block = x[:, first]
            for value in range(first + 1, min(first + BLOCK, x.shape[1])):
                block = block + x[:, value]
            total = total + block.astype(np.float32)
        if function == "average":
            total = total * np.float32(1 / (divisor or x.shape[1]))
        return total.astype(np.float16)
