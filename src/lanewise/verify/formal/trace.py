"""A failure's clocks as a waveform file."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

from vcd import VCDWriter

from lanewise.files import write_text

_BIT = re.compile(r"^(.*)\[(\d+)\]$")


def write_trace(path: Path, clocks: Sequence[dict[str, int]]) -> None:
    """Write each clock's bits, by name, as VCD; the bits of a vector are gathered. One clock is 10 ns.

    Raises:
        UserError: The file cannot be written.
    """
    vectors: dict[str, dict[int, str]] = {}
    for name in clocks[0]:
        found = _BIT.match(name)
        vector, place = (found[1], int(found[2])) if found else (name, 0)
        vectors.setdefault(vector.removeprefix("\\"), {})[place] = name
    text = io.StringIO()
    with VCDWriter(text, timescale="1 ns", date="") as writer:
        variables = {}
        for vector, bits in sorted(vectors.items()):
            scope, _, leaf = f"top.{vector}".rpartition(".")
            variables[vector] = writer.register_var(scope, leaf, "wire", size=max(bits) + 1)
        for clk, values in enumerate(clocks):
            for vector, bits in vectors.items():
                number = sum(values[name] << place for place, name in bits.items())
                writer.change(variables[vector], 10 * clk, number)
        writer.close(10 * len(clocks))
    write_text(path, text.getvalue())
