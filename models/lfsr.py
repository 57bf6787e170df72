"""Random bits of the hardware: one Galois shift register a lane, 16 bits a beat."""

from functools import cache

import numpy as np
import numpy.typing as npt

TAPS = 0x8020_0003
"""x^32 + x^22 + x^2 + x + 1, shifted right: primitive, so that a state comes back after 2**32 - 1 steps."""
BITS = 16
"""Bits that a beat consumes, and steps that a state then advances."""

States = npt.NDArray[np.uint32]


def lane_states(seed: int, lanes: int) -> States:
    """First states of the lanes, none of them zero: murmur3's finaliser of ``seed + lane * 0x9E3779B9``.

    Returns:
        Shape ``(lanes,)``.

    Raises:
        ValueError: ``seed`` has more than 32 bits, or there is no lane.

    >>> [hex(state) for state in lane_states(1, 2)]
    ['0x514e28b7', '0x96a0f96b']
    """
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"seed must be 0 to 2**32 - 1, not {seed}")
    if lanes < 1:
        raise ValueError(f"lanes must be at least 1, not {lanes}")
    h = seed + np.arange(lanes, dtype=np.uint32) * np.uint32(0x9E37_79B9)
    h = h.astype(np.uint32)
    h ^= h >> 16
    h *= np.uint32(0x85EB_CA6B)
    h ^= h >> 13
    h *= np.uint32(0xC2B2_AE35)
    h ^= h >> 16
    h[h == 0] = 1
    return h


def step(states: States) -> States:
    """States one step later.

    >>> hex(step(np.array([3], np.uint32)).item())
    '0x80200002'
    """
    stepped: States = (states >> np.uint32(1)) ^ (states & np.uint32(1)) * np.uint32(TAPS)
    return stepped


def random_bits(states: States, beats: int) -> tuple[npt.NDArray[np.uint16], States]:
    """The random bits of the next ``beats`` accepted beats, and the states after them.

    A beat takes the low 16 bits of a state before it advances.

    Args:
        states: Shape ``(lanes,)``.

    Returns:
        Bits, shape ``(beats, lanes)``, and states, shape ``(lanes,)``.

    Raises:
        ValueError: ``beats`` is negative.

    >>> bits, states = random_bits(np.array([0x12345678], np.uint32), 2)
    >>> [hex(v) for v in bits[:, 0]]
    ['0x5678', '0x2034']
    """
    if beats < 0:
        raise ValueError(f"beats must be at least 0, not {beats}")
    sequence = states.astype(np.uint32)[None]
    level = 0
    while len(sequence) <= beats:  # twice as many: each state once more, as many beats later
        sequence = np.concatenate([sequence, _apply(_jump(level), sequence)])
        level += 1
    return sequence[:beats].astype(np.uint16), sequence[beats]


@cache
def _jump(level: int) -> States:
    """The states ``2**level`` beats after all states of one byte, shape ``(4, 256)``; they add up (XOR) over bytes."""
    images = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if level == 0:
        for _ in range(BITS):
            images = step(images)
    else:
        half = _jump(level - 1)
        images = _apply(half, _apply(half, images))
    table = np.zeros((4, 256), np.uint32)
    for byte in range(4):
        for bit in range(8):
            table[byte, 1 << bit : 2 << bit] = table[byte, : 1 << bit] ^ images[8 * byte + bit]
    return table


def _apply(table: States, states: States) -> States:
    result: States = table[0][states & 255]
    for byte in range(1, 4):
        result = result ^ table[byte][(states >> np.uint32(8 * byte)) & 255]
    return result
