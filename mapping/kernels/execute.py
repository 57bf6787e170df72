"""Runs a kernel's straight-line code on values, to measure what it computes."""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.models.vector import Array, execute
from lanewise.sim.program import Instruction
from lanewise.sim.timing import opcode_base


def execute_kernel(kernel: VectorKernel, registers: Mapping[str, Array], size: int) -> dict[str, Array]:
    """Execute ``setup`` and then ``code`` on registers of any length.

    Args:
        kernel: Arithmetic only; loads and stores are the caller's.
        registers: Initial values by the first register's name, shape ``(size,)``; all strips at once.
        size: Elements in a register, instead of the kernel's ``vl``: element-wise code does not mind.

    Returns:
        The registers at the end, by the first register's name of each group.
    """
    state = dict(registers)
    for instruction in kernel.setup:
        if instruction.opcode == "vfmv.v.f":
            kind: type[np.floating[npt.NBitBase]] = {16: np.float16, 32: np.float32}[instruction.sew_bits]  # type: ignore[assignment]
            state[instruction.writes[0]] = np.full(size, instruction.constant, kind)
    _execute(kernel.code, state)
    return state


def _execute(code: Iterable[Instruction], state: dict[str, Array]) -> None:
    for instruction in code:
        sources = [state[name] for name in instruction.operands]
        base = opcode_base(instruction.opcode)
        state[instruction.writes[0]] = execute(base, sources, instruction.sew_bits, instruction.constant)
