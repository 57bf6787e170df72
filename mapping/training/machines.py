"""The FP16 machines that a training step is compared on."""

import dataclasses

from lanewise.config import MachineConfig, MatrixConfig


def fp16_machines(config: MachineConfig, equal_area: MatrixConfig) -> dict[str, MachineConfig]:
    """``config`` with an FP16 array: of as many rows and columns, and of equal area; all else is the same.

    Args:
        equal_area: The largest FP16 array that synthesis finds no larger than the machine's matrix unit, operand path and sampler.
    """
    arrays = {
        "FP16 array of equal rows x columns": dataclasses.replace(config.matrix, operand_bits=16),
        "FP16 array of equal area": equal_area,
    }
    return {name: dataclasses.replace(config, matrix=matrix) for name, matrix in arrays.items()}
