"""Clocks of a matrix product on an output-stationary array: a systolic mesh as SCALE-Sim counts it, and ours without what a mesh adds.

Both hold ``rows x columns`` results at a time, a *fold*, and take one step of k a clock. In a mesh operands enter at two edges and move
one element a clock, so the last element starts ``rows + columns - 2`` clocks after the first: the *skew*, which every fold pays. Ours hands a step to
all elements in one clock and drains a fold while the next accumulates. Source of the mesh's counts: SCALE-Sim (Samajdar et al.,
arXiv 1811.02883), dataflow ``os``, without memory stalls.
"""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MatrixConfig


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """``count`` products (m, k) x (k, n), one after the other."""

    name: str
    m: int
    k: int
    n: int
    count: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all of them."""
        return self.count * self.m * self.k * self.n

    def folds(self, rows: int, columns: int) -> int:
        """Tiles of ``rows x columns`` results in one product."""
        return ceil(self.m / rows) * ceil(self.n / columns)


def skew_clk(rows: int, columns: int) -> int:
    """Clocks by which the last element of a mesh starts after the first; of our array 0."""
    return rows + columns - 2


def mesh_clk(gemm: Gemm, *, rows: int, columns: int) -> int:
    """Clocks of one product on a systolic mesh: SCALE-Sim's count, which is the number of its last clock from 0.

    >>> mesh_clk(Gemm(name="", m=128, k=768, n=768), rows=32, columns=32)
    79679
    """
    return gemm.folds(rows, columns) * (gemm.k + skew_clk(rows, columns)) - 1


def steps_clk(gemm: Gemm, *, rows: int, columns: int) -> int:
    """Clocks in which our array accumulates: one a step, and folds follow each other without a gap where k is at least ``rows``.

    >>> product = Gemm(name="", m=128, k=768, n=768)
    >>> steps_clk(product, rows=32, columns=32), mesh_clk(product, rows=32, columns=32)
    (73728, 79679)
    """
    return gemm.folds(rows, columns) * gemm.k


def stream_clk(gemm: Gemm, config: MatrixConfig) -> int:
    """Clocks for which our matrix stream is held: :func:`steps_clk` with k rounded up to whole blocks of operands.

    >>> stream_clk(Gemm(name="", m=12544, k=147, n=64), MatrixConfig()), steps_clk(Gemm(name="", m=12544, k=147, n=64), rows=32, columns=32)
    (125440, 115248)
    """
    block = config.block_steps
    return gemm.folds(config.rows, config.columns) * ceil(gemm.k / block) * block


def fill_and_drain_clk(config: MatrixConfig) -> int:
    """Clocks of our array beyond its steps, once for a whole product: from the last step to the drain registers, and ``rows`` to leave them.

    >>> fill_and_drain_clk(MatrixConfig())
    33
    """
    return config.latency_clk - 2 + config.rows
