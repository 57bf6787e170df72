"""Instruction words: fields in, word out, and back; and the text that the GNU assembler takes."""

from dataclasses import dataclass

from lanewise.isa.operations import CUSTOM_0, OPCFG, OPERATIONS, OPV, Operation
from lanewise.isa.vtype import Vtype


def _named(letter: str, first: int, last: int) -> tuple[str, ...]:
    return tuple(f"{letter}{number}" for number in range(first, last + 1))


_X = (
    "zero", "ra", "sp", "gp", "tp", *_named("t", 0, 2), *_named("s", 0, 1), *_named("a", 0, 7), *_named("s", 2, 11),
    *_named("t", 3, 6),
)  # fmt: skip
_F = (
    *_named("ft", 0, 7), *_named("fs", 0, 1), *_named("fa", 0, 7), *_named("fs", 2, 11), *_named("ft", 8, 11),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """An instruction word, taken apart."""

    operation: Operation
    vd: int = 0
    """Register; ``rd`` of ``vset*``; the table of ``sfu.breakpoints`` and ``sfu.coefficients``."""
    vs2: int = 0
    """Register; ``rs2`` of strided memory accesses and of ``vsetvl``."""
    vs1: int = 0
    """Register; ``rs1`` or ``fs1`` of a scalar; an immediate, signed (``i``) or unsigned (``u``)."""
    vm: int = 1
    """0: masked by v0."""
    vtype: Vtype | None = None
    """Of ``vsetvli`` and ``vsetivli``."""


def encode(
    operation: Operation, *, vd: int = 0, vs2: int = 0, vs1: int = 0, vm: int | None = None, vtype: Vtype | None = None
) -> int:  # fmt: skip
    """The instruction word.

    Args:
        operation: Which instruction.
        vd: See :class:`Decoded`; likewise ``vs2`` and ``vs1``. Where the operation says what a field holds, it may be left out.
        vm: 1, not masked, unless the operation is always masked.
        vtype: Of ``vsetvli`` and ``vsetivli`` alone.

    Raises:
        ValueError: A field is out of range, or not what the operation says.

    >>> hex(encode(OPERATIONS["vadd.vi"], vd=4, vs2=8, vs1=-1, vm=0))
    '0x8fb257'
    """
    fixed_vm = 1 if operation.vm is None else operation.vm
    vm = fixed_vm if vm is None else vm
    if vm not in (0, 1) or (operation.vm is not None and vm != operation.vm):
        allowed = "0 or 1" if operation.vm is None else operation.vm
        raise ValueError(f"vm of {operation.mnemonic} must be {allowed}, not {vm!r}")
    fields = {"vd": vd, "vs2": vs2, "vs1": vs1}
    for name, code in (("vs2", operation.vs2_code), ("vs1", operation.vs1_code)):
        if code is not None:
            if fields[name] not in (0, code):
                raise ValueError(f"{name} of {operation.mnemonic} must be {code}, not {fields[name]}")
            fields[name] = code
    for name, value in fields.items():
        low, high = (-16, 15) if name == "vs1" and operation.scalar == "i" else (0, 31)
        if not low <= value <= high:
            raise ValueError(f"{name} of {operation.mnemonic} must be {low} to {high}, not {value}")
    word = operation.major | fields["vd"] << 7 | operation.funct3 << 12 | (fields["vs1"] & 31) << 15
    if operation.funct3 == OPCFG and operation.major == OPV:
        return word | _upper_of_vset(operation, fields["vs2"], vtype)
    if vtype is not None:
        raise ValueError(f"{operation.mnemonic} has no vtype")
    return word | fields["vs2"] << 20 | vm << 25 | operation.funct6 << 26


def _upper_of_vset(operation: Operation, rs2: int, vtype: Vtype | None) -> int:
    if operation.mnemonic == "vsetvl":
        if vtype is not None:
            raise ValueError("vsetvl takes its vtype from a register")
        return operation.funct6 << 26 | rs2 << 20
    if vtype is None or rs2:
        raise ValueError(f"{operation.mnemonic} needs a vtype and has no vs2")
    return operation.funct6 << 26 | vtype.encode() << 20


def _by_opcode() -> dict[tuple[int, int, int], tuple[Operation, ...]]:
    found: dict[tuple[int, int, int], tuple[Operation, ...]] = {}
    for operation in OPERATIONS.values():
        key = operation.major, operation.funct3, operation.funct6
        found[key] = (*found.get(key, ()), operation)
    return found


_BY_OPCODE = _by_opcode()


def decode(word: int) -> Decoded:
    """The instruction that a word is.

    Raises:
        ValueError: None of the table's, or a reserved ``vtype``.

    >>> decode(0x008FB257).operation.mnemonic, decode(0x008FB257).vs1, decode(0x008FB257).vm
    ('vadd.vi', -1, 0)
    """
    unknown = f"{word:#010x} is no instruction of the core"
    if not 0 <= word < 1 << 32:
        raise ValueError(unknown)
    major, vd, funct3 = word & 0x7F, word >> 7 & 31, word >> 12 & 7
    vs1, vs2, vm, funct6 = word >> 15 & 31, word >> 20 & 31, word >> 25 & 1, word >> 26
    if major == OPV and funct3 == OPCFG:
        return _decode_vset(word, vd=vd, vs1=vs1, vs2=vs2)
    for operation in _BY_OPCODE.get((major, funct3, funct6), ()):
        unused_vs1 = operation.vs1_code if operation.major == OPV else None
        if all(
            wanted is None or wanted == field
            for wanted, field in ((operation.vm, vm), (operation.vs2_code, vs2), (unused_vs1, vs1))
        ):
            signed = (vs1 ^ 16) - 16 if operation.scalar == "i" else vs1
            return Decoded(operation=operation, vd=vd, vs2=vs2, vs1=signed, vm=vm)
    raise ValueError(unknown)


def _decode_vset(word: int, *, vd: int, vs1: int, vs2: int) -> Decoded:
    if not word >> 31:
        return Decoded(
            operation=OPERATIONS["vsetvli"], vd=vd, vs1=vs1, vtype=Vtype.decode(word >> 20 & 0x7FF)
        )
    if word >> 30 & 1:
        return Decoded(
            operation=OPERATIONS["vsetivli"], vd=vd, vs1=vs1, vtype=Vtype.decode(word >> 20 & 0x3FF)
        )
    if word >> 25 == OPERATIONS["vsetvl"].funct6 << 1:
        return Decoded(operation=OPERATIONS["vsetvl"], vd=vd, vs1=vs1, vs2=vs2)
    raise ValueError(f"{word:#010x} is no instruction of the core")


def assembly(word: int) -> str:
    """The instruction as the GNU assembler takes it (``-march=rv64gcv``); Flex-SFU's by ``.insn``.

    Raises:
        ValueError: See :func:`decode`.

    >>> assembly(0x008FB257)
    'vadd.vi v4, v8, -1, v0.t'
    >>> assembly(encode(OPERATIONS["vfmacc.vf"], vd=4, vs2=8, vs1=10))
    'vfmacc.vf v4, fa0, v8'
    >>> assembly(encode(OPERATIONS["sfu.execute"], vd=4, vs2=8, vs1=1))
    '.insn r 11, 0, 1, x4, x1, x8'
    """
    decoded = decode(word)
    operation, vd = decoded.operation, f"v{decoded.vd}"
    if operation.major == CUSTOM_0:
        funct7 = operation.funct6 << 1 | decoded.vm
        registers = f"x{decoded.vd}, x{decoded.vs1 & 31}, x{decoded.vs2}"
        return f".insn r {operation.major}, {operation.funct3}, {funct7}, {registers}"
    if operation.funct3 == OPCFG and operation.major == OPV:
        source = str(decoded.vs1) if operation.scalar == "u" else _X[decoded.vs1]
        return f"{operation.mnemonic} {_X[decoded.vd]}, {source}, {_vtype_text(decoded)}"
    if operation.major != OPV:
        operands = [vd, f"({_X[decoded.vs1]})"] + [_X[decoded.vs2]] * operation.strided
    else:
        sources = [f"v{decoded.vs2}"] * (operation.vs2 is not None)
        if operation.scalar:
            names = {"x": _X, "f": _F}.get(operation.scalar)
            sources.append(names[decoded.vs1] if names else str(decoded.vs1))
        elif operation.vs1 is not None:
            sources.append(f"v{decoded.vs1}")
        operands = [vd, *(reversed(sources) if operation.multiply_adds else sources)]
    if decoded.vm == 0:
        operands.append("v0" if operation.vm == 0 else "v0.t")
    return f"{operation.mnemonic} {', '.join(operands)}"


def _vtype_text(decoded: Decoded) -> str:
    vtype = decoded.vtype
    if vtype is None:
        return _X[decoded.vs2]
    if vtype.altfmt:
        return str(vtype.encode())  # the assembler has no name for it
    lmul = f"m{vtype.lmul}" if vtype.lmul >= 1 else f"mf{1 / vtype.lmul}"
    return f"e{vtype.sew_bits}, {lmul}, tu, mu"
