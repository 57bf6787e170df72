"""Bits of the MAC array: exact integer matrix multiplication, wrapped at 32 bits."""

import numpy as np
import numpy.typing as npt


def mac_array(
    a: npt.NDArray[np.integer], w: npt.NDArray[np.integer], operand_bits: int = 4
) -> npt.NDArray[np.int32]:
    """``a @ w`` in exact integer arithmetic, modulo 2**32.

    Args:
        a: Left operand, shape ``(m, k)``, each in [-2**(operand_bits-1), 2**(operand_bits-1) - 1].
        w: Right operand, shape ``(k, n)``, same range.
        operand_bits: 4 or 8.

    Returns:
        Sums, shape ``(m, n)``. INT4 sums wrap only beyond 2**25 products, INT8 beyond 2**17.

    Raises:
        ValueError: A value is out of range, or the shapes do not match. Saturating is the quantiser's job.

    >>> mac_array(np.array([[7, -8]]), np.array([[-8], [-8]]))
    array([[8]], dtype=int32)
    """
    limit = 1 << (operand_bits - 1)
    for name, operand in (("a", a), ("w", w)):
        if operand.ndim != 2:
            raise ValueError(f"{name} must have 2 dimensions, not {operand.ndim}")
        if operand.size and not (-limit <= operand.min() and operand.max() < limit):
            raise ValueError(
                f"{name} must be in [{-limit}, {limit - 1}], not {operand.min()} to {operand.max()}"
            )
    if a.shape[1] != w.shape[0]:
        raise ValueError(f"a and w must share k, not {a.shape} and {w.shape}")
    exact: npt.NDArray[np.int64] = a.astype(np.int64) @ w.astype(np.int64)
    return exact.astype(np.uint32).view(np.int32)
