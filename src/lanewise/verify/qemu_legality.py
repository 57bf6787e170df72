"""Holds :func:`lanewise.isa.legality.check_legal` to QEMU: which instructions it takes for illegal."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanewise.isa.encoding import assembly, encode
from lanewise.isa.legality import check_legal
from lanewise.isa.operations import OPERATIONS, Unit
from lanewise.isa.vtype import LMULS, Vtype
from lanewise.verify.qemu import CPU, TOOLS, call
from lanewise.verify.qemu_cases import SCALAR, Draw

UNCHECKED_BY_QEMU = "a source of another width"
"""What the messages say of a register that is a source in two widths, which QEMU 7.2 lets pass."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An instruction that may be reserved."""

    word: int
    vtype: Vtype
    reason: str
    """Why the golden model refuses it; empty if it does not."""


def attempts(seed: int, each: int) -> Iterator[Attempt]:
    """Instructions with any registers, with each SEW and LMUL that there is: ``each`` of them masked, ``each`` not."""
    draw = Draw(seed)
    for operation in OPERATIONS.values():
        if operation.unit is Unit.SET or operation.mnemonic.startswith("sfu."):
            continue
        for vtype in (Vtype(sew, lmul) for sew in operation.sews for lmul in LMULS if sew <= 64 * lmul):
            for vm in (0, 1) * each if operation.vm is None else (operation.vm,) * each:
                near = draw.below(30)  # close to each other, so that they overlap
                vd, vs2, vs1 = (
                    draw.one_of((near, near + 1, near + 2, near & 28, near & 24)) for _ in range(3)
                )
                vs2 = 0 if operation.vs2_code is not None or operation.vs2 is None else vs2
                vs1 = SCALAR if operation.scalar in ("x", "f") else 0 if operation.vs1 is None else vs1
                fields: dict[str, Any] = {"vd": vd, "vs2": vs2, "vs1": vs1, "vm": vm}
                try:
                    check_legal(operation, vtype, **fields)
                    reason = ""
                except ValueError as refusal:
                    reason = str(refusal)
                yield Attempt(word=encode(operation, **fields), vtype=vtype, reason=reason)


def refused(tried: Sequence[Attempt]) -> list[bool]:
    """Which of them QEMU raises an illegal-instruction signal for: a handler notes it and steps over the instruction."""
    lines = [
        ".option norelax", ".option norvc", ".globl _start", "_start:",
        "lla s1, results", "lla a0, signal_action", "lla t0, handler", "sd t0, 0(a0)", "mv a1, a0", "li a0, 4", "li a2, 0",
        "li a3, 8", "li a7, 134", "ecall",
    ]  # fmt: skip
    for attempt in tried:
        lines += ["lla a0, memory + 4096", "li s10, 0", "li t0, 1"]
        lines.append(assembly(encode(OPERATIONS["vsetvli"], vs1=5, vtype=attempt.vtype)))
        if "rtz" in assembly(attempt.word):
            lines += [".balign 8", "fadd.s ft0, ft0, ft0"]
        lines += [assembly(attempt.word), "sb s10, 0(s1)", "addi s1, s1, 1"]
    lines += [
        "li a7, 64", "li a0, 1", "lla a1, results", f"li a2, {len(tried)}", "ecall", "li a0, 0", "li a7, 93", "ecall",
        "handler:", "ld t0, 176(a2)", "addi t0, t0, 4", "sd t0, 176(a2)", "li t0, 1", "sd t0, 384(a2)", "ret",  # pc, s10
        ".data", ".balign 8", "signal_action: .dword 0, 4, 0",
        ".bss", ".balign 64", "memory: .zero 8192", f"results: .zero {len(tried)}",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tried.s").write_text("\n".join(lines) + "\n")
        call(folder, TOOLS[0], "-march=rv64gcv", "-o", "tried.o", "tried.s")
        call(folder, TOOLS[1], "-static", "-o", "tried", "tried.o")
        return [bool(byte) for byte in call(folder, TOOLS[2], "-cpu", CPU, "./tried")]
