"""An element-wise FP32 kernel on every operand: its instructions as C, compiled for this machine.

Each instruction becomes an expression with the vector unit's bits: one rounding of multiply-adds, and the one NaN. numpy takes hours for
2**32 operands, this a minute. That the bits are those of :func:`~lanewise.mapping.kernels.execute.execute_kernel` is for the caller to hold.

Usage: python -m lanewise.verify.fp32_sweep exp [--write docs/vector_kernels.md]

The error of the software exp over all 2**32 operands, in about three minutes.
"""

import argparse
import ctypes
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.config import MachineConfig
from lanewise.files import write_part
from lanewise.isa.operations import OPERATIONS
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.exponential import software_exponential32
from lanewise.sim.program import Instruction

Words: TypeAlias = npt.NDArray[np.uint32]

FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-std=c++20", "-shared", "-fPIC")

_FLOATS = {
    "vfadd": "{0} + {1}", "vfsub": "{0} - {1}", "vfrsub": "{1} - {0}", "vfmul": "{0} * {1}",
    "vfmadd": "fma_({0}, {1}, {2})", "vfmacc": "fma_({1}, {2}, {0})", "vfnmsub": "fma_(-{0}, {1}, {2})",
    "vfnmsac": "fma_(-{1}, {2}, {0})", "vfmax": "({0} > {1} ? {0} : {1})", "vfmin": "({0} < {1} ? {0} : {1})",
}  # fmt: skip
"""Of the operands in the order of :func:`lanewise.models.vector.execute`; extremes are those of a number, not a NaN, second."""
_INTEGERS = {
    "vminu": "({0} < {1} ? {0} : {1})", "vsll": "{0} << {1}", "vadd": "{0} + {1}", "vand": "{0} & {1}", "vor": "{0} | {1}",
}  # fmt: skip
_HEAD = """
#include <bit>
#include <cstddef>
#include <cstdint>
typedef float f; typedef uint32_t u;
static inline f f_(u x) { return std::bit_cast<f>(x); }
static inline u u_(f x) { return std::bit_cast<u>(x); }
static inline f fma_(f a, f b, f c) { return __builtin_fmaf(a, b, c); }
static inline u n_(f x) { return x == x ? u_(x) : 0x7FC00000u; }
extern "C" void run(const u *x, u *y, size_t n) { for (size_t i = 0; i < n; i++) {
"""


def _expression(instruction: Instruction) -> str:
    base = OPERATIONS[instruction.opcode].base
    names = [*instruction.operands]
    if instruction.constant is not None:
        value = instruction.constant
        word = int(np.float32(value).view(np.uint32)) if base in _FLOATS or base == "vfmv.v" else int(value)
        names.insert(min(1, len(names)), f"{word & 0xFFFFFFFF}u")
    if base == "vfmv.v":
        return names[0]
    if base in _FLOATS:
        return f"n_({_FLOATS[base].format(*(f'f_({name})' for name in names))})"
    if base not in _INTEGERS:
        raise ValueError(f"the sweep must know {instruction.opcode}")
    return _INTEGERS[base].format(*names)


def compiled(code: Sequence[Instruction], source: str, result: str) -> Callable[[Words], Words]:
    """The function from operands to results of straight-line FP32 code, LMUL of at most 1.

    Args:
        code: Set-up and code.
        source: The register with the operand.
        result: The register with the result.

    Raises:
        ValueError: An instruction is not of those that it knows.
        RuntimeError: The compiler is missing or fails.
    """
    text, known = [_HEAD, f"u {source} = x[i];"], {source}
    for instruction in code:
        name = instruction.writes[0]
        text.append(f"{'' if name in known else 'u '}{name} = {_expression(instruction)};")
        known.add(name)
    text.append(f"y[i] = {result}; }} }}")
    compiler = os.environ.get("CXX") or "g++"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep.cpp"
        path.write_text("\n".join(text))
        library = path.with_suffix(".so")
        done = subprocess.run(
            [compiler, *FLAGS, "-o", str(library), str(path)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{compiler}: {done.stderr[:2000]}")
        function: Any = ctypes.CDLL(str(library)).run  # stays loaded when its file has gone
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    function.restype = None

    def run(x: Words) -> Words:
        x, y = np.ascontiguousarray(x), np.empty(x.shape, np.uint32)
        function(x.ctypes.data, y.ctypes.data, x.size)
        return y

    return run


def ulps(got: Words, exact: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distance from the exact result in units of its last place, signed; below the normal numbers those of the subnormal ones.

    Infinity counts as 2**128. Where just one of both is NaN, the distance is infinite.

    >>> one = np.array([1.0, 0.0], np.float32).view(np.uint32)
    >>> ulps(one, np.array([1 - 2**-24, 2.0**-150])).tolist()
    [1.0, -0.5]
    """
    with np.errstate(all="ignore"):
        exact = np.minimum(exact, 2.0**128)
        number = np.minimum(got.view(np.float32).astype(np.float64), 2.0**128)
        _, exponent = np.frexp(np.minimum(np.abs(exact), 2.0**127))
        distance = np.ldexp(number - exact, 24 - np.maximum(exponent, -125))
    both = np.isnan(number) & np.isnan(exact)
    return np.where(both, 0.0, np.nan_to_num(distance, nan=np.inf))


CHUNK = 1 << 22
"""Operands at a time."""

KERNELS: dict[str, tuple[Callable[[VectorKernel, Register], Register], Callable[..., Any]]] = {
    "exp": (software_exponential32, np.exp)
}
"""What can be swept: the kernel, and the function in FP64."""


def sweep(function: str, operands: int = 1 << 32) -> str:
    """The table of a kernel's error over the first ``operands`` bit patterns."""
    emit, exact = KERNELS[function]
    kernel = VectorKernel(config=MachineConfig().baseline(), vl=32)
    source = kernel.allocate(32)
    result = emit(kernel, source)
    run = compiled([*kernel.setup, *kernel.code], source.names[0], result.names[0])
    largest, at, beyond, half = 0.0, 0, 0, 0
    for start in range(0, operands, CHUNK):
        x = np.arange(start, min(start + CHUNK, operands), dtype=np.uint64).astype(np.uint32)
        with np.errstate(all="ignore"):
            distance = np.abs(ulps(run(x), exact(x.view(np.float32).astype(np.float64))))
        worst = int(distance.argmax())
        if distance[worst] > largest:
            largest, at = float(distance[worst]), int(x[worst])
        beyond += int((distance > 1).sum())
        half += int((distance > 0.5).sum())
    number = float(np.uint32(at).view(np.float32))
    return (
        "| operands | largest error, ULP | at | over 1 ULP | over 1/2 ULP |\n|---|---|---|---|---|\n"
        f"| {operands:,} | {largest:.4f} | {number:.9g} ({at:#010x}) | {beyond:,} ({beyond / operands:.4%}) | {half:,} ({half / operands:.3%}) |"
    )


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description="Error of a software FP32 kernel over all operands.")
    parser.add_argument("function", choices=KERNELS)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put it between this page's markers")
    arguments = parser.parse_args()
    text = sweep(arguments.function)
    if arguments.write:
        write_part(arguments.write, "sweep", text, by="lanewise.verify.fp32_sweep")
    else:
        print(text)


if __name__ == "__main__":
    main()
