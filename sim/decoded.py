"""Instruction words as the timing engine sees them: the registers that they read and write, by group."""

from functools import lru_cache

from lanewise.isa.encoding import Decoded
from lanewise.isa.operations import Latency, Unit, Width
from lanewise.isa.vtype import Vtype
from lanewise.sim.program import Address, Instruction


@lru_cache(maxsize=1024)
def _names(first: int, count: int) -> tuple[str, ...]:
    return tuple(f"v{first + k}" for k in range(count))


def instruction_of(
    decoded: Decoded,
    vtype: Vtype,
    vl: int,
    buffer: str = "",
    *,
    constant: float | None = None,
    address: Address | None = None,
    stride_bytes: int = 0,
    operands: tuple[str, ...] = (),
) -> Instruction:
    """What ``decoded`` is to the engine.

    Args:
        vtype: State in which it executes.
        vl: Likewise.
        buffer: Of a memory access, the name of what it accesses, if ``address`` does not say it.
        constant: Its scalar operand.
        address: Of a memory access.
        stride_bytes: Likewise.
        operands: First register of each source, in the order of the mnemonic's semantics.

    >>> from fractions import Fraction
    >>> from lanewise.isa.encoding import decode
    >>> instruction = instruction_of(decode(0x8FB257), Vtype(16, Fraction(2)), 20)
    >>> instruction.opcode, instruction.reads, instruction.writes, instruction.lengths
    ('vadd.vi', ('v8', 'v9', 'v0'), ('v4', 'v5'), (2, 1))
    """
    operation = decoded.operation
    if operation.unit is Unit.SET:
        return Instruction(opcode=operation.mnemonic)

    def group(first: int, width: Width) -> tuple[str, ...]:
        return _names(first, vtype.registers(width, operation.eew_bits))

    sources = []
    if operation.vs2 is not None:
        sources.append(group(decoded.vs2, operation.vs2))
    if operation.vs1 is not None:
        sources.append(group(decoded.vs1, operation.vs1))
    if operation.reads_vd and operation.vd is not None:
        sources.append(group(decoded.vd, operation.vd))
    if decoded.vm == 0:
        sources.append(("v0",))
    reads = tuple(name for source in sources for name in source)
    writes = () if operation.vd is None or operation.stores else group(decoded.vd, operation.vd)
    buffer = address.base if address is not None else buffer
    lengths = tuple(len(source) for source in sources)
    if operation.unit is Unit.MEMORY:
        if operation.stores:
            writes = (buffer,)
        else:
            reads, lengths = (*reads, buffer), (*lengths, 1)
    if operation.latency is Latency.TABLE:
        writes = (f"sfu.table.{decoded.vd & 1}",)
    if operation.unit is Unit.FLEX_SFU:
        reads, lengths = (*reads, f"sfu.table.{decoded.vs1 & 1}"), (*lengths, 1)
    double = Width.DOUBLE in (operation.vd, operation.vs2)
    return Instruction(
        opcode=operation.mnemonic, writes=writes, reads=reads, lengths=lengths, vl=vl, sew_bits=operation.eew_bits or vtype.sew_bits << double,
        vd=decoded.vd, vs2=decoded.vs2, vs1=decoded.vs1, masked=decoded.vm == 0, constant=constant, address=address, stride_bytes=stride_bytes,
        operands=operands,
    )  # fmt: skip
