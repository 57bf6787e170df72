"""Holds the golden vector machine to QEMU: the same instructions on the same operands, bit by bit.

A static RISC-V program runs each case from registers filled anew and writes all registers, ``vl``, ``vtype`` and the memory out.
What QEMU says is recorded, too: :mod:`lanewise.verify.qemu_record`.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.isa.encoding import assembly, encode
from lanewise.isa.operations import OPERATIONS, Unit, Width
from lanewise.models.vector_machine import VectorMachine
from lanewise.verify.qemu_cases import (
    MEMORY_BYTES,
    REGISTER_BYTES,
    SCALAR,
    VLEN_BITS,
    QemuCase,
)

Array = npt.NDArray[Any]

TOOLS = ("riscv64-linux-gnu-as", "riscv64-linux-gnu-ld", "qemu-riscv64")
CPU = f"rv64,v=true,vlen={VLEN_BITS},vext_spec=v1.0,Zfh=true"
_OUTPUT_BYTES = 32 * REGISTER_BYTES + 16


@dataclass(frozen=True, kw_only=True)
class State:
    """What an instruction leaves behind."""

    registers: npt.NDArray[np.uint8]
    """Shape ``(32, bytes)``."""
    vl: int
    vtype: int
    memory: bytes


def missing_tools() -> list[str]:
    """Which of the programs are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def program(chosen: Sequence[QemuCase]) -> str:
    """The assembler's text. It reads ``states.bin`` and ``memory.bin``."""
    lines = [
        ".option norelax", ".option norvc", ".globl _start", "_start:", "lla s0, states", "lla s1, results",
    ]  # fmt: skip
    region = 0
    for case in chosen:
        for first in range(0, 32, 8):
            lines += [f"vl8re8.v v{first}, (s0)", f"addi s0, s0, {8 * REGISTER_BYTES}"]
        setting = encode(OPERATIONS["vsetvli"], vd=0, vs1=5, vtype=case.vtype)
        lines += [f"li t0, {case.vl}", assembly(setting)]
        if case.operation.unit is Unit.MEMORY:
            lines.append(f"lla a0, memory + {region * MEMORY_BYTES + case.scalar}")
            region += 1
        elif case.operation.scalar == "f":
            boxed = case.scalar | -1 << case.vtype.sew_bits & 0xFFFF_FFFF_FFFF_FFFF
            lines += [f"li a0, {boxed:#x}", "fmv.d.x fa0, a0"]
        else:
            lines.append(f"li a0, {case.scalar:#x}")
        lines.append(f"li a1, {case.distance}")
        if (
            "rtz" in case.operation.mnemonic
        ):  # QEMU 7.2's translator dies unless the dynamic rounding mode is in use before it
            lines += [".balign 8", "fadd.s ft0, ft0, ft0"]
        lines += [assembly(case.word), "csrr t0, vl", "csrr t1, vtype"]
        for first in range(0, 32, 8):
            lines += [f"vs8r.v v{first}, (s1)", f"addi s1, s1, {8 * REGISTER_BYTES}"]
        lines += ["sd t0, 0(s1)", "sd t1, 8(s1)", "addi s1, s1, 16"]
    for name, size in (("results", len(chosen) * _OUTPUT_BYTES), ("memory", region * MEMORY_BYTES)):
        lines += [
            f"lla s2, {name}", f"li s3, {size}", f"{name}_more:", f"beqz s3, {name}_done", "li a7, 64", "li a0, 1",
            "mv a1, s2", "mv a2, s3", "ecall", "blez a0, failed", "add s2, s2, a0", "sub s3, s3, a0", f"j {name}_more",
            f"{name}_done:",
        ]  # fmt: skip
    lines += [
        "li a0, 0", "li a7, 93", "ecall", "failed:", "li a0, 1", "li a7, 93", "ecall",
        ".section .rodata", ".balign 64", "states: .incbin \"states.bin\"",
        ".data", ".balign 64", "memory: .incbin \"memory.bin\"",
        ".bss", ".balign 64", f"results: .zero {len(chosen) * _OUTPUT_BYTES}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def run(chosen: Sequence[QemuCase]) -> list[State]:
    """What QEMU makes of the cases.

    Raises:
        RuntimeError: A tool failed; the message has its words.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "states.bin").write_bytes(b"".join(case.registers for case in chosen))
        (folder / "memory.bin").write_bytes(b"".join(case.memory for case in chosen))
        (folder / "cases.s").write_text(program(chosen))
        call(folder, TOOLS[0], "-march=rv64gcv", "-o", "cases.o", "cases.s")
        call(folder, TOOLS[1], "-static", "-o", "cases", "cases.o")
        output = call(folder, TOOLS[2], "-cpu", CPU, "./cases")
    results = np.frombuffer(output, np.uint8, len(chosen) * _OUTPUT_BYTES).reshape(len(chosen), -1)
    regions = iter(np.frombuffer(output, np.uint8, offset=results.size).reshape(-1, MEMORY_BYTES))
    states = []
    for case, result in zip(chosen, results, strict=True):
        vl, vtype = (int(word) for word in result[-16:].copy().view(np.uint64))
        memory = next(regions).tobytes() if case.memory else b""
        states.append(
            State(registers=result[:-16].reshape(32, REGISTER_BYTES), vl=vl, vtype=vtype, memory=memory)
        )
    return states


def call(folder: Path, *command: str) -> bytes:
    """What a program writes, run in a folder.

    Raises:
        RuntimeError: It failed; the message has its words.
    """
    with (folder / "output").open("wb") as output:
        done = subprocess.run(command, cwd=folder, stdout=output, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed ({done.returncode}): {done.stderr.decode()[:2000]}")
    return (folder / "output").read_bytes()


def golden(case: QemuCase) -> State:
    """What :class:`~lanewise.models.vector_machine.VectorMachine` makes of it."""
    memory = bytearray(case.memory)
    machine = VectorMachine(VLEN_BITS, memory)
    machine.registers[:] = np.frombuffer(case.registers, np.uint8).reshape(32, -1)
    machine.step(encode(OPERATIONS["vsetvli"], vd=0, vs1=SCALAR, vtype=case.vtype), rs1=case.vl)
    machine.step(case.word, rs1=case.scalar, rs2=case.distance)
    return State(
        registers=machine.registers, vl=machine.vl, vtype=machine.vtype.encode(), memory=bytes(memory)
    )


def compared(case: QemuCase, state: State) -> bytes:
    """What an instruction wrote: its destination's registers, or memory; of a mask the active bits alone, the others as zeros."""
    operation, (vd, _, _, vm) = case.operation, case.fields
    if operation.stores:
        return state.memory
    if operation.unit is Unit.SET:
        return np.array([state.vl, state.vtype], np.uint32).tobytes()
    if operation.vd is Width.MASK:
        bits = np.unpackbits(state.registers[vd], count=case.vl, bitorder="little")
        if vm == 0:
            mask = np.frombuffer(case.registers, np.uint8, REGISTER_BYTES)
            bits = bits & np.unpackbits(mask, count=case.vl, bitorder="little")
        return np.packbits(bits, bitorder="little").tobytes()
    assert operation.vd is not None
    count = case.vtype.registers(operation.vd, operation.eew_bits)
    return state.registers[vd : vd + count].tobytes()


def others(case: QemuCase, state: State) -> bytes:
    """What the instruction must not touch, ``vl`` and ``vtype`` included."""
    operation, vd = case.operation, case.fields[0]
    kept = np.ones(32, bool)
    if operation.vd is not None and not operation.stores:
        kept[vd : vd + case.vtype.registers(operation.vd, operation.eew_bits)] = False
    return (
        state.registers[kept].tobytes()
        + f"{state.vl} {state.vtype}".encode()
        + state.memory * (not operation.stores)
    )


def disagreements(chosen: Iterable[QemuCase], states: Iterable[State]) -> Iterator[str]:
    """Where QEMU and the golden machine differ, in words."""
    for case, state in zip(chosen, states, strict=True):
        mine = golden(case)
        if compared(case, mine) != compared(case, state):
            yield f"{case}\n  golden {compared(case, mine).hex()}\n  QEMU   {compared(case, state).hex()}"
        elif others(case, mine) != others(case, state):
            yield f"{case}: other registers, vl, vtype or memory"
