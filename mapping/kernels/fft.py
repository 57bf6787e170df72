"""Complex fast Fourier transforms of many sequences, in FP32, real and imaginary parts apart.

Stockham's self-sorting stages, between buffers of the scratchpad, so nothing is permuted: the butterflies of a stage read and write runs of
``width`` neighbours. A first stage's run is one element long. Either the vectors then are of neighbouring butterflies, whose results are stored
at a distance, an element a clock; or ``side`` sequences lie side by side, element by element, which DMA arranges (a run of one element is one
clock of the bus), and every run of every stage is that much longer. What takes the fewest clocks is chosen. A run's
twiddles are elements of the table, spread by gathers while the multiply-adds are busy. The golden model is :mod:`lanewise.models.fft`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import load, store
from lanewise.models.fft import TWIDDLES, Stage, stages
from lanewise.sim.program import Address, Node, Program, Rotate, repeat

BYTES = 4
"""Of an element."""

PARTS = ("real", "imaginary")

Pair = tuple[Register, Register]


@dataclass(frozen=True, kw_only=True)
class FftWork:
    """The transform, or its inverse, of each of ``batch`` rows of ``length`` complex numbers, a power of two from 8 to 4096.

    Tensors, FP32: ``real`` and ``imaginary``, ``out real`` and ``out imaginary``, shape ``(batch, length)``; ``twiddles`` of
    :func:`lanewise.models.fft.twiddle_table`.
    """

    batch: int
    length: int
    inverse: bool = False

    def __post_init__(self) -> None:
        stages(self.length)

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def side(self, config: MachineConfig) -> int:
        """How many sequences lie side by side."""
        return _fastest(self, config)

    def program(self, config: MachineConfig) -> Program:
        """Sequences, ``side`` at a time, through double buffers.

        Raises:
            ValueError: A sequence does not fit the scratchpad.
        """
        if not self.batch:
            return Program(body=())
        return _Writer(self, config, self.side(config)).program()


@lru_cache(maxsize=256)
def _fastest(work: FftWork, config: MachineConfig) -> int:
    best: tuple[int, int] | None = None
    banks = config.scratchpad.banks
    for side in (1, 8, 16, 32, 64):
        writer = _Writer(work, config, side)
        if (side > 1 and side >= 2 * work.batch) or writer.banks > banks:
            continue
        clocks = price(writer.program(), config).cycles
        if best is None or clocks < best[0]:
            best = clocks, side
    if best is None:
        raise ValueError(
            f"scratchpad.size_kib must hold a sequence of {work.length}, not {config.scratchpad.size_kib}"
        )
    return best[1]


class _Writer:
    """Writes the Program of a work."""

    def __init__(self, work: FftWork, config: MachineConfig, side: int) -> None:
        self.work, self.config, self.side = work, config, side
        self.stages = stages(work.length)
        self.pieces = 1 if side == 1 else 4
        """Buffers of an input: one for each input of the first stage's butterflies."""
        self.bytes = BYTES * work.length * side
        self.table_bytes = BYTES * TWIDDLES * sum(s.count for s in self.stages if s.twiddled)

    @property
    def sizes(self) -> dict[str, int]:
        """Of the buffers."""
        names = [f"@out {part}.{copy}" for part in PARTS for copy in "01"]
        names += [f"@{name} {part}" for name in "ab" for part in PARTS]
        inputs = [f"{name}.{copy}" for name in self.inputs for copy in "01"]
        sizes = dict.fromkeys(names, self.bytes) | dict.fromkeys(inputs, self.bytes // self.pieces)
        return sizes | {"@twiddles": self.table_bytes}

    @property
    def inputs(self) -> list[str]:
        """Buffers that sequences come through: a transfer to a buffer waits for the one before, so they take turns."""
        return [f"@in {part}{piece}" for piece in range(self.pieces) for part in PARTS]

    @property
    def banks(self) -> int:
        """Of the scratchpad that the buffers take."""
        return sum(ceil(size / self.config.scratchpad.bank_bytes) for size in self.sizes.values())

    def program(self) -> Program:
        """The table, then the sequences."""
        batch, side = self.work.batch, self.side
        body: list[Node] = [load("@twiddles", 1, self.table_bytes, external=Address("twiddles"))]
        code: list[Node] = []
        for place, stage in enumerate(self.stages):
            code += self._stage(place, stage)
        whole = batch // side
        for count, rows, first in ((whole, side, 0), (1, batch % side, whole * side)):
            if not count or not rows:
                continue
            inner: list[Node] = []
            inner += self._loads(rows, first)
            inner += code
            for part in PARTS:
                inner += self._stores(part, rows, first)
            names = [*self.inputs, *(f"@out {part}" for part in PARTS)]
            inner += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in names]
            body += repeat(count, *inner, index="group")
        return Program(body=tuple(body), buffers_bytes=self.sizes)

    def _outside(self, name: str, part: str, first: int) -> Address:
        """The first sequence of a group in memory; the inverse exchanges the parts."""
        named = PARTS[1 - PARTS.index(part)] if self.work.inverse else part
        size = self.work.length * BYTES
        return Address(f"{name}{named}", first * size).along("group", self.side * size)

    def _loads(self, rows: int, first: int) -> Sequence[Node]:
        """Sequences into buffers, element by element where they lie side by side."""
        length, side = self.work.length, self.side
        outside = {part: self._outside("", part, first) for part in PARTS}
        if side == 1:
            return [load(f"@in {part}0.0", 1, length * BYTES, external=outside[part]) for part in PARTS]
        piece = length // self.pieces
        return repeat(
            piece,
            *(
                load(
                    Address(f"@in {part}{q}.0").along("element", side * BYTES), rows, BYTES,
                    external=outside[part].moved(q * piece * BYTES).along("element", BYTES),
                    distance_bytes=length * BYTES, stride_bytes=BYTES,
                )
                for q in range(self.pieces)
                for part in PARTS
            ),
            index="element",
        )  # fmt: skip

    def _stores(self, part: str, rows: int, first: int) -> Sequence[Node]:
        """Sequences from a buffer."""
        length, side = self.work.length, self.side
        outside, buffer = self._outside("out ", part, first), Address(f"@out {part}.0")
        if side == 1:
            return [store(buffer, 1, length * BYTES, external=outside)]
        one = store(
            buffer.along("row", BYTES), length, BYTES, external=outside.along("row", length * BYTES), distance_bytes=BYTES,
            stride_bytes=side * BYTES,
        )  # fmt: skip
        return repeat(rows, one, index="row")

    def _ends(self, place: int) -> tuple[str, str]:
        """Buffers that a stage reads and writes, without the part."""
        last = len(self.stages) - 1
        source = "@in {}{}.0" if place == 0 else f"@{'ab'[(place - 1) % 2]} {{}}"
        return source, "@out {}.0" if place == last else f"@{'ab'[place % 2]} {{}}"

    def _stage(self, place: int, stage: Stage) -> tuple[Node, ...]:
        """The fastest of some numbers of runs at a time."""
        best: tuple[int, tuple[Node, ...]] | None = None
        for ways in (1, 2):
            for longest in (1, 2):
                try:
                    made = self._written(place, stage, ways, longest)
                except ValueError:  # more registers than there are
                    continue
                alone = Program(body=made, buffers_bytes=dict.fromkeys(self.sizes, 1))
                clocks = price(alone, self.config).cycles
                if best is None or clocks < best[0]:
                    best = clocks, made
        assert best is not None
        return best[1]

    def _written(self, place: int, stage: Stage, ways: int, longest: int) -> tuple[Node, ...]:
        width, count = stage.width * self.side, stage.count
        scattered = width == 1
        most = longest * self.config.vector.vlen_bits // (8 * BYTES)
        vl = min(most, count if scattered else width)
        kernel = VectorKernel(config=self.config, vl=vl)
        butterflies, runs = (1, count // vl) if scattered else (count, width // vl)
        over = "run" if runs % ways == 0 else "butterfly"
        if (runs if over == "run" else butterflies) % ways:
            raise ValueError(f"ways must divide a stage, not {ways}")
        code = []
        for way in range(ways):
            kernel.code = []
            _Butterfly(self, kernel, stage, self._ends(place), place, scattered=scattered).emit(
                {over: way}, {over: ways}
            )
            code += kernel.code
            kernel.used |= kernel.written
        runs, butterflies = (runs // ways, butterflies) if over == "run" else (runs, butterflies // ways)
        inner = repeat(runs, *schedule(code, self.config), index="run")
        return repeat(butterflies, *inner, index="butterfly")


class _Butterfly:
    """Writes one vector of butterflies."""

    def __init__(
        self,
        writer: _Writer,
        kernel: VectorKernel,
        stage: Stage,
        ends: tuple[str, str],
        place: int,
        *,
        scattered: bool,
    ) -> None:
        self.kernel, self.stage, self.ends, self.scattered = kernel, stage, ends, scattered
        self.width = stage.width * writer.side
        self.span = stage.count * self.width
        """Elements from an input of a butterfly to the next."""
        self.pieces = writer.pieces
        self.last = place == len(writer.stages) - 1
        self.scale = 1 / writer.work.length if writer.work.inverse else 1.0
        self.planar = stage.width == 1
        """Whether the table has each number of all butterflies together."""

    def emit(self, at: dict[str, int], every: dict[str, int]) -> None:
        """At one run of one butterfly, of those that a loop's repetition takes."""
        self.at, self.every = at, every
        values = [self._load(q) for q in range(self.stage.radix)]
        if self.stage.radix == 2:
            a, b = values
            low = self._both("vfsub.vv", a, b)
            self._both("vfadd.vv", a, b, into=a)
            self.kernel.release(*b)
            self._finish(0, a)
            self._finish(1, low)
            return
        a, b, c, d = values
        low = self._both("vfsub.vv", a, c)
        self._both("vfadd.vv", a, c, into=a)
        self._both("vfsub.vv", b, d, into=c)
        self._both("vfadd.vv", b, d, into=b)  # a and b are the sums, low and c the differences
        self._both("vfadd.vv", a, b, into=d)
        self._finish(0, d)
        self._both("vfsub.vv", a, b, into=a)
        self.kernel.release(*b)
        third = (self._one("vfsub.vv", low[0], c[1]), self._one("vfadd.vv", low[1], c[0]))
        self._one("vfadd.vv", low[0], c[1], into=low[0])
        self._one("vfsub.vv", low[1], c[0], into=low[1])
        self.kernel.release(*c)
        for power, value in ((1, low), (2, a), (3, third)):
            self._finish(power, self._turned(power, value) if self.stage.twiddled else value)

    def _along(self, address: Address, butterfly: int, run: int) -> Address:
        """Moved by so many bytes a butterfly and a run."""
        for index, step in (("butterfly", butterfly), ("run", run)):
            address = address.moved(self.at.get(index, 0) * step).along(
                index, self.every.get(index, 1) * step
            )
        return address

    def _load(self, q: int) -> Pair:
        pieces = self.pieces if self.ends[0].startswith("@in") else 1
        piece, place = (q, 0) if pieces > 1 else (0, q)
        real, imaginary = (
            self.kernel.load(
                self._along(
                    Address(self.ends[0].format(part, piece), place * self.span * BYTES),
                    self.width * BYTES,
                    self.kernel.vl * BYTES,
                ),
                sew_bits=32,
            )
            for part in PARTS
        )
        return real, imaginary

    def _finish(self, r: int, value: Pair) -> None:
        """Store a result of the butterflies."""
        kernel, radix = self.kernel, self.stage.radix
        for part, register in zip(PARTS, value):
            if self.last and self.scale != 1:
                kernel.emit("vfmul.vf", register, into=register, sew_bits=32, constant=self.scale)
            buffer = Address(self.ends[1].format(part), r * self.width * BYTES)
            apart = radix * BYTES if self.scattered else 0
            run = kernel.vl * (radix if self.scattered else 1) * BYTES
            kernel.store(
                self._along(buffer, radix * self.width * BYTES, run),
                register,
                sew_bits=32,
                stride_bytes=apart,
            )
        kernel.release(*value)

    def _twiddle(self, power: int) -> Register:
        """Load the two numbers of one butterfly; they fit a register of any machine."""
        kernel, size = self.kernel, BYTES
        numbers = kernel.allocate_first(32)
        between = self.stage.count * size if self.planar else size
        step = size if self.planar else TWIDDLES * size
        place = Address("@twiddles", self.stage.table * size + (2 * power - 2) * between)
        kernel.load(
            self._along(place, step, 0),
            sew_bits=32,
            vl=2,
            into=numbers,
            stride_bytes=between if self.planar else 0,
        )
        return numbers

    def _numbers(self, power: int) -> Pair:
        """Both parts of a power of the twiddle, for every element."""
        kernel = self.kernel
        if not self.scattered:
            numbers = self._twiddle(power)
            real, imaginary = (kernel.spread(numbers, k, sew_bits=32) for k in (0, 1))
            kernel.release_first(numbers, 32)
            return real, imaginary
        places = [
            Address("@twiddles", (self.stage.table + k * self.stage.count) * BYTES)
            for k in (2 * power - 2, 2 * power - 1)
        ]
        real, imaginary = (
            kernel.load(self._along(place, 0, kernel.vl * BYTES), sew_bits=32) for place in places
        )
        return real, imaginary

    def _turned(self, power: int, value: Pair) -> Pair:
        """Times a twiddle."""
        kernel, (x, y) = self.kernel, value
        wr, wi = self._numbers(power)
        real = self._one("vfmul.vv", y, wi)
        self._one("vfmul.vv", x, wi, into=wi)
        kernel.emit("vfmsac.vv", x, wr, into=real, sew_bits=32)
        kernel.emit("vfmacc.vv", y, wr, into=wi, sew_bits=32)
        kernel.release(x, y, wr)
        return real, wi

    def _one(self, opcode: str, x: Register, y: Register, into: Register | None = None) -> Register:
        return self.kernel.emit(opcode, x, y, into=into, sew_bits=32)

    def _both(self, opcode: str, x: Pair, y: Pair, into: Pair | None = None) -> Pair:
        real, imaginary = (self._one(opcode, x[k], y[k], None if into is None else into[k]) for k in (0, 1))
        return real, imaginary
