"""Random bits of the spiking kernels: generators that are a few instructions of the vector unit on 32-bit words.

A word gives two numbers of 11 bits, the upper bits of its halves. ``congruential`` is one multiply-add a word, ``x A + C`` modulo 2**32
(Knuth, "The art of computer programming", volume 2, 3.3.4, table 1, line 16); ``xorshift`` is six shifts and exclusive ors (Marsaglia, "Xorshift
RNGs", 2003), a linear recurrence over GF(2) as an LFSR is. Both have one state for each word of a register group.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Words: TypeAlias = npt.NDArray[np.uint32]
Numbers: TypeAlias = npt.NDArray[np.uint16]

GENERATORS = ("congruential", "xorshift")
FACTOR, INCREMENT = 1664525, 1013904223
SHIFTS = (13, 17, 5)
"""Left, right, left."""
BITS = 11
"""Of a number: integers below 2**BITS are the FP16 numbers below 2**-13, in steps of 2**-24."""


def advance(generator: str, states: Words) -> Words:
    """The next states.

    Args:
        generator: One of :data:`GENERATORS`.
        states: Any shape; of ``xorshift`` other than 0, where it stays.

    Raises:
        ValueError: There is no such generator.

    >>> advance("congruential", np.array([0, 1], np.uint32)).tolist(), advance("xorshift", np.array([1], np.uint32)).tolist()
    ([1013904223, 1015568748], [270369])
    """
    if generator == "congruential":
        return states * np.uint32(FACTOR) + np.uint32(INCREMENT)
    if generator != "xorshift":
        raise ValueError(f"generator must be one of {', '.join(GENERATORS)}, not {generator!r}")
    left, right, last = (np.uint32(shift) for shift in SHIFTS)
    states = states ^ (states << left)
    states = states ^ (states >> right)
    return states ^ (states << last)


def numbers(generator: str, seeds: Words) -> Iterator[Numbers]:
    """Endless vectors of numbers from 0 to 2047, two a word, the lower half's first.

    Args:
        generator: One of :data:`GENERATORS`.
        seeds: States before the first, shape ``(words,)``.
    """
    states: npt.NDArray[Any] = seeds.astype(np.uint32)
    while True:
        states = advance(generator, states)
        yield states.view(np.uint16) >> np.uint16(16 - BITS)
