"""Runs a kernel's straight-line code on values, to measure what it computes."""

from collections.abc import Mapping

import numpy as np

from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.models.vector import Array, execute
from lanewise.sim.timing import opcode_base


def execute_kernel(
    kernel: VectorKernel,
    registers: Mapping[str, Array],
    size: int,
    memory: dict[str, list[Array]] | None = None,
) -> dict[str, Array]:
    """Execute ``setup`` and then ``code`` on registers of any length.

    Args:
        kernel: Element-wise code.
        registers: Initial values by the first register's name, shape ``(size,)``.
        size: Elements in a register, instead of the kernel's ``vl``: element-wise code does not mind.
        memory: By buffer, the strips that its loads take in turn; stores append to it.

    Returns:
        The registers at the end, by the first register's name of each group.
    """
    state = dict(registers)
    for instruction in (*kernel.setup, *kernel.code):
        base = opcode_base(instruction.opcode)
        if base == "vle":
            assert memory is not None
            state[instruction.writes[0]] = memory[instruction.reads[0]].pop(0)
        elif base == "vse":
            assert memory is not None
            memory.setdefault(instruction.writes[0], []).append(state[instruction.reads[0]])
        elif instruction.opcode == "vfmv.v.f":
            kind = np.float16 if instruction.sew_bits == 16 else np.float32
            state[instruction.writes[0]] = np.full(size, instruction.constant, kind)
        else:
            sources = [state[name] for name in instruction.operands]
            state[instruction.writes[0]] = execute(base, sources, instruction.sew_bits, instruction.constant)
    return state
