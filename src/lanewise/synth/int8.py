"""The INT8 arrays that an INT4 array is compared with: of equal shape, and of equal area."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.mac_array import MacArray
from lanewise.synth.component import Synthesis, Synthesiser
from lanewise.synth.liberty import Liberty, load_liberty


def equal_area_int8(
    config: MachineConfig,
    *,
    liberty: Path | None = None,
    node_nm: float | None = None,
    cache: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> MatrixConfig:
    """The largest INT8 array of about the same aspect that is no larger than the machine's, by synthesis.

    Raises:
        UserError, SynthesisError: As :func:`lanewise.synth.synthesise`.
    """
    comparison = compare_int8(config, liberty=liberty, node_nm=node_nm, cache=cache, progress=progress)
    return comparison.equal_area


def compare_int8(
    config: MachineConfig,
    *,
    liberty: Path | None = None,
    node_nm: float | None = None,
    cache: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> "Int8Comparison":
    """Synthesise the machine's array, the INT8 array of equal shape, and the one of equal area.

    Candidates have ``r`` rows and ``columns * r / rows`` columns, rounded, at least 1. Where to begin is
    estimated from the equal-shape array: its elements' area scaled with rows x columns, its edge's with
    rows + columns. From there arrays are synthesised until one fits and the next does not.

    Raises:
        UserError, SynthesisError: As :func:`lanewise.synth.synthesise`.
        ValueError: Not even the smallest candidate fits.
    """
    library = load_liberty(liberty, node_nm)
    run = Synthesiser(liberty=library, clock_ns=config.clock_ns, cache=cache, progress=progress)

    def array(matrix: MatrixConfig) -> Synthesis:
        return run(MacArray(matrix), "mac_array")

    own = array(config.matrix)
    same_shape = dataclasses.replace(config.matrix, operand_bits=8)
    same = array(same_shape)
    candidates = candidates_int8(config.matrix)
    begin = sum(_estimate(matrix, same_shape, same) <= own.area_um2 for matrix in candidates) - 1
    k = max(begin, 0)
    tried = {k: array(candidates[k])}
    while tried[k].area_um2 > own.area_um2:
        if k == 0:
            raise ValueError(
                f"an INT8 array of 1 x {candidates[0].columns} is larger than the machine's array"
            )
        k -= 1
        tried.setdefault(k, array(candidates[k]))
    while k + 1 < len(candidates):
        if k + 1 not in tried:
            tried[k + 1] = array(candidates[k + 1])
        if tried[k + 1].area_um2 > own.area_um2:
            break
        k += 1
    return Int8Comparison(
        library=library, matrix=config.matrix, matrix_area_um2=own.area_um2, same_shape=same_shape,
        same_shape_area_um2=same.area_um2, equal_area=candidates[k], equal_area_area_um2=tried[k].area_um2,
    )  # fmt: skip


def candidates_int8(matrix: MatrixConfig) -> list[MatrixConfig]:
    """INT8 arrays of about ``matrix``'s aspect, up to its shape, the smallest first.

    >>> [(c.rows, c.columns) for c in candidates_int8(MatrixConfig(rows=4, columns=2))]
    [(1, 1), (2, 1), (3, 2), (4, 2)]
    """
    candidates = []
    for rows in range(1, matrix.rows + 1):
        columns = (2 * matrix.columns * rows + matrix.rows) // (2 * matrix.rows)
        candidates.append(dataclasses.replace(matrix, operand_bits=8, rows=rows, columns=max(1, columns)))
    return candidates


def _estimate(matrix: MatrixConfig, known: MatrixConfig, synthesis: Synthesis) -> float:
    pe_um2 = synthesis.block("pe").area_each_um2
    edge_um2 = synthesis.block().own_area_um2
    edge = edge_um2 * (matrix.rows + matrix.columns) / (known.rows + known.columns)
    return pe_um2 * matrix.macs_per_clk + edge


@dataclass(frozen=True, kw_only=True)
class Int8Comparison:
    """Three arrays and their areas."""

    library: Liberty
    matrix: MatrixConfig
    """The machine's."""
    matrix_area_um2: float
    same_shape: MatrixConfig
    """INT8, as many rows and columns."""
    same_shape_area_um2: float
    equal_area: MatrixConfig
    """INT8, the largest that is no larger in area."""
    equal_area_area_um2: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON; units are in the keys."""
        areas = {
            "machine": (self.matrix, self.matrix_area_um2),
            "int8_same_shape": (self.same_shape, self.same_shape_area_um2),
            "int8_equal_area": (self.equal_area, self.equal_area_area_um2),
        }
        return {"library": self.library.name, "node_nm": self.library.node_nm} | {
            name: {"rows": m.rows, "columns": m.columns, "operand_bits": m.operand_bits, "area_um2": area_um2}
            for name, (m, area_um2) in areas.items()
        }
