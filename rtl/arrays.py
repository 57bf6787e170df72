"""Which array a matrix unit has."""

from lanewise.config import MatrixConfig
from lanewise.rtl.fp16_array import Fp16Array
from lanewise.rtl.mac_array import MacArray


def array_of(config: MatrixConfig) -> MacArray | Fp16Array:
    """The multiply-accumulate array of these operands: of integers, or of FP16."""
    return MacArray(config) if config.integers else Fp16Array(config)
