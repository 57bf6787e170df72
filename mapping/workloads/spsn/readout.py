"""The layer that does not fire: both filters in FP16, and the sum of the voltages over time in FP32."""

from dataclasses import dataclass

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import load, store
from lanewise.sim.program import Address, Instruction, Node, Program, Rotate, repeat

LOOP = "rounds"
ROUNDS = 8
"""Steps of a loop's body."""
CHUNK_STEPS = 64
"""Steps that go through a buffer at a time."""
REGISTERS = 4
"""Of a vector of FP16 numbers, at most; the sums have twice as many."""


@dataclass(frozen=True, kw_only=True)
class ReadoutWork:
    """``columns`` outputs, of all samples, for ``steps`` steps, from and to memory.

    Tensors: ``in``, FP16, shape ``(steps, columns)``; ``out``, FP32, shape ``(columns,)``: sums, of which the mean is a whole factor away. The golden model
    is :func:`lanewise.models.spsn.bits.readout`.

    Raises:
        ValueError: A size is not positive.
    """

    columns: int
    steps: int
    current_decay: float = 0.8
    voltage_decay: float = 0.9

    def __post_init__(self) -> None:
        if self.columns < 1 or self.steps < 1:
            raise ValueError(f"columns and steps must be at least 1, not {self.columns} and {self.steps}")

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Columns in vectors; of each, chunks of time through double buffers."""
        most = REGISTERS * config.vector.vlen_bits // 16
        body: list[Node] = []
        for first in range(0, self.columns, most):
            body += self._vector(config, first, min(most, self.columns - first))
        size = min(most, self.columns)
        sizes = {f"@in.{copy}": 2 * CHUNK_STEPS * size for copy in "01"} | {"@out": 4 * size}
        return Program(body=tuple(body), buffers_bytes=sizes)

    def _vector(self, config: MachineConfig, first: int, vl: int) -> list[Node]:
        """All of time for some columns."""
        kernel = VectorKernel(config=config, vl=vl)
        current, voltage, total = kernel.allocate(), kernel.allocate(), kernel.allocate(32)
        for register, bits in ((current, 16), (voltage, 16), (total, 32)):
            kernel.emit("vmv.v.i", into=register, sew_bits=bits, constant=0)
        made: list[Node] = list(kernel.code)

        def steps(count: int, before: int) -> tuple[Instruction, ...]:
            kernel.code = []
            for step in range(count):
                place = Address("@in.0", 2 * vl * (before + step)).along(LOOP, 2 * vl * ROUNDS)
                value = kernel.load(place)
                kernel.emit("vfmadd.vf", value, into=current, constant=self.current_decay)
                kernel.emit("vfmadd.vf", current, into=voltage, constant=self.voltage_decay)
                kernel.emit("vfwadd.wv", total, voltage, into=total, result_bits=32)
                kernel.release(value)
            return tuple(schedule(kernel.code, config))

        chunk, row = CHUNK_STEPS, 2 * self.columns
        whole = self.steps // chunk
        for count, length, before in ((whole, chunk, 0), (1, self.steps % chunk, whole * chunk)):
            if not count or not length:
                continue
            place = Address("in", before * row + 2 * first).along("chunk", chunk * row)
            inner: list[Node] = [load("@in.0", length, 2 * vl, external=place, distance_bytes=row)]
            inner += repeat(length // ROUNDS, *steps(ROUNDS, 0), index=LOOP)
            inner += steps(length % ROUNDS, length - length % ROUNDS)
            made += repeat(count, *inner, Rotate(names=("@in.0", "@in.1")), index="chunk")
        kernel.code = []
        kernel.store(Address("@out"), total, sew_bits=32)
        return [*made, *kernel.code, store("@out", 1, 4 * vl, external=Address("out", 4 * first))]
