"""Synthesis of a machine: Flex-SFU, matrix unit, and the baseline vector unit as far as its RTL exists."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanewise.config import MachineConfig
from lanewise.formats import FORMATS
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.rtl.fp16_array import Fp16Array
from lanewise.rtl.matrix_unit import MatrixUnit
from lanewise.rtl.multiply_add import MultiplyAdd
from lanewise.rtl.operand_path import OperandPath
from lanewise.rtl.register_file import RegisterFile
from lanewise.rtl.row_sampler import RowSampler
from lanewise.synth.block import Block
from lanewise.synth.component import Synthesis, Synthesiser
from lanewise.synth.liberty import Liberty, load_liberty
from lanewise.synth.yosys import tool_versions

BASELINE_NOTE = (
    "synthesised parts of the baseline vector unit: multiply-adds and register file; sequencer, load/store "
    "unit and integer ALU are not in it, so the overhead given is an upper bound; the register file is of "
    "flip-flops, and one of latches or SRAM would be smaller"
)
F_MAX_NOTE = "no timing analysis; abc_delay_ps is the mapper's estimate of a block's logic, without wires"
BASELINE_PARTS = ("vector_fma", "vector_register_file")
MATRIX_PARTS = ("matrix_unit", "fp16_array", "operand_path", "row_sampler")


def synthesise(
    config: MachineConfig,
    *,
    liberty: Path | None = None,
    node_nm: float | None = None,
    cache: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> "SynthResult":
    """Area of the machine's blocks in a standard-cell library.

    Synthesised are: Flex-SFU, if the machine has one; the matrix unit, or the FP16 array; with an INT4 array the operand
    path and the row sampler; ``2 * vector.lanes``
    FP16 multiply-adds and the vector register file, which any vector unit of this size has.

    Args:
        config: The machine; ``clock_ns`` is the mapper's delay target.
        liberty: Library; ``None`` is the Nangate 45 nm open cell library.
        node_nm: The library's process node, where it is not the default.
        cache: Folder that keeps results, netlists and logs.
        progress: Is told, in a line, what is being done.

    Raises:
        UserError: The library is missing or of no use.
        SynthesisError: Yosys failed, a cell was left unmapped, or a latch was inferred.
    """
    started = time.perf_counter()
    library = load_liberty(liberty, node_nm)
    run = Synthesiser(liberty=library, clock_ns=config.clock_ns, cache=cache, progress=progress)
    parts = {"flex_sfu": run(FlexSfu(config.flex_sfu), "flex_sfu")} if config.flex_sfu.enabled else {}
    if config.matrix.integers:
        parts["matrix_unit"] = run(MatrixUnit(config.matrix), "matrix_unit")
    else:
        parts["fp16_array"] = run(Fp16Array(config.matrix), "fp16_array")
    if config.matrix.splits:
        parts["operand_path"] = run(OperandPath(config.operand_path), "operand_path")
        parts["row_sampler"] = run(RowSampler(config.operand_path), "row_sampler")
    parts["vector_fma"] = run(
        MultiplyAdd(lanes=config.vector.lanes, formats=(FORMATS["fp16"],)), "vector_fma"
    )
    parts["vector_register_file"] = run(RegisterFile(config.vector), "vector_register_file")
    return SynthResult(
        library=library, clock_ns=config.clock_ns, config_hash=config.hash, parts=parts,
        seconds=time.perf_counter() - started,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SynthResult:
    """Areas of a machine's blocks; two results of equal machine, library and tools are equal."""

    library: Liberty
    clock_ns: float
    config_hash: str
    parts: dict[str, Synthesis]
    """What was synthesised, by name."""
    seconds: float = field(compare=False)

    @property
    def area_um2(self) -> float:
        """Area of all parts."""
        return _sum(part.area_um2 for part in self.parts.values())

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks of all parts, each part's whole before what is in it."""
        return tuple(block for part in self.parts.values() for block in part.blocks)

    @property
    def baseline_area_um2(self) -> float:
        """Area of the parts of the baseline vector unit; see ``BASELINE_NOTE``."""
        return _sum(self.parts[name].area_um2 for name in BASELINE_PARTS)

    @property
    def matrix_side_um2(self) -> float:
        """Area of all that multiplies matrices and makes operands for it."""
        return _sum(self.parts[name].area_um2 for name in MATRIX_PARTS if name in self.parts)

    @property
    def flex_sfu_area_um2(self) -> float | None:
        """Area of Flex-SFU with its own multiply-adds, as in the RTL; ``None`` where there is no Flex-SFU."""
        return self.parts["flex_sfu"].area_um2 if "flex_sfu" in self.parts else None

    @property
    def flex_sfu_without_multiply_adds_um2(self) -> float | None:
        """Area of Flex-SFU if it used the vector lanes' multiply-adds, as the paper counts it."""
        if "flex_sfu" not in self.parts:
            return None
        part = self.parts["flex_sfu"]
        return _sum((part.area_um2, -part.block("multiply_add").area_um2))

    @property
    def overhead_percent(self) -> float | None:
        """Flex-SFU with its own multiply-adds, in percent of the baseline's parts: an upper bound."""
        return self._overhead(self.flex_sfu_area_um2)

    @property
    def overhead_without_multiply_adds_percent(self) -> float | None:
        """Flex-SFU without multiply-adds, in percent of the baseline's parts: an upper bound."""
        return self._overhead(self.flex_sfu_without_multiply_adds_um2)

    def _overhead(self, area_um2: float | None) -> float | None:
        return None if area_um2 is None else round(100 * area_um2 / self.baseline_area_um2, 3)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; units are in the keys."""
        return {
            "library": self.library.name,
            "node_nm": self.library.node_nm,
            "node": "unknown" if self.library.node_nm is None else f"{self.library.node_nm:g} nm",
            "library_sha256": self.library.sha256,
            "config_hash": self.config_hash,
            "clock_ns": self.clock_ns,
            "area_um2": self.area_um2,
            "f_max_mhz": None,
            "f_max_note": F_MAX_NOTE,
            "blocks": {block.path: block.as_dict() for block in self.blocks},
            "matrix_side_um2": self.matrix_side_um2,
            "baseline_area_um2": self.baseline_area_um2,
            "baseline": {"parts": list(BASELINE_PARTS), "note": BASELINE_NOTE},
            "flex_sfu_area_um2": self.flex_sfu_area_um2,
            "flex_sfu_without_multiply_adds_um2": self.flex_sfu_without_multiply_adds_um2,
            "overhead_percent": self.overhead_percent,
            "overhead_without_multiply_adds_percent": self.overhead_without_multiply_adds_percent,
            "tools": tool_versions(),
            "cached": all(part.cached for part in self.parts.values()),
            "seconds": round(self.seconds, 3),
        }


def _sum(areas: Iterable[float]) -> float:
    return round(sum(areas), 3)
