"""Areas: the default machine, its arrays, Flex-SFU by segments, one lane, and what the flow's choices cost.

``python benchmarks/area.py`` prints the tables; with ``--write docs/area.md`` they go between the page's markers. ``python benchmarks/area.py
lanes`` makes one of them. What has been synthesised before is found again.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from lanewise.config import MachineConfig
from lanewise.files import cache_folder, write_part
from lanewise.formats import FORMATS
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.rtl.multiply_add import MultiplyAdd
from lanewise.rtl.register_file import RegisterFile
from lanewise.synth import (
    Synthesiser,
    compare_int8,
    load_liberty,
    sweep_lanes,
    sweep_segments,
    synthesise,
    yosys,
)
from lanewise.synth.core import FLEX_SFU, VECTOR_UNIT
from lanewise.synth.table import DESIGNS, area_rows

CONFIG = MachineConfig()
SHOWN_UM2 = 1000
"""Smaller blocks are left out."""
FLOW = {
    "as it is": ("", ""),
    "`synth` without `-booth`": (" -booth", ""),
    "`synth` without Sklansky's carries": (" -extra-map +/choices/sklansky.v", ""),
    "`synth -flatten`: hierarchy dissolved": ("-noabc", "-noabc -flatten"),
    "`clockgate -liberty library.lib -min_net_size 8` before `dfflibmap`": (
        "dfflibmap", "clockgate -liberty library.lib -min_net_size 8\ndfflibmap",
    ),
}  # fmt: skip
"""Each change to the script: the text that is replaced, and by what."""


def progress(line: str) -> None:
    """To the terminal."""
    print(line, file=sys.stderr, flush=True)


def table(heads: list[str], rows: list[list[str]], text_columns: int = 1) -> str:
    """Markdown; the other columns are numbers."""
    rule = "|" + "---|" * text_columns + "---:|" * (len(heads) - text_columns)
    return "\n".join([f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)])


def machine() -> str:
    """What `lanewise synth` says of the default machine."""
    result = synthesise(CONFIG, cache=cache_folder(), progress=progress)
    blocks = {block.path: block for block in result.blocks}
    cells = []
    for path, baseline_um2, area_um2 in area_rows(result, 5):
        block = blocks[path]
        if area_um2 < SHOWN_UM2 or (path.count("/") == 4 and not path.startswith(VECTOR_UNIT)):
            continue
        baseline = "-" if baseline_um2 is None else f"{baseline_um2:,.0f}"
        cells.append(
            [f"`{path}`", str(block.instances), baseline, f"{area_um2:,.0f}", f"{block.flip_flops:,}"]
        )
    text = table(["block", "instances", "baseline, um2", "machine, um2", "flip-flops"], cells)
    lines = [
        f"SRAM beside it: {m.instances} memories of {m.words} x {m.bits} bits, {m.read_ports} read and {m.write_ports} write ports, "
        f"{m.bytes // 1024} KiB in all."
        for m in result.core.macros
    ]
    return "\n\n".join([text, *lines])


def overhead() -> str:
    """What Flex-SFU adds to the default machine's core, where, and how much it would be otherwise."""
    result = synthesise(CONFIG, cache=cache_folder(), progress=progress)
    total_um2 = result.overhead_um2 or 0.0
    added = {path.removeprefix("core/"): area_um2 for path, area_um2 in result.overhead_by_block_um2.items()}
    inside = {
        block.path.removeprefix("core/"): block.area_um2
        for block in result.core.blocks
        if block.path.startswith(FLEX_SFU + "/") and block.path.count("/") in (3, 4)
    }
    cells = [
        [f"`{path}`", f"{area_um2:,.0f}", f"{100 * area_um2 / total_um2:.1f}"]
        for path, area_um2 in sorted((added | inside).items())
    ]
    cells.append(["in all", f"{total_um2:,.0f}", "100.0"])
    designs = [
        [DESIGNS[design], f"{percent['core']:.1f}", f"{percent['vector_unit']:.1f}"]
        for design, percent in result.overheads().items()
    ]
    vector_unit = result.baseline.block(VECTOR_UNIT)
    vector_unit_um2 = 0.0 if vector_unit is None else vector_unit.area_um2
    return "\n\n".join(
        [
            table(["added", "um2", "%"], cells),
            f"Baseline: core {result.baseline_area_um2:,.0f} um2, of it the vector unit {vector_unit_um2:,.0f} um2.",
            table(["Flex-SFU", "% of the core", "% of the vector unit"], designs),
        ]
    )


def paths() -> str:
    """The slowest blocks of the vector unit, by the mapper's estimate."""
    result = synthesise(CONFIG, cache=cache_folder(), progress=progress)
    timed = [b for b in result.core.blocks if b.path.startswith(VECTOR_UNIT) and b.abc_delay_ps is not None]
    slowest = sorted(timed, key=lambda block: -(block.abc_delay_ps or 0.0))[:8]
    return table(["block", "ps"], [[f"`{b.path}`", f"{b.abc_delay_ps:,.0f}"] for b in slowest])


def arrays() -> str:
    """INT4 and INT8 matrix units."""
    areas = compare_int8(CONFIG, cache=cache_folder(), progress=progress)
    shape = f"{CONFIG.matrix.rows} x {CONFIG.matrix.columns}"
    equal = f"INT8 {areas.equal_area.rows} x {areas.equal_area.columns}"
    rows = [
        [f"INT4 {shape}, INT8 in passes", f"{areas.matrix_area_um2:,.0f}"],
        [f"INT8 {shape}", f"{areas.same_shape_area_um2:,.0f}"],
        [
            f"{equal}, the largest square one that is no larger than the INT4 unit",
            f"{areas.equal_area_area_um2:,.0f}",
        ],
    ]
    return table(["matrix unit", "um2"], rows)


def segments() -> str:
    """The default machine's Flex-SFU by segments."""
    rows = [
        [
            str(a.segments),
            *(f"{v:,.0f}" for v in (a.decoder_um2, a.table_um2, a.without_multiply_adds_um2, a.area_um2)),
        ]
        for a in sweep_segments(CONFIG, cache=cache_folder(), progress=progress)
    ]
    return table(["segments", "decoder", "table", "without multiply-adds", "with"], rows, 0)


def lanes() -> str:
    """One lane of Flex-SFU by segments, formats, degree and tables."""
    count = CONFIG.flex_sfu.lanes
    rows = []
    for row in sweep_lanes(CONFIG, cache=cache_folder(), progress=progress):
        numbers = (
            row.decoder_lane_um2, row.table_lane_um2, row.multiply_add_um2, row.lane_um2, row.shared_um2,
            row.unit_um2(count), row.abc_delay_ps,
        )  # fmt: skip
        cells = [row.formats, str(row.segments), str(row.degree), str(1 + row.double_buffered)]
        rows.append([*cells, *(f"{number:,.0f}" for number in numbers)])
    heads = [
        "formats",
        "segments",
        "degree",
        "tables",
        "decoder",
        "look-up",
        "multiply-adds",
        "one lane",
        "shared",
    ]
    return table([*heads, f"{count} lanes", "slowest block, ps"], rows)


def flow() -> str:
    """Each choice of the flow, undone or tried."""
    parts = {
        "flex_sfu": lambda: FlexSfu(CONFIG.flex_sfu),
        "multiply_add": lambda: MultiplyAdd(lanes=CONFIG.vector.lanes, formats=(FORMATS["fp16"],)),
        "multiply_add of all formats, a lane": lambda: MultiplyAdd(lanes=1, formats=tuple(FORMATS.values())),
        "vector_register_file": lambda: RegisterFile(CONFIG.vector),
    }
    library = load_liberty(None, None)
    run = Synthesiser(liberty=library, clock_ns=CONFIG.clock_ns, cache=cache_folder(), progress=progress)
    rows = []
    for change, (old, new) in FLOW.items():
        if old not in yosys.SCRIPT:
            raise ValueError(f"{old!r} must be in the flow's script")
        with patch.object(yosys, "SCRIPT", yosys.SCRIPT.replace(old, new, 1) if old else yosys.SCRIPT):
            results = [run(make(), name.split()[0]) for name, make in parts.items()]
        slowest = [max(block.abc_delay_ps or 0.0 for block in result.blocks) for result in results]
        cells = [f"{r.area_um2:,.0f} ({s:,.0f})" for r, s in zip(results, slowest, strict=True)]
        rows.append([change, *cells])
    return table(["change", *parts], rows)


PARTS: dict[str, Callable[[], str]] = {
    "machine": machine, "overhead": overhead, "paths": paths, "arrays": arrays, "segments": segments, "lanes": lanes, "flow": flow,
}  # fmt: skip


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page with markers")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.parts) - set(PARTS))
    if unknown:
        parser.error(f"parts must be any of {', '.join(PARTS)}, not {unknown[0]!r}")
    for part in arguments.parts or PARTS:
        text = PARTS[part]()
        if arguments.write is None:
            print(text, end="\n\n")
        else:
            write_part(arguments.write, part, text, by="benchmarks/area.py")


if __name__ == "__main__":
    main()
