"""Random programs of vector instructions, and what they must do: legal ones, full of hazards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from lanewise.config import MachineConfig
from lanewise.isa.encoding import Decoded, assembly, encode
from lanewise.isa.legality import check_legal
from lanewise.isa.operations import OPERATIONS, Latency, Operation, Rate, Unit
from lanewise.isa.vtype import LMULS, SEWS, Vtype
from lanewise.models.vector_machine import VectorMachine
from lanewise.sim.decoded import instruction_of
from lanewise.sim.engine import run
from lanewise.sim.program import Instruction, Program

REGION_BYTES = 1024
"""Of each buffer that programs load from and store to."""
REGIONS = 4
CORNERS_32 = (
    0, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 1, 0x807FFFFF, 0x00800000,
    0x7F7FFFFF, 0x3C003C00, 0x7C007E00, 0x04000001, 0x80008000, 0xFFFFFFFF, 0x7FFF7FFF, 0x80, 0x7F,
)  # fmt: skip
"""Scalars, and words of the memory that programs begin with: bounds of integers, and special floating-point numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Issue:
    """An instruction as the host gives it, and the state in which it executes."""

    decoded: Decoded
    word: int
    vtype: Vtype
    vl: int
    rs1: int = 0
    rs2: int = 0
    region: int | None = None
    """Buffer of a memory access."""
    reads: int = 0
    """Finished reads of the buffer that it waits for."""
    writes: int = 0

    def __str__(self) -> str:
        state = f"vl {self.vl}, e{self.vtype.sew_bits}, m{self.vtype.lmul}{', altfmt' * self.vtype.altfmt}"
        scalars = f"rs1 {self.rs1:#x}, rs2 {self.rs2:#x}"
        return f"{assembly(self.word)} ({state}; {scalars}; buffer {self.region})"

    @property
    def operation(self) -> Operation:
        """What it does."""
        return self.decoded.operation


@dataclass
class ProgramWriter:
    """Draws instructions that are legal where they stand."""

    config: MachineConfig
    rng: np.random.Generator
    base: int = 0
    """Where the buffers begin in the scratchpad."""
    issues: list[Issue] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vtype, self.vl = Vtype(8, Fraction(1)), 0
        self.loads, self.stores = [0] * REGIONS, [0] * REGIONS
        sfu = self.config.flex_sfu
        self.operations = [
            o for o in OPERATIONS.values()
            if o.unit is not Unit.SET and (sfu.enabled or (o.unit is not Unit.FLEX_SFU and o.latency is not Latency.TABLE))
        ]  # fmt: skip
        groups: dict[tuple[Unit, Rate, Latency], list[Operation]] = {}
        for operation in self.operations:
            groups.setdefault((operation.unit, operation.rate, operation.latency), []).append(operation)
        self.groups = list(groups.values())

    def vset(self, vtype: Vtype, avl: int) -> None:
        """Set the state, by one of the three instructions."""
        form = str(self.rng.choice(["vsetvli", "vsetvl"] + ["vsetivli"] * (avl < 32)))
        operation = OPERATIONS[form]
        decoded = Decoded(operation=operation, vs1=avl if form == "vsetivli" else 0, vtype=None if form == "vsetvl" else vtype)
        word = encode(operation, vs1=decoded.vs1, vtype=decoded.vtype)
        self.vtype, self.vl = vtype, min(avl, vtype.vlmax(self.config.vector.vlen_bits))
        rs1, rs2 = (0 if form == "vsetivli" else avl), (vtype.encode() if form == "vsetvl" else 0)
        self.issues.append(Issue(decoded=decoded, word=word, vtype=self.vtype, vl=self.vl, rs1=rs1, rs2=rs2))

    def draw_vset(self) -> None:
        """A vector type, and a length: none, one, few, all, or any."""
        while True:
            try:
                vtype = Vtype(int(self.rng.choice(SEWS)), LMULS[self.rng.integers(len(LMULS))], bool(self.rng.random() < 0.3))
            except ValueError:
                continue
            break
        most = vtype.vlmax(self.config.vector.vlen_bits)
        choices = [most, most, int(self.rng.integers(0, most + 1)), int(self.rng.integers(0, min(most, 8) + 1)), most + 5]
        self.vset(vtype, int(self.rng.choice(choices)))

    def add(self, operation: Operation, vd: int, vs2: int, vs1: int, vm: int, rs1: int = 0, rs2: int = 0, region: int | None = None) -> None:  # fmt: skip
        """An instruction.

        Raises:
            ValueError: It is not legal here.
        """
        fields = {
            "vd": vd, "vs2": vs2 if operation.vs2_code is None else operation.vs2_code,
            "vs1": vs1 if operation.vs1_code is None else operation.vs1_code, "vm": vm,
        }  # fmt: skip
        if operation.unit is not Unit.FLEX_SFU and operation.latency is not Latency.TABLE:
            check_legal(operation, self.vtype, **fields)
        word = encode(operation, **fields)
        decoded = Decoded(operation=operation, **fields)
        reads = writes = 0
        if region is not None:
            reads, writes = self.loads[region], self.stores[region]
            if operation.stores:
                self.stores[region] += 1
            else:
                self.loads[region] += 1
        self.issues.append(
            Issue(
                decoded=decoded, word=word, vtype=self.vtype, vl=self.vl, rs1=rs1 % 2**32, rs2=rs2 % 2**32, region=region,
                reads=reads, writes=writes,
            )
        )  # fmt: skip

    def draw(self, operation: Operation | None = None) -> None:
        """An instruction of any kind, or of the given one, with registers out of few, so that hazards abound."""
        rng = self.rng
        for _ in range(200):
            if operation is None:
                group = self.groups[rng.integers(len(self.groups))]
                chosen = group[rng.integers(len(group))]
            else:
                chosen = operation
            if self.vtype.sew_bits not in chosen.sews and not chosen.eew_bits:
                continue
            vd, vs2, vs1 = (int(r) for r in rng.choice([0, 1, 2, 4, 6, 8, 8, 12, 16, 16, 24, 24, 28, 31], 3))
            vm = chosen.vm if chosen.vm is not None else int(rng.random() < 0.7)
            rs1, rs2, region = self._scalar(), 0, None
            if chosen.scalar in ("i", "u"):
                vs1 = int(rng.integers(-16, 16)) if chosen.scalar == "i" else int(rng.integers(32))
            if chosen.unit is Unit.MEMORY:
                place = self._place(chosen)
                if place is None:
                    return
                region, rs1, rs2 = place
            if chosen.latency is Latency.TABLE or chosen.unit is Unit.FLEX_SFU:
                return  # tables are loaded whole, by :meth:`sfu_tables`
            try:
                self.add(chosen, vd, vs2, vs1, vm, rs1, rs2, region)
            except ValueError:
                continue
            return

    def _scalar(self) -> int:
        if self.rng.random() < 0.4:
            return int(self.rng.integers(0, 2 * self.config.vector.vlen_bits // 8))
        if self.rng.random() < 0.5:
            return int(self.rng.choice(CORNERS_32))
        return int(self.rng.integers(0, 2**32))

    def _place(self, operation: Operation) -> tuple[int, int, int] | None:
        """Buffer, address and stride of an access; none where vl is too long for a buffer."""
        rng, size = self.rng, operation.eew_bits // 8
        region = int(rng.integers(REGIONS))
        start = self.base + region * REGION_BYTES
        if not operation.strided:
            room = REGION_BYTES - self.vl * size
            return (region, start + int(rng.integers(room + 1)), 0) if room >= 0 else None
        most = (REGION_BYTES - size) // max(1, self.vl - 1)
        stride = int(rng.integers(-most, most + 1))
        span = stride * max(0, self.vl - 1)
        low, high = max(0, -span), REGION_BYTES - size - max(0, span)
        return (region, start + int(rng.integers(low, high + 1)), stride) if high >= low else None


def random_program(config: MachineConfig, rng: np.random.Generator, length: int) -> list[Issue]:
    """So many instructions, or a few more; it ends with all registers in the scratchpad, behind the buffers."""
    writer = ProgramWriter(config=config, rng=rng)
    writer.vset(Vtype(8, Fraction(8)), config.vector.vlen_bits)
    whole = [0, 8, 16, 24]
    for register in whole:
        if config.vector.vlen_bits <= REGION_BYTES:
            place = writer._place(OPERATIONS["vle8.v"])
            assert place is not None
            writer.add(OPERATIONS["vle8.v"], register, 0, 0, 1, place[1], 0, place[0])
    while len(writer.issues) < length:
        if rng.random() < 0.12:
            writer.draw_vset()
        else:
            writer.draw()
    end_program(writer)
    return writer.issues


def end_program(writer: ProgramWriter) -> None:
    """Store all registers."""
    config = writer.config
    writer.vset(Vtype(8, Fraction(8)), config.vector.vlen_bits)
    for k, register in enumerate((0, 8, 16, 24)):
        place = writer.base + REGIONS * REGION_BYTES + k * config.vector.vlen_bits
        writer.loads.append(0)
        writer.stores.append(0)
        writer.add(OPERATIONS["vse8.v"], register, 0, 0, 1, place, 0, REGIONS + k)


def memory_bytes(config: MachineConfig) -> int:
    """Bytes of the scratchpad that a program touches."""
    return REGIONS * REGION_BYTES + 4 * config.vector.vlen_bits


def initial_memory(config: MachineConfig, rng: np.random.Generator) -> bytes:
    """Random bytes, and words that are special."""
    words = rng.integers(0, 2**32, memory_bytes(config) // 4, dtype=np.uint32)
    special = rng.random(words.size) < 0.3
    words[special] = rng.choice(np.array(CORNERS_32, np.uint32), int(special.sum()))
    return words.tobytes()


def expected_memory(config: MachineConfig, issues: Sequence[Issue], memory: bytes) -> bytes:
    """What the golden machine leaves in memory."""
    machine = VectorMachine(config.vector.vlen_bits, bytearray(memory), config.flex_sfu)
    for issue in issues:
        machine.step(issue.word, issue.rs1, issue.rs2)
    return bytes(machine.memory)


def payloads(issues: Sequence[Issue]) -> Iterator[int]:
    """The words of the stream ``i`` of the vector unit."""
    for issue in issues:
        request = (issue.region or 0) | issue.reads % 2**16 << 6 | issue.writes % 2**16 << 22
        yield issue.word | issue.rs1 << 32 | issue.rs2 << 64 | request << 96


def simulated_clocks(config: MachineConfig, issues: Sequence[Issue]) -> tuple[list[int], list[list[int]]]:
    """What the timing engine says: starts of all instructions, and ends by :data:`~lanewise.rtl.vector_unit.LANDINGS`."""
    body = tuple(instruction_of(i.decoded, i.vtype, i.vl, f"@{i.region}") for i in issues)
    program = Program(body=body, buffers_bytes={f"@{k}": REGION_BYTES for k in range(REGIONS + 4)})
    starts: list[int] = []
    ends: dict[str, list[int]] = {name: [] for name in ("vector_fma", "vector_alu", "reduction", "vector_memory", "flex_sfu")}

    def watch(instruction: Instruction, start: int, end: int) -> None:
        operation = OPERATIONS[instruction.opcode]
        starts.append(start)
        if operation.unit is not Unit.SET:
            ends["reduction" if operation.latency is Latency.REDUCE else str(operation.unit)].append(end - 1)

    run(program, config, summarise=False, watcher=watch)
    return starts, list(ends.values())
