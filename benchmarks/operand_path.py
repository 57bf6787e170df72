"""Area and clocks of the operand path.

``python benchmarks/operand_path.py`` prints the tables; with ``--write docs/operand_path.md`` they go between the
page's markers.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from lanewise.config import MachineConfig, OperandPathConfig
from lanewise.files import cache_folder, write_part
from lanewise.rtl.operand_path import OperandPath
from lanewise.sim.operand_path import operand_path_clk
from lanewise.synth.component import Synthesiser
from lanewise.synth.liberty import load_liberty


def areas(base: OperandPathConfig, run: Synthesiser) -> str:
    """Areas by part, for 8, 16 and 32 lanes, a smaller block and both formats, as a Markdown table."""
    units = [dataclasses.replace(base, lanes=lanes) for lanes in (8, 16, 32)]
    units += [
        dataclasses.replace(base, largest_block=16),
        dataclasses.replace(base, formats=("fp16", "bf16")),
    ]
    parts = (
        ("to fixed point", ("transform", "fixed_point")),
        ("levels between beats", ("transform", "delay_level")),
        ("levels in a beat", ("transform", "beat_levels")),
        ("quantiser", ("quantiser",)),
        ("of it random bits", ("quantiser", "lfsr")),
        ("row norms", ("norms",)),
    )
    heads = ["lanes", "largest block", "formats", *(name for name, _ in parts), "whole", "an element a clock"]
    lines = [f"| {' | '.join([*heads, 'slowest stage, ps'])} |", "|---|---|---|" + "---:|" * (len(heads) - 2)]
    for unit in units:
        result = run(OperandPath(unit), "operand_path")
        known = {block.path.partition("/")[2]: block.area_um2 for block in result.blocks}
        numbers = [known.get("/".join(path), 0.0) for _, path in parts]
        numbers += [result.area_um2, result.area_um2 / unit.lanes]
        numbers.append(max(block.abc_delay_ps or 0.0 for block in result.blocks))
        cells = [str(unit.lanes), str(unit.largest_block), ", ".join(unit.formats)]
        lines.append(f"| {' | '.join([*cells, *(f'{number:,.0f}' for number in numbers)])} |")
    return "\n".join(lines)


def clocks(config: OperandPathConfig) -> str:
    """Latency and clocks of a tensor of 512 x 1024 by block, as a Markdown table."""
    beats = 512 * 1024 // config.lanes
    lines = [
        "| block | latency, clocks | 512 x 1024 elements, clocks | elements a clock |",
        "|---:|---:|---:|---:|",
    ]
    for block in config.blocks:
        clk = operand_path_clk(beats, config, block)
        rate = 512 * 1024 / clk
        lines.append(f"| {block} | {config.latency_clk(block)} | {clk:,} | {rate:.4f} |")
    return "\n".join(lines)


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    machine = MachineConfig()
    run = Synthesiser(
        liberty=load_liberty(None, None), clock_ns=machine.clock_ns, cache=cache_folder(),
        progress=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    path = machine.operand_path
    text = f"{areas(path, run)}\n\nClocks of {path.lanes} lanes, without stalls:\n\n{clocks(path)}"
    if arguments.write is None:
        print(text)
        return
    write_part(arguments.write, "figures", text, by="benchmarks/operand_path.py")


if __name__ == "__main__":
    main()
