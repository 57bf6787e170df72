"""Bits of the FP16 array: exact products, each added in FP32, the sum rounded to FP16."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS


def fp16_array(a: npt.NDArray[np.uint16], w: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """``a @ w`` of FP16 bit patterns, accumulated in FP32 in the order of k.

    Function: ``sum = fp32(sum + a * w)``, from +0: the product of two FP16 numbers has 22 bits and is exact in
    FP32, so that a step rounds once, to nearest, ties to even; the result is the last sum rounded to FP16 likewise,
    subnormals exact, overflow to infinity. An exact sum of zero is +0. An infinity or NaN among the operands of a
    sum makes it the one NaN, an infinity too: the array has no infinite sums.
    Time: none here; :func:`lanewise.sim.mac_array.mac_array_clk`. Back-pressure: none here.
    Source: numpy's float32 addition and conversion, which are IEEE 754's.

    Args:
        a: Left operand, shape ``(m, k)``.
        w: Right operand, shape ``(k, n)``.

    Returns:
        Bit patterns, shape ``(m, n)``.

    Raises:
        ValueError: An operand is not ``uint16`` or not a matrix, or the shapes do not match.

    >>> a, w = np.array([[0x3C00, 0x0001, 0xBC00]], np.uint16), np.array([[0x6800], [0x3C00], [0x6800]], np.uint16)
    >>> hex(fp16_array(a, w).item())  # 2048 + 2**-24 - 2048: the middle term is lost in FP32
    '0x0'
    """
    total, special = fp32_sums(a, w)
    with np.errstate(over="ignore"):
        rounded = total.astype(np.float16).view(np.uint16)
    return np.where(special, np.uint16(FORMATS["fp16"].nan_bits), rounded)


def fp32_sums(
    a: npt.NDArray[np.uint16], w: npt.NDArray[np.uint16]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The FP32 sums, and where an infinity or NaN among the operands makes one meaningless; as :func:`fp16_array`.

    >>> sums, _ = fp32_sums(np.array([[0x3C00, 0x0001]], np.uint16), np.array([[0x3C00], [0x3C00]], np.uint16))
    >>> sums.item() == 1.0  # 2**-24 is half of the last place: to even
    True
    """
    _check(a, w)
    left, right = a.view(np.float16).astype(np.float32), w.view(np.float16).astype(np.float32)
    finite_a, finite_w = np.isfinite(left), np.isfinite(right)
    special = np.logical_or.outer(~finite_a.all(axis=1), ~finite_w.all(axis=0))
    left, right = np.where(finite_a, left, np.float32(0)), np.where(finite_w, right, np.float32(0))
    total = np.zeros((a.shape[0], w.shape[1]), np.float32)
    for k in range(a.shape[1]):
        total += left[:, k, None] * right[None, k]
    return total, special


def _check(a: npt.NDArray[Any], w: npt.NDArray[Any]) -> None:
    for name, operand in (("a", a), ("w", w)):
        if operand.dtype != np.uint16:
            raise ValueError(f"{name} must be of uint16, not {operand.dtype}")
        if operand.ndim != 2:
            raise ValueError(f"{name} must have 2 dimensions, not {operand.ndim}")
    if a.shape[1] != w.shape[0]:
        raise ValueError(f"a and w must share k, not {a.shape} and {w.shape}")
