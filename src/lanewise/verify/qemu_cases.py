"""Single vector instructions with their operands, on which QEMU and the golden model are compared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from lanewise.formats import NumberFormat
from lanewise.isa.encoding import encode
from lanewise.isa.legality import check_legal
from lanewise.isa.operations import OPERATIONS, Operation, Unit, Width
from lanewise.isa.vtype import LMULS, SEWS, Vtype
from lanewise.models.vector_floats import float_format
from lanewise.models.vector_integers import unsigned_dtype
from lanewise.verify.operands import special_values

T = TypeVar("T")
Array = npt.NDArray[Any]

VLEN_BITS = 256
REGISTER_BYTES = VLEN_BITS // 8
MEMORY_BYTES = 2048
"""Of each memory access's own region."""
SCALAR, DISTANCE = 10, 11
"""Numbers of the scalar registers: ``a0`` or ``fa0``, and ``a1``."""
_SUMS = ("vfredusum", "vfwredusum")
_INTEGER_SIDE = {"f.xu", "f.x"}


@dataclass(frozen=True, kw_only=True)
class QemuCase:
    """One instruction and the state that it finds."""

    operation: Operation
    word: int
    vtype: Vtype
    vl: int
    scalar: int
    """In ``a0``, or the bits in ``fa0``; of a memory access the offset in its region."""
    distance: int
    """In ``a1``."""
    fields: tuple[int, int, int, int]
    """``vd``, ``vs2``, ``vs1``, ``vm``."""
    registers: bytes
    """All 32."""
    memory: bytes
    """The region of a memory access; others have none."""

    def __str__(self) -> str:
        vd, vs2, vs1, vm = self.fields
        return (
            f"{self.operation.mnemonic} vd={vd} vs2={vs2} vs1={vs1} vm={vm} e{self.vtype.sew_bits} m{self.vtype.lmul} "
            f"vl={self.vl} scalar={self.scalar:#x}"
        )


class Draw:
    """Random numbers whose sequence no release of numpy may change: the raw output of PCG64."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.PCG64(seed)

    def bits(self, count: int, width: int) -> Array:
        """Uniform bit patterns."""
        raw = np.asarray(self._source.random_raw(count), np.uint64)
        return (raw >> np.uint64(64 - width)).astype(unsigned_dtype(width))

    def below(self, limit: int) -> int:
        """A number in [0, limit)."""
        return int(self._source.random_raw()) % limit

    def one_of(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[self.below(len(choices))]


def cases(seed: int, *, lmuls: int = len(LMULS)) -> Iterator[QemuCase]:
    """Instructions that QEMU has, in each form and with each SEW, masked and not, with ``lmuls`` of the LMUL that they exist for.

    Those of Flex-SFU and BF16 are left out.
    """
    draw = Draw(seed)
    for operation in OPERATIONS.values():
        if operation.mnemonic.startswith("sfu."):
            continue
        for sew in operation.sews:
            chosen = [vtype for vtype in _vtypes(sew) if _exists(operation, vtype)]
            while len(chosen) > lmuls:
                chosen.pop(draw.below(len(chosen)))
            for vtype in chosen:
                for vm in (
                    (0, 1) if operation.vm is None and operation.unit is not Unit.SET else (operation.vm,)
                ):
                    yield _case(operation, vtype, 1 if vm is None else vm, draw)


def _vtypes(sew: int) -> list[Vtype]:
    return [Vtype(sew, lmul) for lmul in LMULS if sew <= 64 * lmul]


def _exists(operation: Operation, vtype: Vtype) -> bool:
    try:
        check_legal(operation, vtype, vd=8, vs2=16, vs1=24)
    except ValueError:
        return False
    return True


def _case(operation: Operation, vtype: Vtype, vm: int, draw: Draw) -> QemuCase:
    vlmax = vtype.vlmax(VLEN_BITS)
    vl = draw.one_of((vlmax, 1, draw.below(vlmax) | 1, draw.below(vlmax + 1), max(1, vlmax - 1), vlmax))
    if operation.unit is Unit.SET:
        return _set_case(operation, vtype, draw)
    fields = _fields(operation, vtype, vm, draw)
    vd, vs2, vs1, _ = fields
    word = encode(operation, vd=vd, vs2=vs2, vs1=vs1, vm=vm)
    scalar, distance = _scalars(operation, vtype, vl, draw)
    registers = draw.bits(32 * REGISTER_BYTES, 8)
    # so that operands are equal, or each other's negatives, now and then
    like: Array = np.array(scalar if operation.scalar in ("x", "f") else vs1).astype(np.int64)
    for name, width, first in (
        ("vs2", operation.vs2, vs2), ("vs1", operation.vs1, vs1), ("vd", operation.vd, vd),
    ):  # fmt: skip
        if width in (None, Width.MASK) or (first == 0 and vm == 0):
            continue
        assert width is not None
        bits = width.bits(vtype.sew_bits, operation.eew_bits)
        count = vtype.registers(width, operation.eew_bits) * VLEN_BITS // bits
        values = _operand(operation, name, width, bits, vtype, count, draw)
        if (
            width is Width.SEW
            and like.size in (1, count)
            and not operation.whole
            and (operation.scalar or name != "vs2")
        ):
            same = draw.bits(count, 8)
            flipped = like ^ (1 << (bits - 1)) if operation.floating else like
            values = np.where(same < 40, like, np.where(same < 60, flipped, values)).astype(values.dtype)
        like = values.astype(np.int64)
        registers[first * REGISTER_BYTES :][: values.nbytes] = values.view(np.uint8)
    memory = draw.bits(MEMORY_BYTES, 8).tobytes() if operation.unit is Unit.MEMORY else b""
    return QemuCase(
        operation=operation, word=word, vtype=vtype, vl=vl, scalar=scalar, distance=distance, fields=fields,
        registers=registers.tobytes(), memory=memory,
    )  # fmt: skip


def _set_case(operation: Operation, vtype: Vtype, draw: Draw) -> QemuCase:
    new = draw.one_of([vtype for sew in SEWS for vtype in _vtypes(sew)])
    avl = draw.one_of((0, 1, draw.below(600), 2**40 + 1))
    immediate = operation.scalar == "u"
    vs1 = draw.below(32) if immediate else SCALAR
    register = operation.mnemonic == "vsetvl"
    word = encode(operation, vd=12, vs1=vs1, vs2=DISTANCE * register, vtype=None if register else new)
    return QemuCase(
        operation=operation, word=word, vtype=vtype, vl=vtype.vlmax(VLEN_BITS), scalar=avl, distance=new.encode(),
        fields=(12, DISTANCE * register, vs1, 1), registers=draw.bits(32 * REGISTER_BYTES, 8).tobytes(), memory=b"",
    )  # fmt: skip


def _fields(operation: Operation, vtype: Vtype, vm: int, draw: Draw) -> tuple[int, int, int, int]:
    """Registers that may overlap where RVV lets them."""
    while True:
        vd, vs2, vs1 = (
            draw.below(32) // count * count
            for count in (
                vtype.registers(width, operation.eew_bits) if width is not None else 1
                for width in (operation.vd, operation.vs2, operation.vs1)
            )
        )
        if operation.vs2_code is not None or operation.vs2 is None:
            vs2 = DISTANCE if operation.strided else 0
        if operation.scalar in ("x", "f"):
            vs1 = SCALAR
        elif operation.scalar:
            vs1 = draw.below(32) - 16 * (operation.scalar == "i")
        elif operation.vs1 is None:
            vs1 = 0
        try:
            check_legal(operation, vtype, vd=vd, vs2=vs2, vs1=vs1, vm=vm)
        except ValueError:
            continue
        return vd, vs2, vs1, vm


def _scalars(operation: Operation, vtype: Vtype, vl: int, draw: Draw) -> tuple[int, int]:
    sew, vlmax = vtype.sew_bits, vtype.vlmax(VLEN_BITS)
    if operation.unit is Unit.MEMORY:
        size = operation.eew_bits // 8
        widest = (MEMORY_BYTES - size) // max(1, vl)
        distance = draw.one_of((0, size, -size, min(widest, 3 * size + 1), -min(widest, size + 1), 1))
        low = max(0, -distance * (vl - 1)) if operation.strided else 0
        return low + draw.below(3), distance
    if operation.scalar == "x" and operation.base in ("vslideup", "vslidedown", "vrgather"):
        return draw.one_of((0, 1, draw.below(vlmax), vlmax - 1, vlmax, 2**63 + 1)), 0
    if operation.scalar == "f":
        return int(floats(draw, float_format(sew, altfmt=False), 1)[0]), 0
    return int(integers(draw, 32, 1)[0]) | draw.below(2) << 63, 0


def _operand(
    operation: Operation, name: str, width: Width, bits: int, vtype: Vtype, count: int, draw: Draw
) -> Array:
    """Elements of an operand that are worth trying; the old elements of results likewise."""
    conversion = operation.base.split(".", 1)[-1].removeprefix("rtz.")
    integer = "cvt" in operation.base and (
        conversion in _INTEGER_SIDE if name == "vs2" else conversion[0] == "x"
    )
    if operation.base in _SUMS:
        return _exact_in_any_order(draw, float_format(bits, altfmt=False), count, signalling=name == "vs2")
    if operation.floating and not integer and width is not Width.EEW:
        return floats(draw, float_format(bits, altfmt=False), count)
    values = integers(draw, bits, count)
    if operation.mnemonic == "vrgather.vv" and name == "vs1" and draw.below(4):
        values = values % max(2, min(2 * vtype.vlmax(VLEN_BITS), (1 << bits) - 1)).__index__()
    return values.astype(unsigned_dtype(bits))


def integers(draw: Draw, bits: int, count: int) -> Array:
    """Half of them at the edges."""
    top = 1 << (bits - 1)
    edges = np.array(
        [0, 1, 2, 3, 2 * top - 1, 2 * top - 2, top, top + 1, top - 1, top - 2, top // 2], np.uint64
    )
    chosen = edges[draw.bits(count, 32) % edges.size].astype(unsigned_dtype(bits))
    return np.where(draw.bits(count, 8) < 128, chosen, draw.bits(count, bits))


def floats(draw: Draw, form: NumberFormat, count: int) -> Array:
    """Special ones, any bits, and, most of all, such as are about as large as integers."""
    special = special_values(form)
    chosen = special[draw.bits(count, 32) % special.size]
    uniform = draw.bits(count, form.bits)
    exponents = (form.bias - 3 + draw.bits(count, 32) % np.uint32(min(form.bias, 40))).astype(uniform.dtype)
    field = uniform.dtype.type(form.infinity_bits)
    middling = (uniform & ~field) | (exponents << uniform.dtype.type(form.fraction_bits))
    kind = draw.bits(count, 8)
    return np.where(kind < 80, chosen, np.where(kind < 128, uniform, middling))


def _exact_in_any_order(draw: Draw, form: NumberFormat, count: int, *, signalling: bool) -> Array:
    """Small whole numbers; sometimes zeros alone, or with infinities and NaNs.

    A start that is a signalling NaN may come out quiet or not where no element is active.
    """
    whole = (draw.bits(count, 8).astype(np.float64) - 128) * (draw.below(8) > 0)
    kind: Any = np.float16 if form.bits == 16 else np.float32
    bits = (whole * -1.0).astype(kind).view(unsigned_dtype(form.bits))
    if draw.below(4) == 0:
        minus_infinity = form.infinity_bits | 1 << (form.bits - 1)
        third = form.infinity_bits + 1 if signalling else minus_infinity
        special = np.array([form.infinity_bits, form.nan_bits, third], bits.dtype)
        bits = np.where(draw.bits(count, 8) < 8, special[draw.bits(count, 32) % 3], bits)
    return bits
