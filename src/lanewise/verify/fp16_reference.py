"""A reference for the FP16 fused multiply-add that shares nothing with ours: numpy's float64 and float16."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bits: TypeAlias = npt.NDArray[np.uint16]

CANONICAL_NAN = np.uint16(0x7E00)

SPECIAL_VALUES: Bits = np.array(
    [
        0x0000, 0x0001, 0x0002, 0x0003, 0x01FF, 0x0200, 0x03FE, 0x03FF,  # zero, subnormals
        0x0400, 0x0401, 0x07FF, 0x0800, 0x13FF, 0x1400,  # the smallest normals; around 2**-10
        0x3800, 0x3BFF, 0x3C00, 0x3C01, 0x4000, 0x6400, 0x6801,  # around 1; 2, so that sums tie; 1024, 2050
        0x77FF, 0x7800, 0x7BFE, 0x7BFF, 0x7C00,  # the largest normals; infinity
        0x7C01, 0x7DFF, 0x7E00, 0x7FFF,  # signalling and quiet NaNs
    ],
    np.uint16,
)  # fmt: skip
"""Thirty bit patterns at the edges of the format, signs clear."""


def fp16_fma_reference(a: Bits, b: Bits, c: Bits) -> Bits:
    """``a * b + c`` rounded once to nearest, ties to even; NaN is 0x7E00.

    Exact, because: the product of two 11-bit significands has 22 bits, so float64 (53 bits, wider exponents)
    holds it. Its sum with ``c`` may need up to 80 bits, so float64 rounds it, but Knuth's two-sum gives the
    error of that rounding exactly. Where there is an error and the rounded sum's last bit is even, the sum is
    moved one unit in the last place towards the exact value: that is rounding to odd. A value rounded to odd
    with at least two more bits than the final format rounds to nearest as the exact one does (Boldo and
    Melquiond, IEEE Trans. Computers 57, 2008), and 53 >= 11 + 2, subnormals having fewer. The conversion from
    float64 to float16 is numpy's own and rounds to nearest, ties to even, overflow to infinity. No step can
    overflow or underflow float64.
    """
    with np.errstate(all="ignore"):
        x, y, z = (operand.view(np.float16).astype(np.float64) for operand in (a, b, c))
        product = x * y
        total = product + z
        part = total - product
        error = (product - (total - part)) + (z - part)
        move = np.isfinite(total) & (error != 0) & (total.view(np.int64) & 1 == 0)
        total = np.where(move, np.nextafter(total, np.where(error > 0, np.inf, -np.inf)), total)
        result = total.astype(np.float16)
    return np.where(np.isnan(result), CANONICAL_NAN, result.view(np.uint16))


def special_triples() -> tuple[Bits, Bits, Bits]:
    """Every triple of :data:`SPECIAL_VALUES` with every combination of signs, shape ``(60 ** 3,)`` each."""
    signed = np.concatenate([SPECIAL_VALUES, SPECIAL_VALUES | 0x8000])
    a, b, c = (grid.reshape(-1) for grid in np.meshgrid(signed, signed, signed, indexing="ij"))
    return a, b, c


def random_triples(rng: np.random.Generator, count: int) -> tuple[Bits, Bits, Bits]:
    """Operands in six equal parts, each a way in which a fused multiply-add goes wrong.

    Uniform bits; an addend that nearly cancels the product; subnormal operands; sums exactly between two FP16
    values; results around the overflow and underflow thresholds; products between two FP16 values, or nearly,
    with an addend that only decides which.
    """
    a, b, c = rng.integers(0, 1 << 16, size=(3, count), dtype=np.uint16)
    part = np.arange(count) * 6 // count

    with np.errstate(all="ignore"):
        product = (a.view(np.float16) * b.view(np.float16)).view(np.uint16)
    near = (product ^ 0x8000) + rng.integers(-2, 3, size=count).astype(np.uint16)
    c = np.where(part == 1, near, c)

    subnormal = part == 2
    which = rng.integers(1, 8, size=count)
    a, b, c = (np.where(subnormal & (which >> k & 1 == 1), v & 0x83FF, v) for k, v in enumerate((a, b, c)))

    # Ties: a = +-1, b = +-half the last place of c; some a and b are a little larger.
    tie = part == 3
    exponent = rng.integers(12, 31, size=count)
    half = (exponent - 11).clip(0, 30)
    tie_a = (rng.integers(0, 2, size=count) << 15 | 0x3C00).astype(np.uint16)
    tie_a += (rng.integers(0, 4, size=count) // 3).astype(np.uint16)
    tie_b = (half << 10 | rng.integers(0, 2, size=count) << 15).astype(np.uint16)
    tie_b += (rng.integers(0, 3, size=count) // 2 * rng.integers(0, 1024, size=count)).astype(np.uint16)
    tie_c = (c & 0x83FF) | (exponent << 10).astype(np.uint16)
    a, b, c = np.where(tie, tie_a, a), np.where(tie, tie_b, b), np.where(tie, tie_c, c)

    # Thresholds: the exponents of a and b add up to that of the largest or of the smallest numbers.
    edge = part == 4
    ea = rng.integers(1, 31, size=count)
    top = rng.integers(0, 2, size=count) == 1
    eb = (np.where(top, 45, 4) - ea + rng.integers(-2, 3, size=count)).clip(0, 30)
    ec = np.where(top, rng.integers(18, 31, size=count), rng.integers(0, 3, size=count))
    for_edge = [(v & 0x83FF) | (e << 10).astype(np.uint16) for v, e in ((a, ea), (b, eb), (c, ec))]
    a, b, c = (np.where(edge, new, v) for new, v in zip(for_edge, (a, b, c), strict=True))

    # Odd integers of 6 bits have a product of 11 or 12 bits, the last of them set; the addend is far below.
    far = part == 5
    ea, eb = rng.integers(8, 23, size=(2, count))
    ec = (ea + eb - 15 - rng.integers(10, 32, size=count)).clip(0, 30)
    odd = rng.integers(16, 32, size=(2, count)) << 5 & 0x3E0 | 0x20
    kept = 0x8000 | np.where(rng.integers(0, 4, size=count) == 0, 0x3FF, 0x000)  # sometimes many bits
    for_far = [
        (v & kept).astype(np.uint16) | (e << 10 | o).astype(np.uint16)
        for v, e, o in ((a, ea, odd[0]), (b, eb, odd[1]))
    ]
    c_far = (c & 0x83FF) | (ec << 10).astype(np.uint16)
    a, b, c = (np.where(far, new, v) for new, v in zip((*for_far, c_far), (a, b, c), strict=True))
    return a, b, c
