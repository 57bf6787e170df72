"""Elements for the bench of the reductions."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS


def reduction_elements(rng: np.random.Generator, bits: int, count: int, form: str = "") -> npt.NDArray[Any]:
    """Bit patterns of ``bits`` bits for a reduction, of numbers in the format ``form`` if there is one.

    Any bits; few values, extremes among them; and of numbers such of about one magnitude, whose sums cancel and are rounded,
    subnormals, and signed zeros. NaNs and infinities are so rare that most sums of ``count`` have none.
    """
    kind: Any = {8: np.uint8, 16: np.uint16, 32: np.uint32}[bits]
    any_bits = rng.integers(0, 1 << bits, count, dtype=np.uint64).astype(kind)
    extremes = np.array([0, 1, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1], kind)
    choice = int(rng.integers(4))
    if not form:
        return any_bits if choice else rng.choice(extremes, count)
    fraction = FORMATS[form].fraction_bits
    sign, top = 1 << (bits - 1), FORMATS[form].infinity_bits
    finite = np.where((any_bits & top) == top, any_bits & (sign | (top >> 1)), any_bits)
    if choice == 1:  # exponents of a few neighbours
        exponent = rng.integers(1, (top >> fraction) - 4) + rng.integers(0, 4, count)
        finite = (finite & (sign | ((1 << fraction) - 1))) | (exponent << fraction)
    elif choice == 2:  # subnormals, and the least normals
        finite = finite & (sign | ((2 << fraction) - 1))
    elif choice == 3:
        ends = [0, sign, 1, sign | 1, top - 1, sign | (top - 1), 1 << fraction, (1 << fraction) - 1]
        finite = rng.choice(np.array(ends, np.uint64), count)
    special = rng.choice(np.array([top, sign | top, top | 1, FORMATS[form].nan_bits], np.uint64), count)
    rate = rng.choice([0.0, 0.0, 0.5 / count, 1.0 if rng.random() < 0.1 else 0.0])
    return np.where(rng.random(count) < rate, special, finite).astype(kind)
