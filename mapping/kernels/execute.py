"""Runs a kernel's straight-line code on values, to measure what it computes."""

from collections.abc import Mapping

import numpy as np

from lanewise.isa.operations import OPERATIONS, Unit
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.numbers import bits_dtype
from lanewise.models.vector import Array, execute


def execute_kernel(
    kernel: VectorKernel,
    registers: Mapping[str, Array],
    size: int,
    memory: dict[str, list[Array]] | None = None,
    tables: Mapping[str, SfuTable] | None = None,
) -> dict[str, Array]:
    """Execute ``setup`` and then ``code`` on registers of any length.

    Args:
        kernel: Element-wise code.
        registers: Initial values by the first register's name, shape ``(size,)``.
        size: Elements in a register, instead of the kernel's ``vl``: element-wise code does not mind. What an instruction
            with another ``vl`` writes has so many elements.
        memory: By buffer, the strips that its loads take in turn; stores append to it.
        tables: What Flex-SFU holds, by the names that the kernel loads.

    Returns:
        The registers at the end, by the first register's name of each group.
    """
    file = _RegisterFile(registers, kernel.config.vector.vlen_bits)
    for instruction in (*kernel.setup, *kernel.code):
        operation = OPERATIONS.get(instruction.opcode)
        if operation is None or instruction.opcode in ("sfu.breakpoints", "sfu.coefficients"):
            continue  # DMA and what it brings: the values are the arguments
        base = operation.base.removesuffix(".v")
        whole = instruction.vl == kernel.vl
        elements = size if whole else instruction.vl
        sources = [file.read(name, None if whole else elements) for name in instruction.operands]
        if operation.unit is Unit.MEMORY and not operation.stores:
            assert memory is not None
            result = memory[instruction.reads[0]].pop(0)
        elif operation.stores:
            assert memory is not None
            stored = file.read(instruction.reads[0], None if whole else elements)
            memory.setdefault(instruction.writes[0], []).append(stored)
            continue
        elif operation.unit is Unit.FLEX_SFU:
            assert tables is not None
            table = tables[kernel.tables[int(instruction.reads[-1].rpartition(".")[2])]]
            result = flex_sfu(sources[0].view(bits_dtype(table.form)), table)
        elif instruction.opcode == "vfmv.v.f":
            kind = np.float16 if instruction.sew_bits == 16 else np.float32
            result = np.full(elements, instruction.constant, kind)
        elif base == "vrgather":
            source = file.read(instruction.operands[0], None)
            result = np.repeat(source[int(instruction.constant or 0)], elements)
        else:
            result = execute(base, sources, instruction.sew_bits, instruction.constant)
        file.write(instruction.writes, result, keep_tail=not whole)
    return file.state


class _RegisterFile:
    """Values by the first register of the group that they were written to; of a group, a later register can be read, too."""

    def __init__(self, registers: Mapping[str, Array], vlen_bits: int) -> None:
        self.state = dict(registers)
        self.vlen_bits = vlen_bits
        self.place = {name: (name, 0) for name in registers}

    def read(self, name: str, elements: int | None) -> Array:
        first, index = self.place[name]
        values = self.state[first]
        start = index * self.vlen_bits // (8 * values.dtype.itemsize)
        return values[start:] if elements is None else values[start : start + elements]

    def write(self, names: tuple[str, ...], values: Array, *, keep_tail: bool) -> None:
        """With ``keep_tail`` the elements behind the result stay as they are."""
        old = self.state.get(names[0]) if keep_tail else None
        if (
            old is not None
            and self.place[names[0]] == (names[0], 0)
            and old.dtype.itemsize == values.dtype.itemsize
        ):
            values = np.concatenate([values, old[values.size :].view(values.dtype)])
        self.state[names[0]] = values
        self.place.update({name: (names[0], index) for index, name in enumerate(names)})
