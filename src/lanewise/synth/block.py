"""Areas by block: one netlist's statistics laid out along its hierarchy."""

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from lanewise.synth.liberty import Liberty
from lanewise.synth.yosys import SynthesisError, YosysRun

_INDEX = re.compile(r"(_?\d+)+$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """All instances at one path, and what is inside them."""

    path: str
    """Names from the top, joined by ``/``; siblings that differ in an index alone share a path."""
    instances: int
    area_um2: float
    """Standard cells of all instances, sub-blocks included."""
    own_area_um2: float
    """The same without sub-blocks: own areas of all blocks add up to the whole."""
    sequential_area_um2: float
    """Flip-flops alone, sub-blocks included."""
    cells: int
    flip_flops: int
    abc_delay_ps: float | None
    """Longest combinational delay within one instance and outside its sub-blocks, as the mapper estimates it:
    no wires, no flip-flops, no path through ports. ``None`` where there is no logic."""

    @property
    def area_each_um2(self) -> float:
        """Mean area of one instance."""
        return self.area_um2 / self.instances

    def as_dict(self) -> dict[str, Any]:
        """Everything but the path, for JSON."""
        values = asdict(self) | {"area_each_um2": round(self.area_each_um2, 3)}
        del values["path"]
        return values


@dataclass
class _Sum:
    instances: int
    modules: Counter[str]


def blocks_of(
    run: YosysRun, top: str, liberty: Liberty, boxes: frozenset[str] = frozenset()
) -> tuple[Block, ...]:
    """Blocks of the netlist, the top first, each after the one it is in.

    Areas are counted cell by cell from the library and must equal yosys' sum; ``boxes`` have none.

    Raises:
        SynthesisError: A cell is not of the library, or is a latch; or the areas differ.
    """
    own = {
        name: _own(name, values, set(run.modules) | boxes, liberty) for name, values in run.modules.items()
    }
    sums: dict[str, _Sum] = {}

    def visit(path: str, modules: Counter[str]) -> None:
        sums[path] = _Sum(instances=modules.total(), modules=modules)
        children: dict[str, Counter[str]] = {}
        for module, count in modules.items():
            for child, name in run.instances.get(module, []):
                children.setdefault(f"{path}/{_INDEX.sub('', name) or name}", Counter())[child] += count
        for child_path in sorted(children):
            visit(child_path, children[child_path])

    visit(top, Counter({top: 1}))
    blocks = []
    for path, part in sums.items():
        below = [inner for other, inner in sums.items() if other == path or other.startswith(path + "/")]
        cells = _cells(own, below)
        flip_flops = Counter({name: n for name, n in cells.items() if liberty.cells[name].flip_flop})
        delays = [run.delays_ps[module] for module in part.modules if module in run.delays_ps]
        blocks.append(
            Block(
                path=path,
                instances=part.instances,
                area_um2=_area(cells, liberty),
                own_area_um2=_area(_cells(own, [part]), liberty),
                sequential_area_um2=_area(flip_flops, liberty),
                cells=cells.total(),
                flip_flops=flip_flops.total(),
                abc_delay_ps=max(delays, default=None),
            )
        )
    if abs(blocks[0].area_um2 - run.total_area_um2) > 1e-6 * run.total_area_um2 + 1e-3:
        raise SynthesisError(f"{top}: cells have {blocks[0].area_um2} um2, yosys says {run.total_area_um2}")
    return tuple(blocks)


def _own(module: str, values: dict[str, Any], modules: set[str], liberty: Liberty) -> Counter[str]:
    cells: Counter[str] = Counter()
    for name, count in values["num_cells_by_type"].items():
        kind = name.removeprefix("\\")
        if kind in modules:
            continue
        if kind not in liberty.cells:
            raise SynthesisError(f"{module}: cell {kind} is not in library {liberty.name}: left unmapped")
        if liberty.cells[kind].latch:
            raise SynthesisError(f"{module}: {count} latches {kind}: expected none")
        cells[kind] += count
    return cells


def _cells(own: dict[str, Counter[str]], parts: list[_Sum]) -> Counter[str]:
    """Cells of all instances of the modules in ``parts``, without their sub-blocks."""
    cells: Counter[str] = Counter()
    for part in parts:
        for module, instances in part.modules.items():
            cells.update({name: instances * n for name, n in own[module].items()})
    return cells


def _area(cells: Counter[str], liberty: Liberty) -> float:
    return round(sum(n * liberty.cells[name].area_um2 for name, n in sorted(cells.items())), 3)
