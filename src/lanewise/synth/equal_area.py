"""The largest array of other operands that is no larger than a given area."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from lanewise.config import MatrixConfig
from lanewise.synth.component import Synthesis

Synthesise = Callable[[MatrixConfig], Synthesis]


def candidates(matrix: MatrixConfig, operand_bits: int, *, up_to: int) -> list[MatrixConfig]:
    """Arrays of ``operand_bits`` of about ``matrix``'s aspect and up to so many rows and columns, the smallest first.

    Each has ``r`` rows and ``columns * r / rows`` columns, rounded, at least 1.

    >>> [(c.rows, c.columns) for c in candidates(MatrixConfig(rows=4, columns=2), 8, up_to=4)]
    [(1, 1), (2, 1), (3, 2), (4, 2)]
    """
    found = []
    for rows in range(1, up_to + 1):
        columns = max(1, (2 * matrix.columns * rows + matrix.rows) // (2 * matrix.rows))
        if columns <= up_to:
            found.append(dataclasses.replace(matrix, operand_bits=operand_bits, rows=rows, columns=columns))
    return found


def all_shapes(matrix: MatrixConfig, operand_bits: int, *, up_to: int) -> list[MatrixConfig]:
    """Arrays of ``operand_bits``, at most twice as long one way as the other, by multiply-accumulates; of as many, the squarest last.

    >>> [(c.rows, c.columns) for c in all_shapes(MatrixConfig(), 16, up_to=3)]
    [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (3, 3)]
    """
    sides = range(1, up_to + 1)
    shapes = [(r, c) for r in sides for c in sides if max(r, c) <= 2 * min(r, c)]
    shapes.sort(key=lambda shape: (shape[0] * shape[1], -abs(shape[0] - shape[1]), shape))
    return [dataclasses.replace(matrix, operand_bits=operand_bits, rows=r, columns=c) for r, c in shapes]


def largest_within(
    arrays: list[MatrixConfig], budget_um2: float, array: Synthesise, known: MatrixConfig
) -> tuple[MatrixConfig, float]:
    """The last of ``arrays`` whose synthesised area is at most ``budget_um2``, and that area.

    Where to begin is estimated from ``known``: its elements' area scaled with rows x columns, its edge's with
    rows + columns. From there arrays are synthesised until one fits and neither of the next two does.

    Raises:
        ValueError: Not even the smallest fits.
    """
    synthesis = array(known)
    within = [
        place for place, matrix in enumerate(arrays) if _estimate(matrix, known, synthesis) <= budget_um2
    ]
    k = max(within, default=0)
    areas: dict[int, float] = {}

    def area_um2(place: int) -> float:
        if place not in areas:
            areas[place] = array(arrays[place]).area_um2
        return areas[place]

    while area_um2(k) > budget_um2:
        if k == 0:
            raise ValueError(
                f"budget_um2 must be at least {area_um2(0):.0f}, of {arrays[0].rows} x {arrays[0].columns}, "
                f"not {budget_um2:.0f}"
            )
        k -= 1
    while larger := [
        place for place in (k + 1, k + 2) if place < len(arrays) and area_um2(place) <= budget_um2
    ]:
        k = larger[-1]
    return arrays[k], area_um2(k)


def arrays_as_dict(areas: Mapping[str, tuple[MatrixConfig, float]]) -> dict[str, Any]:
    """Shapes and areas of arrays, for JSON."""
    return {
        name: {"rows": m.rows, "columns": m.columns, "operand_bits": m.operand_bits, "area_um2": area_um2}
        for name, (m, area_um2) in areas.items()
    }


def _estimate(matrix: MatrixConfig, known: MatrixConfig, synthesis: Synthesis) -> float:
    (element,) = (block for block in synthesis.blocks if block.path.split("/")[-1] == "pe")
    pe_um2 = element.area_each_um2
    edge_um2 = synthesis.area_um2 - element.area_um2
    edge = edge_um2 * (matrix.rows + matrix.columns) / (known.rows + known.columns)
    return pe_um2 * matrix.macs_per_clk + edge
