"""Operators along a row: softmax, layer, RMS and group normalisation, sums, means and maxima of the last axis.

A row that fits the registers is loaded once and stays there; several rows are interleaved to hide the reductions' latency. A longer
one is passed over in strips: for softmax its maximum, then exp and the sum, then the product with 1/sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.activations import activation, reciprocal, reciprocal_square_root
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.epilogue import Step, emit_steps, format_bits, store_outputs
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import best_kernel, load, store, strip_program
from lanewise.sim.engine import run
from lanewise.sim.program import Instruction, Node, Program, Rotate, flatten_once, repeat

FUNCTIONS = ("softmax", "layer_norm", "rms_norm", "sum", "mean", "max")
LOWEST = -65504.0
"""Smallest finite FP16 number."""

CHUNK_BYTES = 16384
"""Bytes of whole rows that one DMA transfer brings, or one row if that is longer."""


@dataclass(frozen=True, kw_only=True)
class RowsWork:
    """``function`` of each of ``rows`` rows of ``length`` FP16 elements, then ``steps``, then the results to memory."""

    function: str
    rows: int
    length: int
    affine: bool = False
    """Whether a scale (and for layer norm an offset) of ``length`` elements follows."""
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ("fp16",)

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"function must be one of {', '.join(FUNCTIONS)}, not {self.function!r}")

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    @property
    def result_length(self) -> int:
        """Elements of a row's result."""
        return 1 if self.function in ("sum", "mean", "max") else self.length

    def program(self, config: MachineConfig) -> Program:
        """Chunks of rows through double buffers.

        Raises:
            ValueError: A row does not fit a quarter of the scratchpad.
        """
        if 2 * self.length > config.scratchpad.bytes // 6:
            raise ValueError(
                f"scratchpad.size_kib must hold six rows of {self.length} elements, not {config.scratchpad.size_kib}"
            )
        chunks = ceil(self.rows / max(1, CHUNK_BYTES // (2 * self.length)))
        rows = ceil(self.rows / chunks)
        names = ["@in", *(f"@{form}" for form in self.outputs)]
        body: list[Node] = [load("@affine", 2, 2 * self.length)] if self.affine else []
        for count, lines in ((self.rows // rows, rows), (1, self.rows % rows)):
            if not count or not lines:
                continue
            setup, code, ways = _best(self, config, lines)
            body += setup
            inner: list[Node] = [
                load("@in.0", 1, 2 * lines * self.length),
                *repeat(ceil(lines / ways), *code),
            ]
            for form in self.outputs:
                bits = lines * self.result_length * format_bits(form, config.matrix.operand_bits)
                inner.append(store(f"@{form}.0", 1, ceil(bits / 8)))
            inner += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in names]
            body += repeat(count, *inner)
        sizes = {f"{name}.{copy}": 2 * rows * self.length for name in names for copy in "01"}
        return Program(
            body=tuple(body),
            buffers_bytes=sizes
            | dict.fromkeys(("@shifted", "@powers"), 2 * rows * self.length)
            | {"@affine": 4 * self.length, "@scratch": 2 * self.length},
        )


def _best(
    work: RowsWork, config: MachineConfig, rows: int
) -> tuple[list[Instruction], tuple[Node, ...], int]:
    """Setup, code and rows at a time of the fastest way: rows in registers, one to eight interleaved, or strips."""
    best: tuple[float, list[Instruction], tuple[Node, ...], int] | None = None
    for ways in (1, 2, 4, 8):
        for resident in (True, False):
            if ways > rows or work.length * 16 > 8 * config.vector.vlen_bits:
                break
            kernel = VectorKernel(config=config, vl=work.length, ways=ways)
            try:
                affine = [kernel.load("@affine") for _ in range(2)] if work.affine and resident else []
                kernel.setup += kernel.code
                code: list[Instruction] = []
                for _ in range(ways):
                    kernel.code = []
                    _Row(work, kernel, affine).emit()
                    code += kernel.code
                    kernel.used |= kernel.written
            except ValueError:
                continue
            kernel.code = schedule(code, config)
            clocks = run(strip_program(kernel, ceil(rows / ways)), config).cycles
            if best is None or clocks < best[0]:
                best = (clocks, kernel.setup, tuple(kernel.code), ways)
    if (
        work.function == "softmax"
        and (split := _split(work, config, rows)) is not None
        and (best is None or split[0] < best[0])
    ):
        best = split
    if best is None:
        kernel, nodes = _long_row(work, config)
        return kernel.setup, nodes, 1
    return best[1:]


def _split(
    work: RowsWork, config: MachineConfig, rows: int
) -> tuple[float, list[Instruction], tuple[Node, ...], int] | None:
    """Softmax in three passes over the chunk, each with the strip length that suits it: a long software exp wants short strips."""
    passes: list[VectorKernel] = []
    for part in ("shift", "scale_by_sum"):
        best: tuple[int, VectorKernel] | None = None
        for ways in (1, 2, 4, 8):
            kernel = VectorKernel(config=config, vl=work.length, ways=ways)
            code: list[Instruction] = []
            try:
                for _ in range(min(ways, rows)):
                    kernel.code = []
                    getattr(_Row(work, kernel, ()), part)()
                    code += kernel.code
                    kernel.used |= kernel.written
            except ValueError:
                break
            kernel.code = schedule(code, config)
            clocks = run(strip_program(kernel, ceil(rows / ways)), config).cycles
            if best is None or clocks < best[0]:
                best = (clocks, kernel)
        if best is None:
            return None
        passes.append(best[1])
    middle = best_kernel(config, rows * work.length, _exp_strip)
    nodes: list[Node] = [
        *passes[0].setup,
        *repeat(ceil(rows / passes[0].ways), *passes[0].code),
        *middle.setup,
    ]
    nodes += repeat(middle.strips(rows * work.length), *middle.code)
    nodes += [*passes[1].setup, *repeat(ceil(rows / passes[1].ways), *passes[1].code)]
    names = {n for i in flatten_once(nodes) for n in (*i.reads, *i.writes) if n.startswith("@")}
    clocks = run(Program(body=tuple(nodes), buffers_bytes=dict.fromkeys(names, 1)), config).cycles
    return clocks, [], tuple(nodes), rows


def _exp_strip(kernel: VectorKernel, _: object) -> None:
    value = kernel.load("@shifted")
    if kernel.config.flex_sfu.enabled:
        kernel.emit("vfmax.vf", value, into=value, constant=LOWEST)
    result = activation(kernel, "exp", value)
    kernel.store("@powers", result)
    kernel.release(result)
    if result != value:
        kernel.release(value)


class _Row:
    """Emits one row, held in registers or strip by strip."""

    def __init__(self, work: RowsWork, kernel: VectorKernel, affine: Sequence[Register]) -> None:
        self.work, self.kernel, self.affine = work, kernel, affine

    def emit(self) -> None:
        kernel = self.kernel
        value = kernel.load("@in.0")
        if self.work.function in ("sum", "mean", "max"):
            self.finish(self.total(value, narrow=True), vl=1)
            kernel.release(value)
            return
        if self.work.function == "softmax":
            peak = self.spread(self.reduce("vfredmax.vs", value, 16))
            kernel.emit("vfsub.vv", value, peak, into=value)
            kernel.release(peak)
            if (
                kernel.config.flex_sfu.enabled
            ):  # a mask's infinity times the tail's slope of zero would be NaN
                kernel.emit("vfmax.vf", value, into=value, constant=LOWEST)
            value = self.replaced(value, activation(kernel, "exp", value))
            scale = self.inverse(self.reduce("vfwredusum.vs", value, 32))
            self.scale(value, scale)
        else:
            if self.work.function == "layer_norm":
                mean = self.spread(self.total(value, narrow=True))
                kernel.emit("vfsub.vv", value, mean, into=value)
                kernel.release(mean)
            self.scale(value, self.deviation(value))
            self.weigh(value)
        self.finish(value)

    def shift(self) -> None:
        """First pass of a split softmax: x less the row's maximum."""
        value = self.kernel.load("@in.0")
        peak = self.spread(self.reduce("vfredmax.vs", value, 16))
        self.kernel.emit("vfsub.vv", value, peak, into=value)
        self.kernel.store("@shifted", value)
        self.kernel.release(value, peak)

    def scale_by_sum(self) -> None:
        """Last pass of a split softmax: exp(x) / sum."""
        value = self.kernel.load("@powers")
        self.scale(value, self.inverse(self.reduce("vfwredusum.vs", value, 32)))
        self.finish(value)

    def replaced(self, old: Register, new: Register) -> Register:
        if new != old:
            self.kernel.release(old)
        return new

    def reduce(self, opcode: str, value: Register, bits: int) -> Register:
        """One element; the start value is a constant."""
        start = self.kernel.splat(-65504.0 if "max" in opcode else 0.0, bits, 1)
        return self.kernel.emit(opcode, value, start, into=self.kernel.allocate(bits, 1), sew_bits=16)

    def total(self, value: Register, *, narrow: bool) -> Register:
        """Sum, mean or maximum, one element."""
        kernel = self.kernel
        if self.work.function == "max":
            return self.reduce("vfredmax.vs", value, 16)
        total = self.reduce("vfwredusum.vs", value, 32)
        if self.work.function != "sum":
            kernel.emit("vfmul.vf", total, into=total, sew_bits=32, vl=1, constant=1 / self.work.length)
        return self.narrowed(total) if narrow else total

    def narrowed(self, wide: Register) -> Register:
        result = self.kernel.emit("vfncvt.f.f.w", wide, sew_bits=32, result_bits=16, vl=1)
        self.kernel.release(wide)
        return result

    def spread(self, single: Register) -> Register:
        """The one element in every element."""
        result = self.kernel.emit("vrgather.vi", single, constant=0)
        self.kernel.release(single)
        return result

    def inverse(self, total: Register) -> Register:
        """1/total on one FP32 element, rounded to FP16 and spread."""
        result = _single(self.kernel, reciprocal, total)
        return self.spread(self.narrowed(result))

    def deviation(self, value: Register) -> Register:
        """1/sqrt(mean square + epsilon), spread."""
        kernel = self.kernel
        square = kernel.emit("vfmul.vv", value, value)
        total = self.reduce("vfwredusum.vs", square, 32)
        kernel.release(square)
        kernel.emit(
            "vfmadd.vf",
            kernel.splat(1e-5, 32, 1),
            into=total,
            sew_bits=32,
            vl=1,
            constant=1 / self.work.length,
        )
        result = _single(kernel, reciprocal_square_root, total)
        return self.spread(self.narrowed(result))

    def scale(self, value: Register, factor: Register) -> None:
        self.kernel.emit("vfmul.vv", value, factor, into=value)
        self.kernel.release(factor)

    def weigh(self, value: Register) -> None:
        """Scale and offset, from registers or the scratchpad."""
        if not self.work.affine:
            return
        kernel = self.kernel
        weights = list(self.affine) or [kernel.load("@affine") for _ in range(2)]
        if self.work.function == "layer_norm":
            kernel.emit("vfmadd.vv", weights[0], weights[1], into=value)
        else:
            kernel.emit("vfmul.vv", value, weights[0], into=value)
        if not self.affine:
            kernel.release(*weights)

    def finish(self, value: Register, vl: int | None = None) -> None:
        kernel = self.kernel
        if vl == 1:  # a row's single result
            for form in self.work.outputs:
                kernel.store(f"@{form}.0", value, vl=1)
        else:
            operands: dict[int, Register | str] = {
                i: "@in.0" for i, s in enumerate(self.work.steps) if s.operand == "tensor"
            }
            value = emit_steps(kernel, value, self.work.steps, operands)
            store_outputs(
                kernel, value, self.work.outputs, {form: f"@{form}.0" for form in self.work.outputs}
            )
        kernel.release(value)


def _single(kernel: VectorKernel, function: "object", value: Register) -> Register:
    """A scalar kernel on one FP32 element: the same instructions with vl = 1."""
    inner = VectorKernel(
        config=kernel.config,
        vl=1,
        used=kernel.used,
        written=kernel.written,
        splats=kernel.splats,
        setup=kernel.setup,
    )
    result: Register = function(inner, value)  # type: ignore[operator]
    kernel.code += inner.code
    kernel.release(value)
    return result


def _best_loop(kernel: VectorKernel, times: int) -> tuple[Node, ...]:
    """``times`` rounds of the kernel's code, unrolled and scheduled as far as that is faster."""
    best: tuple[int, tuple[Node, ...]] | None = None
    for rounds in (1, 2, 4, 8):
        if best is not None and rounds > times:
            break
        nodes = repeat(ceil(times / rounds), *schedule(kernel.code * rounds, kernel.config))
        names = {n for i in flatten_once(nodes) for n in (*i.reads, *i.writes) if n.startswith("@")}
        clocks = run(Program(body=nodes, buffers_bytes=dict.fromkeys(names, 1)), kernel.config).cycles
        if best is None or clocks < best[0]:
            best = (clocks, nodes)
    assert best is not None
    return best[1]


def _long_row(work: RowsWork, config: MachineConfig) -> tuple[VectorKernel, tuple[Node, ...]]:
    """Strips of a row that the registers do not hold: passes over the scratchpad."""
    kernel = VectorKernel(config=config, vl=min(work.length, 2 * config.vector.vlen_bits // 16))
    row = _Row(work, kernel, ())
    strips = ceil(work.length / kernel.vl)
    nodes: list[Node] = []

    def flush(times: int) -> None:
        nodes.extend(_best_loop(kernel, times))
        kernel.code = []

    total32 = kernel.allocate(32, 1)
    start = kernel.splat(0.0, 32, 1)
    if work.function in ("softmax", "max"):
        peak = kernel.splat(-65504.0)
        value = kernel.load("@in.0")
        kernel.emit("vfmax.vv", peak, value, into=peak)
        kernel.release(value)
        flush(strips)
        single = row.reduce("vfredmax.vs", peak, 16)
        if work.function == "max":
            row.finish(single, vl=1)
            flush(1)
            return kernel, tuple(nodes)
        offset: Register | None = row.spread(single)
    elif work.function in ("layer_norm", "sum", "mean"):
        value = kernel.load("@in.0")
        kernel.emit("vfwredusum.vs", value, total32, into=total32)
        kernel.release(value)
        flush(strips)
        kernel.emit("vfmul.vf", total32, into=total32, sew_bits=32, vl=1, constant=1 / work.length)
        mean = kernel.emit("vfncvt.f.f.w", total32, sew_bits=32, result_bits=16, vl=1)
        if work.function != "layer_norm":
            row.finish(mean, vl=1)
            flush(1)
            return kernel, tuple(nodes)
        offset = row.spread(mean)
        kernel.emit("vmv.v.v", start, into=total32, sew_bits=32, vl=1)
    else:
        offset = None
    flush(1)
    value = kernel.load(
        "@in.0"
    )  # second pass: shifted values to the scratch row, and their sum or sum of squares
    if offset is not None:
        kernel.emit("vfsub.vv", value, offset, into=value)
    if work.function == "softmax":
        if config.flex_sfu.enabled:
            kernel.emit("vfmax.vf", value, into=value, constant=LOWEST)
        value = row.replaced(value, activation(kernel, "exp", value))
        kernel.emit("vfwredusum.vs", value, total32, into=total32)
    else:
        square = kernel.emit("vfmul.vv", value, value)
        kernel.emit("vfwredusum.vs", square, total32, into=total32)
        kernel.release(square)
    kernel.store("@scratch", value)
    kernel.release(value)
    flush(strips)
    if work.function == "softmax":
        factor = row.inverse(total32)
    else:
        kernel.emit(
            "vfmadd.vf", kernel.splat(1e-5, 32, 1), into=total32, sew_bits=32, vl=1, constant=1 / work.length
        )
        factor = row.spread(row.narrowed(_single(kernel, reciprocal_square_root, total32)))
    flush(1)
    value = kernel.load("@scratch")
    kernel.emit("vfmul.vv", value, factor, into=value)
    row.weigh(value)
    row.finish(value)
    flush(strips)
    return kernel, tuple(nodes)
