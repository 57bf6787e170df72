"""Real numbers as the core takes them: scales as multipliers and shifts, weights and activations as small integers."""

from math import floor, log2

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
MULTIPLIER_BITS = 16
_SHIFT_LIMIT = 63


def multipliers(factors: Reals) -> tuple[npt.NDArray[np.int64], int]:
    """Positive factors as 16-bit multipliers over one power of two, the largest with all its bits.

    Args:
        factors: Shape ``(n,)``.

    Returns:
        Multipliers, shape ``(n,)``, and the shift: factor = multiplier / 2**shift.

    Raises:
        ValueError: A factor is not positive and finite, or the largest is beyond what a shift of 0 to 63 reaches.

    >>> multipliers(np.array([0.5, 0.125]))
    (array([32768,  8192]), 16)
    """
    if not (np.isfinite(factors).all() and (factors > 0).all()):
        raise ValueError(f"factors must be positive and finite, not {factors.min()} to {factors.max()}")
    shift = MULTIPLIER_BITS - 1 - floor(log2(float(factors.max())))
    found = np.rint(factors * 2.0**shift).astype(np.int64)
    if found.max() >> MULTIPLIER_BITS:  # rounded up to 2**16
        shift -= 1
        found = np.rint(factors * 2.0**shift).astype(np.int64)
    if not 0 <= shift <= _SHIFT_LIMIT:
        raise ValueError(
            f"factors must be at least 2**{MULTIPLIER_BITS - 1 - _SHIFT_LIMIT} and below 2**{MULTIPLIER_BITS}, not {factors.max()}"
        )
    return found, shift


def biases(values: Reals, factors: Reals) -> npt.NDArray[np.int64]:
    """Biases in units of the sums: INT32, saturated.

    Args:
        values, factors: Shape ``(n,)``; a sum times its factor is the real number.
    """
    limits = np.iinfo(np.int32)
    clipped: npt.NDArray[np.int64] = np.clip(np.rint(values / factors), limits.min, limits.max).astype(
        np.int64
    )
    return clipped


def quantised_lines(lines: Reals, bits: int) -> tuple[npt.NDArray[np.int8], Reals]:
    """Weights, a scale for each line, the one of the least squared error.

    Args:
        lines: Shape ``(n, k)``.
        bits: 4 or 8.

    Returns:
        Integers, shape ``(n, k)``; what one of them stands for, shape ``(n,)``, in a line of zeros as much as in the largest one.
    """
    import torch

    from lanewise.models.quantise import best_scale, quantise

    real = torch.from_numpy(np.ascontiguousarray(lines, np.float32))
    scale = best_scale(real, bits)
    whole = quantise(real, scale, bits).to(torch.int8).numpy()
    steps = scale.squeeze(1).numpy().astype(np.float64)
    zeros = ~whole.any(1)
    steps[zeros] = 1.0 if zeros.all() else steps[~zeros].max()
    return whole, steps


def inverse_step(values: npt.NDArray[np.float16], bits: int) -> float:
    """What activations like ``values`` are multiplied by before they are rounded to integers; an FP16 number."""
    import torch

    from lanewise.models.quantise import ActivationQuantiser, QuantiseConfig

    quantiser = ActivationQuantiser.calibrated(
        torch.from_numpy(values.astype(np.float32)), QuantiseConfig(bits=bits)
    )
    return float(quantiser.inverse)
