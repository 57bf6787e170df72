"""Writes vector kernels: allocates registers, splats constants, emits instructions in program order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from math import ceil, copysign

from lanewise.config import MachineConfig
from lanewise.isa.encoding import Decoded
from lanewise.isa.operations import OPERATIONS, Operation
from lanewise.sim.decoded import instruction_of
from lanewise.sim.program import Address, Instruction
from lanewise.sim.timing import narrow_bits
from lanewise.sim.vector_type import vtype_for

REGISTERS = 32
KEPT = 1 << 15
"""Instructions that are remembered: the same one again is the same object."""

SCALAR, DISTANCE = 10, 11
"""Number of the ``x`` or ``f`` register that a scalar operand or an address comes in, and of a strided access's distance."""

TABLE = "table "
"""What the names of tensors with Flex-SFU's tables begin with; the function follows."""

STRIP = "strip"
"""Index of the loop over strips."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Register:
    """A register group: ``v{first}`` and those after it."""

    first: int
    length: int
    """LMUL, or 1 where it is fractional."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every register of the group."""
        return _register_names(self.first, self.length)


@cache
def _register_names(first: int, length: int) -> tuple[str, ...]:
    return tuple(f"v{index}" for index in range(first, first + length))


@cache
def _groups(length: int) -> tuple[tuple[Register, frozenset[int]], ...]:
    """The groups of so many registers, the lowest first; ``v0`` is kept for masks."""
    return tuple(
        (Register(first=first, length=length), frozenset(range(first, first + length)))
        for first in range(length, REGISTERS - length + 1, length)
    )


@dataclass(kw_only=True)
class VectorKernel:
    """Straight-line vector code for ``vl`` elements at a time.

    ``setup`` runs once (constants, tables), ``code`` once a strip. Registers are allocated in aligned groups, as
    LMUL demands.

    Raises:
        ValueError: The kernel needs more than the 32 registers; choose a smaller ``vl``.
    """

    config: MachineConfig
    vl: int
    ways: int = 1
    """Strips that ``code`` handles, interleaved."""
    way: int = 0
    """Which of them is being written."""
    places: Callable[[str, int, int], Address] | None = None
    """Where a strip of a buffer lies, by buffer, bits of an element and elements; ``None``: strips one after the other."""
    setup: list[Instruction] = field(default_factory=list)
    code: list[Instruction] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    written: set[int] = field(default_factory=set)
    """Registers that the strips have used so far: no constant can live there."""
    touched: set[int] = field(default_factory=set)
    """Registers allocated for strips since somebody emptied this."""
    splats: dict[tuple[float, int, int], Register] = field(default_factory=dict)
    sums: dict[str, Register] = field(default_factory=dict)
    """Registers of :meth:`accumulator`, by name."""
    tables: list[str] = field(default_factory=list)
    """The functions that Flex-SFU's tables hold, one a table."""

    def strips(self, elements: int) -> int:
        """How often ``code`` runs for so many elements."""
        return ceil(elements / (self.vl * self.ways))

    def lmul(self, sew_bits: int, vl: int | None = None) -> int:
        """Registers that a group of ``vl`` elements takes: 1, 2, 4 or 8."""
        registers = -(-(self.vl if vl is None else vl) * sew_bits // self.config.vector.vlen_bits)
        return 1 << max(0, (registers - 1).bit_length())

    def allocate(self, sew_bits: int = 16, vl: int | None = None) -> Register:
        """A free group, the lowest that fits; ``v0`` is kept for masks."""
        length = self.lmul(sew_bits, vl)
        if length > 8:
            raise ValueError(
                f"vl must be at most 8 registers of {sew_bits} bits, not {self.vl if vl is None else vl}"
            )
        for register, group in _groups(length):
            if self.used.isdisjoint(group):
                self.used |= group
                self.written |= group
                self.touched |= group
                return register
        raise ValueError(
            f"vl must leave registers free, not {self.vl}: a group of {length} is wanted and none is left"
        )

    def _allocate_constant(self, length: int) -> Register:
        """A free group that the strips never touch, the highest that fits; below the groups of 8 if those are the strips'."""
        places = range(REGISTERS - length, 0, -length)
        for first in sorted(places, key=lambda place: place >= 8) if self.lmul(16) == 8 else places:
            group = range(first, first + length)
            if self.used.isdisjoint(group) and self.written.isdisjoint(group):
                self.used.update(group)
                return Register(first=first, length=length)
        raise ValueError(
            f"vl must leave registers free, not {self.vl}: a constant needs a group of {length} and none is left"
        )

    def allocate_first(self, sew_bits: int = 16) -> Register:
        """Room for an element that :meth:`spread` is to copy: a register where a group as long as a strip's can begin.

        Of groups of 8 registers that is v0, and the others of its group are constants that nobody writes; else a group of its own.
        """
        length = self.lmul(sew_bits)
        return Register(first=0 if length == 8 else self.allocate(sew_bits).first, length=1)

    def spread(
        self, single: Register, place: int = 0, *, into: Register | None = None, sew_bits: int = 16
    ) -> Register:
        """One element of a register of :meth:`allocate_first` in every element of a strip."""
        group = Register(first=single.first, length=self.lmul(sew_bits))
        return self.emit("vrgather.vi", group, into=into, sew_bits=sew_bits, constant=place)

    def release_first(self, single: Register, sew_bits: int = 16) -> None:
        """Give back what :meth:`allocate_first` gave."""
        if single.first:
            self.release(Register(first=single.first, length=self.lmul(sew_bits)))

    def release(self, *registers: Register) -> None:
        """Give groups back."""
        for register in registers:
            self.used.difference_update(range(register.first, register.first + register.length))

    def splat(self, value: float, sew_bits: int = 16, vl: int | None = None) -> Register:
        """A register that holds ``value`` in every element, loaded once before the strips."""
        elements = self.vl if vl is None else vl
        key = (value, sew_bits, self.lmul(sew_bits, elements))
        for length in (8, 4, 2):  # one that is longer will do
            if length > key[2] and (value, sew_bits, length) in self.splats:
                return self.splats[value, sew_bits, length]
        if key not in self.splats:
            register = self.splats[key] = self._allocate_constant(self.lmul(sew_bits, elements))
            self._emit(self.setup, "vfmv.v.f", register, (), sew_bits, elements, value)
        return self.splats[key]

    def emit(
        self,
        opcode: str,
        *sources: Register,
        into: Register | None = None,
        constant: float | None = None,
        sew_bits: int = 16,
        result_bits: int | None = None,
        vl: int | None = None,
        masked: bool = False,
    ) -> Register:
        """Append an instruction; its result goes to ``into`` or a new group of ``result_bits`` (default ``sew_bits``) elements.

        Args:
            sources: Vector operands as the assembler orders them, without the mask.
            masked: Elements of which v0's bit is clear stay as they are.
        """
        target = into if into is not None else self.allocate(result_bits or sew_bits, vl)
        elements = self.vl if vl is None else vl
        widest = max(sew_bits, result_bits or 0)
        self._emit(self.code, opcode, target, sources, widest, elements, constant, masked=masked)
        return target

    def _emit(
        self, code: list[Instruction], opcode: str, target: Register, sources: tuple[Register, ...], sew_bits: int,
        vl: int, constant: float | None, *, masked: bool = False,
    ) -> None:  # fmt: skip
        negative = constant is not None and copysign(1.0, constant) < 0
        vlen_bits, firsts = self.config.vector.vlen_bits, tuple([source.first for source in sources])
        code.append(
            _arithmetic(opcode, target.first, firsts, sew_bits, vl, constant, negative, masked, vlen_bits)
        )

    def stream(self, buffer: str, bits: int = 16, vl: int | None = None) -> Address:
        """The current strip of a buffer that holds the strips' elements, of so many bits each, one after the other; a strip begins at a byte."""
        elements = self.vl if vl is None else vl
        if self.places is not None:
            return self.places(buffer, bits, elements)
        size = ceil(elements * bits / 8)
        return Address(buffer, self.way * size).along(STRIP, self.ways * size)

    def load(
        self,
        place: str | Address,
        *,
        sew_bits: int = 16,
        vl: int | None = None,
        into: Register | None = None,
        stride_bytes: int = 0,
    ) -> Register:
        """Load a strip from a scratchpad buffer (where :meth:`stream` says) or an address, unit-stride or strided."""
        target = into if into is not None else self.allocate(sew_bits, vl)
        self._access("l", place, target, sew_bits, vl, stride_bytes)
        return target

    def store(
        self,
        place: str | Address,
        source: Register,
        *,
        sew_bits: int = 16,
        vl: int | None = None,
        stride_bytes: int = 0,
    ) -> None:
        """Store a strip to a scratchpad buffer or an address."""
        self._access("s", place, source, sew_bits, vl, stride_bytes)

    def _access(
        self, letter: str, place: str | Address, register: Register, sew_bits: int, vl: int | None, stride_bytes: int
    ) -> None:  # fmt: skip
        elements = self.vl if vl is None else vl
        address = self.stream(place, sew_bits, elements) if isinstance(place, str) else place
        opcode = f"v{letter}{'s' if stride_bytes else ''}e{sew_bits}.v"
        made = _memory(
            opcode, register.first, elements, sew_bits, address.base, address.offset_bytes, address.steps, stride_bytes,
            self.config.vector.vlen_bits,
        )  # fmt: skip
        self.code.append(made)

    def accumulator(self, name: str, sew_bits: int = 16) -> Register:
        """A register that all strips add to, zero before the first."""
        if name not in self.sums:
            register = self.sums[name] = self._allocate_constant(self.lmul(sew_bits))
            self._emit(self.setup, "vfmv.v.f", register, (), sew_bits, self.vl, 0.0)
        return self.sums[name]

    def load_table(self, function: str, sew_bits: int = 16) -> int:
        """Fill one of Flex-SFU's tables for ``function``, once before the strips: from memory, then breakpoints and coefficients, a word a clock.

        Args:
            sew_bits: Of the table's numbers: the unit repeats a narrow one in its word.

        Returns:
            Which table: 0, or 1 of a double-buffered unit.

        Raises:
            ValueError: The tables already hold other functions.
        """
        sfu = self.config.flex_sfu
        if function in self.tables:
            return self.tables.index(function)
        if len(self.tables) == sfu.banks:
            held = " or ".join(repr(name) for name in self.tables)
            raise ValueError(f"function must be {held}, what the unit's tables hold, not {function!r}")
        self.tables.append(function)
        table = len(self.tables) - 1
        buffer, words = f"@table.{table}", (sfu.breakpoints, sfu.coefficient_words)
        self.setup.append(
            Instruction(
                opcode="dma.load", writes=(buffer,), runs=1, run_bytes=4 * sum(words), address=Address(buffer),
                external=Address(f"{TABLE}{function}"),
            )
        )  # fmt: skip
        for opcode, entries, offset in zip(("sfu.breakpoints", "sfu.coefficients"), words, (0, 4 * words[0])):
            decoded = Decoded(operation=OPERATIONS[opcode], vd=self._table_code(table, sew_bits), vs1=SCALAR)
            vtype = vtype_for(32, entries, self.config.vector.vlen_bits)
            self.setup.append(instruction_of(decoded, vtype, entries, address=Address(buffer, offset)))
        return table

    def flex_sfu(
        self,
        source: Register,
        *,
        into: Register | None = None,
        vl: int | None = None,
        table: int = 0,
        sew_bits: int = 16,
    ) -> Register:
        """Evaluate the function of ``table`` on ``source``."""
        target = into if into is not None else self.allocate(sew_bits, vl)
        elements = self.vl if vl is None else vl
        operation = OPERATIONS["sfu.execute"]
        code = self._table_code(table, sew_bits)
        decoded = Decoded(operation=operation, vd=target.first, vs2=source.first, vs1=code)
        vtype, operands = vtype_for(sew_bits, elements, self.config.vector.vlen_bits), (source.names[0],)
        self.code.append(instruction_of(decoded, vtype, elements, operands=operands))
        return target

    def _table_code(self, table: int, sew_bits: int) -> int:
        """The field that says which table and which format."""
        formats = self.config.flex_sfu.formats
        name = f"fp{sew_bits}"
        return table | (formats.index(name) if name in formats else 0) << 1


@lru_cache(maxsize=KEPT, typed=True)
def _arithmetic(
    opcode: str, vd: int, sources: tuple[int, ...], sew_bits: int, vl: int, constant: float | None,
    negative: bool, masked: bool, vlen_bits: int,  # noqa: ARG001
) -> Instruction:  # fmt: skip
    """``negative`` is the constant's sign, which tells -0.0 from 0.0."""
    operation = OPERATIONS[opcode]
    masked = masked or operation.vm == 0
    operands = (vd, *sources) if operation.reads_vd else sources
    if masked:
        operands = (*operands, 0)
    sew = narrow_bits(sew_bits, operation)
    vs2, vs1 = _source_fields(operation, sources, constant)
    decoded = Decoded(operation=operation, vd=vd, vs2=vs2, vs1=vs1, vm=int(not masked))
    names = tuple(f"v{first}" for first in operands)
    return instruction_of(decoded, vtype_for(sew, vl, vlen_bits), vl, constant=constant, operands=names)


@lru_cache(maxsize=KEPT)
def _memory(
    opcode: str, register: int, elements: int, sew_bits: int, base: str, offset_bytes: int, steps: tuple[tuple[str, int], ...],
    stride_bytes: int, vlen_bits: int,
) -> Instruction:  # fmt: skip
    decoded = Decoded(
        operation=OPERATIONS[opcode], vd=register, vs1=SCALAR, vs2=DISTANCE if stride_bytes else 0
    )
    vtype = vtype_for(sew_bits, elements, vlen_bits)
    address = Address(base, offset_bytes, steps)
    return instruction_of(decoded, vtype, elements, address=address, stride_bytes=stride_bytes)


def _source_fields(operation: Operation, sources: Sequence[int], constant: float | None) -> tuple[int, int]:
    """The fields ``vs2`` and ``vs1``."""
    wanted = [name for name in ("vs2", "vs1") if getattr(operation, name) is not None]
    if operation.multiply_adds:
        wanted.reverse()
    if len(wanted) != len(sources):
        raise ValueError(f"{operation.mnemonic} takes {len(wanted)} vectors, not {len(sources)}")
    if (constant is None) != (not operation.scalar):
        raise ValueError(
            f"{operation.mnemonic}: constant must be {'given' if operation.scalar else 'left out'}"
        )
    fields = dict(zip(wanted, sources))
    if operation.scalar and constant is not None:
        fields["vs1"] = SCALAR if operation.scalar in ("x", "f") else int(constant)
    selected = 0 if operation.vs1_code is None else operation.vs1_code
    return fields.get("vs2", operation.vs2_code or 0), fields.get("vs1", selected)
