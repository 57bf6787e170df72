"""Gradients along a row: softmax and the norms backwards, and sums over rows for what all rows share.

With y the result, g its gradient, n the row's length: softmax ``y (g - sum(g y))``; a norm with x^ the normalised row and w the scale
``r (w g - mean(w g) - x^ mean(w g x^))``, without the first mean for RMS norm. The forward pass kept r and the row's mean; x^ is made again of x.
"""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.candidate import strip_program
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.sim.program import Instruction, Node, Program, Rotate, repeat

FUNCTIONS = ("softmax", "layer_norm", "rms_norm")
CHUNK_BYTES = 16384
"""Bytes of whole rows that one DMA transfer brings, or one row if that is longer."""
ROWS_IN_FP16 = 8
"""Rows whose sum is taken in FP16 before it is added to the FP32 sum of all."""


@dataclass(frozen=True, kw_only=True)
class RowGradientsWork:
    """The gradient of ``function``'s input, for ``rows`` rows of ``length`` FP16 elements."""

    function: str
    rows: int
    length: int

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"function must be one of {', '.join(FUNCTIONS)}, not {self.function!r}")

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Chunks of rows through double buffers; several rows interleaved, which hides the reductions' latency."""
        lines = max(1, min(self.rows, CHUNK_BYTES // (2 * self.length)))
        best: tuple[float, VectorKernel] | None = None
        for ways in (1, 2, 4):
            if ways > lines:
                break
            try:
                kernel = self._rows(config, ways)
            except ValueError:
                break
            clocks = price(strip_program(kernel, ceil(lines / ways)), config).cycles
            if best is None or clocks < best[0]:
                best = (clocks, kernel)
        assert best is not None, "one row at a time always fits"
        kernel = best[1]
        body: list[Node] = list(kernel.setup)
        if self.function != "softmax":
            body.insert(0, load("@weight", 1, 2 * self.length))
        names = ("y", "g", "out", "kept")
        for count, rows in ((self.rows // lines, lines), (1, self.rows % lines)):
            if not count or not rows:
                continue
            inner: list[Node] = [load(f"@{name}.0", 1, 2 * rows * self.length) for name in ("y", "g")]
            if self.function != "softmax":
                inner.append(load("@kept.0", 1, 4 * rows))
            inner += [
                *repeat(ceil(rows / kernel.ways), *kernel.code),
                store("@out.0", 1, 2 * rows * self.length),
            ]
            body += repeat(count, *inner, *(Rotate(names=(f"@{n}.0", f"@{n}.1")) for n in names))
        sizes = {f"@{n}.{c}": 2 * lines * self.length for n in ("y", "g", "out") for c in "01"}
        sizes |= {f"@kept.{c}": 4 * lines for c in "01"} | {"@weight": 2 * self.length}
        return Program(body=tuple(body), buffers_bytes=sizes)

    def _rows(self, config: MachineConfig, ways: int) -> VectorKernel:
        longest = 2 * config.vector.vlen_bits // 16  # LMUL 2 leaves registers for four rows
        strips = ceil(self.length / longest)
        kernel = VectorKernel(config=config, vl=ceil(self.length / strips), ways=ways)
        code: list[Instruction] = []
        for _ in range(ways):
            kernel.code = []
            if self.function == "softmax":
                _softmax(kernel, strips)
            else:
                _norm(kernel, strips, self.function == "layer_norm", self.length)
            code += kernel.code
            kernel.used |= kernel.written
        kernel.code = schedule(code, config)
        return kernel


@dataclass(frozen=True, kw_only=True)
class ColumnSumsWork:
    """Sums over ``rows`` rows of ``columns`` FP16 elements: a bias's gradient; with ``norm`` those of a norm's scale and offset.

    With ``peak`` the largest magnitude is found on the way, which the quantiser of the gradient wants: the integer unit is idle.

    Eight rows are added in FP16, their sum to one in FP32.
    """

    rows: int
    columns: int
    norm: bool = False
    peak: bool = False

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Strips of columns; of each, chunks of rows stream past sums that stay in registers."""
        kernel = best_kernel(
            config, self.columns * ROWS_IN_FP16, self._strip, prepare=self._sums, longest=self.columns, widest_bits=32
        )  # fmt: skip
        strips, groups = ceil(self.columns / kernel.vl), ceil(self.rows / (ROWS_IN_FP16 * kernel.ways))
        each = max(1, CHUNK_BYTES // (2 * kernel.vl * ROWS_IN_FP16 * kernel.ways))
        names = ("g", "y") if self.norm else ("g",)
        body: list[Node] = list(kernel.setup)
        for count, chunk in ((groups // each, each), (1, groups % each)):
            if not count or not chunk:
                continue
            rows = chunk * ROWS_IN_FP16 * kernel.ways
            inner: list[Node] = [load(f"@{name}.0", rows, 2 * kernel.vl) for name in names]
            inner += repeat(chunk, *kernel.code)
            body += repeat(count, *inner, *(Rotate(names=(f"@{n}.0", f"@{n}.1")) for n in names))
        probe = VectorKernel(config=config, vl=kernel.vl)
        registers = self._sums(probe)
        for register, bits in zip(registers, [*[32, 32][: len(names)], 16], strict=False):
            probe.store("@out", register, sew_bits=bits)
        zeros = [
            Instruction(opcode="vfmv.v.f", writes=register.names, vl=kernel.vl, sew_bits=bits, constant=0.0)
            for register, bits in zip(registers, [*[32] * (1 + self.norm), 16], strict=False)
        ]
        body = [*zeros, *body, *probe.code, store("@out", 1, 4 * kernel.vl * len(names))]
        size = 2 * kernel.vl * ROWS_IN_FP16 * kernel.ways * each
        buffers = {f"@{n}.{c}": size for n in names for c in "01"} | {"@out": 4 * kernel.vl * len(names)}
        return Program(body=repeat(strips, *body), buffers_bytes=buffers)

    def _sums(self, kernel: VectorKernel) -> list[Register]:
        sums = [kernel.allocate(32) for _ in range(1 + self.norm)]
        return [*sums, kernel.allocate()] if self.peak else sums

    def _strip(self, kernel: VectorKernel, shared: list[Register]) -> None:
        """Eight rows of a strip."""
        sums: list[Register | None] = [None, None]
        for _ in range(ROWS_IN_FP16):
            g = kernel.load("@g.0")
            if self.peak:
                magnitude = kernel.emit("vfsgnjx.vv", g, g)
                kernel.emit("vfmax.vv", shared[-1], magnitude, into=shared[-1])
                kernel.release(magnitude)
            if self.norm:
                y = kernel.load("@y.0")
                kernel.emit("vfsub.vf", y, into=y, constant=0.0)  # the row's mean and r, scalars
                kernel.emit("vfmul.vf", y, into=y, constant=1.0)
                if sums[1] is None:
                    sums[1] = kernel.emit("vfmul.vv", g, y)
                else:
                    kernel.emit("vfmacc.vv", g, y, into=sums[1])
                kernel.release(y)
            if sums[0] is None:
                sums[0] = g
            else:
                kernel.emit("vfadd.vv", sums[0], g, into=sums[0])
                kernel.release(g)
        for total, part in zip(shared, [s for s in sums if s is not None]):
            kernel.emit("vfwadd.wv", total, part, into=total, sew_bits=16, result_bits=32)
            kernel.release(part)


def _sum(kernel: VectorKernel, products: Register, scale: float = 1.0) -> Register:
    """FP32 sum of a strip's products, scaled, as one FP16 element spread over all."""
    zero = kernel.splat(0.0, 32, 1)
    total = kernel.emit("vfwredusum.vs", products, zero, into=kernel.allocate(32, 1), sew_bits=16)
    if scale != 1.0:
        kernel.emit("vfmul.vf", total, into=total, sew_bits=32, vl=1, constant=scale)
    narrow = kernel.emit("vfncvt.f.f.w", total, into=kernel.allocate_first(), sew_bits=32, vl=1)
    result = kernel.spread(narrow)
    kernel.release(total)
    kernel.release_first(narrow)
    return result


def _accumulated(kernel: VectorKernel, sums: Register | None, left: Register, right: Register) -> Register:
    if sums is None:
        return kernel.emit("vfmul.vv", left, right)
    return kernel.emit("vfmacc.vv", left, right, into=sums)


def _softmax(kernel: VectorKernel, strips: int) -> None:
    sums: Register | None = None
    held: list[tuple[Register, Register]] = []
    for _strip in range(strips):
        y, g = kernel.load("@y.0"), kernel.load("@g.0")
        sums = _accumulated(kernel, sums, y, g)
        if strips == 1:
            held.append((y, g))
        else:
            kernel.release(y, g)
    assert sums is not None
    total = _sum(kernel, sums)
    kernel.release(sums)
    for place in range(strips):
        y, g = held[place] if held else (kernel.load("@y.0"), kernel.load("@g.0"))
        kernel.emit("vfsub.vv", g, total, into=g)
        kernel.emit("vfmul.vv", y, g, into=y)
        kernel.store("@out.0", y)
        kernel.release(y, g)
    kernel.release(total)


def _normalise(kernel: VectorKernel, x: Register, middle: Register, factor: Register, mean: bool) -> None:
    if mean:
        kernel.emit("vfsub.vv", x, middle, into=x)
    kernel.emit("vfmul.vv", x, factor, into=x)


def _norm(kernel: VectorKernel, strips: int, mean: bool, length: int) -> None:
    """``@y`` is x, ``@kept`` its mean and r, ``@weight`` the scale."""
    products: Register | None = None
    plain: Register | None = None
    single = kernel.load("@kept.0", vl=2, into=kernel.allocate_first())
    middle = kernel.spread(single)
    factor = kernel.spread(single, 1)
    kernel.release_first(single)
    for _strip in range(strips):
        y, g, weight = kernel.load("@y.0"), kernel.load("@g.0"), kernel.load("@weight")
        _normalise(kernel, y, middle, factor, mean)
        kernel.emit("vfmul.vv", g, weight, into=g)
        kernel.release(weight)
        products = _accumulated(kernel, products, y, g)
        if mean and plain is None:
            plain = kernel.emit("vmv.v.v", g)
        elif mean and plain is not None:
            kernel.emit("vfadd.vv", plain, g, into=plain)
        kernel.release(y, g)
    assert products is not None
    slope = _sum(kernel, products, 1 / length)
    kernel.release(products)
    level = None
    if plain is not None:
        level = _sum(kernel, plain, 1 / length)
        kernel.release(plain)
    for _strip in range(strips):
        y, g, weight = kernel.load("@y.0"), kernel.load("@g.0"), kernel.load("@weight")
        _normalise(kernel, y, middle, factor, mean)
        kernel.emit("vfmul.vv", g, weight, into=g)
        kernel.release(weight)
        if level is not None:
            kernel.emit("vfsub.vv", g, level, into=g)
        kernel.emit("vfnmsac.vv", y, slope, into=g)
        kernel.emit("vfmul.vv", g, factor, into=g)
        kernel.store("@out.0", g)
        kernel.release(y, g)
    kernel.release(slope, factor, middle, *([level] if level is not None else []))
