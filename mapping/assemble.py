"""A Program as a listing for the GNU assembler: loops as comments, every instruction as what it is encoded to.

Vector instructions are RVV 1.0's text; Flex-SFU's lie in custom-0, and DMA, matrix unit and operand path in custom-1, both by ``.insn``. Scalars come in
``a0`` (a distance in ``a1``) or ``fa0``; what the host puts there, and a transfer's descriptor, is the line's comment. An
instruction that is priced alone (:func:`lanewise.sim.program.is_complete`) is a comment and no word.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from lanewise.config import MachineConfig
from lanewise.isa.encoding import assembly, encode
from lanewise.isa.operations import OPERATIONS, Operation, Unit
from lanewise.mapping.kernels.builder import SCALAR
from lanewise.sim.program import Instruction, Loop, Node, Program, Rotate, Tile, is_complete, priced_only
from lanewise.sim.timing import sew_bits
from lanewise.sim.vector_type import vtype_for, with_vector_types

CUSTOM_1 = 0x2B
"""Major opcode of what is no vector instruction; ``rs1`` is where its descriptor lies."""

_FUNCT3 = {
    "dma.load": 0, "dma.store": 1, "mm.tile": 2, "mm.accumulate": 3, "op.settings": 4, "op.quantise": 5, "op.sample": 6, "dma.generate": 7,
}  # fmt: skip


def word(instruction: Instruction, config: MachineConfig) -> int:
    """The instruction word.

    Raises:
        ValueError: The instruction is priced alone.

    >>> hex(word(Instruction(opcode="vsetvli", sew_bits=16, vl=100), MachineConfig()))
    '0x957057'
    """
    operation = OPERATIONS.get(instruction.opcode)
    if operation is None:
        return CUSTOM_1 | _FUNCT3[instruction.opcode] << 12 | SCALAR << 15
    if operation.unit is Unit.SET:
        vtype = vtype_for(instruction.sew_bits, instruction.vl, config.vector.vlen_bits)
        return encode(operation, vs1=SCALAR, vtype=vtype)
    if instruction.vd is None:
        raise ValueError(
            f"{instruction.opcode} must have registers, not names alone: it is priced and no more"
        )
    vm = 0 if instruction.masked else None
    return encode(operation, vd=instruction.vd, vs2=instruction.vs2, vs1=instruction.vs1, vm=vm)


def scalar_bits(instruction: Instruction, operation: Operation) -> int:
    """What the scalar register holds: an integer, or the bits of a floating-point number of SEW bits.

    >>> hex(scalar_bits(Instruction(opcode="vfmul.vf", constant=0.5), OPERATIONS["vfmul.vf"]))
    '0x3800'
    """
    if instruction.constant is None or operation.scalar not in ("x", "f"):
        return 0
    if operation.scalar == "x":
        return int(instruction.constant)
    if sew_bits(instruction, operation) == 16:
        with np.errstate(over="ignore"):
            return int(np.float16(instruction.constant).view(np.uint16))
    return int(np.float32(instruction.constant).view(np.uint32))


def text(instruction: Instruction, config: MachineConfig) -> str:
    """The line of a complete instruction, without its comment; a custom one's by ``.insn``."""
    if instruction.opcode not in OPERATIONS:
        return f".insn r {CUSTOM_1}, {_FUNCT3[instruction.opcode]}, 0, x0, x{SCALAR}, x0"
    return assembly(word(instruction, config))


def listing(program: Program, config: MachineConfig) -> str:
    """The whole Program, with vl and vtype set where they change."""
    program = with_vector_types(program, config)
    lines = [f"# buffer {name}: {size} bytes" for name, size in program.buffers_bytes.items()]
    if missing := priced_only(program):
        lines.append(f"# priced only: {', '.join(missing)}")
    lines += _lines(program.body, config, "")
    return "\n".join(lines) + "\n"


def words(program: Program, config: MachineConfig) -> list[int]:
    """The words of :func:`listing`, in its order."""
    body = with_vector_types(program, config).body
    return [word(i, config) for i in _once(body) if is_complete(i) or i.opcode not in OPERATIONS]


def _once(body: Sequence[Node]) -> Iterator[Instruction]:
    for node in body:
        if isinstance(node, Loop):
            yield from _once(node.body)
        elif isinstance(node, Instruction):
            yield node


def _lines(body: Sequence[Node], config: MachineConfig, indent: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, Loop):
            yield f"{indent}# loop {node.count}{f' {node.index}' if node.index else ''} {{"
            yield from _lines(node.body, config, indent + "  ")
            yield f"{indent}# }}"
        elif isinstance(node, Rotate):
            yield f"{indent}# rotate {' <- '.join((*node.names, node.names[0]))}"
        elif is_complete(node) or node.opcode not in OPERATIONS:
            comment = _comment(node)
            line = indent + text(node, config)
            yield f"{line:<48}# {comment}" if comment else line
        else:
            yield f"{indent}# {node.opcode} {', '.join(node.writes)} <- {', '.join(node.reads)} ({node.vl} elements): priced only"


def _comment(instruction: Instruction) -> str:
    operation = OPERATIONS.get(instruction.opcode)
    if operation is None:
        return _descriptor(instruction)
    if operation.unit is Unit.SET:
        return f"a0 = {instruction.vl}"
    parts = [instruction.opcode] if instruction.opcode.startswith("sfu.") else []
    if instruction.address is not None:
        parts.append(f"a0 = {instruction.address}")
        if operation.strided:
            parts.append(f"a1 = {instruction.stride_bytes}")
    elif operation.scalar in ("x", "f"):
        bits = scalar_bits(instruction, operation)
        parts.append(
            f"a0 = {bits}" if operation.scalar == "x" else f"fa0 = {instruction.constant:g} ({bits:#x})"
        )
    return ", ".join(parts)


def _descriptor(instruction: Instruction) -> str:
    name = instruction.opcode
    if instruction.tile is not None:
        return _products(instruction, instruction.tile)
    if not name.startswith("dma."):
        sources = f" <- {', '.join(instruction.reads)}" if instruction.reads else ""
        counts = {"steps": instruction.steps, "elements": instruction.vl}
        return f"{name} {', '.join(instruction.writes)}{sources}" + "".join(
            f", {count} {what}" for what, count in counts.items() if count
        )
    inside = str(instruction.address) if instruction.address is not None else "?"
    if name == "dma.generate":
        return f"{name} {inside} <- block {instruction.indices or '?'} of seed {instruction.seed}: {instruction.run_bytes} bytes"
    outside = str(instruction.external) if instruction.external is not None else "external memory"
    ends = (inside, outside) if name == "dma.load" else (outside, inside)
    parts = [f"{name} {ends[0]} <- {ends[1]}: {instruction.runs} x {instruction.run_bytes} bytes"]
    if instruction.distance_bytes:
        parts.append(f"{instruction.distance_bytes} apart")
    if instruction.stride_bytes:
        parts.append(f"{instruction.stride_bytes} apart in the scratchpad")
    if instruction.indexed:
        parts.append(f"numbered by {instruction.indices or 'a list'}")
    return ", ".join(parts)


def _products(instruction: Instruction, tile: Tile) -> str:
    """Of a matrix command: results, operands, what becomes of the sums."""
    operands = [
        f"{lines.address}: {lines.lines} lines of INT{lines.bits}, {lines.stride_bytes} apart{', turned' * lines.turned}"
        for lines in (tile.left, tile.right)
    ]
    target = f"{tile.results}, {tile.results_stride_bytes} apart, " if tile.results is not None else ""
    parts = [
        f"{instruction.opcode} {target}<- {' x '.join(operands)}",
        f"{instruction.steps} steps",
        f"{instruction.passes} passes from {tile.first}{', shifted' * tile.shift}",
    ]
    if tile.results is not None:
        parts.append(f"to {tile.form}{' stochastic' * tile.stochastic}")
        scale = (
            f"x {tile.multiplier} >> {tile.shift_bits}" if tile.scales is None else f"scales {tile.scales}"
        )
        parts.append(scale)
    if tile.constants is not None:
        parts.append(f"constants {tile.constants}")
    return ", ".join(parts)
