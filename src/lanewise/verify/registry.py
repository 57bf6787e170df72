"""The benches that there are."""

import importlib

from lanewise.errors import UserError
from lanewise.verify.bench import Bench

BENCHES = (
    "address_decoder",
    "coefficient_table",
    "multiply_add",
    "flex_sfu",
    "flex_sfu_functions",
    "lfsr",
    "weight_generator",
    "mac_array",
    "fp16_array",
    "walsh_hadamard",
    "int4_quantiser",
    "operand_path",
    "row_norms",
    "row_sampler",
    "requantiser",
    "matrix_unit",
    "transposer",
    "operand_feed",
    "matrix_stream",
    "scratchpad",
    "vector_memory",
    "vector_alu",
    "vector_fma",
    "dma",
    "fp32_adder",
    "vector_reduction",
    "core",
)
"""Every bench, by the name of its block and of its module in :mod:`lanewise.verify.benches`."""

PROOFS = "proofs"
"""The name of the formal proofs among the benches."""

NAMES = (*BENCHES, PROOFS)
"""What can be run."""


def find_bench(name: str) -> Bench:
    """The bench of a block.

    Raises:
        UserError: There is none of this name.
    """
    if name not in BENCHES:
        raise UserError(f"{name}: unknown bench; expected one of {', '.join(NAMES)}")
    bench: Bench = importlib.import_module(f"lanewise.verify.benches.{name}").BENCH
    return bench
