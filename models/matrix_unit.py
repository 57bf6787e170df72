"""Bits of the matrix unit: exact sums, scaled and rounded once."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.config import MatrixConfig
from lanewise.models.lfsr import States, random_bits
from lanewise.models.mac_array import Int, mac_array
from lanewise.models.requantiser import requantise


def matrix_tile(a: Int, w: Int, *, a_bits: int = 4, w_bits: int = 4, **output: Any) -> npt.NDArray[Any]:
    """``requantise(a @ w)``, the sums modulo 2**32.

    Args:
        a, w: Operands, shapes ``(m, k)`` and ``(k, n)``, as :func:`~lanewise.models.mac_array.mac_array` takes them.
        a_bits, w_bits: 4 or 8.
        output: Bias, multipliers, shift, format and random bits: keywords of
            :func:`~lanewise.models.requantiser.requantise`, which says what is returned.

    >>> scale = dict(bias=[1], column_multiplier=[1], row_multiplier=[1], shift=4, form="int8")
    >>> matrix_tile(np.array([[100, -8]]), np.array([[-8], [7]]), a_bits=8, **scale)
    array([[-53]], dtype=int8)
    """
    return requantise(mac_array(a, w, a_bits, w_bits), **output)


def tile_random(states: States, tiles: int, config: MatrixConfig) -> tuple[npt.NDArray[np.uint16], States]:
    """The random bits of each result of tiles that leave one after the other, and the states after them.

    Returns:
        Bits, shape ``(tiles, rows, columns)``; states, shape ``(lanes,)``.

    >>> from lanewise.models.lfsr import lane_states
    >>> bits, _ = tile_random(lane_states(1, 2), 3, MatrixConfig(rows=4, columns=5, output_lanes=2))
    >>> bits.shape
    (3, 4, 5)
    """
    bits, states = random_bits(states, tiles * config.rows * config.row_beats)
    return bits.reshape(tiles, config.rows, -1)[:, :, : config.columns], states
