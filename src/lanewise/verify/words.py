"""Many beats at once between numpy arrays and the payloads of a stream."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def to_words(fields: npt.NDArray[Any], bits: int) -> list[int]:
    """One payload a row.

    Args:
        fields: Unsigned values below ``2**bits``, shape ``(beats, fields)``; field 0 goes to the low bits.
        bits: Width of a field, 1 to 16.

    >>> [hex(word) for word in to_words(np.array([[1, 2, 31], [0, 0, 1]]), 5)]
    ['0x7c41', '0x400']
    """
    digits = (fields[..., None] >> np.arange(bits)) & 1
    packed = np.packbits(digits.reshape(len(fields), -1).astype(np.uint8), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def from_words(words: Sequence[int], bits: int, fields: int) -> npt.NDArray[np.uint16]:
    """Inverse of :func:`to_words`; higher bits of a word are dropped.

    Returns:
        Shape ``(len(words), fields)``.

    >>> from_words([0x7C41, 0x400], 5, 3)
    array([[ 1,  2, 31], [ 0,  0,  1]], dtype=uint16)
    """
    mask, size = (1 << bits * fields) - 1, (bits * fields + 7) // 8
    raw = b"".join((word & mask).to_bytes(size, "little") for word in words)
    packed = np.frombuffer(raw, np.uint8).reshape(len(words), size)
    digits = np.unpackbits(packed, axis=1, bitorder="little", count=bits * fields).reshape(-1, fields, bits)
    return (digits.astype(np.uint16) << np.arange(bits, dtype=np.uint16)).sum(axis=2, dtype=np.uint16)
