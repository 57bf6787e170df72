"""The FP16 arrays that an INT4 array is compared with: of equal shape, and of equal area."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanewise.config import MachineConfig, MatrixConfig
from lanewise.errors import UserError
from lanewise.rtl.fp16_array import Fp16Array
from lanewise.synth.component import Synthesis, Synthesiser
from lanewise.synth.equal_area import all_shapes, arrays_as_dict, largest_within
from lanewise.synth.liberty import Liberty, load_liberty
from lanewise.synth.matrix_side import matrix_side


def compare_fp16(
    config: MachineConfig,
    *,
    budget_um2: float,
    liberty: Path | None = None,
    node_nm: float | None = None,
    cache: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> "Fp16Comparison":
    """Synthesise the FP16 array of the machine's shape, and the largest one that is no larger than ``budget_um2``.

    Args:
        config: The machine; ``clock_ns`` is the mapper's delay target.
        budget_um2: Area of what the FP16 array takes the place of, such as the INT4 array with its output path,
            for an FP16 array rounds its rows itself.
        liberty, node_nm, cache, progress: As :func:`lanewise.synth.synthesise`.

    Candidates are all shapes up to 64 x 64 that are at most twice as long one way as the other; the most multiply-accumulates win.

    Raises:
        UserError, SynthesisError: As :func:`lanewise.synth.synthesise`.
        ValueError: Not even the smallest candidate fits.
    """
    library = load_liberty(liberty, node_nm)
    run = Synthesiser(liberty=library, clock_ns=config.clock_ns, cache=cache, progress=progress)

    def array(matrix: MatrixConfig) -> Synthesis:
        return run(Fp16Array(matrix), "fp16_array")

    same_shape = dataclasses.replace(config.matrix, operand_bits=16)
    same = array(same_shape)
    element = same.block("pe")
    equal, equal_um2 = largest_within(all_shapes(config.matrix, 16, up_to=64), budget_um2, array, same_shape)
    return Fp16Comparison(
        library=library, clock_ns=config.clock_ns, budget_um2=budget_um2, same_shape=same_shape,
        same_shape_area_um2=same.area_um2, equal_area=equal, equal_area_area_um2=equal_um2,
        element_area_um2=round(element.area_each_um2, 3), element_delay_ps=element.abc_delay_ps or 0.0,
    )  # fmt: skip


def equal_area_fp16(
    config: MachineConfig,
    *,
    liberty: Path | None = None,
    node_nm: float | None = None,
    cache: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> "Fp16Comparison":
    """:func:`compare_fp16` with the area of the machine's matrix unit, operand path and row sampler as the budget.

    Raises:
        UserError: Not even the smallest FP16 array fits; or as :func:`compare_fp16`.
        SynthesisError: As :func:`compare_fp16`.
    """
    library = load_liberty(liberty, node_nm)
    run = Synthesiser(liberty=library, clock_ns=config.clock_ns, cache=cache, progress=progress)
    parts = [run(component, name) for name, component in matrix_side(config).items()]
    budget_um2 = round(sum(part.area_um2 for part in parts), 3)
    try:
        return compare_fp16(
            config, budget_um2=budget_um2, liberty=liberty, node_nm=node_nm, cache=cache, progress=progress
        )
    except ValueError as error:
        raise UserError(f"no FP16 array is as small as the machine's INT4 side: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Fp16Comparison:
    """Two arrays and their areas."""

    library: Liberty
    clock_ns: float
    budget_um2: float
    """What the second may not exceed."""
    same_shape: MatrixConfig
    """FP16, as many rows and columns as the machine's array."""
    same_shape_area_um2: float
    equal_area: MatrixConfig
    """FP16, the largest within the budget."""
    equal_area_area_um2: float
    element_area_um2: float
    element_delay_ps: float
    """The mapper's estimate of the longest stage of an element, without wires and flip-flops."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; units are in the keys."""
        areas = {
            "fp16_same_shape": (self.same_shape, self.same_shape_area_um2),
            "fp16_equal_area": (self.equal_area, self.equal_area_area_um2),
        }
        return {
            "library": self.library.name,
            "node_nm": self.library.node_nm,
            "clock_ns": self.clock_ns,
            "budget_um2": self.budget_um2,
            "element_area_um2": self.element_area_um2,
            "element_delay_ps": self.element_delay_ps,
        } | arrays_as_dict(areas)
