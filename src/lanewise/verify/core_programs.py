"""Random programs of the core, legal and full of hazards, and what they must do."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.isa.encoding import Decoded, assembly, encode
from lanewise.isa.legality import check_legal
from lanewise.isa.operations import OPERATIONS, Latency, Operation, Rate, Unit
from lanewise.isa.vtype import LMULS, SEWS, Vtype
from lanewise.models.vector_machine import VectorMachine
from lanewise.models.vector_tables import table_words
from lanewise.rtl.core import command_layout
from lanewise.rtl.vector_sequencer import INSTRUCTION
from lanewise.rtl.vector_unit import LANDINGS
from lanewise.sim.decoded import instruction_of
from lanewise.sim.dma import Transfer
from lanewise.sim.engine import run
from lanewise.sim.program import Instruction, Program
from lanewise.verify.sfu_tables import random_table
from lanewise.verify.tag_counts import MODULUS, TagCounts

REGION_BYTES = 1024
"""Of each buffer that programs load from and store to."""
REGIONS = 4
TABLES = REGIONS
"""Number of the buffer with the words of Flex-SFU's tables."""
DUMP = TABLES + 1
"""Number of the buffer in which the registers are at the end."""
SOURCE_BYTES = 1 << 13
"""Of external memory, from 0 on: where programs load from."""
TARGET = 1 << 14
"""In external memory: where they store to."""
TARGET_BYTES = 1 << 13
EXTERNAL_BYTES = 1 << 16
DUMPED = 1 << 15
"""In external memory: registers, then buffers, at the end of a program."""
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

    @property
    def stream(self) -> str:
        """The stream that it belongs to."""
        return "vector"

    def payload(self, _: MachineConfig) -> int:
        """The word of its stream."""
        return INSTRUCTION.const(
            {"word": self.word, "rs1": self.rs1, "rs2": self.rs2, "request": request(self)}
        ).as_bits()


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A DMA command as the host gives it."""

    stream: str
    """``load`` or ``store``."""
    transfer: Transfer
    scratch: int
    scratch_stride: int
    region: int
    reads: int
    writes: int

    def __str__(self) -> str:
        t = self.transfer
        return (
            f"dma.{self.stream} {t.runs} x {t.run_bytes} bytes, external {t.external:#x} + {t.external_stride} k, "
            f"scratch {self.scratch:#x} + {self.scratch_stride} k (buffer {self.region})"
        )

    def payload(self, config: MachineConfig) -> int:
        """The word of its stream."""
        descriptor = dataclasses.asdict(self.transfer) | {
            "scratch": self.scratch, "scratch_stride": self.scratch_stride,
        }  # fmt: skip
        return command_layout(config).const({"descriptor": descriptor, "request": request(self)}).as_bits()


Entry = Issue | Command


def request(entry: Entry) -> dict[str, int]:
    """Buffer and counts that it waits for, as :data:`lanewise.rtl.tags.REQUEST` has them."""
    return {"tag": entry.region or 0, "reads": entry.reads % MODULUS, "writes": entry.writes % MODULUS}


@dataclass
class ProgramWriter:
    """Draws instructions and DMA commands that are legal where they stand."""

    config: MachineConfig
    rng: np.random.Generator
    entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vtype, self.vl = Vtype(8, Fraction(1)), 0
        self.counts = TagCounts()
        self.banks: set[tuple[int, int]] = set()
        """Tables of Flex-SFU that are loaded, and in which format."""
        groups: dict[tuple[Unit, Rate, Latency], list[Operation]] = {}
        for operation in OPERATIONS.values():
            if operation.unit not in (Unit.SET, Unit.FLEX_SFU) and operation.latency is not Latency.TABLE:
                groups.setdefault((operation.unit, operation.rate, operation.latency), []).append(operation)
        self.groups = list(groups.values())

    def start_of(self, region: int) -> int:
        """Address of a buffer in the scratchpad: buffers take whole banks."""
        bank = self.config.scratchpad.bank_bytes
        size = -(-max(REGION_BYTES, 4 * self.config.vector.vlen_bits) // bank) * bank
        return region * size

    # Vector instructions

    def vset(self, vtype: Vtype, avl: int) -> None:
        """Set the state, by one of the three instructions."""
        forms = ["vsetvli", "vsetvl", "vsetivli"]
        form = forms[self.rng.integers(3 if avl < 32 else 2)]
        operation = OPERATIONS[form]
        decoded = Decoded(
            operation=operation,
            vs1=avl if form == "vsetivli" else 0,
            vtype=None if form == "vsetvl" else vtype,
        )
        word = encode(operation, vs1=decoded.vs1, vtype=decoded.vtype)
        self.vtype, self.vl = vtype, min(avl, vtype.vlmax(self.config.vector.vlen_bits))
        rs1, rs2 = (0 if form == "vsetivli" else avl), (vtype.encode() if form == "vsetvl" else 0)
        self.entries.append(Issue(decoded=decoded, word=word, vtype=self.vtype, vl=self.vl, rs1=rs1, rs2=rs2))

    def draw_vset(self, sews: Sequence[int] = SEWS) -> None:
        """A vector type, and a length: none, one, few, all, or any."""
        while True:
            try:
                lmul = LMULS[self.rng.integers(len(LMULS))]
                vtype = Vtype(int(self.rng.choice(sews)), lmul, bool(self.rng.random() < 0.3))
            except ValueError:
                continue
            break
        self.vset(vtype, self.draw_length(vtype))

    def draw_length(self, vtype: Vtype) -> int:
        """None, one, few, all elements, or any number; or more than there are."""
        most = vtype.vlmax(self.config.vector.vlen_bits)
        few, some = int(self.rng.integers(0, min(most, 8) + 1)), int(self.rng.integers(0, most + 1))
        return int(self.rng.choice([most, most, most + 5, few, some]))

    def add(
        self, operation: Operation, *, vd: int = 0, vs2: int = 0, vs1: int = 0, vm: int = 1, rs1: int = 0, rs2: int = 0,
        region: int | None = None,
    ) -> None:  # fmt: skip
        """An instruction.

        Raises:
            ValueError: It is not legal here.
        """
        fields = {
            "vd": vd, "vs2": vs2 if operation.vs2_code is None else operation.vs2_code,
            "vs1": vs1 if operation.vs1_code is None else operation.vs1_code, "vm": vm,
        }  # fmt: skip
        check_legal(operation, self.vtype, **fields)
        word = encode(operation, vd=fields["vd"], vs2=fields["vs2"], vs1=fields["vs1"], vm=vm)
        decoded = Decoded(operation=operation, vd=vd, vs2=fields["vs2"], vs1=fields["vs1"], vm=vm)
        reads, writes = (0, 0) if region is None else self.counts.add(region, write=operation.stores)
        self.entries.append(
            Issue(
                decoded=decoded, word=word, vtype=self.vtype, vl=self.vl, rs1=rs1 % 2**32,
                rs2=rs2 % 2**32, region=region, reads=reads, writes=writes,
            )
        )  # fmt: skip

    def draw(self, operation: Operation | None = None) -> bool:
        """An instruction of any kind, or of the given one, with registers out of few, so that hazards abound; whether there is one."""
        rng = self.rng
        for _ in range(100):
            group = self.groups[rng.integers(len(self.groups))]
            chosen = operation or group[rng.integers(len(group))]
            if self.vtype.sew_bits not in chosen.sews and not chosen.eew_bits:
                if operation:
                    return False
                continue
            vd, vs2, vs1 = (int(r) for r in rng.choice([0, 1, 2, 4, 6, 8, 8, 12, 16, 16, 24, 24, 28, 31], 3))
            vm = chosen.vm if chosen.vm is not None else int(rng.random() < 0.7)
            rs1, rs2, region = self._scalar(), 0, None
            if chosen.scalar in ("i", "u"):
                vs1 = int(rng.integers(-16, 16)) if chosen.scalar == "i" else int(rng.integers(32))
            if chosen.unit is Unit.MEMORY:
                place = self.draw_place(chosen)
                if place is None:
                    return False
                region, rs1, rs2 = place
            try:
                self.add(chosen, vd=vd, vs2=vs2, vs1=vs1, vm=vm, rs1=rs1, rs2=rs2, region=region)
            except ValueError:
                continue
            return True
        return False

    def _scalar(self) -> int:
        if self.rng.random() < 0.4:
            return int(self.rng.integers(0, 2 * self.config.vector.vlen_bits // 8))
        if self.rng.random() < 0.5:
            return int(self.rng.choice(CORNERS_32))
        return int(self.rng.integers(0, 2**32))

    def draw_place(self, operation: Operation) -> tuple[int, int, int] | None:
        """Buffer, address and stride of an access; none where vl is too long for a buffer."""
        rng, size = self.rng, operation.eew_bits // 8
        region = int(rng.integers(REGIONS))
        start = self.start_of(region)
        if not operation.strided:
            room = REGION_BYTES - self.vl * size
            return (region, start + int(rng.integers(room + 1)), 0) if room >= 0 else None
        most = (REGION_BYTES - size) // max(1, self.vl - 1)
        stride = int(rng.integers(-most, most + 1))
        span = stride * max(0, self.vl - 1)
        low, high = max(0, -span), REGION_BYTES - size - max(0, span)
        return (region, start + int(rng.integers(low, high + 1)), stride) if high >= low else None

    # DMA

    def transfer(self, stream: str, region: int, external: int, size: int) -> None:
        """One run between external memory and a buffer's beginning."""
        reads, writes = self.counts.add(region, write=stream == "load", load=stream == "load")
        transfer = Transfer(external=external, runs=1, run_bytes=size, external_stride=0)
        self.entries.append(
            Command(
                stream=stream, transfer=transfer, scratch=self.start_of(region), scratch_stride=0, region=region,
                reads=reads, writes=writes,
            )
        )  # fmt: skip

    def draw_transfer(self, stream: str) -> None:
        """Runs of any length and alignment between a buffer and external memory."""
        rng, region = self.rng, int(self.rng.integers(REGIONS))
        runs = int(rng.integers(1, 9))
        run_bytes = int(rng.integers(1, REGION_BYTES // runs + 1))
        scratch_stride = int(rng.integers(run_bytes, REGION_BYTES // runs + 1))
        external_stride = int(rng.integers(0, SOURCE_BYTES // 8 - REGION_BYTES // 8))
        low, size = (0, SOURCE_BYTES) if stream == "load" else (TARGET, TARGET_BYTES)
        room = size - (runs - 1) * external_stride - run_bytes
        reads, writes = self.counts.add(region, write=stream == "load", load=stream == "load")
        transfer = Transfer(
            external=low + int(rng.integers(room + 1)),
            runs=runs,
            run_bytes=run_bytes,
            external_stride=external_stride,
        )
        place = int(rng.integers(REGION_BYTES - (runs - 1) * scratch_stride - run_bytes + 1))
        self.entries.append(
            Command(
                stream=stream, transfer=transfer, scratch=self.start_of(region) + place, scratch_stride=scratch_stride,
                region=region, reads=reads, writes=writes,
            )
        )  # fmt: skip

    # Flex-SFU

    def load_table(self, bank: int, format_index: int) -> None:
        """Load one of the tables whose words are in their buffer."""
        sfu = self.config.flex_sfu
        place = self.start_of(TABLES) + 4 * (bank * len(sfu.formats) + format_index) * table_length(sfu)
        for name, count, offset in (
            ("sfu.breakpoints", sfu.breakpoints, 0),
            ("sfu.coefficients", table_length(sfu) - sfu.breakpoints, sfu.breakpoints),
        ):
            self.vset(Vtype(32, Fraction(8)), count)
            assert self.vl == count, "the tables must fit a register group"
            self.add(
                OPERATIONS[name], vd=bank | format_index << 1, rs1=place + 4 * offset, region=TABLES,
            )  # fmt: skip
        self.banks = {(b, f) for b, f in self.banks if b != bank} | {(bank, format_index)}

    def draw_sfu(self) -> None:
        """An evaluation in one of the tables that are loaded, or a load of one."""
        sfu = self.config.flex_sfu
        if not self.banks or self.rng.random() < 0.2:
            self.load_table(int(self.rng.integers(sfu.banks)), int(self.rng.integers(len(sfu.formats))))
            return
        bank, index = sorted(self.banks)[self.rng.integers(len(self.banks))]
        if self.vtype.sew_bits != sfu.number_formats[index].bits:
            self.draw_vset([sfu.number_formats[index].bits])
        vd, vs2 = (int(r) for r in self.rng.choice([8, 16, 24], 2))
        self.add(OPERATIONS["sfu.execute"], vd=vd, vs2=vs2, vs1=bank | index << 1)


def table_length(sfu: FlexSfuConfig) -> int:
    """Words of a table."""
    return sfu.breakpoints + sfu.segments * (sfu.degree + 1 + sfu.integers)


def begin(writer: ProgramWriter) -> None:
    """Fill buffers and registers."""
    config = writer.config
    for region in range(REGIONS):
        writer.transfer("load", region, region * REGION_BYTES, REGION_BYTES)
    if config.flex_sfu.enabled:
        size = 4 * table_length(config.flex_sfu) * config.flex_sfu.banks * len(config.flex_sfu.formats)
        assert size <= SOURCE_BYTES
        writer.transfer("load", TABLES, SOURCE_BYTES, size)
    fill_registers(writer)


def fill_registers(writer: ProgramWriter) -> None:
    """Load all registers from somewhere in the buffers."""
    vtype = Vtype(8, Fraction(8))
    length = min(vtype.vlmax(writer.config.vector.vlen_bits), REGION_BYTES)
    writer.vset(vtype, length)
    for register in (0, 8, 16, 24):
        region = int(writer.rng.integers(REGIONS))
        place = writer.start_of(region) + int(writer.rng.integers(REGION_BYTES - length + 1))
        writer.add(OPERATIONS["vle8.v"], vd=register, rs1=place, region=region)


def end(writer: ProgramWriter) -> None:
    """Registers and buffers to external memory."""
    vlen = writer.config.vector.vlen_bits
    writer.vset(Vtype(8, Fraction(8)), vlen)
    for k, register in enumerate((0, 8, 16, 24)):
        writer.add(OPERATIONS["vse8.v"], vd=register, rs1=writer.start_of(DUMP) + k * vlen, region=DUMP)
    writer.transfer("store", DUMP, DUMPED, 4 * vlen)
    for region in range(REGIONS):
        writer.transfer("store", region, DUMPED + 4 * vlen + region * REGION_BYTES, REGION_BYTES)


def random_program(config: MachineConfig, rng: np.random.Generator, length: int) -> list[Entry]:
    """So many entries, and those that begin and end a program."""
    writer = ProgramWriter(config=config, rng=rng)
    begin(writer)
    for _ in range(length):
        kind = rng.random()
        if kind < 0.12:
            writer.draw_vset()
        elif kind < 0.18 and config.flex_sfu.enabled:
            writer.draw_sfu()
        elif kind < 0.24:
            writer.draw_transfer(str(rng.choice(["load", "store"])))
        else:
            writer.draw()
    end(writer)
    return writer.entries


def programs_of(
    config: MachineConfig, rng: np.random.Generator, operation: Operation, length: int
) -> Iterator[list[Entry]]:
    """Programs of one instruction, for each SEW and LMUL (and BF16) that it exists for; registers filled anew every so often."""
    states = [
        Vtype(sew, lmul, altfmt) for sew in SEWS for lmul in LMULS if sew <= 64 * lmul
        for altfmt in ((False, True) if operation.floating and sew == 16 else (False,))
        if sew in operation.sews or operation.eew_bits
    ]  # fmt: skip
    writer = ProgramWriter(config=config, rng=rng)
    begin(writer)
    drawn = 0
    for state in states * (2 if operation.vm is None else 1):
        writer.vset(state, writer.draw_length(state))
        drawn += writer.draw(operation) + writer.draw(operation)
        if rng.random() < 0.25:
            fill_registers(writer)
        if len(writer.entries) >= length:
            end(writer)
            yield writer.entries
            writer = ProgramWriter(config=config, rng=rng)
            begin(writer)
    end(writer)
    if not drawn:
        raise ValueError(f"{operation.mnemonic} must be legal somewhere")
    yield writer.entries


def initial_external(config: MachineConfig, rng: np.random.Generator) -> bytes:
    """External memory: random bytes, and words that are special; behind them the words of random tables."""
    words = rng.integers(0, 2**32, EXTERNAL_BYTES // 4, dtype=np.uint32)
    special = rng.random(words.size) < 0.3
    words[special] = rng.choice(np.array(CORNERS_32, np.uint32), int(special.sum()))
    sfu, at = config.flex_sfu, SOURCE_BYTES // 4
    for _ in range(sfu.banks):
        for form in sfu.number_formats:
            for part in table_words(sfu, random_table(rng, sfu, form)):
                words[at : at + part.size] = part
                at += part.size
    return words.tobytes()


def expected_external(config: MachineConfig, entries: Sequence[Entry], external: bytes) -> bytes:
    """What the golden machine leaves in external memory."""
    memory = bytearray(external)
    machine = VectorMachine(config.vector.vlen_bits, bytearray(config.scratchpad.bytes), config.flex_sfu)
    for entry in entries:
        if isinstance(entry, Issue):
            machine.step(entry.word, entry.rs1, entry.rs2)
            continue
        transfer = entry.transfer
        for number in range(transfer.runs):
            there = transfer.external + number * transfer.external_stride
            here = entry.scratch + number * entry.scratch_stride
            if entry.stream == "load":
                machine.memory[here : here + transfer.run_bytes] = memory[there : there + transfer.run_bytes]
            else:
                memory[there : there + transfer.run_bytes] = machine.memory[here : here + transfer.run_bytes]
    return bytes(memory)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clocks:
    """When things happen, from the first start on."""

    starts: dict[str, list[int]]
    """By stream."""
    ends: dict[str, list[int]]
    """By unit: the clock at whose end the last beat lands."""


class Watched:
    """Sorts what the engine tells of every instruction."""

    def __init__(self) -> None:
        self.clocks = Clocks(
            starts={"vector": [], "load": [], "store": []}, ends={name: [] for name in UNITS_THAT_LAND}
        )

    def add(self, instruction: Instruction, start: int, end: int) -> None:
        """An instruction, in Program order."""
        operation, opcode = OPERATIONS.get(instruction.opcode), instruction.opcode
        if operation is None:
            self.clocks.starts[opcode.removeprefix("dma.")].append(start)
            self.clocks.ends[opcode.replace(".", "_")].append(end - 1)
            return
        self.clocks.starts["vector"].append(start)
        if operation.unit is not Unit.SET:
            unit = "reduction" if operation.latency is Latency.REDUCE else str(operation.unit)
            self.clocks.ends[unit].append(end - 1)


def simulated_clocks(
    config: MachineConfig, entries: Sequence[Entry], dma_clk: Sequence[tuple[int, int]]
) -> Clocks:  # fmt: skip
    """What the timing engine says; ``dma_clk`` is :func:`lanewise.sim.engine.run`'s."""
    body: list[Instruction] = []
    for entry in entries:
        name = f"@{entry.region}"
        if isinstance(entry, Issue):
            body.append(instruction_of(entry.decoded, entry.vtype, entry.vl, name))
        elif entry.stream == "load":
            body.append(Instruction(opcode="dma.load", writes=(name,), runs=1, run_bytes=1))
        else:
            body.append(
                Instruction(opcode="dma.store", reads=(name,), writes=("external",), runs=1, run_bytes=1)
            )
    program = Program(body=tuple(body), buffers_bytes={f"@{k}": REGION_BYTES for k in range(DUMP + 1)})
    watched = Watched()
    run(program, config, summarise=False, watcher=watched.add, dma_clk=dma_clk)
    return watched.clocks


UNITS_THAT_LAND = (*LANDINGS, "dma_load", "dma_store")
"""Whose ends are compared; those of the vector unit in the order of its ``landed``."""
