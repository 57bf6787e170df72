"""Bits of the MAC array: exact integer matrix multiplication, wrapped at 32 bits; INT8 operands in passes of 4 bits."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lanewise.config import SPLIT_BITS

Int = npt.NDArray[np.integer]


def mac_array(a: Int, w: Int, operand_bits: int = 4, w_bits: int | None = None) -> npt.NDArray[np.int32]:
    """``a @ w`` in exact integer arithmetic, modulo 2**32.

    Args:
        a: Left operand, shape ``(m, k)``, each in [-2**(operand_bits-1), 2**(operand_bits-1) - 1].
        w: Right operand, shape ``(k, n)``, the same range, or that of ``w_bits``.
        operand_bits: 4 or 8.
        w_bits: Default: ``operand_bits``.

    Returns:
        Sums, shape ``(m, n)``. INT4 sums wrap only beyond 2**25 products, INT8 beyond 2**17.

    Raises:
        ValueError: A value is out of range, or the shapes do not match. Saturating is the quantiser's job.

    >>> mac_array(np.array([[7, -8]]), np.array([[-8], [-8]]))
    array([[8]], dtype=int32)
    """
    _check(a, w, operand_bits, operand_bits if w_bits is None else w_bits)
    exact: npt.NDArray[np.int64] = a.astype(np.int64) @ w.astype(np.int64)
    return exact.astype(np.uint32).view(np.int32)


def split_int8(x: Int) -> tuple[Int, Int]:
    """Signed upper and unsigned lower half: ``x = 16 * upper + lower``.

    Raises:
        ValueError: A value is outside INT8.

    >>> split_int8(np.array([-128, -1, 127]))
    (array([-8, -1, 7]), array([ 0, 15, 15]))
    """
    if x.size and not (x.min() >= -128 and x.max() <= 127):
        raise ValueError(f"x must be in [-128, 127], not {x.min()} to {x.max()}")
    return x >> SPLIT_BITS, x & 15


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What a 4-bit array is given for one tile, step by step."""

    a: Int
    """Shape ``(rows, steps)``: in [-8, 7] where ``a_signed``, else in [0, 15]."""
    w: Int
    """Shape ``(steps, columns)``; likewise by ``w_signed``."""
    a_signed: npt.NDArray[np.bool_]
    """Shape ``(steps,)``."""
    w_signed: npt.NDArray[np.bool_]
    shift: npt.NDArray[np.bool_]
    """Where the sums move left by 4 before the step's products are added."""

    @property
    def sums(self) -> npt.NDArray[np.int32]:
        """The array's sums after the last step, modulo 2**32, shape ``(rows, columns)``."""
        shifts: npt.NDArray[np.int64] = np.cumsum(self.shift[::-1])[::-1] - self.shift  # at later steps
        weight = np.where(shifts < 8, np.int64(1) << np.minimum(SPLIT_BITS * shifts, 28), 0)
        exact: npt.NDArray[np.int64] = (self.a.astype(np.int64) * weight) @ self.w.astype(np.int64)
        return exact.astype(np.uint32).view(np.int32)


def steps(a: Int, w: Int, a_bits: int = 4, w_bits: int = 4) -> Steps:
    """The steps by which a 4-bit array makes ``a @ w``: ``k`` for each pair of parts, the heaviest pairs first.

    INT8 x INT8 by Horner's rule: upper x upper, shift, upper x lower and lower x upper, shift, lower x lower.

    Args:
        a, w: Operands as in :func:`mac_array`.
        a_bits, w_bits: 4 or 8.

    >>> made = steps(np.array([[-100]]), np.array([[77]]), 8, 8)
    >>> made.a.tolist(), made.w.T.tolist(), made.shift.tolist(), made.sums.item()
    ([[-7, -7, 12, 12]], [[4, 13, 4, 13]], [False, True, False, True], -7700)
    """
    _check(a, w, a_bits, w_bits)
    parts_a, parts_w = _parts(a, a_bits), _parts(w, w_bits)
    pairs = [(i, j) for i in range(len(parts_a)) for j in range(len(parts_w))]
    pairs.sort(key=lambda pair: (sum(pair), pair))
    k = a.shape[1]
    first = np.arange(k) == 0
    shift = [first & (n > 0 and sum(pair) > sum(pairs[n - 1])) for n, pair in enumerate(pairs)]
    return Steps(
        a=np.hstack([parts_a[i] for i, _ in pairs]),
        w=np.vstack([parts_w[j] for _, j in pairs]),
        a_signed=np.repeat([i == 0 for i, _ in pairs], k),
        w_signed=np.repeat([j == 0 for _, j in pairs], k),
        shift=np.concatenate(shift),
    )


def _parts(x: Int, bits: int) -> tuple[Int, ...]:
    """The heaviest first."""
    return split_int8(x) if bits == 2 * SPLIT_BITS else (x,)


def _check(a: Int, w: Int, a_bits: int, w_bits: int) -> None:
    for name, operand, bits in (("a", a, a_bits), ("w", w, w_bits)):
        limit = 1 << (bits - 1)
        if operand.ndim != 2:
            raise ValueError(f"{name} must have 2 dimensions, not {operand.ndim}")
        if operand.size and not (-limit <= operand.min() and operand.max() < limit):
            raise ValueError(
                f"{name} must be in [{-limit}, {limit - 1}], not {operand.min()} to {operand.max()}"
            )
    if a.shape[1] != w.shape[0]:
        raise ValueError(f"a and w must share k, not {a.shape} and {w.shape}")
