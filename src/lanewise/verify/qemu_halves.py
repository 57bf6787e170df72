"""Every operand of 16 bits of every instruction with one operand, on QEMU."""

import dataclasses
import hashlib
from fractions import Fraction

import numpy as np

from lanewise.isa.encoding import encode
from lanewise.isa.operations import OPERATIONS, Operation, Unit, Width
from lanewise.isa.vtype import Vtype
from lanewise.models.numbers import Bits
from lanewise.models.vector_elements import evaluate
from lanewise.verify.qemu_cases import REGISTER_BYTES, VLEN_BITS, QemuCase

_EVERY = np.arange(1 << 16, dtype=np.uint16)
_GROUP = 4
"""Registers that the operands take."""
_AT_ONCE = _GROUP * VLEN_BITS // 16
_VD, _VS2 = 16, 8


def sew_bits(operation: Operation) -> int:
    """SEW with which ``vs2`` has 16 bits."""
    return {Width.SEW: 16, Width.DOUBLE: 8, Width.HALF: 32}[operation.vs2 or Width.SEW]


def unary_operations() -> list[Operation]:
    """Conversions, extensions and estimates that take 16 bits."""
    return [
        operation
        for operation in OPERATIONS.values()
        if operation.vs1_code is not None
        and operation.unit in (Unit.FMA, Unit.ALU)
        and operation.vs2 in (Width.SEW, Width.DOUBLE, Width.HALF)
        and sew_bits(operation) in operation.sews
    ]


def half_cases(operation: Operation) -> list[QemuCase]:
    """The operands in order, as many at a time as four registers hold."""
    sew = sew_bits(operation)
    vtype = Vtype(sew, Fraction(_GROUP * sew, 16))
    empty = QemuCase(
        operation=operation, word=encode(operation, vd=_VD, vs2=_VS2), vtype=vtype, vl=_AT_ONCE, scalar=0, distance=0,
        fields=(_VD, _VS2, 0, 1), registers=b"", memory=b"",
    )  # fmt: skip
    before, after = bytes(_VS2 * REGISTER_BYTES), bytes((32 - _VS2 - _GROUP) * REGISTER_BYTES)
    return [
        dataclasses.replace(empty, registers=before + part.tobytes() + after)
        for part in _EVERY.reshape(-1, _AT_ONCE)
    ]


def golden_halves(operation: Operation) -> Bits:
    """What the golden model makes of all of them."""
    return evaluate(operation, _EVERY, None, sew_bits=sew_bits(operation))


def fingerprint(results: bytes) -> str:
    """SHA-256 of the results, in order of the operands."""
    return hashlib.sha256(results).hexdigest()
