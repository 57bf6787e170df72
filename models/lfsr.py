"""Bits of the random generator: one 32-bit Galois shift register a lane, 16 bits a beat."""

from functools import cache

import numpy as np
import numpy.typing as npt

TAPS = 0x8020_0003
"""x^32 + x^22 + x^2 + x + 1, primitive, for a register that moves right: its period is 2**32 - 1."""
BITS = 16
"""Bits that a beat consumes: the low half of the state before it advances by as many steps."""

States = npt.NDArray[np.uint32]


def lane_states(seed: int, lanes: int) -> States:
    """First state of each lane: murmur3's finaliser of ``seed + lane * 0x9E3779B9``, and 1 where that is 0.

    Source: Appleby, MurmurHash3, fmix32; the increment is 2**32 divided by the golden ratio.

    Raises:
        ValueError: ``seed`` is no unsigned 32-bit number, or there is no lane.

    >>> [hex(state) for state in lane_states(0, 3)]
    ['0x1', '0x92ca2f0e', '0x3cd6e3f3']
    """
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"seed must be 0 to 2**32 - 1, not {seed!r}")
    if lanes < 1:
        raise ValueError(f"lanes must be at least 1, not {lanes!r}")
    state = (seed + np.arange(lanes, dtype=np.uint64) * 0x9E37_79B9) & 0xFFFF_FFFF
    for shift, factor in ((16, 0x85EB_CA6B), (13, 0xC2B2_AE35), (16, 1)):
        state ^= state >> np.uint64(shift)
        state = state * np.uint64(factor) & np.uint64(0xFFFF_FFFF)
    first: States = np.maximum(state, 1).astype(np.uint32)
    return first


def random_bits(states: States, beats: int) -> tuple[npt.NDArray[np.uint16], States]:
    """The next bits of each lane, and the states after them.

    A function of states and number of beats alone. Made by doubling: the second half of a run is the first,
    advanced by half its length, which is linear over GF(2).

    Args:
        states: Shape ``(lanes,)``, none 0.
        beats: How many times 16 bits a lane.

    Returns:
        Bits, shape ``(beats, lanes)``; states, shape ``(lanes,)``.

    Raises:
        ValueError: A state is 0, from which a register never moves, or ``beats`` is negative.

    >>> bits, states = random_bits(np.array([1], np.uint32), 2)
    >>> bits.ravel().tolist(), [hex(state) for state in states]
    ([1, 46787], ['0x8a0f3db5'])
    """
    if not np.all(states):
        raise ValueError("states must be other than 0")
    if beats < 0:
        raise ValueError(f"beats must be at least 0, not {beats!r}")
    run = np.empty((beats + 1, len(states)), np.uint32)
    run[0] = states
    done, level = 1, 0
    while done <= beats:
        count = min(done, beats + 1 - done)
        run[done : done + count] = _apply(_jump_tables(level), run[:count])
        done, level = 2 * done, level + 1
    return run[:-1].astype(np.uint16), run[-1].copy()


def _apply(tables: States, states: States) -> States:
    moved: States = np.asarray(tables[0][states & 255], np.uint32)
    for byte in range(1, 4):
        moved ^= tables[byte][(states >> np.uint32(8 * byte)) & 255]
    return moved


@cache
def _jump_tables(level: int) -> States:
    """What each value of each byte of a state becomes in ``16 * 2**level`` steps; shape ``(4, 256)``."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if level == 0:
        for _ in range(BITS):
            bits = (bits >> np.uint32(1)) ^ (bits & np.uint32(1)) * np.uint32(TAPS)
    else:
        half = _jump_tables(level - 1)
        bits = _apply(half, _apply(half, bits))
    tables = np.zeros((4, 256), np.uint32)
    for byte in range(4):
        for bit in range(8):
            tables[byte] ^= np.where(np.arange(256) >> bit & 1, bits[8 * byte + bit], np.uint32(0))
    return tables
