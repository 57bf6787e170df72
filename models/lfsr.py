"""Random bits of the hardware: one 32-bit Galois LFSR a lane, 16 bits of it a beat.

A register shifts right; the bit that falls out is added at the taps of x^32 + x^22 + x^2 + x + 1, so that its period is 2^32 - 1. A
beat that is accepted takes the low 16 bits and then moves the register 16 steps on: random bits are a function of the seed, the lane and
the number of beats before, never of stalls.
"""

from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

TAPS = 0x80200003
STEPS = 16
"""Steps a beat."""
BLOCK = 1 << 13
"""States that are computed at once, so that their tables stay in a cache."""

States: TypeAlias = npt.NDArray[np.uint32]
RandomBits: TypeAlias = npt.NDArray[np.uint16]
_Table: TypeAlias = npt.NDArray[np.uint32]


def lane_states(seed: int, lanes: int) -> States:
    """States that a seed loads, one a lane: murmur3's finaliser of ``seed + lane * 0x9E3779B9``; 1 for 0, which would stay 0.

    Args:
        seed: Any integer; modulo 2**32.
        lanes: How many, at least 0.

    Returns:
        Shape ``(lanes,)``, none zero.

    >>> [hex(state) for state in lane_states(1, 2)]
    ['0x514e28b7', '0x96a0f96b']
    """
    value = (np.uint64(seed % 2**32) + np.arange(lanes, dtype=np.uint64) * np.uint64(0x9E3779B9)) & _MASK
    value ^= value >> np.uint64(16)
    value = value * np.uint64(0x85EBCA6B) & _MASK
    value ^= value >> np.uint64(13)
    value = value * np.uint64(0xC2B2AE35) & _MASK
    value ^= value >> np.uint64(16)
    return np.where(value == 0, 1, value).astype(np.uint32)


def random_bits(states: States, beats: int) -> tuple[RandomBits, States]:
    """The next ``beats`` beats of every lane.

    Args:
        states: Shape ``(lanes,)``.
        beats: How many are accepted, at least 0.

    Returns:
        Bits, shape ``(beats, lanes)``, and the states after, shape ``(lanes,)``.

    >>> bits, after = random_bits(np.array([1], np.uint32), 3)
    >>> bits[:, 0].tolist(), hex(after[0])
    ([1, 46787, 15797], '0x9e5f3cf')
    """
    every = np.empty((beats + 1, states.shape[0]), np.uint32)
    every[0] = states
    done, doubling = 1, 0
    while done <= beats:
        distance = 1 << doubling
        count = min(distance, beats + 1 - done)
        low, high = _jump(doubling)
        source = every[done - distance : done - distance + count]
        lower, upper = np.take(low, source & 0xFFFF), np.take(high, source >> 16)
        np.bitwise_xor(lower, upper, out=every[done : done + count])
        done += count
        if done == 2 * distance and distance * states.shape[0] < BLOCK:
            doubling += 1
    return every[:beats].astype(np.uint16), every[beats].copy()


_MASK = np.uint64(0xFFFFFFFF)


@cache
def _jump(doubling: int) -> tuple[_Table, _Table]:
    """Tables of both 16-bit halves of a state: what each becomes in ``2**doubling`` beats; the map is linear."""
    columns: npt.NDArray[np.uint32] = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if doubling == 0:
        for _ in range(STEPS):
            columns = (columns >> np.uint32(1)) ^ np.where(columns & 1, np.uint32(TAPS), np.uint32(0))
    else:
        low, high = _jump(doubling - 1)
        columns = low[columns & 0xFFFF] ^ high[columns >> 16]  # of single bits
        columns = low[columns & 0xFFFF] ^ high[columns >> 16]
    return _spanned(columns[:16]), _spanned(columns[16:])


def _spanned(columns: npt.NDArray[np.unsignedinteger[Any]]) -> _Table:
    """All sums of 16 columns, by the bits of the index."""
    table = np.zeros(1, np.uint32)
    for column in columns:
        table = np.concatenate([table, table ^ column])
    return table
