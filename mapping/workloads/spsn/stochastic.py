"""Programs of SPSN layers: two filters, Flex-SFU's probability as an integer, a random integer, a comparison."""

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.activations import exponential
from lanewise.mapping.kernels.builder import Register
from lanewise.mapping.kernels.logic import MASK
from lanewise.mapping.kernels.strips import load
from lanewise.mapping.workloads.spsn.writer import BOTH, LOOP, LOW, Layer, LayerWriter, Layout
from lanewise.models.spsn.bits import GAIN
from lanewise.models.spsn.random_numbers import BITS, FACTOR, INCREMENT, SHIFTS
from lanewise.sim.program import Address, Instruction, Node, Program

QUANTISER = "quantiser"
"""What makes spikes of probabilities where the vector unit does not: stochastic rounding in the operand path."""
FIRING = "firing"
"""Name of Flex-SFU's table of scaled probabilities."""


def spsn_program(layer: Layer, config: MachineConfig, layout: Layout) -> Program:
    """The Program of a layer.

    Raises:
        ValueError: There are too few registers.
    """
    return (_QuantisedWriter if layer.generator == QUANTISER else _SpsnWriter)(
        layer, config, layout
    ).program()


class _SpsnWriter(LayerWriter):
    """Firing by comparison with random integers of the vector unit's own making."""

    cooling: tuple[Register, ...] = ()
    """What the block before has used: the next one takes other registers, so that it need not wait."""

    @property
    def turns(self) -> int:
        return 1 if self.layout.block == 1 else 2

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
        self.cooling = tuple(used) if self.layout.rotating else ()
        self.kernel.release(*used if not self.layout.rotating else ())

    def _voltages(self, turn: int, sample: int) -> tuple[list[Register], list[Register]]:
        """Both filters: where the voltages are, and what else was needed."""
        kernel, layer = self.kernel, self.layer
        voltages = self.groups[turn % self.turns][sample]
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
            before = self._parts(self.groups[(turn - 1) % self.turns][sample], self.part)
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
        return LayerWriter._start(self)

    def _fired(self, turn: int, sample: int, voltages: list[Register]) -> list[Register]:
        """Store the probabilities, step by step both halves."""
        kernel, size = self.kernel, 2 * self.half
        used = [kernel.flex_sfu(voltage, vl=self.wide) for voltage in voltages]
        for part, register in enumerate(self._parts(used, self.part)):
            for step in range(self.layout.block):
                row = sample * self.chunk + turn * self.layout.block + step
                place = Address("@chances.0", (2 * row + part) * size).along(
                    LOOP, 2 * self.layout.period * size
                )
                kernel.store(place, self._slot(register, step), vl=self.half)
        return used

    def _fire(self, steps: int) -> list[Node]:
        return [
            Instruction(
                opcode="op.quantise", reads=("@chances.0", "op.settings"), writes=("@out.0",),
                vl=2 * self.layout.samples * steps * self.half,
            )
        ]  # fmt: skip
