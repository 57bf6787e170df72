"""The vector unit's state, and what each instruction does to it: bits, no time."""

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.config import FlexSfuConfig
from lanewise.isa.encoding import Decoded, decode
from lanewise.isa.legality import check_legal
from lanewise.isa.operations import Unit, Width
from lanewise.isa.vtype import Vtype
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.vector_elements import evaluate, is_elementwise
from lanewise.models.vector_integers import unsigned_dtype
from lanewise.models.vector_permutations import permute
from lanewise.models.vector_reductions import reduce
from lanewise.models.vector_tables import TableWords

Array: TypeAlias = npt.NDArray[Any]
Mask: TypeAlias = npt.NDArray[np.bool_]

_ADDRESS_BITS = 32


class VectorMachine:
    """32 vector registers, ``vl``, ``vtype``, Flex-SFU's tables, and a memory.

    Tail and masked-off elements are undisturbed. Of a mask that is a result the bytes with an element below ``vl`` are written, ones
    where an element is masked off or beyond ``vl``. An instruction with ``vl = 0`` changes nothing.

    Args:
        vlen_bits: Bits of a register.
        memory: Byte-addressed; loads and stores work on it in place.
        sfu: Flex-SFU, if there is one.

    >>> from fractions import Fraction
    >>> from lanewise.isa.encoding import encode
    >>> from lanewise.isa.operations import OPERATIONS
    >>> machine = VectorMachine(128, bytearray(64))
    >>> machine.step(encode(OPERATIONS["vsetvli"], vtype=Vtype(16, Fraction(1))), rs1=5)
    >>> machine.step(encode(OPERATIONS["vid.v"], vd=1))
    >>> machine.step(encode(OPERATIONS["vadd.vi"], vd=2, vs2=1, vs1=-1))
    >>> machine.read(2, 16)
    array([65535,     0,     1,     2,     3,     0,     0,     0], dtype=uint16)
    """

    def __init__(self, vlen_bits: int, memory: bytearray, sfu: FlexSfuConfig | None = None) -> None:
        self.vlen_bits = vlen_bits
        self.memory = memory
        self.registers: npt.NDArray[np.uint8] = np.zeros((32, vlen_bits // 8), np.uint8)
        """Shape ``(32, vlen_bits / 8)``, element 0 first, little-endian."""
        self.vl = 0
        self.vtype = Vtype.decode(0)
        self._sfu = sfu if sfu is not None and sfu.enabled else None
        self._tables = [TableWords(self._sfu) for _ in range(self._sfu.banks)] if self._sfu else []

    def read(self, register: int, bits: int, count: int = 1) -> Array:
        """A copy of the elements of a group of registers."""
        return self._group(register, bits, count).copy()

    def write(self, register: int, elements: Array) -> None:
        """Overwrite the first elements of a group of registers, which is as long as it must be."""
        data = np.ascontiguousarray(elements).view(np.uint8).reshape(-1)
        self.registers.reshape(-1)[register * self.vlen_bits // 8 :][: data.size] = data

    def mask(self) -> Mask:
        """The first ``vl`` bits of v0."""
        return self._bits_of(0)

    def step(self, word: int, rs1: int = 0, rs2: int = 0) -> None:
        """Execute an instruction.

        Args:
            word: Instruction word.
            rs1: The scalar that the instruction names: an integer (element, offset, index, address, application vector length), or
                the bits of a floating-point number, of which the lowest SEW count.
            rs2: Distance in bytes of strided accesses; ``vtype`` of ``vsetvl``.

        Raises:
            ValueError: The instruction is unknown, reserved under the current ``vtype``, or leaves the memory; nothing has changed.
        """
        decoded = _checked(word, self.vtype)
        if decoded.operation.unit is Unit.SET:
            self._set(decoded, rs1, rs2)
        elif decoded.operation.unit is Unit.FLEX_SFU or decoded.operation.mnemonic.startswith("sfu."):
            self._flex_sfu(decoded, rs1)
        elif self.vl == 0:
            return
        elif decoded.operation.unit is Unit.MEMORY:
            self._access(decoded, rs1, rs2)
        elif decoded.operation.vd in (Width.FIRST, Width.FIRST_DOUBLE):
            self._first(decoded, rs1)
        else:
            self._arithmetic(decoded, rs1)

    def _set(self, decoded: Decoded, rs1: int, rs2: int) -> None:
        vtype = Vtype.decode(rs2) if decoded.vtype is None else decoded.vtype
        wanted = decoded.vs1 if decoded.operation.scalar == "u" else rs1 % 2**64
        self.vtype, self.vl = vtype, min(wanted, vtype.vlmax(self.vlen_bits))

    def _arithmetic(self, decoded: Decoded, rs1: int) -> None:
        operation, sew = decoded.operation, self.vtype.sew_bits
        active = self._active(decoded)
        if is_elementwise(operation):
            second = (
                self._scalar(decoded, rs1) if operation.scalar else self._source(operation.vs1, decoded.vs1)
            )
            old = self._source(operation.vd, decoded.vd) if operation.reads_vd else None
            result = evaluate(
                operation, self._source(operation.vs2, decoded.vs2), second, old,
                sew_bits=sew, altfmt=self.vtype.altfmt, mask=self.mask() if operation.vm == 0 else None,
            )  # fmt: skip
            if operation.vm == 0:  # v0 selects, and all elements are written
                active = np.ones(self.vl, bool)
        else:
            whole = self._elements(decoded.vs2, sew)
            result, active = permute(operation, whole, self._second(decoded, rs1), active)
        if operation.vd is Width.MASK:
            self._write_mask(decoded.vd, result, active)
        else:
            assert operation.vd is not None
            target = self._elements(decoded.vd, operation.vd.bits(sew))[: self.vl]
            target[active] = np.broadcast_to(result, target.shape)[active]

    def _second(self, decoded: Decoded, rs1: int) -> Array | int:
        """The second operand of a permutation."""
        operation = decoded.operation
        if operation.vs1 is not None:
            elements = self._source(operation.vs1, decoded.vs1)
            assert elements is not None
            return elements
        if "slide1" in operation.base:
            return int(self._scalar(decoded, rs1))
        return rs1 % 2**64 if operation.scalar == "x" else decoded.vs1

    def _first(self, decoded: Decoded, rs1: int) -> None:
        """Reductions, and moves of a scalar: element 0 alone is written."""
        operation, sew = decoded.operation, self.vtype.sew_bits
        assert operation.vd is not None
        bits = operation.vd.bits(sew)
        if operation.vs2 is None:
            value = int(self._scalar(decoded, rs1))
        else:
            elements = self._source(operation.vs2, decoded.vs2)
            assert elements is not None
            start = int(self._group(decoded.vs1, bits, 1)[0])
            value = reduce(
                operation, elements, self._active(decoded), start, sew_bits=sew, altfmt=self.vtype.altfmt
            )
        self._group(decoded.vd, bits, 1)[0] = value

    def _access(self, decoded: Decoded, rs1: int, rs2: int) -> None:
        size = decoded.operation.eew_bits // 8
        distance = rs2 if decoded.operation.strided else size
        memory = np.frombuffer(self.memory, np.uint8)
        active = self._active(decoded)
        place = np.flatnonzero(active)
        first = (rs1 + place * _signed(distance)) % 2**_ADDRESS_BITS
        if place.size and int(first.max()) + size > memory.size:
            raise ValueError(
                f"{decoded.operation.mnemonic}: address {int(first.max()):#x} is beyond the memory's {memory.size} bytes"
            )
        addresses = first[:, None] + np.arange(size)
        elements = self._elements(decoded.vd, 8 * size)[: self.vl]
        if not decoded.operation.stores:
            elements[active] = memory[addresses].view(elements.dtype)[:, 0]
            return
        data = elements[active].view(np.uint8).reshape(-1, size)
        for at, row in zip(addresses, data) if abs(_signed(distance)) < size else ((addresses, data),):
            memory[at] = row  # where elements overlap, the last one stays

    def _flex_sfu(self, decoded: Decoded, rs1: int) -> None:
        operation = decoded.operation
        if self._sfu is None:
            raise ValueError(f"{operation.mnemonic}: there is no Flex-SFU")
        code = decoded.vd if operation.unit is Unit.MEMORY else decoded.vs1
        formats, bank = self._sfu.number_formats, code & 1
        if bank >= self._sfu.banks or code >> 1 >= len(formats):
            raise ValueError(f"{operation.mnemonic}: there is no table {bank} or no format {code >> 1}")
        table, form = self._tables[bank], formats[code >> 1]
        if operation.unit is Unit.MEMORY:
            if self.vl == 0:
                return
            if not 0 <= rs1 <= len(self.memory) - 4 * self.vl:
                raise ValueError(
                    f"{operation.mnemonic}: {self.vl} words at {rs1:#x} are beyond the memory's {len(self.memory)} bytes"
                )
            table.load(
                operation.mnemonic.removeprefix("sfu."), np.frombuffer(self.memory, "<u4", self.vl, rs1)
            )
            return
        if form.bits != self.vtype.sew_bits:
            raise ValueError(
                f"sfu.execute: SEW must be {form.bits} for {form.name}, not {self.vtype.sew_bits}"
            )
        if self.vl:
            x = self._elements(decoded.vs2, form.bits)[: self.vl].copy()
            self._elements(decoded.vd, form.bits)[: self.vl] = flex_sfu(x, table.table(form))

    def _active(self, decoded: Decoded) -> Mask:
        return self.mask() if decoded.vm == 0 else np.ones(self.vl, bool)

    def _scalar(self, decoded: Decoded, rs1: int) -> Array:
        """The scalar operand as an element of SEW bits."""
        sew = self.vtype.sew_bits
        value = rs1 if decoded.operation.scalar in ("x", "f") else decoded.vs1
        return np.array(value & (1 << sew) - 1, unsigned_dtype(sew))

    def _source(self, width: Width | None, register: int) -> Array | None:
        """The first ``vl`` elements of an operand, as they are before the instruction."""
        if width is None:
            return None
        if width is Width.MASK:
            return self._bits_of(register)
        return self._elements(register, width.bits(self.vtype.sew_bits))[: self.vl]

    def _elements(self, register: int, bits: int) -> Array:
        """The elements of an operand's group below VLMAX; writing to them writes the registers."""
        vlmax = self.vtype.vlmax(self.vlen_bits)
        count = max(1, vlmax * bits // self.vlen_bits)
        return self._group(register, bits, count)[:vlmax]

    def _group(self, register: int, bits: int, count: int) -> Array:
        group: Array = self.registers[register : register + count].reshape(-1).view(unsigned_dtype(bits))
        return group

    def _bits_of(self, register: int) -> Mask:
        return np.unpackbits(self.registers[register], count=self.vl, bitorder="little").view(np.bool_)

    def _write_mask(self, register: int, result: Array, active: Mask) -> None:
        touched = -(-self.vl // 8)
        bits = np.ones(8 * touched, bool)
        bits[: self.vl] = result | ~active
        self.registers[register, :touched] = np.packbits(bits, bitorder="little")


def _signed(distance: int) -> int:
    """A distance of 32 bits or more as a signed one."""
    half = 1 << (_ADDRESS_BITS - 1)
    return (distance + half) % (2 * half) - half


@lru_cache(maxsize=1 << 14)
def _checked(word: int, vtype: Vtype) -> Decoded:
    decoded = decode(word)
    check_legal(decoded.operation, vtype, vd=decoded.vd, vs2=decoded.vs2, vs1=decoded.vs1, vm=decoded.vm)
    return decoded
