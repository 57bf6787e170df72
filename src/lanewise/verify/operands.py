"""Operands at which a multiply-add of a format goes wrong, if it does."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.formats import NumberFormat
from lanewise.models.numbers import Bits, bits_dtype, decode, encode

Triple: TypeAlias = tuple[Bits, Bits, Bits]
Int: TypeAlias = npt.NDArray[np.int64]


def special_values(form: NumberFormat) -> Bits:
    """Bit patterns at the edges of the format, both signs.

    >>> from lanewise.formats import FORMATS
    >>> special_values(FORMATS["int8"]).view(np.int8).tolist()
    [-128, -127, -126, -65, -64, -63, -3, -2, -1, 0, 1, 2, 3, 63, 64, 65, 126, 127]
    """
    if not form.floating:
        top = 1 << (form.bits - 1)
        values = [v + d for v in (-top // 2, 0, top // 2) for d in (-1, 0, 1)]
        values += [-top, 1 - top, 2 - top, -3, -2, 2, 3, top - 2, top - 1]
        return encode(np.unique(np.array(values, np.float64)), form)
    f, bias = form.fraction_bits, form.bias
    one = bias << f
    patterns = {
        0, 1, 2, 3, (1 << f >> 1) - 1, 1 << f >> 1, (1 << f) - 2, (1 << f) - 1,  # zero, subnormals
        1 << f, (1 << f) + 1, (2 << f) - 1, 2 << f,  # the smallest normals
        one - (f << f), one - (f << f) + 1, one - (1 << f), one - 1, one, one + 1,  # 2**-f; around 1
        one + (1 << f), one + (f << f), one + ((f + 1) << f) + 1,  # 2, so that sums tie; 2**f
        form.maximum_bits, form.maximum_bits - 1, form.maximum_bits >> f << f, (form.maximum_bits >> f << f) - 1,
        form.nan_bits, (1 << (form.bits - 1)) - 1,
    }  # fmt: skip
    if form.infinities:
        patterns |= {form.infinity_bits, form.infinity_bits | 1}
    positive = np.array(sorted(p for p in patterns if 0 <= p < 1 << (form.bits - 1)), bits_dtype(form))
    return np.concatenate([positive, positive | bits_dtype(form)(1 << (form.bits - 1))])


def special_triples(form: NumberFormat) -> Triple:
    """Every triple of :func:`special_values`, each of shape ``(n ** 3,)``."""
    values = special_values(form)
    a, b, c = (grid.reshape(-1) for grid in np.meshgrid(values, values, values, indexing="ij"))
    return a, b, c


def random_triples(rng: np.random.Generator, count: int, form: NumberFormat) -> Triple:
    """Operands in six equal parts, each a way in which a fused multiply-add goes wrong; integers uniform.

    Uniform bits; an addend that nearly cancels the product; subnormal operands; sums exactly between two
    numbers; results around the overflow and underflow thresholds; products between two numbers, or nearly, with
    an addend that only decides which.
    """
    kind = bits_dtype(form)
    drawn = rng.integers(0, 1 << form.bits, size=(3, count), dtype=kind)
    if not form.floating:
        return drawn[0], drawn[1], drawn[2]
    a, b, c = (operand.astype(np.int64) for operand in drawn)
    f, bias, sign = form.fraction_bits, form.bias, 1 << (form.bits - 1)
    largest = form.maximum_bits >> f  # exponent
    part = np.arange(count) * 6 // count

    def fields(value: Int, exponent: Int) -> Int:
        """``value`` with another exponent."""
        return (value & (sign | (1 << f) - 1)) | (exponent.clip(0, largest) << f)

    with np.errstate(all="ignore"):
        product = encode(decode(drawn[0], form) * decode(drawn[1], form), form).astype(np.int64)
    near = (product ^ sign) + rng.integers(-2, 3, size=count)
    c = np.where(part == 1, near, c)

    which = rng.integers(1, 8, size=count)
    subnormal = sign | (1 << f) - 1
    a, b, c = (
        np.where((part == 2) & (which >> k & 1 == 1), v & subnormal, v) for k, v in enumerate((a, b, c))
    )

    # Ties: a = +-1, b = +-half the last place of c; some a and b are a little larger.
    exponent = rng.integers(min(f + 2, largest), largest + 1, size=count)
    tie_a = (rng.integers(0, 2, size=count) * sign | bias << f) + rng.integers(0, 4, size=count) // 3
    tie_b = fields(rng.integers(0, 2, size=count) * sign, exponent - f - 1)
    tie_b += rng.integers(0, 3, size=count) // 2 * rng.integers(0, 1 << f, size=count)
    a, b, c = (np.where(part == 3, new, v) for new, v in ((tie_a, a), (tie_b, b), (fields(c, exponent), c)))

    # Thresholds: the exponents of a and b add up to that of the largest or of the smallest numbers.
    top = rng.integers(0, 2, size=count) == 1
    ea = rng.integers(1, largest + 1, size=count)
    eb = np.where(top, largest + bias, bias - f - 1) - ea + rng.integers(-2, 3, size=count)
    ec = np.where(top, rng.integers(largest // 2, largest + 1, size=count), rng.integers(0, 3, size=count))
    a, b, c = (np.where(part == 4, fields(v, e), v) for v, e in ((a, ea), (b, eb), (c, ec)))

    # Odd significands of half the bits have a product one bit too long; the addend is far below.
    ea, eb = rng.integers(largest // 4 + 1, largest * 3 // 4 + 1, size=(2, count))
    ec = ea + eb - bias - rng.integers(f, 3 * f + 3, size=count)
    half = (f + 2) // 2
    odd = (rng.integers(0, 1 << max(half - 1, 1), size=(2, count)) | 1) << (f + 1 - half) & ((1 << f) - 1)
    kept = np.where(rng.integers(0, 4, size=count) == 0, (1 << f) - 1, 0)  # sometimes many bits
    for_far = [fields(v & sign, e) | o for v, e, o in ((a, ea, odd[0]), (b, eb, odd[1]))]
    far_c = fields(c & (sign | kept), ec)
    a, b, c = (np.where(part == 5, new, v) for new, v in ((for_far[0], a), (for_far[1], b), (far_c, c)))
    return tuple((v & ((1 << form.bits) - 1)).astype(kind) for v in (a, b, c))  # type: ignore[return-value]


def corner_elements(rng: np.random.Generator, form: NumberFormat, count: int) -> Bits:
    """All elements of a format of up to 16 bits, or ``count`` of a wider one: special ones first, then random ones."""
    if form.bits <= 16:
        return np.arange(1 << form.bits, dtype=np.int64).astype(bits_dtype(form))
    special = special_values(form)
    drawn: Any = rng.integers(0, 1 << form.bits, size=count - special.size, dtype=bits_dtype(form))
    return np.concatenate([special, drawn])
