"""Operators that only move data: copies, concatenation, padding, embedding look-ups, transposition."""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP, VectorKernel
from lanewise.mapping.kernels.epilogue import format_bits
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import best_kernel, load, store, strip_program
from lanewise.sim.program import Address, Node, Program, Rotate, repeat

CHUNK_BYTES = 16384


@dataclass(frozen=True, kw_only=True)
class MovementWork:
    """``runs`` contiguous runs of ``run_elements`` from memory through the scratchpad to ``store_runs`` runs of memory.

    With ``transposed`` the vector unit reads each chunk with a stride, one FP16 element a clock and lane. Tensors: ``in``, ``out``, and ``indices`` of
    indexed runs, 32 bits each. Executable are copies whose runs on one side are whole runs of the other, transpositions that say their ``rows``.
    """

    runs: int
    run_elements: int
    form: str = "fp16"
    """Format of the elements: ``fp16`` or ``quantised``."""
    store_runs: int = 1
    transposed: bool = False
    indexed: bool = False
    """Whether the runs lie where a list of numbers says."""
    rows: int = 0
    """Of a transposed matrix; 0: not told, and no more than priced."""
    load_distance: int = 0
    """Bytes from run to run of ``in``; 0: one after the other."""
    store_distance: int = 0
    """Likewise of ``out``."""

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Chunks through double buffers."""
        if self.transposed and self.rows:
            return self._transposition(config)
        few, many = sorted((self.runs, self.store_runs))
        if not self.transposed and many % few == 0 and few in (1, many):
            return self._copy(config, many)
        bits = format_bits(self.form, config.matrix.operand_bits)
        total = self.runs * ceil(self.run_elements * bits / 8)
        chunks = max(1, ceil(total / CHUNK_BYTES))
        size = ceil(total / chunks)
        runs = max(1, ceil(self.runs / chunks))
        store_runs = max(1, ceil(self.store_runs / chunks))
        body: list[Node] = [load("@in.0", runs, ceil(size / runs), indexed=self.indexed)]
        source = "@in.0"
        if self.transposed:
            elements = ceil(8 * size / bits)
            kernel = best_kernel(config, elements, _transpose)
            body += repeat(kernel.strips(elements), *kernel.code)
            source = "@out.0"
        body.append(store(source, store_runs, ceil(size / store_runs)))
        body += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in ("@in", "@out")]
        return Program(
            body=repeat(chunks, *body), buffers_bytes={f"@{n}.{c}": size for n in ("in", "out") for c in "01"}
        )

    def _copy(self, config: MachineConfig, lines: int) -> Program:
        """``lines`` pieces that are contiguous on both sides, as many in a chunk as it holds, or of each as much as it holds."""
        bits = format_bits(self.form, config.matrix.operand_bits)
        line = ceil(self.runs * self.run_elements * bits / 8 / lines)
        together, piece = max(1, CHUNK_BYTES // line), min(line, CHUNK_BYTES)

        def distance(runs: int, told: int) -> int:
            return told or line if runs == lines else line

        apart = distance(self.runs, self.load_distance), distance(self.store_runs, self.store_distance)

        def chunk(count: int, first: int, size: int, offset: int) -> tuple[Node, ...]:
            """``count`` lines from the ``first`` on, or ``size`` bytes of one."""
            source, target = (
                Address(name, first * step * (not (self.indexed and name == "in")) + offset)
                .along("chunk", together * step * (not (self.indexed and name == "in")))
                .along("piece", piece)
                for name, step in zip(("in", "out"), apart)
            )
            indices = Address("indices", 4 * first).along("chunk", 4 * together) if self.indexed else None
            runs = [
                (1, count * size) if step == size and not (self.indexed and not side) else (count, size)
                for side, step in enumerate(apart)
            ]
            priced = [
                (count, size) if given == lines and lines > 1 else run
                for run, given in zip(runs, (self.runs, self.store_runs))
            ]
            return (
                load("@in.0", *priced[0], external=source, distance_bytes=apart[0], indices=indices),
                store("@in.0", *priced[1], external=target, distance_bytes=apart[1]),
                Rotate(names=("@in.0", "@in.1")),
            )

        body: list[Node] = []
        if together > 1 or line <= CHUNK_BYTES:
            whole, rest = divmod(lines, together)
            body += repeat(whole, *chunk(together, 0, line, 0), index="chunk")
            body += chunk(rest, whole * together, line, 0) if rest else ()
        else:
            whole, rest = divmod(line, piece)
            inner = list(repeat(whole, *chunk(1, 0, piece, 0), index="piece"))
            inner += chunk(1, 0, rest, whole * piece) if rest else ()
            body += repeat(lines, *inner, index="chunk")
        size = piece * min(together, lines)
        return Program(body=tuple(body), buffers_bytes={f"@in.{copy}": size for copy in "01"})

    def _transposition(self, config: MachineConfig) -> Program:
        """Bands of rows: a column of a band is a strip of the result's row."""
        columns = self.runs * self.run_elements // self.rows
        longest = min(8 * config.vector.vlen_bits // 16, CHUNK_BYTES // (2 * columns))
        band = max(1, min(self.rows, longest))
        body: list[Node] = []
        room = 0
        whole = self.rows // band
        for count, lines, before in ((whole, band, 0), (1, self.rows % band, whole * band)):
            if not count or not lines:
                continue
            kernel = _columns(config, lines, columns)
            room = max(room, kernel.strips(lines * columns) * kernel.ways * lines)
            source = Address("in", 2 * before * columns).along("band", 2 * band * columns)
            target = Address("out", 2 * before).along("band", 2 * band)
            inner = [
                load("@in.0", 1, 2 * lines * columns, external=source),
                *repeat(kernel.strips(lines * columns), *kernel.code, index=STRIP),
                store("@out.0", columns, 2 * lines, external=target, distance_bytes=2 * self.rows),
                *(Rotate(names=(f"{name}.0", f"{name}.1")) for name in ("@in", "@out")),
            ]
            body += repeat(count, *inner, index="band")
        size = 2 * (room + 8)  # the columns of the last strips may be beyond the last
        sizes = {f"@{name}.{copy}": size for name in ("in", "out") for copy in "01"}
        return Program(body=tuple(body), buffers_bytes=sizes)


def _columns(config: MachineConfig, rows: int, columns: int) -> VectorKernel:
    """The fastest kernel of a column a strip: one, two or four at a time."""
    best: tuple[int, VectorKernel] | None = None
    for ways in (1, 2, 4):
        kernel = VectorKernel(config=config, vl=rows, ways=ways)
        for kernel.way in range(ways):
            column = Address("@in.0", 2 * kernel.way).along(STRIP, 2 * ways)
            value = kernel.load(column, stride_bytes=2 * columns)
            kernel.store("@out.0", value)
        kernel.code = schedule(kernel.code, config)
        clocks = price(strip_program(kernel, kernel.strips(rows * columns)), config).cycles
        if best is None or clocks < best[0]:
            best = clocks, kernel
        if 8 * kernel.lmul(16) > 24 and ways > 1:
            break
    assert best is not None
    return best[1]


@dataclass(frozen=True, kw_only=True)
class FillWork:
    """Zeros to ``elements`` FP16 elements of memory, where sums begin."""

    elements: int

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """A chunk of zeros, made once and stored as often as needed. Its tensor is ``out``."""
        chunk = min(CHUNK_BYTES // 2, self.elements)
        if not chunk:
            return Program(body=())
        kernel = VectorKernel(config=config, vl=min(chunk, 8 * config.vector.vlen_bits // 16))
        kernel.store("@zeros", kernel.splat(0.0))
        strips = kernel.strips(chunk)
        body: list[Node] = [*kernel.setup, *repeat(strips, *kernel.code, index=STRIP)]
        whole, rest = divmod(self.elements, chunk)
        target = Address("out").along("chunk", 2 * chunk)
        body += repeat(whole, store("@zeros", 1, 2 * chunk, external=target), index="chunk")
        if rest:
            body.append(store("@zeros", 1, 2 * rest, external=Address("out", 2 * whole * chunk)))
        return Program(body=tuple(body), buffers_bytes={"@zeros": 2 * strips * kernel.vl})


def _transpose(kernel: VectorKernel, _: object) -> None:
    value = kernel.load("@in.0", stride_bytes=2)
    kernel.store("@out.0", value)
    kernel.release(value)
