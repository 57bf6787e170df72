"""The INT8 matrix units that an INT4 one is compared with: of equal shape, and of equal area, each with its output path."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.rtl.matrix_unit import MatrixUnit
from lanewise.synth.component import Synthesis, Synthesiser
from lanewise.synth.equal_area import arrays_as_dict, candidates, largest_within
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
    """Synthesise the machine's matrix unit, the INT8 one of equal shape, and the one of equal area.

    Candidates are arrays of about the machine's aspect, up to its shape.

    Raises:
        UserError, SynthesisError: As :func:`lanewise.synth.synthesise`.
        ValueError: Not even the smallest candidate fits.
    """
    library = load_liberty(liberty, node_nm)
    run = Synthesiser(liberty=library, clock_ns=config.clock_ns, cache=cache, progress=progress)

    def array(matrix: MatrixConfig) -> Synthesis:
        return run(MatrixUnit(matrix), "matrix_unit")

    own = array(config.matrix)
    same_shape = dataclasses.replace(config.matrix, operand_bits=8)
    same = array(same_shape)
    smaller = [c for c in candidates(config.matrix, 8, up_to=64) if c.rows <= config.matrix.rows]
    equal, equal_um2 = largest_within(smaller, own.area_um2, array, same_shape)
    return Int8Comparison(
        library=library, matrix=config.matrix, matrix_area_um2=own.area_um2, same_shape=same_shape,
        same_shape_area_um2=same.area_um2, equal_area=equal, equal_area_area_um2=equal_um2,
    )  # fmt: skip


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
        return {"library": self.library.name, "node_nm": self.library.node_nm} | arrays_as_dict(areas)
