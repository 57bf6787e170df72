"""Area of Flex-SFU's lanes by segments, formats, degree and tables.

``python benchmarks/area.py`` prints the table; with ``--write docs/area.md`` it goes between the page's markers.
"""

import argparse
import sys
from pathlib import Path

from lanewise.config import MachineConfig
from lanewise.files import cache_folder, write_text
from lanewise.synth import LaneArea, sweep_lanes

BEGIN, END = "<!-- lanes: made by benchmarks/area.py -->", "<!-- end of lanes -->"


def table(rows: tuple[LaneArea, ...], lanes: int) -> str:
    """The rows as a Markdown table."""
    heads = (
        "formats",
        "segments",
        "degree",
        "tables",
        "decoder",
        "look-up",
        "multiply-adds",
        "one lane",
        "shared",
    )
    lines = [f"| {' | '.join((*heads, f'{lanes} lanes', 'slowest block, ps'))} |", "|---|" + "---:|" * 10]
    for row in rows:
        numbers = (
            row.decoder_lane_um2, row.table_lane_um2, row.multiply_add_um2, row.lane_um2, row.shared_um2,
            row.unit_um2(lanes), row.abc_delay_ps,
        )  # fmt: skip
        cells = [row.formats, str(row.segments), str(row.degree), str(1 + row.double_buffered)]
        lines.append(f"| {' | '.join((*cells, *(f'{number:,.0f}' for number in numbers)))} |")
    return "\n".join(lines)


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    config = MachineConfig()
    rows = sweep_lanes(config, cache=cache_folder(), progress=lambda line: print(line, file=sys.stderr))
    text = table(rows, config.flex_sfu.lanes)
    if arguments.write is None:
        print(text)
        return
    page = arguments.write.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    write_text(arguments.write, f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
