"""INT4 weights from a seed: what the weight generator writes, bit by bit.

A 32-bit Galois shift register, that of :mod:`lanewise.models.lfsr`: each single step, bit 0 falls out. The bits that fall out, in order, are the
stream: bit 0 of byte 0 first, so that the stream depends on the seed alone and not on how many bytes a machine writes in a clock. Of each four
bits, an INT4 number, -8 is made 0: what remains is symmetric, so that a random filter's weights have the mean 0 (-8 as it is would give every
filter of a layer the same mean of -1/2). 0 has then the chance 1/8, each of -7..-1, 1..7 the chance 1/16.
"""

import numpy as np
import numpy.typing as npt

from lanewise.models.lfsr import TAPS, lane_states

Bytes = npt.NDArray[np.uint8]
VARIANCE = 17.5
"""Of a weight, in units of the square of its last place: twice the sum of k^2 for k = 1..7, over 16."""
_WORD = 32
"""Bits of the stream that are computed at once."""
_INVERSE = 0x9E3779B9


def block_seed(seed: int, number: int) -> int:
    """State that a block of a generated tensor begins with: any block can be made, in any order.

    The finaliser of :func:`lanewise.models.lfsr.lane_states` of seed + number * 0x9E3779B9, so that neighbours' streams are far apart.

    Args:
        seed: The tensor's, 0 to 2**32 - 1.
        number: The block's, at least 0.

    Raises:
        ValueError: ``seed`` is no unsigned 32-bit number, or ``number`` is negative.

    >>> hex(block_seed(1, 0)), hex(block_seed(1, 1)) == hex(lane_states(1, 2)[1])
    ('0x514e28b7', True)
    """
    if number < 0:
        raise ValueError(f"number must be at least 0, not {number!r}")
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"seed must be 0 to 2**32 - 1, not {seed!r}")
    return int(lane_states((seed + number * _INVERSE) % (1 << 32), 1)[0])


def raw_bytes(state: int, size: int) -> Bytes:
    """The register's stream of bits as bytes, shape ``(size,)``.

    Args:
        state: 1 to 2**32 - 1.
        size: Bytes, at least 0.

    Raises:
        ValueError: ``state`` is 0, from which the register never moves, or no 32-bit number; or ``size`` is negative.

    >>> raw_bytes(1, 4).tolist()
    [219, 182, 45, 138]
    """
    if not 0 < state < 1 << 32:
        raise ValueError(f"state must be 1 to 2**32 - 1, not {state!r}")
    if size < 0:
        raise ValueError(f"size must be at least 0, not {size!r}")
    words = max(1, -(-size * 8 // _WORD))
    states = np.empty(words, np.uint32)
    states[0] = state
    done, columns = 1, _STEPPED
    while done < words:  # as many again, all at once
        count = min(done, words - done)
        states[done : done + count] = _applied(columns, states[:count])
        done, columns = done + count, _applied(columns, columns)
    fallen = _applied(_FALLEN, states)
    return fallen.astype("<u4").view(np.uint8)[:size].copy()


def generated_bytes(state: int, size: int) -> Bytes:
    """What the generator writes, INT4 two a byte, the first in the low bits; shape ``(size,)``.

    Raises:
        ValueError: As :func:`raw_bytes`.

    >>> generated_bytes(1, 4).tolist()
    [219, 182, 45, 10]
    """
    raw = raw_bytes(state, size)
    for low in (0, 4):
        raw[(raw >> low & 15) == 8] &= 0xF0 >> low
    return raw


def generated_weights(state: int, size: int, *, symmetric: bool = True) -> npt.NDArray[np.int8]:
    """The same as numbers from -7 to 7, two for each of ``size`` bytes; shape ``(2 * size,)``. Not ``symmetric``: -8 as it falls out."""
    data = (generated_bytes if symmetric else raw_bytes)(state, size)
    codes = np.stack([data & 15, data >> 4], axis=-1).reshape(-1).astype(np.int8)
    return np.where(codes > 7, codes - 16, codes).astype(np.int8)


def generated_filters(
    seed: int, count: int, k: int, *, lines: int = 32, first: int = 0, symmetric: bool = True
) -> npt.NDArray[np.int8]:
    """Filters of a generated tensor: blocks of ``lines``, each of a seed of its own, in which each filter begins with a byte.

    Args:
        seed: The tensor's.
        count: Filters.
        k: Weights of each.
        lines: Filters of a block.
        first: Number of the tensor's first block.
        symmetric: As the hardware makes them; otherwise -8 stays, for comparison.

    Returns:
        Shape ``(count, k)``, each from -7 to 7.

    >>> generated_filters(1, 3, 5, lines=2)[2].tolist() == generated_weights(block_seed(1, 1), 3)[:5].tolist()
    True
    """
    size = -(-k // 2)
    blocks = [
        generated_weights(block_seed(seed, first + b), lines * size, symmetric=symmetric)
        for b in range(-(-count // lines))
    ]
    return np.concatenate(blocks).reshape(-1, 2 * size)[:count, :k]


def _columns() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Of each bit of a state: the state, and the bits that have fallen out, after a word's steps; both are linear."""
    states = np.uint32(1) << np.arange(32, dtype=np.uint32)
    fallen = np.zeros(32, np.uint32)
    for step in range(_WORD):
        out = states & np.uint32(1)
        fallen |= out << np.uint32(step)
        states = (states >> np.uint32(1)) ^ (out * np.uint32(TAPS))
    return states, fallen


def _applied(columns: npt.NDArray[np.uint32], states: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """A linear map of states, given what it makes of single bits."""
    made = np.zeros_like(states)
    for bit, column in enumerate(columns):
        made ^= (states >> np.uint32(bit) & np.uint32(1)) * column
    return made


_STEPPED, _FALLEN = _columns()
