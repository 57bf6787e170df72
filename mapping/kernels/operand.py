"""Tensors on their way to the INT4 array: the largest magnitude, transform and quantiser, row norms, probabilities, row sampling."""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.sim.program import Instruction, Node, Program, Rotate, repeat

CHUNK_ELEMENTS = 8192
"""Elements that one DMA transfer brings."""

CLIPPINGS = 4
"""Times that probabilities are clipped at 1 and the others rescaled; later ones change little (models.row_sampler has all)."""


@dataclass(frozen=True, kw_only=True)
class PeakWork:
    """The largest magnitude of ``elements`` FP16 elements in memory: it sets the exponent of the fixed point."""

    elements: int

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Chunks through double buffers into one register of maxima; the last reduction of that is a few clocks."""
        kernel = best_kernel(config, min(CHUNK_ELEMENTS, self.elements), _peak, prepare=_maxima)
        body: list[Node] = []
        for count, elements in _chunks(self.elements):
            inner = [load("@in.0", 1, 2 * elements), *repeat(kernel.strips(elements), *kernel.code)]
            body += repeat(count, *inner, Rotate(names=("@in.0", "@in.1")))
        return Program(body=tuple(body), buffers_bytes=_double("@in", 2 * min(CHUNK_ELEMENTS, self.elements)))


@dataclass(frozen=True, kw_only=True)
class QuantiseWork:
    """``elements`` FP16 elements in memory through the operand path, block by block, back to memory."""

    elements: int
    block: int = 1
    """Elements that are transformed together; 1: none."""
    bits: int = 4
    """Of what is stored for each: 4 or 8 of an operand; 8 of a gradient's two words."""
    flags: bool = False
    """Whether a bit is stored beside each: within the range before it was rounded."""

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, _: MachineConfig) -> Program:
        """Settings once, then chunks through double buffers."""
        bits = self.bits + self.flags
        body: list[Node] = [Instruction(opcode="op.settings", reads=("op.path",), writes=("op.settings",))]
        for count, elements in _chunks(self.elements):
            quantise = Instruction(
                opcode="op.quantise", reads=("@in.0", "op.settings"), writes=("@out.0", "op.path"), vl=elements, block=self.block
            )  # fmt: skip
            inner = [load("@in.0", 1, 2 * elements), quantise, store("@out.0", 1, ceil(elements * bits / 8))]
            body += repeat(count, *inner, *(Rotate(names=(f"@{n}.0", f"@{n}.1")) for n in ("in", "out")))
        chunk = min(CHUNK_ELEMENTS, self.elements)
        sizes = _double("@in", 2 * chunk) | _double("@out", ceil(chunk * bits / 8))
        return Program(body=tuple(body), buffers_bytes=sizes)


@dataclass(frozen=True, kw_only=True)
class NormsWork:
    """Sums of squares of ``rows`` rows of ``length`` INT4 elements; exact integers.

    Nibbles are sign-extended to bytes and multiplied into 16-bit sums, which hold 512 squares of at most 64, reduced to 32 bits.
    """

    rows: int
    length: int

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Chunks of rows through double buffers."""
        row_bytes = ceil(self.length / 2)
        lines = max(1, min(self.rows, CHUNK_ELEMENTS // max(1, row_bytes)))
        kernel = best_kernel(config, self.length, _squares, prepare=_sums)
        row: list[Node] = [*repeat(kernel.strips(self.length), *kernel.code), *_total(kernel)]
        body: list[Node] = list(kernel.setup)
        for count, rows in ((self.rows // lines, lines), (1, self.rows % lines)):
            if not count or not rows:
                continue
            inner = [load("@in.0", 1, rows * row_bytes), *repeat(rows, *row), store("@out.0", 1, 4 * rows)]
            body += repeat(count, *inner, *(Rotate(names=(f"@{n}.0", f"@{n}.1")) for n in ("in", "out")))
        sizes = _double("@in", lines * row_bytes) | _double("@out", 4 * lines)
        return Program(body=tuple(body), buffers_bytes=sizes)


@dataclass(frozen=True, kw_only=True)
class SampleWork:
    """From sums of squares to the numbers of the kept rows: square roots, probabilities, Bernoulli selection, compaction.

    The leverage scores are norms, or products of two; they are scaled to add up to the rows that are wanted, clipped at 1, and the others
    rescaled, :data:`CLIPPINGS` times. What each kept row is worth goes back to memory beside its number.
    """

    rows: int
    factors: int = 1
    """Norms that are multiplied: 1 (input gradient) or 2 (weight gradient)."""

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Passes over the list in the scratchpad, in FP32, then the sampler, a row a clock; lists beyond a chunk in parts."""
        body: list[Node] = []
        for count, rows in _chunks(self.rows):
            score = best_kernel(config, rows, lambda kernel, _: _score(kernel, self.factors), widest_bits=32)
            clip = best_kernel(config, rows, _clip, prepare=_clip_registers, widest_bits=32)
            worth = best_kernel(config, rows, _worth, widest_bits=32)
            inner: list[Node] = [load(f"@in{i}.0", 1, 4 * rows) for i in range(self.factors)]
            for kernel, times in ((score, 1), (clip, CLIPPINGS), (worth, 1)):
                inner += [*kernel.setup, *repeat(times * kernel.strips(rows), *kernel.code)]
            inner.append(Instruction(opcode="op.sample", reads=("@bits",), writes=("@numbers",), vl=rows))
            inner += [store("@numbers", 1, 2 * rows), store("@worth", 1, 4 * rows)]
            body += repeat(count, *inner)
        rows = min(CHUNK_ELEMENTS, self.rows)
        sizes = {f"@in{i}.0": 4 * rows for i in range(self.factors)}
        sizes |= {"@scores": 4 * rows, "@bits": 2 * rows, "@numbers": 2 * rows, "@worth": 4 * rows}
        return Program(body=tuple(body), buffers_bytes=sizes)


def _chunks(elements: int) -> list[tuple[int, int]]:
    """(count, elements) of the whole chunks and of the rest."""
    whole, rest = divmod(elements, CHUNK_ELEMENTS)
    return [(count, size) for count, size in ((whole, CHUNK_ELEMENTS), (1, rest)) if count and size]


def _double(name: str, size: int) -> dict[str, int]:
    return {f"{name}.{copy}": size for copy in "01"}


def _maxima(kernel: VectorKernel) -> list[Register]:
    return [kernel.allocate()]


def _peak(kernel: VectorKernel, shared: list[Register]) -> None:
    value = kernel.load("@in.0")
    kernel.emit("vfsgnjx.vv", value, value, into=value)
    kernel.emit("vfmax.vv", shared[0], value, into=shared[0])
    kernel.release(value)


def _sums(kernel: VectorKernel) -> list[Register]:
    return [kernel.allocate()]


def _squares(kernel: VectorKernel, shared: list[Register]) -> None:
    half = max(1, kernel.vl // 2)
    packed = kernel.load("@in.0", sew_bits=8, vl=half)
    low = kernel.emit("vsll.vi", packed, sew_bits=8, vl=half, constant=4)
    for nibbles in (low, packed):
        kernel.emit("vsra.vi", nibbles, into=nibbles, sew_bits=8, vl=half, constant=4)
        kernel.emit("vwmacc.vv", nibbles, nibbles, into=shared[0], sew_bits=16, vl=half)
    kernel.release(packed, low)


def _total(kernel: VectorKernel) -> list[Instruction]:
    """Reduction of the 16-bit sums to one of 32 bits, and its store."""
    probe = VectorKernel(config=kernel.config, vl=kernel.vl)
    sums = _sums(probe)[0]
    zero = probe.allocate(32, 1)
    total = probe.emit("vwredsum.vs", sums, zero, into=probe.allocate(32, 1), sew_bits=16)
    probe.store("@out.0", total, sew_bits=32, vl=1)
    return probe.code


def _score(kernel: VectorKernel, factors: int) -> None:
    value = kernel.load("@in0.0", sew_bits=32)
    kernel.emit("vfcvt.f.x.v", value, into=value, sew_bits=32)
    if factors == 2:
        other = kernel.load("@in1.0", sew_bits=32)
        kernel.emit("vfcvt.f.x.v", other, into=other, sew_bits=32)
        kernel.emit("vfmul.vv", value, other, into=value, sew_bits=32)
        kernel.release(other)
    root = kernel.emit("vfrsqrt7.v", value, sew_bits=32)  # x / sqrt(x); 7 bits are plenty for a probability
    kernel.emit("vfmul.vv", value, root, into=value, sew_bits=32)
    kernel.store("@scores", value, sew_bits=32)
    kernel.release(value, root)


def _clip_registers(kernel: VectorKernel) -> list[Register]:
    return [kernel.allocate(32)]


def _clip(kernel: VectorKernel, shared: list[Register]) -> None:
    value = kernel.load("@scores", sew_bits=32)
    kernel.emit("vfmul.vf", value, into=value, sew_bits=32, constant=1.0)
    kernel.emit("vfmin.vf", value, into=value, sew_bits=32, constant=1.0)
    kernel.emit("vfadd.vv", shared[0], value, into=shared[0], sew_bits=32)
    kernel.store("@scores", value, sew_bits=32)
    kernel.release(value)


def _worth(kernel: VectorKernel, _: list[Register]) -> None:
    """Probabilities as the sampler's 16 bits, and their reciprocals."""
    value = kernel.load("@scores", sew_bits=32)
    inverse = kernel.emit("vfrec7.v", value, sew_bits=32)
    for _step in range(2):  # two Newton steps: 7 bits, 14, 28
        error = kernel.emit("vmv.v.v", inverse, sew_bits=32)
        kernel.emit("vfnmsub.vv", value, kernel.splat(1.0, 32), into=error, sew_bits=32)
        kernel.emit("vfmadd.vv", inverse, inverse, into=error, sew_bits=32)
        kernel.release(inverse)
        inverse = error
    kernel.store("@worth", inverse, sew_bits=32)
    kernel.emit("vfmul.vf", value, into=value, sew_bits=32, constant=65536.0)
    bits = kernel.emit("vfncvt.x.f.w", value, sew_bits=32, result_bits=16)
    kernel.store("@bits", bits)
    kernel.release(value, inverse, bits)
