"""A harness as a graph of two-input AND gates and registers: what yosys makes of it, read back."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_PROCESS = Path(__file__).with_name("yosys_process.py")

_SCRIPT = """\
read_rtlil design.il
hierarchy -check -top top
setattr -unset init w:* w:* a:known=1 %i %d
proc
flatten
opt_expr -full
opt_clean
dffunmap
alumacc
techmap -map carry.v
techmap
opt_expr
aigmap
opt_clean -purge
write_aiger -ascii -symbols circuit.aag
"""
# Carries ripple: a solver learns more from them than from the look-ahead that synthesis takes.
_CARRY = """\
module \\$lcu (P, G, CI, CO);
parameter WIDTH = 2;
input [WIDTH-1:0] P, G;
input CI;
output [WIDTH-1:0] CO;
wire [WIDTH:0] C = {G | (P & C[WIDTH-1:0]), CI};
assign CO = C[WIDTH:1];
endmodule
"""


class FormalError(RuntimeError):
    """A tool failed: a failure of ours. The message is one line."""


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """Literals are 2 x variable, + 1 if inverted; 0 is false. Variables: inputs, then registers, then gates."""

    inputs: tuple[str, ...]
    """Name of each input bit."""
    registers: tuple[tuple[str, int, int | None], ...]
    """Name of each register bit, the literal of its next value, and its first value, ``None`` if it may be any."""
    gates: tuple[tuple[int, int], ...]
    """Operands of each AND gate, of smaller variables than its own."""
    outputs: dict[str, int]
    """Literal of each output bit, by name."""


def circuit_of(rtlil: str) -> Circuit:
    """Map a circuit with the top module ``top``.

    Raises:
        FormalError: Yosys failed.
    """
    with tempfile.TemporaryDirectory(prefix="lanewise-formal-") as name:
        folder = Path(name).resolve()
        for file, text in (("design.il", rtlil), ("carry.v", _CARRY), ("script.ys", _SCRIPT)):
            (folder / file).write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-I", str(_PROCESS), "script.ys"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        if done.returncode:
            lines = done.stdout.decode(errors="replace").strip().splitlines() or ["no output"]
            raise FormalError(f"yosys ended with status {done.returncode}: {lines[-1]}")
        return parse_aiger((folder / "circuit.aag").read_text(encoding="utf-8"))


def parse_aiger(text: str) -> Circuit:
    """Read the ASCII form of AIGER 1.9, with symbols; variables in order, as yosys writes them.

    Source: Biere, Heljanko, Wieringa, "AIGER 1.9 and beyond", FMV report 11/2, JKU Linz 2011.

    >>> circuit = parse_aiger("aag 3 1 1 1 1\\n2\\n4 6 4\\n6\\n6 2 5\\ni0 a\\nl0 r\\no0 y\\n")
    >>> circuit.registers, circuit.gates, circuit.outputs
    ((('r', 6, None),), ((2, 5),), {'y': 6})
    """
    lines = text.splitlines()
    _, inputs, registers, outputs, gates = (int(word) for word in lines[0].split()[1:6])
    body = [
        [int(word) for word in line.split()] for line in lines[1 : 1 + inputs + registers + outputs + gates]
    ]
    names: dict[str, str] = {}
    for line in lines[1 + len(body) :]:
        if line == "c":
            break
        place, name = line.split(" ", 1)
        names[place] = name
    rows = iter(body)
    expected = iter(range(2, 2 * (inputs + registers + gates) + 2, 2))

    def own(row: list[int]) -> list[int]:
        if row[0] != next(expected):
            raise ValueError(f"variables must be in order, not {row[0]}")
        return row[1:]

    for _ in range(inputs):
        own(next(rows))
    latches = []
    for k in range(registers):
        row = next(rows)
        following, *first = own(row)
        start = first[0] if first else 0
        latches.append((names.get(f"l{k}", f"register_{k}"), following, start if start in (0, 1) else None))
    ends = [next(rows)[0] for _ in range(outputs)]
    pairs = [own(next(rows)) for _ in range(gates)]
    return Circuit(
        inputs=tuple(names[f"i{k}"] for k in range(inputs)),
        registers=tuple(latches),
        gates=tuple((one, two) for one, two in pairs),
        outputs={names[f"o{k}"]: literal for k, literal in enumerate(ends)},
    )
