"""How operands, constants and results of matrix products lie in memory."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.config import MatrixConfig

Bytes = npt.NDArray[np.uint8]


def packed_lines(values: npt.NDArray[np.integer], bits: int) -> Bytes:
    """Lines of integers, each from a byte on; two INT4 a byte, the first in the low bits, zero above an odd number of them.

    Args:
        values: Shape ``(..., lines, k)``; of a turned operand ``(..., k, lines)``.
        bits: 4 or 8.

    Returns:
        Shape ``(..., lines, bytes)``.

    Raises:
        ValueError: A value is out of range.

    >>> packed_lines(np.array([[1, -1, 2]]), 4).tolist()
    [[241, 2]]
    """
    half = 1 << (bits - 1)
    if values.size and not (-half <= values.min() and values.max() < half):
        raise ValueError(f"values must be in [{-half}, {half - 1}], not {values.min()} to {values.max()}")
    codes: Bytes = (values & ((1 << bits) - 1)).astype(np.uint8)
    if bits == 4:
        codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, codes.shape[-1] % 2)])
        codes = (codes[..., ::2] | codes[..., 1::2] << 4).astype(np.uint8)
    return codes


def unpacked_lines(data: Bytes, bits: int, k: int) -> npt.NDArray[np.int8]:
    """Inverse of :func:`packed_lines`: the first ``k`` elements of each line, shape ``(..., lines, k)``.

    >>> unpacked_lines(np.array([[241, 2]], np.uint8), 4, 3).tolist()
    [[1, -1, 2]]
    """
    if bits == 4:
        data = np.stack([data & 15, data >> 4], -1).reshape(*data.shape[:-1], -1)
        data = ((data ^ 8) - np.uint8(8)).astype(np.uint8)
    values: npt.NDArray[np.int8] = np.ascontiguousarray(data[..., :k]).view(np.int8)
    return values


def column_constants(
    bias: npt.ArrayLike, multiplier: npt.ArrayLike, config: MatrixConfig, columns: int = 0
) -> Bytes:
    """The columns' constants of a product, tile by tile: for each beat of a row as many INT32 biases as the output path has lanes, then as many
    16-bit multipliers; zeros where a tile has no column.

    Args:
        bias, multiplier: Shape ``(n,)``: INT32, and 0 to 65535.
        columns: Of a tile; 0: the array's.

    Returns:
        Shape ``(tiles, bytes of a tile)``.

    >>> column_constants([1, -1, 5], [7, 8, 9], MatrixConfig(rows=2, columns=2, output_lanes=1))[1].tolist()
    [5, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]
    """
    columns = columns or config.columns
    lanes, beats = config.requantiser_lanes, config.row_beats
    biases, multipliers = (np.asarray(values).astype(np.int64) for values in (bias, multiplier))
    tiles = -(-len(biases) // columns)

    def beat(values: npt.NDArray[np.int64], kind: str) -> npt.NDArray[Any]:
        whole = np.zeros((tiles, columns), np.int64)
        whole.reshape(-1)[: len(values)] = values
        padded = np.zeros((tiles, beats * lanes), kind)
        padded[:, :columns] = whole.astype(kind)
        return padded.reshape(tiles, beats, lanes).view(np.uint8)

    return np.concatenate([beat(biases, "<i4"), beat(multipliers, "<u2")], -1).reshape(tiles, -1)
