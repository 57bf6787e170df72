"""What the Programs of spiking layers have in common: layouts, transfers, loops over time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import load, store, table_bytes
from lanewise.sim.program import Address, Node, Program, Rotate, repeat

CHUNK_STEPS = 64
"""Steps that go through a buffer at a time, at least."""
LOOP = "block"
BOTH, LOW = 0x11, 0x01
"""Two INT4 spikes in a byte, and the low one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What is in the registers at a time."""

    block: int
    """Steps that are loaded and filtered at a time."""
    samples: int
    """Groups of lines, in registers of their own."""
    fold: int
    """Lines whose neurons lie side by side in a register."""
    rounds: int
    """Blocks of a loop's body, a multiple of four: register groups take turns."""
    joint: bool
    """Whether both halves of the neurons lie in one register group."""
    rotating: bool = False
    """Whether a block's intermediate values are in other registers than the one's before (SPSN)."""

    @property
    def period(self) -> int:
        """Steps of a loop's body."""
        return self.block * self.rounds

    def drawn(self, neurons: int) -> int:
        """Random numbers that are drawn at a time."""
        return self.block * self.fold * neurons // (1 if self.joint else 2)

    @property
    def lines(self) -> int:
        """That are in the registers at a time."""
        return self.samples * self.fold


class Layer(Protocol):
    """What is written."""

    @property
    def model(self) -> str: ...
    @property
    def neurons(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def lines(self) -> int: ...
    @property
    def line_steps(self) -> int: ...
    @property
    def line_rows(self) -> int: ...
    @property
    def line_distance(self) -> int: ...
    @property
    def current_decay(self) -> float: ...
    @property
    def voltage_decay(self) -> float: ...
    @property
    def generator(self) -> str: ...


class LayerWriter:
    """What both models have in common: transfers, loops, filters.

    A sample's neurons are in *wholes*: one register group for both halves (``joint``), or one for each; *parts* are the halves of a block.
    """

    def __init__(self, layer: Layer, config: MachineConfig, layout: Layout) -> None:
        self.layer, self.layout, self.half = layer, layout, layout.fold * layer.neurons // 2
        self.wide = layout.drawn(layer.neurons)
        """Elements of a whole."""
        self.part = layout.block * self.half
        self.kernel = VectorKernel(config=config, vl=self.wide)
        self.chunk = max(1, CHUNK_STEPS // layout.period) * layout.period
        self.samples = range(layout.samples)
        self.groups = [[self._wholes() for _ in self.samples] for _ in range(self.turns)]
        """Where blocks are, by turn and sample."""
        self.last = [self._wholes(layout.block) for _ in self.samples]
        """The currents' last state, by sample; of the wholes' places the first step's."""

    def program(self) -> Program:
        """Setup; groups of samples; chunks of time."""
        kernel, layout = self.kernel, self.layout
        self._constants()
        kernel.setup += kernel.code
        kernel.code = []
        start = self._start()
        kernel.code = []
        for turn in range(layout.rounds):
            for sample in self.samples:
                self._block(turn, sample)
        code = schedule(kernel.code, kernel.config)
        body: list[Node] = list(kernel.setup)
        groups = self.layer.lines // layout.lines
        body += repeat(groups, *start, *self._chunks(list(code)), index="group")
        rows = layout.samples * self.chunk * self.half
        sizes = {f"@{name}.{copy}": size for name, size in (("in", 4 * rows), ("out", rows)) for copy in "01"}
        return Program(body=tuple(body), buffers_bytes=sizes | dict(self.sizes) | table_bytes(body))

    sizes: Mapping[str, int] = {}
    """Of further buffers."""

    @property
    def turns(self) -> int:
        """Register groups of blocks, which take turns; a divisor of the layout's rounds."""
        return 2

    def _constants(self) -> None:
        """What holds for the whole Program."""
        raise NotImplementedError

    def _start(self) -> list[Node]:
        """States of new samples: 0."""
        kernel = self.kernel
        for sample in self.samples:
            for register in self.groups[-1][sample]:
                kernel.emit("vmv.v.i", into=register, constant=0, vl=self.wide)
            for register in self.last[sample]:
                kernel.emit("vmv.v.i", into=register, constant=0, vl=self.wide // self.layout.block)
        return list(kernel.code)

    def _block(self, turn: int, sample: int) -> None:
        """A sample's block."""
        raise NotImplementedError

    def _wholes(self, divisor: int = 1) -> list[Register]:
        return [self.kernel.allocate(16, self.wide // divisor) for _ in range(1 if self.layout.joint else 2)]

    def _parts(self, wholes: list[Register], elements: int) -> list[Register]:
        """Both halves, of so many elements each."""
        if not self.layout.joint:
            return wholes
        length = self.kernel.lmul(16, elements)
        first = wholes[0].first
        return [Register(first=first + part * length, length=length) for part in (0, 1)]

    def _slot(self, part: Register, step: int, elements: int = 0) -> Register:
        """A step of a block of so many elements, of half of the neurons if not told."""
        length = self.kernel.lmul(16, elements or self.half)
        return Register(first=part.first + step * length, length=length)

    def _load(self, turn: int, sample: int, into: list[Register]) -> None:
        """A block of inputs."""
        size = 2 * self.half
        for part, register in enumerate(self._parts(into, self.part)):
            offset = (2 * sample + part) * self.chunk * size + turn * self.layout.block * size
            place = Address("@in.0", offset).along(LOOP, self.layout.period * size)
            self.kernel.load(place, into=register, vl=self.part)

    def _store(self, turn: int, sample: int, step: int, source: Register, steps: int) -> None:
        """The bytes of some steps."""
        row = sample * self.chunk + turn * self.layout.block + step
        place = Address("@out.0", row * self.half).along(LOOP, self.layout.period * self.half)
        self.kernel.store(place, source, sew_bits=8, vl=steps * self.half)

    def _fire(self, steps: int) -> list[Node]:  # noqa: ARG002
        """What is done to a chunk's results before they are stored."""
        return []

    def _filtered(self, part: Register, last: Register, decay: float, elements: int = 0) -> Register:
        """A filter along a block, in place; its last state."""
        for step in range(self.layout.block):
            here = self._slot(part, step, elements)
            self.kernel.emit("vfmacc.vf", last, into=here, constant=decay, vl=elements or self.half)
            last = here
        return last

    def _chunks(self, code: list[Node]) -> list[Node]:
        """All of time; the last chunk has what is left, or all of a chunk."""
        rows = self.layer.line_rows
        made: list[Node] = []
        whole = (rows - 1) // self.chunk
        for count, steps, before in (
            (whole, self.chunk, 0),
            (1, rows - whole * self.chunk, whole * self.chunk),
        ):
            if not count:
                continue
            inner: list[Node] = self._loads(min(steps, self.layer.line_steps - before), before)
            inner += repeat(-(-steps // self.layout.period), *code, index=LOOP)
            inner += self._fire(steps)
            inner += self._stores(steps, before)
            names = [name.removesuffix(".0") for name in self.sizes if name.endswith(".0")]
            inner += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in ("@in", "@out", *names)]
            made += repeat(count, *inner, index="chunk")
        return made

    def _loads(self, steps: int, before: int) -> list[Node]:
        """Half a line's neurons for some steps into its place in each part of the buffer."""
        size = self.layer.neurons
        return [
            load(
                Address("@in.0", self._place(sample, part)[0] + line * size), steps, size, stride_bytes=self._place(sample, part)[1],
                distance_bytes=2 * self.layer.batch * size, external=self._outside("in", before, sample, line, 2).moved(part * size),
            )
            for sample in self.samples
            for part in (0, 1)
            for line in range(self.layout.fold if steps else 0)
        ]  # fmt: skip

    def _place(self, sample: int, part: int) -> tuple[int, int]:
        """Where half of a sample's neurons begin in the buffer, and bytes from step to step."""
        width = 2 * self.half
        return (2 * sample + part) * self.chunk * width, width

    def _stores(self, steps: int, before: int) -> list[Node]:
        size = self.layer.neurons // 2
        return [
            store(
                Address("@out.0", sample * self.chunk * self.half + line * size), steps, size, stride_bytes=self.half,
                distance_bytes=self.layer.batch * size, external=self._outside("out", before, sample, line, 0.5),
            )
            for sample in self.samples
            for line in range(self.layout.fold)
        ]  # fmt: skip

    def _outside(self, name: str, before: int, sample: int, line: int, neuron_bytes: float) -> Address:
        """A line of external memory after some steps."""
        one = int(self.layer.neurons * neuron_bytes)
        row, distance = self.layer.batch * one, self.layer.line_distance * one
        place = Address(name, before * row + (sample * self.layout.fold + line) * distance)
        return place.along("chunk", self.chunk * row).along("group", self.layout.lines * distance)
