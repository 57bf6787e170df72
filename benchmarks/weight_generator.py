"""Area of the weight generator by bytes a clock: ``python benchmarks/weight_generator.py [BYTES...]``; what has been synthesised before is found again."""

import argparse
import sys
from dataclasses import replace

from lanewise.config import MachineConfig, WeightGeneratorConfig
from lanewise.files import cache_folder
from lanewise.rtl.weight_generator import WeightGenerator
from lanewise.synth import Synthesiser, load_liberty

CONFIG = MachineConfig()


def main() -> None:
    """Print a row for each width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bytes", nargs="*", type=int, default=[8, 16, 32, 64], help="bytes a clock")
    library = load_liberty(None, None)
    run = Synthesiser(
        liberty=library,
        clock_ns=CONFIG.clock_ns,
        cache=cache_folder(),
        progress=lambda line: print(line, file=sys.stderr),
    )
    print(f"{library.name}, {library.node_nm} nm, {CONFIG.clock_ns} ns\n")
    print("| bytes a clock | um2 | flip-flops, um2 | slowest path by the mapper, ps |")
    print("|---:|---:|---:|---:|")
    for width in parser.parse_args().bytes:
        unit = WeightGeneratorConfig(enabled=True, bytes_per_clk=width)
        made = run(WeightGenerator(replace(CONFIG, weight_generator=unit)), "weight_generator")
        block = made.blocks[0]
        print(
            f"| {width} | {block.area_um2:,.0f} | {block.sequential_area_um2:,.0f} | {block.abc_delay_ps or 0:,.0f} |"
        )


if __name__ == "__main__":
    main()
