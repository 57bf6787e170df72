"""All that multiplies matrices on a machine, and makes operands for it."""

from amaranth.lib import wiring

from lanewise.config import MachineConfig
from lanewise.rtl.fp16_array import Fp16Array
from lanewise.rtl.matrix_unit import MatrixUnit
from lanewise.rtl.operand_path import OperandPath
from lanewise.rtl.row_sampler import RowSampler

MATRIX_PARTS = ("matrix_unit", "fp16_array", "operand_path", "row_sampler")
"""Names of the parts that a machine may have."""


def matrix_side(config: MachineConfig) -> dict[str, wiring.Component]:
    """The matrix unit, or the FP16 array, and before an INT4 one the operand path and the row sampler; by name."""
    if not config.matrix.integers:
        return {"fp16_array": Fp16Array(config.matrix)}
    parts: dict[str, wiring.Component] = {"matrix_unit": MatrixUnit(config.matrix)}
    if config.matrix.splits:
        parts |= {
            "operand_path": OperandPath(config.operand_path),
            "row_sampler": RowSampler(config.operand_path),
        }
    return parts
