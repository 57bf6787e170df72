"""Many beats at once between numpy arrays and the payloads of a stream."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def to_words(fields: npt.NDArray[Any], bits: int) -> list[int]:
    """One payload a row.

    Args:
        fields: Unsigned values below ``2**bits``, shape ``(beats, fields)``; field 0 goes to the low bits.
        bits: Width of a field, 1 to 32.

    >>> [hex(word) for word in to_words(np.array([[1, 2, 31], [0, 0, 1]]), 5)]
    ['0x7c41', '0x400']
    """
    if bits in (8, 16, 32):
        return [int.from_bytes(row.tobytes(), "little") for row in fields.astype(np.dtype(f"<u{bits // 8}"))]
    digits = (fields[..., None] >> np.arange(bits)) & 1
    packed = np.packbits(digits.reshape(len(fields), -1).astype(np.uint8), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def from_words(words: Sequence[int], bits: int, fields: int) -> npt.NDArray[Any]:
    """Inverse of :func:`to_words`; higher bits of a word are dropped.

    Returns:
        Shape ``(len(words), fields)``; uint8, uint16 or uint32, the narrowest that holds ``bits``.

    >>> from_words([0x7C41, 0x400], 5, 3)
    array([[ 1,  2, 31], [ 0,  0,  1]], dtype=uint8)
    """
    mask, size = (1 << bits * fields) - 1, (bits * fields + 7) // 8
    raw = b"".join((word & mask).to_bytes(size, "little") for word in words)
    kind: Any = np.dtype("<u1" if bits <= 8 else "<u2" if bits <= 16 else "<u4")
    if bits == 8 * kind.itemsize:
        return np.frombuffer(raw, kind).reshape(len(words), fields).astype(kind.newbyteorder("="))
    packed = np.frombuffer(raw, np.uint8).reshape(len(words), size)
    digits = np.unpackbits(packed, axis=1, bitorder="little", count=bits * fields).reshape(-1, fields, bits)
    return (digits.astype(kind) << np.arange(bits, dtype=kind)).sum(axis=2, dtype=kind)


def concatenate(*fields: tuple[Sequence[int], int]) -> list[int]:
    """Payloads put together: each field's words and their width in bits, the first in the low bits.

    >>> [hex(word) for word in concatenate(([1, 2], 4), ([0xAB, 0xCD], 8))]
    ['0xab1', '0xcd2']
    """
    result = [0] * len(fields[0][0])
    place = 0
    for words, bits in fields:
        result = [low | int(high) << place for low, high in zip(result, words, strict=True)]
        place += bits
    return result
