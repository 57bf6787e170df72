"""Shapes of arrays and tiles of products, drawn at random, for the benches of the array and of the matrix unit."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.config import MatrixConfig

Tile: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], tuple[int, int]]
"""Operands, shapes ``(rows, k)`` and ``(k, columns)``, and their widths."""

_SMALLEST, _LARGEST = 4, 64


def random_arrays(rng: np.random.Generator, count: int) -> list[MatrixConfig]:
    """Arrays of different shapes from 4 x 4 to 64 x 64, small sizes as likely as large ones, a row in 1 to 4 beats.

    >>> [(a.rows, a.columns, a.output_lanes) for a in random_arrays(np.random.default_rng(1), 3)]
    [(16, 56, 56), (56, 9, 9), (13, 40, 20)]
    """
    drawn: dict[tuple[int, int], MatrixConfig] = {}
    while len(drawn) < count:
        low, high = np.log(_SMALLEST), np.log(_LARGEST + 1)
        rows, columns = (int(size) for size in np.exp(rng.uniform(low, high, 2)))
        beats = int(rng.integers(1, 5))
        lanes = -(-columns // beats)
        drawn[rows, columns] = MatrixConfig(rows=rows, columns=columns, output_lanes=lanes)
    return list(drawn.values())


def random_tile(rng: np.random.Generator, config: MatrixConfig, k: int, bits: tuple[int, int]) -> Tile:
    """Operands of ``bits``, any that there are."""
    a_half, w_half = (1 << (width - 1) for width in bits)
    return (
        rng.integers(-a_half, a_half, (config.rows, k)),
        rng.integers(-w_half, w_half, (k, config.columns)),
        bits,
    )


def random_tiles(rng: np.random.Generator, config: MatrixConfig, count: int, leaves_clk: int) -> list[Tile]:
    """Every pair of widths, shorter and longer than the time in which a tile leaves, single steps among them."""
    lengths = [1, 1, 2, max(1, leaves_clk // 4), leaves_clk, leaves_clk + 1]
    tiles = []
    for _ in range(count):
        k = int(rng.choice([*lengths, int(rng.integers(1, leaves_clk + 8))]))
        tiles.append(random_tile(rng, config, k, (int(rng.choice([4, 8])), int(rng.choice([4, 8])))))
    return tiles
