"""What QEMU says, in a file, so that the comparison does not need it.

``python -m lanewise.verify.qemu_record tests/verify/data/qemu.npz`` writes it anew; it takes ten seconds.
"""

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanewise.isa.operations import Operation
from lanewise.verify.qemu import compared, run
from lanewise.verify.qemu_cases import QemuCase, cases
from lanewise.verify.qemu_halves import fingerprint, half_cases, unary_operations
from lanewise.verify.qemu_legality import Attempt, attempts, refused

SEED = 20_240_601


def recorded_cases() -> list[QemuCase]:
    """The cases whose results are in the file."""
    return list(cases(SEED, lmuls=3))


def recorded_attempts() -> list[Attempt]:
    """The instructions of which the file says whether QEMU refuses them."""
    return list(attempts(SEED, 2))


def digest(chosen: Iterable[QemuCase], tried: Iterable[Attempt]) -> str:
    """Of all that QEMU is asked."""
    total = hashlib.sha256()
    for case in chosen:
        numbers = (case.word, case.vtype.encode(), case.vl, case.scalar, case.distance)
        total.update(repr(numbers).encode() + case.registers + case.memory)
    for attempt in tried:
        total.update(repr((attempt.word, attempt.vtype.encode())).encode())
    return total.hexdigest()


def run_halves(operation: Operation) -> bytes:
    """What QEMU makes of all operands of 16 bits of an instruction with one operand; see :mod:`lanewise.verify.qemu_halves`."""
    chosen = half_cases(operation)
    return b"".join(compared(case, state) for case, state in zip(chosen, run(chosen), strict=True))


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What is in the file."""

    digest: str
    """Of what QEMU was asked."""
    results: list[bytes]
    """Of each of :func:`recorded_cases`: see :func:`~lanewise.verify.qemu.compared`."""
    halves: dict[str, str]
    """Of each instruction with one operand of 16 bits, the :func:`~lanewise.verify.qemu_halves.fingerprint` of all results."""
    refused: list[bool]
    """Of each of :func:`recorded_attempts`."""


def record(path: Path) -> None:
    """Ask QEMU, and write the file."""
    chosen, tried = recorded_cases(), recorded_attempts()
    parts = [compared(case, state) for case, state in zip(chosen, run(chosen), strict=True)]
    halves = [[operation.mnemonic, fingerprint(run_halves(operation))] for operation in unary_operations()]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, digest=np.array(digest(chosen, tried)), lengths=np.array([len(part) for part in parts], np.uint16),
        results=np.frombuffer(b"".join(parts), np.uint8), halves=np.array(halves), refused=np.array(refused(tried)),
    )  # fmt: skip


def load(path: Path) -> Recorded:
    """Read what :func:`record` wrote."""
    with np.load(path) as file:
        lengths, flat = file["lengths"].tolist(), file["results"].tobytes()
        ends = np.cumsum(lengths).tolist()
        return Recorded(
            digest=str(file["digest"]),
            results=[flat[end - length : end] for end, length in zip(ends, lengths, strict=True)],
            halves={str(mnemonic): str(sha) for mnemonic, sha in file["halves"]},
            refused=file["refused"].tolist(),
        )


if __name__ == "__main__":
    record(Path(sys.argv[1]))
