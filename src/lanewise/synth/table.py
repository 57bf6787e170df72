"""A machine's areas as text."""

from collections.abc import Iterator

from lanewise.synth.machine import BASELINE_NOTE, SynthResult

DEPTH = 5
"""Levels of the hierarchy that the text shows; JSON has all."""
DESIGNS = {
    "as_it_is": "as it is",
    "without_multiply_adds": "without multiply-adds of its own",
    "without_ports": "without its ports of the register file",
    "without_both": "without both",
}
"""How a design of ``SynthResult.overheads`` is called."""


def synth_lines(result: SynthResult) -> Iterator[str]:
    """Lines of ``lanewise synth``: blocks of the baseline core and of the machine in um2, macros, and what Flex-SFU adds."""
    library = result.library
    node = "unknown node" if library.node_nm is None else f"{library.node_nm:g} nm"
    yield f"{library.name}, {node}, clock {result.clock_ns} ns; um2 of standard cells"
    yield f"{'baseline':>14} {'machine':>14}"
    for path, baseline_um2, area_um2 in area_rows(result, DEPTH):
        yield f"{_number(baseline_um2)} {_number(area_um2)}  {path}"
    yield f"{'':14} {result.area_um2:14,.1f}  in all"
    for macro in result.core.macros:
        yield (
            f"{macro.path}: {macro.instances} memories of {macro.words} x {macro.bits} bits, {macro.read_ports} read and "
            f"{macro.write_ports} write ports, {macro.bytes // 1024} KiB in all, not in the area"
        )
    slowest = result.core.slowest
    if slowest is not None:
        yield f"slowest block: {slowest.path}, {slowest.abc_delay_ps:,.0f} ps of logic by the mapper's estimate, no wires"
    if result.overhead_um2 is None:
        return
    yield f"Flex-SFU adds {result.overhead_um2:,.1f} um2:"
    for path, area_um2 in result.overhead_by_block_um2.items():
        yield f"{'':14} {area_um2:14,.1f}  {path}"
    for design, percent in result.overheads().items():
        yield f"{percent['core']:6.1f} % of the core, {percent['vector_unit']:6.1f} % of the vector unit: {DESIGNS[design]}"
    yield f"baseline: {BASELINE_NOTE}"


def area_rows(result: SynthResult, depth: int) -> Iterator[tuple[str, float | None, float]]:
    """Path, area in the baseline and area in the machine of the blocks down to ``depth`` levels, in um2; ``None`` where there is no such block."""
    beside = (block for part in result.beside.values() for block in part.blocks)
    baseline = {block.path: block.area_um2 for block in (*result.baseline.blocks, *beside)}
    for block in result.blocks:
        if block.path.count("/") < depth:
            yield block.path, baseline.get(block.path), block.area_um2


def _number(area_um2: float | None) -> str:
    return f"{'-':>14}" if area_um2 is None else f"{area_um2:14,.1f}"
