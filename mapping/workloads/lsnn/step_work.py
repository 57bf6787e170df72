"""Steps of a generating-function map in FP32 on the vector unit: gradient by hand-written passes, fixed-point solve, state on the chip.

Orbits lie side by side in a register; a product's weights are spread from registers by gathers while the multiply-adds are busy, eight
results at a time. tanh and its derivative are Flex-SFU's, from two tables if the unit has two, else the derivative is ``1 - t^2``;
without the unit tanh is software, of FP32's accuracy. The golden model is :mod:`lanewise.models.lsnn.step_bits`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.price import MOST_ACCESSES
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import load, store
from lanewise.mapping.workloads.lsnn.software_tanh import software_tanh32
from lanewise.models.lsnn.step_bits import PER_TURN, ROUND, TURN
from lanewise.models.lsnn.tables import SLOPE, VALUE
from lanewise.sim.program import Address, Instruction, Node, Program, repeat

BYTES = 4
"""Of an element."""
ROWS = 8
"""Results of a product at a time."""
_SPREAD = 4
"""Registers that weights are spread to in turn."""


@dataclass(frozen=True, kw_only=True)
class GeneratingStepWork:
    """``steps`` steps of ``orbits`` orbits.

    Tensors, FP32: ``in`` of shape ``(n, orbits)``, ``n = sizes[0]``, q before p; ``weights`` of :func:`lanewise.models.lsnn.step_bits.packed` with
    :data:`ROWS`; ``out`` of shape ``(steps, n, orbits)``; Flex-SFU's tables.

    Raises:
        ValueError: The shapes are no generating network's, or a number is below 1.
    """

    sizes: tuple[int, ...]
    orbits: int
    steps: int
    iterations: int
    """Of the fixed point."""
    angle: bool = False
    """Whether the last of q is brought to [0, 2 pi] after each step."""

    def __post_init__(self) -> None:
        if len(self.sizes) < 3 or self.sizes[-1] != 1 or self.sizes[0] % 2:
            raise ValueError(f"sizes must be at least three, the first even and the last 1, not {self.sizes}")
        for name in ("orbits", "steps", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def products(self) -> tuple[tuple[int, int], ...]:
        """Results and operands of each product, in the order of :class:`lanewise.models.lsnn.step_bits.Products`."""
        hidden = self.sizes[1:-1]
        forward = [(b, a) for a, b in zip(self.sizes, hidden)]
        backward = [(hidden[-1], 0), *((a, b) for a, b in zip(hidden[-2::-1], hidden[:0:-1]))]
        half = self.sizes[0] // 2
        return (*forward, *backward, (half, hidden[0]), (half, hidden[0]))

    @property
    def macs(self) -> int:
        """Multiply-accumulates, all of the vector unit."""
        *shared, by_q, by_p = (rows * k for rows, k in self.products)
        one = self.iterations * (sum(shared) + by_q) + sum(shared) + by_p
        return one * self.orbits * self.steps

    def program(self, config: MachineConfig) -> Program:
        """Registers full of orbits, one after the other; of each all its steps.

        Raises:
            ValueError: The machine's registers are too few.
        """
        lanes = config.vector.vlen_bits // (8 * BYTES)
        whole, rest = divmod(self.orbits, lanes)
        body: list[Node] = []
        sizes: dict[str, int] = {}
        for count, vl, first in ((whole, lanes, 0), (1, rest, whole * lanes)):
            if count and vl:
                writer = _Writer(self, config, vl, first)
                inner = writer.body()
                body += [*writer.kernel.setup, *repeat(count, *inner, index="group")]
                sizes |= {name: max(size, sizes.get(name, 0)) for name, size in writer.sizes().items()}
        return Program(body=tuple(body), buffers_bytes=sizes)


class _Writer:
    """Writes the steps of one register of orbits."""

    def __init__(self, work: GeneratingStepWork, config: MachineConfig, vl: int, first: int) -> None:
        self.work, self.config, self.vl, self.first = work, config, vl, first
        self.kernel = VectorKernel(config=config, vl=vl)
        self.row = BYTES * vl
        self.half = work.sizes[0] // 2
        self.hidden = work.sizes[1:-1]
        self.together = max(1, min(4, config.vector.vlen_bits // (8 * BYTES * ROWS)))
        """Columns of weights that a register holds, of those of :data:`ROWS` results."""
        self.sums = [self._register() for _ in range(ROWS)]
        self.operands = [self._register() for _ in range(self.together)]
        self.held = [self._register() for _ in range(max(1, -(-ROWS * self.together // self.lanes)))]
        self.spread = [self._register() for _ in range(_SPREAD)]
        self.turn = 0
        sfu = config.flex_sfu
        self.flex_sfu = sfu.serves("fp32")
        if self.flex_sfu:
            for name in (VALUE, SLOPE)[: sfu.banks]:
                self.kernel.load_table(name, 32)

    @property
    def lanes(self) -> int:
        """Elements of a register."""
        return self.config.vector.vlen_bits // (8 * BYTES)

    def sizes(self) -> dict[str, int]:
        """Of the buffers."""
        rows = {"@x": 2 * self.half, "@p": self.half}
        rows |= {f"@slope.{layer}": width for layer, width in enumerate(self.hidden)}
        rows |= {f"@a.{layer}": width for layer, width in enumerate(self.hidden[:-1])}
        found = {name: self.row * count for name, count in rows.items()}
        found |= {f"@w.{k}": BYTES * n * (1 + size) for k, (n, size) in enumerate(self.work.products)}
        tables = [i for i in self.kernel.setup if i.opcode == "dma.load"]
        return found | {i.writes[0]: i.run_bytes for i in tables}

    def body(self) -> list[Node]:
        """States from memory, the steps, each with its result to memory. Weights are loaded anew before the core's counts of reads would
        come round."""
        work = self.work
        step = [
            *self._coded(self._keep),
            *repeat(work.iterations, *self._gradient(by_q=True), index="iteration"),
            *self._gradient(by_q=False),
        ]
        most = (work.iterations + 1) * max(_reads(rows, k, self.together) for rows, k in work.products)
        chunk = max(1, MOST_ACCESSES // most)
        whole, rest = divmod(work.steps, chunk)
        nodes: list[Node] = [self._load_states()]
        for count, steps, first in ((whole, chunk, 0), (1, rest, whole * chunk)):
            if count and steps:
                inner = repeat(steps, *step, self._store_states(first, chunk), index="step")
                nodes += repeat(count, *self._weights(), *inner, index="chunk")
        return nodes

    def _register(self) -> Register:
        return self.kernel.allocate(32)

    def _outside(self, name: str, offset_bytes: int = 0) -> Address:
        """This register's orbits in a tensor."""
        return Address(name, offset_bytes + BYTES * self.first).along("group", self.row)

    def _load_states(self) -> Instruction:
        distance = BYTES * self.work.orbits
        return load("@x", 2 * self.half, self.row, external=self._outside("in"), distance_bytes=distance)

    def _store_states(self, first: int, chunk: int) -> Instruction:
        """After a step, of which the loop's first is ``first``."""
        distance = BYTES * self.work.orbits
        one = 2 * self.half * distance
        outside = self._outside("out", first * one).along("step", one).along("chunk", chunk * one)
        return store("@x", 2 * self.half, self.row, external=outside, distance_bytes=distance)

    def _weights(self) -> list[Node]:
        nodes: list[Node] = []
        at = 0
        for k, (rows, size) in enumerate(self.work.products):
            words = rows * (1 + size)
            nodes.append(load(f"@w.{k}", 1, BYTES * words, external=Address("weights", BYTES * at)))
            at += words
        return nodes

    def _coded(self, write: Callable[[], None]) -> tuple[Node, ...]:
        """What ``write`` emits, scheduled."""
        self.kernel.code = []
        write()
        code, self.kernel.code = self.kernel.code, []
        return tuple(schedule(code, self.config))

    def _keep(self) -> None:
        """p of the step's beginning, where the fixed point begins."""
        for row in range(self.half):
            value = self.kernel.load(
                Address("@x", (self.half + row) * self.row), sew_bits=32, into=self.sums[row]
            )
            self.kernel.store(Address("@p", row * self.row), value, sew_bits=32)

    def _gradient(self, *, by_q: bool) -> list[Node]:
        """Forward pass, backward pass, and what the gradient does to the state: P from dF/dq, or Q from dF/dP."""
        layers = len(self.hidden)
        nodes: list[Node] = []
        for layer in range(layers):
            source = f"@a.{layer - 1}" if layer else "@x"
            nodes += self._product(layer, source, self._activate(layer))
        for back in range(layers):
            layer = layers - 1 - back
            source = f"@slope.{layer + 1}" if back else "@x"
            nodes += self._product(layers + back, source, self._through(layer))
        place = 2 * layers + (not by_q)
        return nodes + self._product(place, "@slope.0", self._implicit if by_q else self._explicit)

    def _product(self, place: int, source: str, finish: "Finish") -> list[Node]:
        rows, k = self.work.products[place]
        whole, rest = divmod(rows, ROWS)
        nodes: list[Node] = []
        for count, height, first in ((whole, ROWS, 0), (1, rest, whole * ROWS)):
            if count and height:
                block = self._block(place, source, finish, height, first, k)
                nodes += repeat(count, *block, index="block")
        return nodes

    def _block(
        self, place: int, source: str, finish: "Finish", height: int, first: int, k: int
    ) -> list[Node]:
        """``height`` results, from ``first``: the biases, the columns, what is done to them."""
        weights = Address(f"@w.{place}", BYTES * first * (1 + k)).along("block", BYTES * ROWS * (1 + k))
        nodes = [*self._coded(lambda: self._biases(weights, height))]
        done = 0
        for columns in (self.together, 1):
            count = (k - done) // columns
            if count:
                at = weights.moved(BYTES * height * (1 + done)).along("column", BYTES * height * columns)
                operands = Address(source, done * self.row).along("column", columns * self.row)
                code = self._coded(lambda: self._columns(at, operands, height, columns))  # noqa: B023 - called at once
                nodes += repeat(count, *code, index="column")
                done += count * columns
        return [*nodes, *self._coded(lambda: finish(height, first))]

    def _biases(self, weights: Address, height: int) -> None:
        self._hold(weights, height)
        for row in range(height):
            self._gathered(row, into=self.sums[row])

    def _columns(self, weights: Address, operands: Address, height: int, columns: int) -> None:
        self._hold(weights, height * columns)
        for column in range(columns):
            operand = self.kernel.load(
                operands.moved(column * self.row), sew_bits=32, into=self.operands[column]
            )
            for row in range(height):
                self.turn = (self.turn + 1) % _SPREAD
                weight = self._gathered(column * height + row, into=self.spread[self.turn])
                self.kernel.emit("vfmacc.vv", weight, operand, into=self.sums[row], sew_bits=32)

    def _hold(self, weights: Address, words: int) -> None:
        """Words of weights in registers."""
        for place, register in enumerate(self.held):
            vl = min(self.lanes, words - place * self.lanes)
            if vl > 0:
                address = weights.moved(BYTES * place * self.lanes)
                self.kernel.load(address, sew_bits=32, vl=vl, into=register)

    def _gathered(self, word: int, *, into: Register) -> Register:
        register, place = divmod(word, self.lanes)
        return self.kernel.emit("vrgather.vi", self.held[register], into=into, sew_bits=32, constant=place)

    def _rows(self, name: str, first: int, row: int) -> Address:
        """Of a result, in a buffer of all."""
        return Address(name, (first + row) * self.row).along("block", ROWS * self.row)

    def _activate(self, layer: int) -> "Finish":
        last = layer + 1 == len(self.hidden)

        def finish(height: int, first: int) -> None:
            kernel, ways, values, slopes = self.kernel, _SPREAD, self.spread, self.operands
            if self.together < _SPREAD:
                ways, values, slopes = 2, self.spread[:2], self.spread[2:]
            for start in range(0, height, ways):
                kernel.touched.clear()
                for way in range(min(ways, height - start)):  # side by side, in registers of their own
                    row, value, slope = start + way, values[way], slopes[way]
                    self._evaluated(self.sums[row], value, slope, value_wanted=not last)
                    kernel.used |= kernel.touched
                    kernel.store(self._rows(f"@slope.{layer}", first, row), slope, sew_bits=32)
                    if not last:
                        kernel.store(self._rows(f"@a.{layer}", first, row), value, sew_bits=32)
                kernel.used -= kernel.touched

        return finish

    def _evaluated(self, z: Register, value: Register, slope: Register, *, value_wanted: bool) -> None:
        """tanh and its derivative; tanh alone may be left out where two tables give them."""
        kernel = self.kernel
        if self.flex_sfu and self.config.flex_sfu.banks == 2:
            kernel.flex_sfu(z, into=slope, table=1, sew_bits=32)
            if value_wanted:
                kernel.flex_sfu(z, into=value, table=0, sew_bits=32)
            return
        if self.flex_sfu:
            kernel.flex_sfu(z, into=value, table=0, sew_bits=32)
        else:
            software_tanh32(kernel, z, into=value)
        kernel.emit("vfmul.vv", value, value, into=slope, sew_bits=32)
        kernel.emit("vfrsub.vf", slope, into=slope, sew_bits=32, constant=1.0)

    def _through(self, layer: int) -> "Finish":
        def finish(height: int, first: int) -> None:
            for row in range(height):
                place = self._rows(f"@slope.{layer}", first, row)
                slope = self.kernel.load(place, sew_bits=32, into=self.spread[row % _SPREAD])
                self.kernel.emit("vfmul.vv", self.sums[row], slope, into=self.sums[row], sew_bits=32)
                self.kernel.store(place, self.sums[row], sew_bits=32)

        return finish

    def _implicit(self, height: int, first: int) -> None:
        """P = p - dF/dq."""
        for row in range(height):
            p = self.kernel.load(self._rows("@p", first, row), sew_bits=32, into=self.spread[row % _SPREAD])
            self.kernel.emit("vfsub.vv", p, self.sums[row], into=self.sums[row], sew_bits=32)
            self.kernel.store(self._rows("@x", self.half + first, row), self.sums[row], sew_bits=32)

    def _explicit(self, height: int, first: int) -> None:
        """Q = q + dF/dP, the last of it less whole turns if it is an angle."""
        kernel = self.kernel
        for row in range(height):
            q = kernel.load(self._rows("@x", first, row), sew_bits=32, into=self.spread[row % _SPREAD])
            result = kernel.emit("vfadd.vv", q, self.sums[row], into=self.sums[row], sew_bits=32)
            if self.work.angle and first + row == self.half - 1:
                turns = kernel.emit("vfmul.vf", result, into=q, sew_bits=32, constant=PER_TURN)
                kernel.emit("vfsub.vf", turns, into=turns, sew_bits=32, constant=0.5)
                kernel.emit("vfadd.vf", turns, into=turns, sew_bits=32, constant=ROUND)
                kernel.emit("vfsub.vf", turns, into=turns, sew_bits=32, constant=ROUND)
                kernel.emit("vfnmsac.vf", turns, into=result, sew_bits=32, constant=TURN)
            kernel.store(self._rows("@x", first, row), result, sew_bits=32)


Finish: TypeAlias = Callable[[int, int], None]
"""What is done to so many results of a product, from one of them on."""


def _reads(rows: int, k: int, together: int) -> int:
    """How often a product's weights are read."""
    return -(-rows // ROWS) * (1 + -(-k // together) + together)
