"""Long vectors on the baseline: chains of multiply-adds, GELU and exp, as a share of what the multiply-add unit could do.

Usage: python benchmarks/vector_roofline.py [listings] [slots] [errors] [roofline] [--write docs/vector_kernels.md]

``listings``: both software exps for the GNU assembler, a register long. ``slots``: instructions of a strip. ``errors``: FP16's exp on all
65,536 operands; FP32's is ``python -m lanewise.verify.fp32_sweep``. ``roofline``: clocks in which the unit works on a beat of the kernel, of all
clocks: operands in the scratchpad, and fed from memory in chunks of double buffers.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lanewise.config import MachineConfig
from lanewise.files import write_part
from lanewise.mapping.assemble import listing
from lanewise.mapping.kernels.activations import SOFTWARE
from lanewise.mapping.kernels.builder import STRIP, Register, VectorKernel
from lanewise.mapping.kernels.candidate import strip_program
from lanewise.mapping.kernels.elementwise import CHUNK_ELEMENTS
from lanewise.mapping.kernels.execute import execute_kernel
from lanewise.mapping.kernels.exponential import software_exponential32
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.sim.engine import Run
from lanewise.sim.program import Address, Loop, Node, Program, Rotate, repeat
from lanewise.sim.timing import timing
from lanewise.sim.vector_type import with_vector_types

CONFIG = MachineConfig().baseline()
ELEMENTS = 1 << 18
FMA = "vector_fma"

Strip = Callable[[VectorKernel, list[Register]], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """An element-wise kernel between its loads and its store."""

    name: str
    bits: int
    strip: Strip


def axpy(depth: int, bits: int, kernel: VectorKernel, _: list[Register]) -> None:
    """``y = a y + x`` so many times, each with an ``a`` of its own: two loads, a store."""
    x, y = (kernel.load(name, sew_bits=bits) for name in ("@in.0", "@operand0.0"))
    for index in range(depth):
        kernel.emit("vfmadd.vf", x, into=y, sew_bits=bits, constant=1 / (index + 2))
    kernel.store("@out.0", y, sew_bits=bits)
    kernel.release(x, y)


def horner(degree: int, bits: int, kernel: VectorKernel, _: list[Register]) -> None:
    """A polynomial of exp's: a load, a store, a multiply-add a degree, constants in registers."""
    x = kernel.load("@in.0", sew_bits=bits)
    *lower, following, highest = (1 / np.cumprod([1, *range(1, degree + 1)])).tolist()
    y = kernel.emit("vfmv.v.f", sew_bits=bits, constant=following)
    kernel.emit("vfmacc.vf", x, into=y, sew_bits=bits, constant=highest)
    for constant in reversed(lower):
        kernel.emit("vfmadd.vv", x, kernel.splat(constant, bits), into=y, sew_bits=bits)
    kernel.store("@out.0", y, sew_bits=bits)
    kernel.release(x, y)


def function(
    emit: Callable[[VectorKernel, Register], Register],
    bits: int,
    kernel: VectorKernel,
    _: list[Register],
) -> None:
    """A function of what is loaded."""
    x = kernel.load("@in.0", sew_bits=bits)
    y = emit(kernel, x)
    kernel.store("@out.0", y, sew_bits=bits)
    kernel.release(x, y)


EXP16 = Case(name="exp", bits=16, strip=partial(function, SOFTWARE["exp"], 16))
EXP32 = Case(name="exp", bits=32, strip=partial(function, software_exponential32, 32))
GELU = Case(name="GELU", bits=16, strip=partial(function, SOFTWARE["gelu"], 16))
CASES = (
    *(
        Case(name=f"axpy, depth {depth}", bits=bits, strip=partial(axpy, depth, bits))
        for bits in (16, 32)
        for depth in (1, 2, 3, 4, 8, 16)
    ),
    *(
        Case(name=f"Horner, degree {degree}", bits=bits, strip=partial(horner, degree, bits))
        for bits in (16, 32)
        for degree in (4, 7)
    ),
    GELU,
    EXP16,
    EXP32,
)


def resident(case: Case) -> Run:
    """Strips alone: what they load is in the scratchpad, however much that is."""
    kernel = best_kernel(CONFIG, ELEMENTS, case.strip, widest_bits=case.bits)
    return price(strip_program(kernel, kernel.strips(ELEMENTS)), CONFIG)


def fed(case: Case) -> Run:
    """Chunks through double buffers, as :class:`~lanewise.mapping.kernels.elementwise.ElementwiseWork` does it for FP16: load, strips, store."""
    kernel = best_kernel(CONFIG, CHUNK_ELEMENTS, case.strip, widest_bits=case.bits)
    size = CHUNK_ELEMENTS * case.bits // 8
    names = sorted({n for i in kernel.code for n in (*i.reads, *i.writes) if n.startswith("@")})
    inside = repeat(kernel.strips(CHUNK_ELEMENTS), *kernel.code, index=STRIP)

    def outside(name: str) -> Address:
        return Address(name[1:-2]).along("chunk", size)

    body: list[Node] = [
        *(load(name, 1, size, external=outside(name)) for name in names if name != "@out.0"),
        *inside,
        store("@out.0", 1, size, external=outside("@out.0")),
        *(Rotate(names=(name, f"{name[:-1]}1")) for name in names),
    ]
    buffers = {f"{name[:-1]}{copy}": size for name in names for copy in "01"}
    whole = (*kernel.setup, *repeat(ELEMENTS // CHUNK_ELEMENTS, *body, index="chunk"))
    return price(Program(body=whole, buffers_bytes=buffers), CONFIG)


def share(run: Run) -> float:
    """Of all clocks those in which the multiply-add unit is held."""
    return run.busy_clk[FMA] / run.cycles


def bound(run: Run) -> tuple[float, str]:
    """The largest share that the busiest unit allows, and the unit."""
    unit = max(run.busy_clk, key=run.busy_clk.__getitem__)
    return run.busy_clk[FMA] / run.busy_clk[unit], unit.removeprefix("vector_").replace("_", " ")


def roofline() -> str:
    """Both shares of every case beside what bounds them."""
    lines = [
        "| kernel | format | scratchpad | bound | by | from memory | bound | by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        line = f"| {case.name} | FP{case.bits} |"
        for run in (resident(case), fed(case)):
            most, unit = bound(run)
            line += f" {share(run):.1%} | {most:.1%} | {unit} |"
        lines.append(line)
    return "\n".join(lines)


def one_register(case: Case) -> Program:
    """A loop over strips of one register, in the order in which the kernel is written."""
    kernel = VectorKernel(config=CONFIG, vl=CONFIG.vector.vlen_bits // case.bits)
    case.strip(kernel, [])
    size = 2 * CONFIG.vector.vlen_bits // 8
    body = (*kernel.setup, *repeat(2, *kernel.code, index=STRIP))
    return Program(body=body, buffers_bytes={"@in.0": size, "@out.0": size})


def listings() -> str:
    """Both exps with the loops' number of rounds left open."""
    parts = []
    for case in (EXP16, EXP32):
        lines = listing(one_register(case), CONFIG).splitlines(keepends=True)
        text = "".join(line for line in lines if not line.startswith("# buffer"))
        text = text.replace("# loop 2 strip {", "# for every strip {")
        parts.append(f"FP{case.bits}:\n\n```asm\n{text}```")
    return "\n\n".join(parts)


def slots() -> str:
    """Instructions of a strip of one register by unit, and what sets vl and vtype."""
    lines = [
        "| kernel | format | multiply-add unit | ALU | loads, stores | issue slots | with vsetvli | before the strips |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in (EXP16, EXP32, GELU):
        program = one_register(case)
        *before, loop = program.body
        *_, typed = with_vector_types(program, CONFIG).body
        assert isinstance(loop, Loop)
        assert isinstance(typed, Loop)
        units = [timing(instruction, CONFIG).unit for instruction in loop.body]
        counts = [units.count(unit) for unit in (FMA, "vector_alu", "vector_memory")]
        assert sum(counts) == len(units)
        columns = (*counts, len(units), len(typed.body), len(before))
        lines.append(f"| {case.name} | FP{case.bits} | " + " | ".join(map(str, columns)) + " |")
    return "\n".join(lines)


def errors() -> str:
    """Of FP16's exp on every operand, by intervals."""
    kernel = VectorKernel(config=CONFIG, vl=64)
    source = kernel.allocate()
    result = SOFTWARE["exp"](kernel, source)
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = x[~np.isnan(x)]
    y = execute_kernel(kernel, {source.names[0]: x}, x.size)[result.names[0]].view(np.float16).astype(float)
    with np.errstate(over="ignore"):
        exact = np.exp(x.astype(float))
    lines = [
        "| operands | how many | largest error, ULP | at | over 1 ULP | largest relative | root mean square |",
        "|---|---|---|---|---|---|---|",
    ]
    for text, low, high in (
        ("[-9.704, 11]: normal results", -9.704, 11.0),
        ("[-17.5, -9.704): subnormal or 0", -17.5, -9.704),
        ("below -17.5: 0", -np.inf, -17.51),
    ):
        chosen = (x >= low) & (x <= high)
        unit = 2.0 ** (np.maximum(np.floor(np.log2(np.maximum(exact[chosen], 1e-30))), -14) - 10)
        distance = np.abs(y[chosen] - exact[chosen]) / unit
        relative = np.abs(y[chosen] / np.where(exact[chosen] == 0, 1, exact[chosen]) - 1)
        normal = low > -10
        worst = int(np.argmax(distance))
        lines.append(
            f"| {text} | {chosen.sum():,} | {distance.max():.2f} | {x[chosen][worst]:.6g} | {(distance > 1).sum():,} | "
            + (
                f"{relative.max():.2e} | {np.sqrt(np.mean(relative**2)):.2e} |"
                if normal
                else "not bounded | |"
            )
        )
    return "\n".join(lines)


PARTS = {"listings": listings, "slots": slots, "errors": errors, "roofline": roofline}


def main() -> None:
    """Print the parts that are asked for, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all if none is named")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put them between this page's markers")
    arguments = parser.parse_args()
    for part in arguments.parts or PARTS:
        text = PARTS[part]()
        if arguments.write:
            write_part(arguments.write, part, text, by="benchmarks/vector_roofline.py")
        else:
            print(text, end="\n\n")


if __name__ == "__main__":
    main()
