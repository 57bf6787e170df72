"""Tensors on their way to the INT4 array: the largest magnitude, transform, quantiser and row norms, probabilities, row sampling."""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.activations import reciprocal
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.row import single_element
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.sim.program import Instruction, Node, Program, Rotate, repeat

CHUNK_ELEMENTS = 8192
"""Elements that one DMA transfer brings."""

NORM_BYTES = 8
"""Of a row: the sums of squares of both words, INT32."""

_COPIES = {"in": "012", "out": "01", "norms": "01"}
"""Buffers of the quantiser's operands and results, by name."""

CLASSES = 8
"""Worths of kept rows that are told apart: four of each word."""

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
        maxima = _maxima(VectorKernel(config=config, vl=kernel.vl))[0]
        body: list[Node] = [Instruction(opcode="vfmv.v.f", writes=maxima.names, vl=kernel.vl, constant=0.0)]
        for count, elements in _chunks(self.elements):
            inner = [load("@in.0", 1, 2 * elements), *repeat(kernel.strips(elements), *kernel.code)]
            body += repeat(count, *inner, Rotate(names=("@in.0", "@in.1")))
        body.append(
            Instruction(
                opcode="vfredmax.vs",
                reads=maxima.names,
                writes=maxima.names[:1],
                vl=kernel.vl,
                operands=maxima.names[:1] * 2,
            )
        )
        body.append(Instruction(opcode="vse16.v", reads=maxima.names[:1], writes=("@peak",), vl=1))
        sizes = _double("@in", 2 * min(CHUNK_ELEMENTS, self.elements)) | {"@peak": 2}
        return Program(body=tuple(body), buffers_bytes=sizes)


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
        """Settings once, then chunks, of whole rows where norms are wanted, through three buffers: a load waits until one has been read."""
        unit = self.row or 1
        lanes = config.operand_path.lanes
        padded = ceil(unit / lanes) * lanes if self.row else 1
        names = ("in", "out", "norms") if self.row else ("in", "out")
        body: list[Node] = [Instruction(opcode="op.settings", writes=("op.settings",))]
        for count, rows in _chunks(ceil(self.elements / unit), max(1, CHUNK_ELEMENTS // unit)):
            written = ("@out.0", "@norms.0") if self.row else ("@out.0",)
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
            rotations = (Rotate(names=tuple(f"@{n}.{copy}" for copy in _COPIES[n])) for n in names)
            body += repeat(count, *inner, *rotations)
        most = min(max(CHUNK_ELEMENTS, unit), ceil(self.elements / unit) * unit)
        sizes = {f"@in.{copy}": 2 * most for copy in _COPIES["in"]} | _double("@out", self._bytes(most))
        if self.row:
            sizes |= _double("@norms", NORM_BYTES * max(1, most // unit))
        return Program(body=tuple(body), buffers_bytes=sizes)

    def _bytes(self, elements: int) -> int:
        return ceil(elements * (self.bits + self.flags) / 8)


@dataclass(frozen=True, kw_only=True)
class SampleWork:
    """From sums of squares to lists of kept rows: square roots, probabilities, Bernoulli selection, what each row is worth.

    The leverage scores are norms (hi's times 14), or products of two; they are scaled to add up to the rows that are wanted, clipped at 1, and
    the others rescaled, :data:`CLIPPINGS` times. For dX, whose rows are scaled on their way out, 1 / p becomes the output path's scale words; for
    dW, whose rows are summed by worth, the list is parted by the worth that the sampler hands out.
    """

    rows: int
    factors: int = 1
    """Norms that are multiplied: 1 (dX) or 2 (dW)."""

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Passes over the list in memory, in FP32, a chunk at a time; then the sampler, a row a clock.

        Raises:
            ValueError: The sampler's numbers are too short for so many rows.
        """
        if self.rows > 1 << config.operand_path.row_bits:
            raise ValueError(
                f"operand_path.row_bits must hold {self.rows} rows, not {config.operand_path.row_bits} bits"
            )
        most = min(CHUNK_ELEMENTS, self.rows)
        score = best_kernel(config, most, lambda kernel, _: _score(kernel, self.factors), widest_bits=32)
        clip = best_kernel(config, most, _clip, widest_bits=32)
        worth = best_kernel(config, most, _worth, widest_bits=32)
        part = best_kernel(config, most, _part, widest_bits=32)
        inputs = [f"@in{i}" for i in range(self.factors)]
        body = self._pass(score, inputs, ["@scores"])
        for _ in range(CLIPPINGS):
            body += [*_sum_of(clip, config), *self._pass(clip, ["@scores"], ["@scores"])]
        body += self._pass(worth, ["@scores"], ["@bits"] if self.factors == 2 else ["@bits", "@words"])
        for count, rows in _chunks(self.rows):
            sample = Instruction(opcode="op.sample", reads=("@bits",), writes=("@numbers",), vl=rows)
            body += repeat(count, load("@bits", 1, 2 * rows), sample, store("@numbers", 1, 4 * rows))
        if self.factors == 2:
            for _ in range(CLASSES):
                body += self._pass(part, ["@numbers"], ["@list"])
        names = ("@in0", "@in1", "@scores", "@bits", "@words", "@numbers", "@list")
        return Program(body=tuple(body), buffers_bytes=dict.fromkeys(names, 4 * most) | {"@sum": 4})

    def _pass(self, kernel: VectorKernel, sources: list[str], results: list[str]) -> list[Node]:
        body: list[Node] = list(kernel.setup)
        for count, rows in _chunks(self.rows):
            inner: list[Node] = [load(name, 1, 4 * rows) for name in sources]
            inner += repeat(kernel.strips(rows), *kernel.code)
            inner += [store(name, 1, 4 * rows) for name in results]
            body += repeat(count, *inner)
        return body


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
    value = kernel.load("@in0", sew_bits=32)
    kernel.emit("vfcvt.f.x.v", value, into=value, sew_bits=32)
    if factors == 2:
        other = kernel.load("@in1", sew_bits=32)
        kernel.emit("vfcvt.f.x.v", other, into=other, sew_bits=32)
        kernel.emit("vfmul.vv", value, other, into=value, sew_bits=32)
        kernel.release(other)
    root = kernel.emit("vfrsqrt7.v", value, sew_bits=32)  # x / sqrt(x); 7 bits are plenty for a probability
    kernel.emit("vfmul.vv", value, root, into=value, sew_bits=32)
    kernel.emit("vfmul.vf", value, into=value, sew_bits=32, constant=14.0)
    _add_up(kernel, value)
    kernel.store("@scores", value, sew_bits=32)
    kernel.release(value, root)


def _add_up(kernel: VectorKernel, value: Register) -> None:
    total = kernel.accumulator("sum", 32)
    kernel.emit("vfadd.vv", total, value, into=total, sew_bits=32)


def _sum_of(kernel: VectorKernel, config: MachineConfig) -> list[Instruction]:
    """The sum over all strips, its reciprocal times the rows that are wanted, in every element."""
    probe = VectorKernel(config=config, vl=kernel.vl)
    total, single, first = probe.allocate(32), probe.allocate(32, 1), probe.allocate_first(32)
    probe.emit("vfredusum.vs", total, probe.splat(0.0, 32, 1), into=single, sew_bits=32)
    inverse = single_element(probe, reciprocal, single)
    probe.emit("vfmul.vf", inverse, into=first, sew_bits=32, vl=1, constant=1.0)
    probe.spread(first, into=total, sew_bits=32)
    return [*probe.setup, *probe.code]


def _clip(kernel: VectorKernel, _: list[Register]) -> None:
    value = kernel.load("@scores", sew_bits=32)
    kernel.emit("vfmul.vf", value, into=value, sew_bits=32, constant=1.0)
    kernel.emit("vfmin.vf", value, into=value, sew_bits=32, constant=1.0)
    _add_up(kernel, value)
    kernel.store("@scores", value, sew_bits=32)
    kernel.release(value)


def _worth(kernel: VectorKernel, _: list[Register]) -> None:
    """Probabilities as the sampler's 16 bits; their reciprocals as multiplier and shift of the output path."""
    value = kernel.load("@scores", sew_bits=32)
    inverse = kernel.emit("vfrec7.v", value, sew_bits=32)
    for _step in range(2):  # two Newton steps: 7 bits, 14, 28
        error = kernel.emit("vmv.v.v", inverse, sew_bits=32)
        kernel.emit("vfnmsub.vv", value, kernel.splat(1.0, 32), into=error, sew_bits=32)
        kernel.emit("vfmadd.vv", inverse, inverse, into=error, sew_bits=32)
        kernel.release(inverse)
        inverse = error
    exponent = kernel.emit("vsrl.vi", inverse, sew_bits=32, constant=23)
    kernel.emit("vrsub.vx", exponent, into=exponent, sew_bits=32, constant=142)
    kernel.emit("vsll.vi", exponent, into=exponent, sew_bits=32, constant=16)
    kernel.emit("vsrl.vi", inverse, into=inverse, sew_bits=32, constant=8)
    kernel.emit("vand.vx", inverse, into=inverse, sew_bits=32, constant=32767)
    kernel.emit("vor.vx", inverse, into=inverse, sew_bits=32, constant=32768)
    kernel.emit("vor.vv", inverse, exponent, into=inverse, sew_bits=32)
    kernel.store("@words", inverse, sew_bits=32)
    kernel.emit("vfmul.vf", value, into=value, sew_bits=32, constant=65536.0)
    bits = kernel.emit("vfncvt.x.f.w", value, sew_bits=32, result_bits=16)
    kernel.store("@bits", bits)
    kernel.release(value, inverse, exponent, bits)


def _part(kernel: VectorKernel, _: list[Register]) -> None:
    """The rows of one worth, without gaps."""
    value = kernel.load("@numbers", sew_bits=32)
    mask = Register(first=0, length=1)
    kernel.emit("vmseq.vx", value, into=mask, sew_bits=32, constant=0.0)
    packed = kernel.emit("vcompress.vm", value, mask, sew_bits=32)
    kernel.store("@list", packed, sew_bits=32)
    kernel.release(value, packed)
