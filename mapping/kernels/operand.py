"""Tensors on their way to the INT4 array: the largest magnitude, transform, quantiser and row norms, probabilities, row sampling."""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.sim.program import Instruction, Node, Program, Rotate, repeat

CHUNK_ELEMENTS = 8192
"""Elements that one DMA transfer brings."""

NORM_BYTES = 8
"""Of a row: the sums of squares of both words, INT32."""

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
    row: int = 0
    """Elements of a row whose sums of squares, one of each word, are stored, too; rows are whole beats then. 0: none."""

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Settings once, then chunks through double buffers, of whole rows where norms are wanted."""
        unit = self.row or 1
        lanes = config.operand_path.lanes
        padded = ceil(unit / lanes) * lanes if self.row else 1
        names = ("in", "out", "norms") if self.row else ("in", "out")
        body: list[Node] = [Instruction(opcode="op.settings", reads=("op.path",), writes=("op.settings",))]
        for count, rows in _chunks(ceil(self.elements / unit), max(1, CHUNK_ELEMENTS // unit)):
            written = ("@out.0", "@norms.0", "op.path") if self.row else ("@out.0", "op.path")
            quantise = Instruction(
                opcode="op.quantise", reads=("@in.0", "op.settings"), writes=written, vl=rows * padded, block=self.block
            )  # fmt: skip
            inner = [
                load("@in.0", 1, 2 * rows * unit),
                quantise,
                store("@out.0", 1, self._bytes(rows * unit)),
            ]
            if self.row:
                inner.append(store("@norms.0", 1, NORM_BYTES * rows))
            body += repeat(count, *inner, *(Rotate(names=(f"@{n}.0", f"@{n}.1")) for n in names))
        most = min(max(CHUNK_ELEMENTS, unit), ceil(self.elements / unit) * unit)
        sizes = _double("@in", 2 * most) | _double("@out", self._bytes(most))
        if self.row:
            sizes |= _double("@norms", NORM_BYTES * max(1, most // unit))
        return Program(body=tuple(body), buffers_bytes=sizes)

    def _bytes(self, elements: int) -> int:
        return ceil(elements * (self.bits + self.flags) / 8)


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


def _chunks(elements: int, chunk: int = CHUNK_ELEMENTS) -> list[tuple[int, int]]:
    """(count, elements) of the whole chunks and of the rest."""
    whole, rest = divmod(elements, chunk)
    return [(count, size) for count, size in ((whole, chunk), (1, rest)) if count and size]


def _double(name: str, size: int) -> dict[str, int]:
    return {f"{name}.{copy}": size for copy in "01"}


def _maxima(kernel: VectorKernel) -> list[Register]:
    return [kernel.allocate()]


def _peak(kernel: VectorKernel, shared: list[Register]) -> None:
    value = kernel.load("@in.0")
    kernel.emit("vfsgnjx.vv", value, value, into=value)
    kernel.emit("vfmax.vv", shared[0], value, into=shared[0])
    kernel.release(value)


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
