"""Programs of leaky integrate-and-fire layers: the mask of what has not fired goes from step to step in v0."""

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register
from lanewise.mapping.kernels.logic import MASK
from lanewise.mapping.workloads.spsn.writer import BOTH, LOOP, LOW, Layer, LayerWriter, Layout
from lanewise.sim.program import Address, Program

PACKED = 3
"""Registers that spikes are packed in by turns, so that a step need not wait until those of the one before are stored."""


def lif_program(layer: Layer, config: MachineConfig, layout: Layout) -> Program:
    """The Program of a layer.

    Raises:
        ValueError: There are too few registers.
    """
    return (_WholeWriter if layout.joint else _HalvesWriter)(layer, config, layout).program()


class _LifWriter(LayerWriter):
    @property
    def turns(self) -> int:
        return 4 if self.layout.block == 1 else 2

    def _currents(self, here: Register, state: Register, elements: int) -> None:
        """The first filter of a block, in place; ``state`` is its last."""
        kernel, decay = self.kernel, self.layer.current_decay
        if self.layout.block == 1:  # the state stays in its register
            kernel.emit("vfmadd.vf", here, into=state, constant=decay, vl=elements)
            kernel.emit("vmv.v.v", state, into=here, vl=elements)
        else:
            kernel.emit("vmv.v.v", self._filtered(here, state, decay, elements), into=state, vl=elements)

    def _voltage(self, old: Register, here: Register, elements: int) -> None:
        """Mask of what has not fired, and the voltage that goes on from there, in the current's place."""
        kernel, decay = self.kernel, self.layer.voltage_decay
        kernel.emit("vmfle.vf", old, into=MASK, constant=1.0, vl=elements)
        kernel.emit("vfmacc.vf", old, into=here, constant=decay, vl=elements, masked=True)

    def _before(self, turn: int, sample: int) -> list[Register]:
        return self.groups[(turn - 1) % self.turns][sample]


class _HalvesWriter(_LifWriter):
    """Each half of the neurons in registers of its own, two masks a step: of two, one is compared while the other is used."""

    def _constants(self) -> None:
        kernel = self.kernel
        self.packed = [kernel.allocate(8, self.half) for _ in range(PACKED)]
        self.stored = 0
        self.full = kernel.allocate(8, self.half)
        kernel.emit("vmv.v.x", into=self.full, constant=BOTH, sew_bits=8, vl=self.half)

    def _block(self, turn: int, sample: int) -> None:
        """Currents; then, step by step and half by half, the mask of the state before, which is used while it is there."""
        kernel, half = self.kernel, self.half
        here, before = self.groups[turn % self.turns][sample], self._before(turn, sample)
        self._load(turn, sample, here)
        for register, state in zip(here, self.last[sample], strict=True):
            self._currents(register, state, half)
        for step in range(self.layout.block):
            packed = self.packed[self.stored % PACKED]
            self.stored += 1
            for part in (0, 1):
                old = (
                    self._slot(here[part], step - 1)
                    if step
                    else self._slot(before[part], self.layout.block - 1)
                )
                self._voltage(old, self._slot(here[part], step), half)
                if part == 0:
                    kernel.emit(
                        "vmerge.vxm", self.full, into=packed, constant=BOTH - LOW, sew_bits=8, vl=half
                    )
                else:
                    kernel.emit(
                        "vand.vx", packed, into=packed, constant=LOW, sew_bits=8, vl=half, masked=True
                    )
            self._store(turn, sample, step, packed, 1)


class _WholeWriter(_LifWriter):
    """A step's neurons in one vector, both halves one behind the other: one mask a step."""

    def _constants(self) -> None:
        kernel = self.kernel
        self.neurons = 2 * self.half
        self.packed = [
            (kernel.allocate(8, self.neurons), kernel.allocate(8, self.neurons)) for _ in range(PACKED)
        ]
        self.stored = 0
        self.ones = kernel.allocate(8, self.neurons)
        kernel.emit("vmv.v.i", into=self.ones, constant=LOW, sew_bits=8, vl=self.neurons)

    def _place(self, sample: int, part: int) -> tuple[int, int]:
        """Step by step, both halves."""
        width = 2 * self.half
        return (2 * sample * self.chunk + part) * width, 2 * width

    def _block(self, turn: int, sample: int) -> None:
        """Currents; then, step by step, the mask of the state before, which is used while it is there."""
        kernel, layout, neurons = self.kernel, self.layout, self.neurons
        (here,), (before,) = self.groups[turn % self.turns][sample], self._before(turn, sample)
        size = 2 * neurons * layout.block
        place = Address("@in.0", 2 * sample * self.chunk * neurons + turn * size)
        kernel.load(place.along(LOOP, layout.rounds * size), into=here, vl=self.wide)
        self._currents(here, self.last[sample][0], neurons)
        for step in range(layout.block):
            packed, upper = self.packed[self.stored % PACKED]
            self.stored += 1
            old = (
                self._slot(here, step - 1, neurons) if step else self._slot(before, layout.block - 1, neurons)
            )
            self._voltage(old, self._slot(here, step, neurons), neurons)
            kernel.emit("vmerge.vim", self.ones, into=packed, constant=0, sew_bits=8, vl=neurons)
            kernel.emit("vslidedown.vx", packed, into=upper, constant=self.half, sew_bits=8, vl=neurons)
            kernel.emit("vmacc.vx", upper, into=packed, constant=BOTH - LOW, sew_bits=8, vl=self.half)
            self._store(turn, sample, step, packed, 1)
