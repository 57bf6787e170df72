"""Writes the Program of a layer of spiking neurons in a layout."""

from dataclasses import dataclass
from typing import Protocol

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.activations import exponential
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.logic import MASK
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import load, store, table_bytes
from lanewise.models.spsn.bits import GAIN
from lanewise.models.spsn.random_numbers import BITS, FACTOR, INCREMENT, SHIFTS
from lanewise.sim.program import Address, Instruction, Node, Program, Rotate, repeat

QUANTISER = "quantiser"
"""What makes spikes of probabilities where the vector unit does not: stochastic rounding in the operand path."""
FIRING = "firing"
"""Name of Flex-SFU's table of scaled probabilities."""
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
    """Blocks of a loop's body, an even number: two register groups take turns."""
    joint: bool
    """Whether both halves of the neurons lie in one register group, half of it each."""
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


def write(layer: Layer, config: MachineConfig, layout: Layout) -> Program:
    """The Program of a layer.

    Raises:
        ValueError: There are too few registers.
    """
    if layer.model == "lif":
        return _LifWriter(layer, config, layout).program()
    return (_QuantisedWriter if layer.generator == QUANTISER else _SpsnWriter)(layer, config, layout).program()


class _Writer:
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
        turns = 1 if layer.model == "spsn" and layout.block == 1 else 2
        self.groups = [[self._wholes() for _ in self.samples] for _ in range(turns)]
        """Where blocks are, by turn and sample."""
        self.cooling: list[Register] = []
        """What the block before has used: the next one takes other registers, so that it need not wait."""
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
        return Program(body=tuple(body), buffers_bytes=sizes | self.sizes | table_bytes(body))

    sizes: dict[str, int] = {}

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
        return [
            self.kernel.allocate(16, self.wide // divisor) for _ in range(1 if self.layout.joint else 2)
        ]

    def _parts(self, wholes: list[Register], elements: int) -> list[Register]:
        """Both halves, of so many elements each."""
        if not self.layout.joint:
            return wholes
        length = self.kernel.lmul(16, elements)
        first = wholes[0].first
        return [Register(first=first + part * length, length=length) for part in (0, 1)]

    def _slot(self, part: Register, step: int) -> Register:
        """A step of a block of half of the neurons."""
        length = self.kernel.lmul(16, self.half)
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

    def _filtered(self, part: Register, last: Register, decay: float) -> Register:
        """A filter along a block of half of the neurons, in place; its last state."""
        for step in range(self.layout.block):
            here = self._slot(part, step)
            self.kernel.emit("vfmacc.vf", last, into=here, constant=decay, vl=self.half)
            last = here
        return last

    def _chunks(self, code: list[Node]) -> list[Node]:
        """All of time; the last chunk has what is left, or all of a chunk."""
        rows, made = self.layer.line_rows, []
        whole = (rows - 1) // self.chunk
        for count, steps, before in ((whole, self.chunk, 0), (1, rows - whole * self.chunk, whole * self.chunk)):
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
        size, width = self.layer.neurons, 2 * self.half
        return [
            load(
                Address("@in.0", (2 * sample + part) * self.chunk * width + line * size), steps, size, stride_bytes=width,
                distance_bytes=2 * self.layer.batch * size, external=self._outside("in", before, sample, line, 2).moved(part * size),
            )
            for sample in self.samples
            for part in (0, 1)
            for line in range(self.layout.fold if steps else 0)
        ]  # fmt: skip

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


class _LifWriter(_Writer):
    """With a reset."""

    def _constants(self) -> None:
        kernel = self.kernel
        self.packed = [kernel.allocate(8, self.half) for _ in self.samples]
        self.full = kernel.allocate(8, self.half)
        kernel.emit("vmv.v.x", into=self.full, constant=BOTH, sew_bits=8, vl=self.half)

    def _block(self, turn: int, sample: int) -> None:
        """Currents; then, step by step and half by half, the mask of the state before, which is used while it is there."""
        kernel, layout, layer = self.kernel, self.layout, self.layer
        here, before = self.groups[turn % 2][sample], self.groups[1 - turn % 2][sample]
        self._currents(turn, sample, here)
        here, before = self._parts(here, self.part), self._parts(before, self.part)
        packed = self.packed[sample]
        for step in range(layout.block):
            for part in (0, 1):
                old = self._slot(here[part], step - 1) if step else self._slot(before[part], layout.block - 1)
                kernel.emit("vmfle.vf", old, into=MASK, constant=1.0, vl=self.half)
                kernel.emit(
                    "vfmacc.vf", old, into=self._slot(here[part], step), constant=layer.voltage_decay, vl=self.half, masked=True
                )  # fmt: skip
                if part == 0:
                    kernel.emit(
                        "vmerge.vxm", self.full, into=packed, constant=BOTH - LOW, sew_bits=8, vl=self.half
                    )
                else:
                    kernel.emit(
                        "vand.vx", packed, into=packed, constant=LOW, sew_bits=8, vl=self.half, masked=True
                    )
            self._store(turn, sample, step, packed, 1)

    def _currents(self, turn: int, sample: int, here: list[Register]) -> None:
        kernel, decay, last = self.kernel, self.layer.current_decay, self.last[sample]
        if self.layout.block == 1:  # the state stays in its register
            self._load(turn, sample, here)
            for register, state in zip(here, last, strict=True):
                kernel.emit("vfmadd.vf", register, into=state, constant=decay, vl=self.wide)
                kernel.emit("vmv.v.v", state, into=register, vl=self.wide)
            return
        self._load(turn, sample, here)
        for part, state in zip(self._parts(here, self.part), self._parts(last, self.half), strict=True):
            kernel.emit("vmv.v.v", self._filtered(part, state, decay), into=state, vl=self.half)


class _SpsnWriter(_Writer):
    """Without a reset."""

    def _constants(self) -> None:
        kernel = self.kernel
        if kernel.config.flex_sfu.serves("fp16"):
            kernel.load_table(FIRING)
        self.words = self.wide // 2
        self.random = kernel.allocate(32, self.words)
        self.zeros = kernel.allocate(8, self.part)
        self.sizes = {"@seeds": 4 * self.words}
        kernel.emit("vmv.v.i", into=self.zeros, constant=0, sew_bits=8, vl=self.part)
        if self.layer.generator == "congruential":
            self.increment = kernel.allocate(32, self.words)
            kernel.emit("vmv.v.x", into=self.increment, constant=INCREMENT, sew_bits=32, vl=self.words)

    def _start(self) -> list[Node]:
        place, size = Address("seeds").along("group", 4 * self.words), 4 * self.words
        zeroed = super()._start()
        self.kernel.code = []
        self.kernel.load(Address("@seeds"), into=self.random, sew_bits=32, vl=self.words)
        return [load("@seeds", 1, size, external=place), *zeroed, *self.kernel.code]

    def _block(self, turn: int, sample: int) -> None:
        voltages, used = self._voltages(turn, sample)
        used += self._fired(turn, sample, voltages)
        self.kernel.release(*self.cooling)
        self.cooling = used if self.layout.rotating else []
        self.kernel.release(*used if not self.layout.rotating else ())

    def _voltages(self, turn: int, sample: int) -> tuple[list[Register], list[Register]]:
        """Both filters: where the voltages are, and what else was needed."""
        kernel, layer = self.kernel, self.layer
        voltages = self.groups[turn % len(self.groups)][sample]
        used: list[Register] = []
        if self.layout.block == 1:  # both states stay in their registers
            inputs = self._wholes()
            self._load(turn, sample, inputs)
            used += inputs
            for register, current, voltage in zip(inputs, self.last[sample], voltages, strict=True):
                kernel.emit("vfmadd.vf", register, into=current, constant=layer.current_decay, vl=self.wide)
                kernel.emit("vfmadd.vf", current, into=voltage, constant=layer.voltage_decay, vl=self.wide)
        else:
            self._load(turn, sample, voltages)
            before = self._parts(self.groups[1 - turn % 2][sample], self.part)
            states = self._parts(self.last[sample], self.half)
            for part, state, old in zip(self._parts(voltages, self.part), states, before, strict=True):
                last = self._filtered(part, state, layer.current_decay)
                kernel.emit("vmv.v.v", last, into=state, vl=self.half)
                self._filtered(part, self._slot(old, self.layout.block - 1), layer.voltage_decay)
        return voltages, used

    def _fired(self, turn: int, sample: int, voltages: list[Register]) -> list[Register]:
        """Compare with random integers and store; the registers that it took."""
        kernel = self.kernel
        packed = kernel.allocate(8, self.part)
        used = [packed]
        for parts, voltage in enumerate(voltages):
            numbers = self._drawn()
            if self.kernel.tables:
                other = kernel.flex_sfu(voltage, vl=self.wide)
                self._compare("vmslt.vv", numbers, other, packed, parts)
            else:  # random (1 + exp(-v)) is below the range's end
                other = exponential(kernel, voltage, -GAIN)
                kernel.emit("vfadd.vf", other, into=other, constant=1.0)
                kernel.emit("vfmul.vv", numbers, other, into=numbers)
                self._compare("vmflt.vf", numbers, other, packed, parts)
            used += [numbers, other]
        self._store(turn, sample, 0, packed, self.layout.block)
        return used

    def _drawn(self) -> Register:
        """The next random integers."""
        kernel, random, words = self.kernel, self.random, self.words
        if self.layer.generator == "congruential":
            kernel.emit("vmadd.vx", self.increment, into=random, constant=FACTOR, sew_bits=32, vl=words)
        else:
            for opcode, shift in zip(("vsll.vi", "vsrl.vi", "vsll.vi"), SHIFTS, strict=True):
                moved = kernel.emit(opcode, random, constant=shift, sew_bits=32, vl=words)
                kernel.emit("vxor.vv", random, moved, into=random, sew_bits=32, vl=words)
                kernel.release(moved)
        return kernel.emit("vsrl.vi", random, constant=16 - BITS, vl=self.wide)

    def _compare(self, opcode: str, left: Register, right: Register, packed: Register, first: int) -> None:
        """The masks of a whole's halves, packed."""
        kernel = self.kernel
        lefts, rights = (self._parts([register], self.part) for register in (left, right))
        for part, (own, other) in enumerate(zip(lefts, rights, strict=True), first):
            if opcode.endswith("vv"):
                kernel.emit(opcode, own, other, into=MASK, vl=self.part)
            else:
                kernel.emit(opcode, own, into=MASK, constant=2**BITS * 2.0**-24, vl=self.part)
            if part == 0:
                kernel.emit("vmerge.vim", self.zeros, into=packed, constant=LOW, sew_bits=8, vl=self.part)
            else:
                kernel.emit(
                    "vor.vx", packed, into=packed, constant=BOTH - LOW, sew_bits=8, vl=self.part, masked=True
                )


class _QuantisedWriter(_SpsnWriter):
    """Probabilities go to the operand path, whose lanes have LFSRs: rounded stochastically, a probability is a spike, and packed. Priced, for
    the operand path is beside the core."""

    def _constants(self) -> None:
        if not self.kernel.config.flex_sfu.serves("fp16"):
            raise ValueError("flex_sfu.enabled must be true for probabilities to the operand path")
        self.kernel.load_table(FIRING)
        self.kernel.setup.append(Instruction(opcode="op.settings", writes=("op.settings",)))
        size = 4 * self.layout.samples * self.chunk * self.half
        self.sizes = {"@chances.0": size, "@chances.1": size}

    def _start(self) -> list[Node]:
        return _Writer._start(self)

    def _fired(self, turn: int, sample: int, voltages: list[Register]) -> list[Register]:
        """Store the probabilities, step by step both halves."""
        kernel, size, used = self.kernel, 2 * self.half, []
        for voltage in voltages:
            used.append(kernel.flex_sfu(voltage, vl=self.wide))
        for part, register in enumerate(self._parts(used, self.part)):
            for step in range(self.layout.block):
                row = sample * self.chunk + turn * self.layout.block + step
                place = Address("@chances.0", (2 * row + part) * size).along(LOOP, 2 * self.layout.period * size)
                kernel.store(place, self._slot(register, step), vl=self.half)
        return used

    def _fire(self, steps: int) -> list[Node]:
        return [
            Instruction(
                opcode="op.quantise", reads=("@chances.0", "op.settings"), writes=("@out.0",),
                vl=2 * self.layout.samples * steps * self.half,
            )
        ]  # fmt: skip
