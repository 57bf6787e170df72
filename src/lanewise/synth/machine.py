"""Synthesis of a machine: its core with Flex-SFU and without, and what the matrix unit has beside the core."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanewise.config import MachineConfig
from lanewise.errors import UserError
from lanewise.synth.block import Block
from lanewise.synth.component import Synthesis, Synthesiser
from lanewise.synth.core import FLEX_SFU, MULTIPLY_ADD, VECTOR_UNIT, CoreArea, core_area
from lanewise.synth.liberty import Liberty, load_liberty
from lanewise.synth.matrix_side import MATRIX_PARTS, matrix_side
from lanewise.synth.yosys import tool_versions

BASELINE_NOTE = (
    "standard cells of the core without Flex-SFU and its ports of the register file: vector unit, tags, DMA, the matrix stream, and the "
    "scratchpad's rotation and addresses; not its SRAM, nor what stands beside the core; the register file is of flip-flops, and one of "
    "latches or SRAM would be smaller"
)
F_MAX_NOTE = "no timing analysis; slowest_block is the mapper's estimate of the logic within one block, without wires, flip-flops and paths that cross blocks"


def synthesise(
    config: MachineConfig,
    *,
    liberty: Path | None = None,
    node_nm: float | None = None,
    cache: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> "SynthResult":
    """Area of the machine's blocks in a standard-cell library.

    Synthesised are: the core; if it has Flex-SFU, the core without it as well; what of the matrix side is not in the core: the FP16
    array, or with an INT4 array the operand path and the row sampler.

    Args:
        config: The machine; ``clock_ns`` is the mapper's delay target.
        liberty: Library; ``None`` is the Nangate 45 nm open cell library.
        node_nm: The library's process node, where it is not the default.
        cache: Folder that keeps results, netlists and logs.
        progress: Is told, in a line, what is being done.

    Raises:
        UserError: The library is missing or of no use; or Flex-SFU has other lanes than the vector unit.
        SynthesisError: Yosys failed, a cell was left unmapped, or a latch was inferred.
    """
    started = time.perf_counter()
    lanes = config.flex_sfu.lanes, config.vector.lanes
    if config.flex_sfu.enabled and lanes[0] != lanes[1]:
        raise UserError(f"flex_sfu.lanes must be vector.lanes = {lanes[1]} in the core, not {lanes[0]}")
    library = load_liberty(liberty, node_nm)
    run = Synthesiser(liberty=library, clock_ns=config.clock_ns, cache=cache, progress=progress)
    core = core_area(config, run)
    baseline = core_area(config.baseline(), run) if config.flex_sfu.enabled else core

    def make() -> tuple[dict[str, Synthesis], Any]:
        return {name: run(component, name) for name, component in matrix_side(config).items()}, None

    parts, _ = run.remembered(f"matrix side {config!r}", make)
    return SynthResult(
        library=library, clock_ns=config.clock_ns, config_hash=config.hash, core=core, baseline=baseline, parts=parts,
        seconds=time.perf_counter() - started,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SynthResult:
    """Areas of a machine's blocks; two results of equal machine, library and tools are equal."""

    library: Liberty
    clock_ns: float
    config_hash: str
    core: CoreArea
    """The machine's core."""
    baseline: CoreArea
    """The same without Flex-SFU: ``core`` itself where there is none."""
    parts: dict[str, Synthesis]
    """The matrix side by name; what of it is in the core is found again there."""
    seconds: float = field(compare=False)

    @property
    def beside(self) -> dict[str, Synthesis]:
        """What of the matrix side is not in the core, by name."""
        inside = {part.blocks[0].path for part in self.core.parts.values()}
        return {name: part for name, part in self.parts.items() if name not in inside}

    @property
    def area_um2(self) -> float:
        """Standard cells of the machine: its core, and what is beside it."""
        return _sum((self.core.area_um2, *(part.area_um2 for part in self.beside.values())))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks of the core, then of what is beside it, each whole before what is in it."""
        return self.core.blocks + tuple(block for part in self.beside.values() for block in part.blocks)

    @property
    def baseline_area_um2(self) -> float:
        """Standard cells of the core without Flex-SFU; see ``BASELINE_NOTE``."""
        return self.baseline.area_um2

    @property
    def matrix_side_um2(self) -> float:
        """Area of all that multiplies matrices and makes operands for it, without what brings them."""
        return _sum(self.parts[name].area_um2 for name in MATRIX_PARTS if name in self.parts)

    @property
    def flex_sfu_area_um2(self) -> float | None:
        """Flex-SFU's unit: multiply-adds of its own, walker and the loads of its tables; ``None`` where there is no Flex-SFU."""
        block = self.core.block(FLEX_SFU)
        return None if block is None else block.area_um2

    @property
    def overhead_um2(self) -> float | None:
        """All that Flex-SFU adds to the core: its unit, its ports of the register file, its part of the sequencer."""
        return None if self.flex_sfu_area_um2 is None else self._added("core")

    @property
    def overhead_percent(self) -> float | None:
        """``overhead_um2`` in percent of the core without it."""
        return self.overheads()["as_it_is"]["core"] if self.overhead_um2 is not None else None

    @property
    def overhead_by_block_um2(self) -> dict[str, float]:
        """``overhead_um2`` by block of the vector unit; ``rest`` is between them."""
        inside = [b.path for b in self.core.blocks if b.path.rpartition("/")[0] == VECTOR_UNIT]
        added = {path: self._added(path) for path in inside}
        added["rest"] = _sum((self._added("core"), *(-area for area in added.values())))
        return {path: area for path, area in added.items() if area}

    def overheads(self) -> dict[str, dict[str, float]]:
        """Percent that Flex-SFU adds to the core and to the vector unit alone, by design; empty where there is none.

        ``as_it_is``: the RTL. The others leave something out of what is added: ``without_multiply_adds`` those of Flex-SFU, as if it used the
        vector lanes' (so the paper counts); ``without_ports`` what the register file has more, as if it shared another unit's
        ports; ``without_both``.
        """
        if self.flex_sfu_area_um2 is None:
            return {}
        multiply_add = self.core.block(MULTIPLY_ADD)
        multiply_add_um2 = 0.0 if multiply_add is None else multiply_add.area_um2
        ports_um2 = self._added(f"{VECTOR_UNIT}/registers")
        left_out = {
            "as_it_is": 0.0,
            "without_multiply_adds": multiply_add_um2,
            "without_ports": ports_um2,
            "without_both": multiply_add_um2 + ports_um2,
        }
        return {
            design: {
                name: round(100 * (self._added(path) - out_um2) / self._baseline_um2(path), 3)
                for name, path in (("core", "core"), ("vector_unit", VECTOR_UNIT))
            }
            for design, out_um2 in left_out.items()
        }

    def _baseline_um2(self, path: str) -> float:
        block = self.baseline.block(path)
        return 0.0 if block is None else block.area_um2

    def _added(self, path: str) -> float:
        block = self.core.block(path)
        return round((0.0 if block is None else block.area_um2) - self._baseline_um2(path), 3)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; units are in the keys."""
        slowest = self.core.slowest
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
            "slowest_block": None
            if slowest is None
            else {"path": slowest.path, "abc_delay_ps": slowest.abc_delay_ps},
            "blocks": {block.path: block.as_dict() for block in self.blocks},
            "macros": {macro.path: macro.as_dict() for macro in self.core.macros},
            "matrix_side_um2": self.matrix_side_um2,
            "baseline_area_um2": self.baseline_area_um2,
            "baseline": {
                "note": BASELINE_NOTE,
                "vector_unit_area_um2": self._baseline_um2(VECTOR_UNIT),
                "blocks": {block.path: block.as_dict() for block in self.baseline.blocks},
            },
            "flex_sfu_area_um2": self.flex_sfu_area_um2,
            "overhead_um2": self.overhead_um2,
            "overhead_by_block_um2": self.overhead_by_block_um2,
            "overhead_percent": self.overhead_percent,
            "overheads_percent": self.overheads(),
            "tools": tool_versions(),
            "cached": all(part.cached for part in self._syntheses()),
            "seconds": round(self.seconds, 3),
        }

    def _syntheses(self) -> list[Synthesis]:
        return [*self.core.parts.values(), *self.baseline.parts.values(), *self.parts.values()]


def _sum(areas: Iterable[float]) -> float:
    return round(sum(areas), 3)
