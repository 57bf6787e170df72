"""Range reduction by vector instructions, or by a mode of Flex-SFU: clocks of both and area of the mode.

Usage: python benchmarks/range_reduction.py [errors] [clocks] [rows] [mode] [--write docs/range_reduction.md]

``errors``: largest and root-mean-square relative error over all FP16 operands with a normal result, and over 40,000 FP32 ones.
``clocks``: element-wise functions, clocks for 16 FP16 elements. ``rows``: softmax and norms, likewise, whole operators with
DMA. ``mode``: the mode's logic in Amaranth, run on all 65,536 operands with an exact table (its error: where operand and result are
normal), then synthesised.
"""

import argparse
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
from amaranth import Cat, Const, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.files import write_part
from lanewise.formats import FORMATS
from lanewise.mapping.kernels import activations, row
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.candidate import strip_program
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.reduced import REDUCED_KERNELS, normal_reciprocal, normal_rsqrt
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.kernels.strips import best_kernel
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.numbers import decode
from lanewise.models.reduction import EXP32_MINIMUM, REDUCED, reduced
from lanewise.models.reduction_tables import reduction_table
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.synth import Synthesiser, load_liberty

MACHINE = MachineConfig()
BOTH = replace(  # two tables, and FP32 for a row's one reciprocal
    MACHINE, flex_sfu=replace(MACHINE.flex_sfu, double_buffered=True, formats=("fp16", "fp32"))
)
ELEMENTS = 4096


EXACT = {
    "exp": np.exp, "exp_nonpositive": np.exp, "reciprocal": lambda x: 1 / x, "rsqrt": lambda x: 1 / np.sqrt(x), "log": np.log,
    "sin": np.sin, "cos": np.cos,
}  # fmt: skip
SIZES = ((16, 1), (16, 2), (32, 1), (32, 2), (64, 1), (64, 2))


def operands(function, form):
    """Bit patterns of a format: all of FP16; of FP32 half by their bits, half where exp is a number."""
    if form.bits == 16:
        bits = np.arange(1 << 16, dtype=np.uint16)
    else:
        rng = np.random.default_rng(0)
        even = rng.uniform(-86, 88, 20_000).astype(np.float32).view(np.uint32)
        bits = np.concatenate([rng.integers(0, 1 << 32, 20_000, dtype=np.uint32), even])
    x = decode(bits, form)
    if function == "exp_nonpositive":
        return bits[x <= 0]
    if form.bits == 32 and function in ("sin", "cos"):
        return bits[np.abs(x) <= 1000]
    return bits[x >= EXP32_MINIMUM] if form.bits == 32 and function == "exp" else bits


def errors():
    for name in ("fp16", "fp32"):
        form = FORMATS[name]
        print(f"{name}: largest (root-mean-square) relative error by segments and degree")
        print(f"{'':16}" + "".join(f"{f'{segments}, {degree}':>20}" for segments, degree in SIZES))
        for function in REDUCED:
            if (function, name) == ("exp_nonpositive", "fp32"):
                continue
            bits = operands(function, form)
            with np.errstate(all="ignore"):
                exact = EXACT[function](decode(bits, form))
            normal = (np.abs(exact) >= 2.0 ** (1 - form.bias)) & (np.abs(exact) <= form.maximum * 0.95)
            line = f"{function:16}"
            for segments, degree in SIZES:
                table = reduction_table(function, segments=segments, degree=degree, format=name)
                error = decode(reduced(function, bits, table), form)[normal] / exact[normal] - 1
                line += f"{np.abs(error).max():11.1e} ({np.sqrt(np.mean(error**2)):.0e})"
            print(line)
    x = np.linspace(-9.7, 0, 100_001).astype(np.float16)
    print(
        "exp by a single look-up of its own table, fp16, degree 1: largest relative error where x is at least"
    )
    for segments in (16, 32, 64):
        table = fit("exp", segments=segments).table()
        error = np.abs(flex_sfu(x.view(np.uint16), table).view(np.float16) / np.exp(x.astype(np.float64)) - 1)
        figures = (f"{low}: {error[x >= low].max():.1e}" for low in (-1, -4, -8, -9.7))
        print(f"{segments:4} segments   " + "   ".join(figures))


def one_instruction(
    kernel: VectorKernel, x: Register, sew_bits: int = 16, into: Register | None = None
) -> Register:
    """What a mode of the unit would need."""
    return kernel.flex_sfu(x, into=into, table=kernel.load_table("mode"), sew_bits=sew_bits)


def element_wise(emit, config):
    """Clocks for 16 elements of a kernel between a load and a store."""

    def strip(kernel, _):
        value = kernel.load("@in")
        result = emit(kernel, value)
        kernel.store("@out", result)
        kernel.release(*{value, result})

    kernel = best_kernel(config, ELEMENTS, strip)
    return 16 * price(strip_program(kernel, kernel.strips(ELEMENTS)), config).cycles / ELEMENTS


def clocks():
    print(f"clocks for 16 FP16 elements, {ELEMENTS} in the scratchpad, table loaded once")
    print(f"{'function':18}{'software':>10}{'reduced':>10}{'mode':>10}")
    software = activations.SOFTWARE | {"exp_nonpositive": activations.SOFTWARE["exp"]}
    for name, kernel in REDUCED_KERNELS.items():
        figures = (
            element_wise(software[name], MACHINE.baseline()), element_wise(kernel, MACHINE), element_wise(one_instruction, MACHINE),
        )  # fmt: skip
        print(f"{name:18}" + "".join(f"{figure:10.2f}" for figure in figures))
    for name, kernel in (("reciprocal", normal_reciprocal), ("rsqrt", normal_rsqrt)):
        print(f"{name + ' normal':18}{'':10}{element_wise(kernel, MACHINE):10.2f}   (normal operands only)")


def operator(work, config, **replaced):
    """Clocks for 16 elements of a row operator, some of the row kernels' parts replaced."""
    with ExitStack() as stack:
        for name, part in replaced.items():
            stack.enter_context(patch.object(row, name, part))
        return 16 * price(work.program(config), config).cycles / (work.rows * work.length)


def rows():
    print("softmax: clocks for 16 elements, DMA included")
    print(f"{'length':>8}{'software':>10}{'direct':>10}{'reduced':>10}{'mode':>10}{'1/sum by table':>16}")
    for length in (64, 128, 197, 256, 384, 512, 768, 1024, 4096):
        work = RowsWork(
            function="softmax", rows=max(16, 65536 // length), length=length, exponential="reduced"
        )
        figures = (
            operator(work, MACHINE.baseline()),
            operator(replace(work, exponential="direct"), MACHINE),
            operator(work, MACHINE),
            operator(work, MACHINE, exponential_nonpositive=one_instruction),
            operator(work, BOTH, reciprocal=normal_reciprocal),
        )
        print(f"{length:8}" + "".join(f"{figure:10.2f}" for figure in figures[:-1]) + f"{figures[-1]:16.2f}")
    print("norms, their rsqrt by estimate and Newton step, by look-up, by a mode: clocks for 16 elements")
    print(f"{'':12}{'length':>8}{'estimate':>10}{'look-up':>10}{'mode':>10}")
    for function in ("layer_norm", "rms_norm"):
        for length in (64, 128, 256, 384, 768, 4096):
            work = RowsWork(function=function, rows=max(16, 65536 // length), length=length, affine=True)
            figures = (
                operator(work, BOTH),
                operator(work, BOTH, reciprocal_square_root=normal_rsqrt),
                operator(
                    work, BOTH, reciprocal_square_root=lambda k, x, bits: one_instruction(k, x, bits, x)
                ),
            )
            print(f"{function:12}{length:8}" + "".join(f"{figure:10.2f}" for figure in figures))


PASS, RECIPROCAL, RSQRT, EXP = range(4)
NUMBER, ZERO, INFINITY, NAN = range(4)
LOG2_E = round(2**12 / np.log(2))


class RangeMode(wiring.Component):
    """One FP16 element's exponent split and adjustment around Flex-SFU, for reciprocal, rsqrt and exp.

    Two clocks before the table and one after; what the adjustment needs waits ``latency`` clocks beside it. The table
    holds 1/m of [1, 2), 1/sqrt(m) of [1, 4), or 2**(m - 1) of [1, 2). Subnormal operands and results are 0.
    Without ``with_exp`` there is no exp, and so no multiplication by log2(e).
    """

    def __init__(self, latency: int, with_exp: bool = True) -> None:
        self.latency, self.with_exp = latency, with_exp
        super().__init__(
            {
                "x": In(16),
                "operation": In(2),
                "enable": In(1),
                "operand": Out(16),
                "looked_up": In(16),
                "y": Out(16),
            }
        )

    def elaborate(self, _: object) -> Elaboratable:
        m = Module()
        x, operation = Signal(16), Signal(2)
        product = Signal(24)
        reduced, shift, sign, kind = Signal(16), Signal(signed(7)), Signal(), Signal(2)
        with m.If(self.enable):
            m.d.sync += [
                x.eq(self.x), operation.eq(self.operation), product.eq(Cat(self.x[:10], Const(1, 1)) * LOG2_E),
            ]  # fmt: skip
        fraction, exponent, negative = x[:10], x[10:15], x[15]
        odd, empty, full = ~exponent[0], exponent == 0, exponent == 31
        fixed = Signal(16)  # |x| log2(e) in units of 2**-10, for |x| < 32
        power = Signal(signed(17))
        m.d.comb += [fixed.eq(product >> (27 - exponent)[:5]), power.eq(Mux(negative, -fixed, fixed))]
        with m.If(self.enable):
            m.d.sync += [reduced.eq(x), shift.eq(0), sign.eq(0), kind.eq(NUMBER)]
            with m.Switch(operation):
                with m.Case(RECIPROCAL):
                    m.d.sync += [
                        reduced.eq(Cat(fraction, Const(15, 5))),
                        shift.eq(15 - exponent),
                        sign.eq(negative),
                    ]
                    m.d.sync += kind.eq(Mux(empty, INFINITY, Mux(full, ZERO, NUMBER)))
                with m.Case(RSQRT):
                    m.d.sync += reduced.eq(Cat(fraction, (~odd).replicate(4), odd))
                    m.d.sync += shift.eq((15 - exponent + odd).as_signed() >> 1)
                    m.d.sync += kind.eq(Mux(empty, INFINITY, Mux(negative, NAN, Mux(full, ZERO, NUMBER))))
                with m.Case(*([EXP] if self.with_exp else [])):
                    m.d.sync += [reduced.eq(Cat(power[:10], Const(15, 5))), shift.eq(power[10:].as_signed())]
                    with m.If(exponent >= 20):
                        m.d.sync += kind.eq(Mux(negative, ZERO, INFINITY))
            with m.If((operation != PASS) & full & fraction.any()):
                m.d.sync += kind.eq(NAN)
        m.d.comb += self.operand.eq(reduced)
        waiting = Cat(shift, sign, kind)
        for _ in range(self.latency):
            later = Signal(len(waiting))
            with m.If(self.enable):
                m.d.sync += later.eq(waiting)
            waiting = later
        shift, sign, kind = waiting[:7].as_signed(), waiting[7], waiting[8:]
        moved = Signal(signed(8))
        m.d.comb += moved.eq(self.looked_up[10:15] + shift)
        with m.If(self.enable):
            m.d.sync += self.y.eq(Cat(self.looked_up[:10], moved[:5], self.looked_up[15] ^ sign))
            with m.If((kind == ZERO) | ((kind == NUMBER) & (shift != 0) & (moved <= 0))):
                m.d.sync += self.y.eq(Cat(Const(0, 15), sign))
            with m.If((kind == INFINITY) | ((kind == NUMBER) & (shift != 0) & (moved >= 31))):
                m.d.sync += self.y.eq(Cat(Const(0x7C00, 15), sign))
            with m.If(kind == NAN):
                m.d.sync += self.y.eq(0x7E00)
        return m


def results(operation, table, operands):
    """The mode's results with an exact table, FP16."""
    latency = 1
    dut = RangeMode(latency)
    simulator, outputs = Simulator(dut), []
    simulator.add_clock(1e-6)

    async def drive(context):
        context.set(dut.enable, 1)
        context.set(dut.operation, operation)
        waiting = []
        for bits in [*operands, 0, 0, 0, 0]:
            context.set(dut.x, int(bits))
            waiting.append(context.get(dut.operand))
            context.set(dut.looked_up, int(table[waiting[-1 - latency]]) if len(waiting) > latency else 0)
            await context.tick()
            outputs.append(context.get(dut.y))

    simulator.add_testbench(drive)
    simulator.run()
    return np.array(outputs[2 + latency :][: len(operands)], np.uint16).view(np.float16)


def mode():
    every = np.arange(1 << 16, dtype=np.uint16)
    x = every.view(np.float16).astype(np.float64)
    with np.errstate(all="ignore"):
        cases = {
            "reciprocal": (RECIPROCAL, 1 / x, 1 / x),
            "rsqrt": (RSQRT, 1 / np.sqrt(x), 1 / np.sqrt(x)),
            "exp": (EXP, np.exp(x), np.exp2(x - 1)),
        }
        for name, (operation, exact, table) in cases.items():
            got = results(operation, table.astype(np.float16).view(np.uint16), every).astype(np.float64)
            normal = (np.abs(exact) >= 2**-14) & (np.abs(exact) < 65504) & (np.abs(x) >= 2**-14)
            error = np.abs(got / exact - 1)[normal].max()
            number = ~(np.abs(x) < 2**-14)
            invalid = int((np.isnan(got) != np.isnan(exact))[number].sum())
            print(f"mode, {name}: largest relative error {error:.1e}; NaNs misplaced: {invalid}")
    synthesiser = Synthesiser(liberty=load_liberty(), clock_ns=MACHINE.clock_ns, cache=Path("build"))
    for segments in (16, 32, 64):
        sfu = FlexSfuConfig(segments=segments, lanes=1)
        unit = synthesiser(FlexSfu(sfu), "flex_sfu").area_um2
        print(
            f"{segments} segments, one 32-bit lane of FP16: Flex-SFU {unit:.0f} um2; the mode for its two elements"
        )
        for with_exp, name in ((True, "reciprocal, rsqrt and exp"), (False, "reciprocal and rsqrt alone")):
            added = 2 * synthesiser(RangeMode(sfu.latency_clk, with_exp), "range_mode").area_um2
            print(f"    {name}: {added:.0f} um2, {100 * added / unit:.1f} %")


PARTS = {"errors": errors, "clocks": clocks, "rows": rows, "mode": mode}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page with markers")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.parts) - set(PARTS))
    if unknown:
        parser.error(f"parts must be any of {', '.join(PARTS)}, not {unknown[0]!r}")
    for part in arguments.parts or PARTS:
        if arguments.write is None:
            PARTS[part]()
            continue
        with redirect_stdout(StringIO()) as text:
            PARTS[part]()
        block = f"```\n{text.getvalue()}```"
        write_part(arguments.write, part, block, by="benchmarks/range_reduction.py")


if __name__ == "__main__":
    main()
