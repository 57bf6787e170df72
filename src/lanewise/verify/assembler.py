"""Holds the encodings to the GNU assembler.

``python -m lanewise.verify.assembler FILE`` records what it makes of :func:`instructions` in FILE
(``tests/isa/data/assembler.txt``): a line for each, its word and its text.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from lanewise.isa.encoding import assembly, encode
from lanewise.isa.operations import OPERATIONS, OPV, Unit
from lanewise.isa.vtype import Vtype

TOOLS = ("riscv64-linux-gnu-as", "riscv64-linux-gnu-objcopy")

_FIELDS = ((1, 2, 3), (31, 30, 29), (16, 8, 15), (4, 31, 10))
"""``vd``, ``vs2``, ``vs1``."""
_VTYPES = (
    Vtype(8, Fraction(1, 8)),
    Vtype(16, Fraction(2)),
    Vtype(32, Fraction(8)),
    Vtype(16, Fraction(1), altfmt=True),
)


def instructions() -> Iterator[int]:
    """Words of every mnemonic, masked and not, with several registers and immediates, negative ones among them."""
    for operation in OPERATIONS.values():
        for (vd, vs2, vs1), vtype in zip(_FIELDS, _VTYPES, strict=True):
            if operation.unit is Unit.SET:
                register = operation.mnemonic == "vsetvl"
                yield encode(operation, vd=vd, vs1=vs1, vs2=vs2 * register, vtype=None if register else vtype)
                continue
            second = 0 if operation.vs2_code is not None else vs2
            selected = operation.major == OPV and operation.vs1_code is not None
            first = 0 if selected else vs1 - 16 if operation.scalar == "i" and vs1 > 15 else vs1
            first = -first if operation.scalar == "i" and vd == 1 else first
            for vm in (0, 1) if operation.vm is None else (operation.vm,):
                yield encode(operation, vd=vd, vs2=second, vs1=first, vm=vm)


def assemble(text: str) -> list[int]:
    """The words that the assembler makes of a text.

    Raises:
        RuntimeError: The assembler refuses it; the message has its words.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "text.s").write_text(".option norvc\n" + text + "\n")
        for command in (
            (TOOLS[0], "-march=rv64gcv", "-o", "text.o", "text.s"),
            (TOOLS[1], "-O", "binary", "-j", ".text", "text.o", "text.bin"),
        ):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{command[0]}: {done.stderr[:2000]}")
        return np.fromfile(folder / "text.bin", "<u4").tolist()


def record(path: Path) -> None:
    """Write words and texts."""
    texts = [assembly(word) for word in instructions()]
    words = assemble("\n".join(texts))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{word:08x} {text}\n" for word, text in zip(words, texts, strict=True)))


if __name__ == "__main__":
    record(Path(sys.argv[1]))
