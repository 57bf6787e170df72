"""Draws the core's instructions and DMA commands, and where they find their data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.isa.encoding import Decoded, encode
from lanewise.isa.legality import check_legal
from lanewise.isa.operations import OPERATIONS, Latency, Operation, Rate, Unit
from lanewise.isa.vtype import LMULS, SEWS, Vtype
from lanewise.rtl.tags import TAGS
from lanewise.sim.dma import Transfer
from lanewise.verify.core_entries import Command, Entry, Generate, Issue
from lanewise.verify.tag_counts import Access, TagCounts

REGION_BYTES = 1024
"""Of each buffer that programs load from and store to."""
REGIONS = 4
TABLES = REGIONS
"""Number of the buffer with the words of Flex-SFU's tables."""
DUMP = TABLES + 1
"""Number of the buffer in which the registers are at the end."""
BUFFERS = DUMP + 1
SOURCE_BYTES = 1 << 13
"""Of external memory, from 0 on: where programs load from."""
TARGET = 1 << 14
"""In external memory: where they store to."""
TARGET_BYTES = 1 << 13
MATRIX_TABLES = TARGET + TARGET_BYTES
"""In external memory: :data:`TABLES_OF_A_KIND` tables of columns' constants, then as many of rows' scales, :data:`TABLE_BYTES` each."""
TABLES_OF_A_KIND = 8
TABLE_BYTES = 512
EXTERNAL_BYTES = 1 << 16
DUMPED = 1 << 15
"""In external memory: registers, then buffers, at the end of a program."""
CORNERS_32 = (
    0, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 1, 0x807FFFFF, 0x00800000,
    0x7F7FFFFF, 0x3C003C00, 0x7C007E00, 0x04000001, 0x80008000, 0xFFFFFFFF, 0x7FFF7FFF, 0x80, 0x7F, 0x7FFFFFFF, 0xFFFFFFF0,
)  # fmt: skip
"""Scalars, and words of the memory that programs begin with: bounds of integers, and special floating-point numbers."""


@dataclass
class ProgramWriter:
    """Draws instructions and DMA commands that are legal where they stand."""

    config: MachineConfig
    rng: np.random.Generator
    entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vtype, self.vl = Vtype(8, Fraction(1)), 0
        self.counts = TagCounts()
        few = self.rng.random() < 0.7
        self.registers = [0, 1, 2, 4, 6, 8, 8, 12, 16, 16, 24, 24, 28, 31] if few else list(range(32))
        """Those that are drawn: few, so that hazards abound, or all."""
        self.tags = [int(tag) for tag in self.rng.choice(TAGS, BUFFERS, replace=False)]
        """Of the buffers, by number."""
        self.turns = int(self.rng.random() < 0.3 and self._size & (self._size - 1) == 0)
        """Whether addresses and strides are drawn that go round the scratchpad, as they may if its size is a power of two."""
        self.banks: set[tuple[int, int]] = set()
        """Tables of Flex-SFU that are loaded, and in which format."""
        groups: dict[tuple[Unit, Rate, Latency], list[Operation]] = {}
        for operation in OPERATIONS.values():
            if operation.unit not in (Unit.SET, Unit.FLEX_SFU) and operation.latency is not Latency.TABLE:
                groups.setdefault((operation.unit, operation.rate, operation.latency), []).append(operation)
        self.groups = list(groups.values())

    @property
    def _size(self) -> int:
        return self.config.scratchpad.bytes

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
        access, turns = None, (0, 0)
        if region is not None:
            access = Access.counted(self.counts, self.tags[region], "vector", stores=operation.stores)
            if self.turns and self.rng.random() < 0.5:
                most = 2**32 // self._size
                turns = (int(self.rng.integers(most)), int(self.rng.integers(most)))
        self.entries.append(
            Issue(
                decoded=decoded, word=word, vtype=self.vtype, vl=self.vl, rs1=rs1 % 2**32, rs2=rs2 % 2**32, turns=turns,
                access=access,
            )
        )  # fmt: skip

    def draw(self, operation: Operation | None = None) -> bool:
        """An instruction of any kind, or of the given one; whether there is one."""
        rng = self.rng
        for _ in range(100):
            group = self.groups[rng.integers(len(self.groups))]
            chosen = operation or group[rng.integers(len(group))]
            if self.vtype.sew_bits not in chosen.sews and not chosen.eew_bits:
                if operation:
                    return False
                continue
            vd, vs2, vs1 = (int(r) for r in rng.choice(self.registers, 3))
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
        stride = int(rng.choice([0, -most, most, *rng.integers(-most, most + 1, 9)]))
        span = stride * max(0, self.vl - 1)
        low, high = max(0, -span), REGION_BYTES - size - max(0, span)
        return (region, start + int(rng.integers(low, high + 1)), stride) if high >= low else None

    # DMA

    def transfer(self, stream: str, region: int, external: int, size: int, offset: int = 0) -> None:
        """One run between external memory and a buffer."""
        transfer = Transfer(external=external, runs=1, run_bytes=size, external_stride=0)
        self._move(stream, region, transfer, offset, 0)

    def _move(self, stream: str, region: int, transfer: Transfer, offset: int, stride: int) -> None:
        loads = stream == "load"
        access = Access.counted(self.counts, self.tags[region], stream, stores=loads)
        self.entries.append(
            Command(
                stream=stream, transfer=transfer, scratch=self.start_of(region) + offset, scratch_stride=stride, access=access
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
        transfer = Transfer(
            external=low + int(rng.integers(room + 1)),
            runs=runs,
            run_bytes=run_bytes,
            external_stride=external_stride,
        )
        place = int(rng.integers(REGION_BYTES - (runs - 1) * scratch_stride - run_bytes + 1))
        self._move(stream, region, transfer, place, scratch_stride)

    def draw_generate(self) -> None:
        """Weights of a random seed, of any length and alignment, in a buffer."""
        rng, region = self.rng, int(self.rng.integers(REGIONS))
        size = int(rng.choice([1, int(rng.integers(1, 80)), int(rng.integers(1, REGION_BYTES + 1))]))
        place = int(rng.integers(REGION_BYTES - size + 1))
        access = Access.counted(self.counts, self.tags[region], "generate", stores=True)
        self.entries.append(
            Generate(
                scratch=self.start_of(region) + place, size=size, seed=int(rng.integers(1, 2**32)), access=access
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
